//! The classifier: it finds the megaflow that a key hits, under any set of masks.
//!
//! It is a tuple space search: one hash table per mask (a *subtable*), in partitions. `in_port` and
//! `recirc_id` are whole in every mask, so each pair of them has a partition of its own, split
//! again by EtherType: one per type, and one for the masks that leave the EtherType wild.
//!
//! The cost of a lookup:
//! * Only the masks of the lookup's own partitions count. Masks that somebody makes on another
//!   port, in another scope or for another EtherType cost nothing.
//! * A hit visits the subtables in front of the one that is hit. A subtable that is hit climbs: it
//!   changes places with the one at half its position when it has more hits. A flow with traffic
//!   is thus near the front after a few packets, and a mask that an attacker makes (one upcall and
//!   few hits each) stays behind it: 1,000 such masks do not slow the flow down.
//! * A subtable with more than two mask words hashes the two words with the most bits and loads
//!   one count of a small filter. It can reject a key there, before it hashes the other words.
//! * A miss, and a hit on a rarely hit mask, still visit every subtable of the partition, at two
//!   words and a load each: the cost is linear in the partition's masks. The exact-match cache in
//!   front takes repeated keys off this path; upcall quotas bound the misses. Install and remove
//!   are linear too.

mod audit;
mod subtable;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use flow::{Key, Match, Megaflow};
use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::hash::Hash;
use subtable::Subtable;

pub use audit::overlaps;

/// A table that finds megaflows by key, each with a number of the caller's.
pub struct Classifier {
    hash: Hash,
    partitions: HashMap<Scope, Partition, FixedState>,
    /// Number of partitions whose masks leave the EtherType wild. At 0 a lookup skips them.
    wild: usize,
    /// Number of subtables in all partitions.
    subtables: usize,
    counters: ClassifierCounters,
}

/// What lookups did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ClassifierCounters {
    /// Lookups.
    pub lookups: u64,
    /// Lookups that hit.
    pub hits: u64,
    /// Subtables visited by them.
    pub visited: u64,
}

/// The port, recirculation id and EtherType of a partition.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Scope {
    in_port: u32,
    recirc_id: u32,
    /// `None` if the partition's masks do not compare the whole EtherType.
    eth_type: Option<u16>,
}

#[derive(Default)]
struct Partition {
    subtables: Vec<Subtable>,
}

impl Classifier {
    /// An empty classifier. The seed makes its buckets unpredictable.
    #[must_use]
    pub fn new(seed: u64) -> Classifier {
        Classifier {
            hash: Hash::new(seed),
            partitions: HashMap::with_hasher(FixedState::with_seed(seed)),
            wild: 0,
            subtables: 0,
            counters: ClassifierCounters::default(),
        }
    }

    /// Adds a megaflow under the caller's number. The caller makes sure that the match is new and
    /// overlaps no other.
    pub fn insert(&mut self, flow: &Arc<Megaflow>, slot: u32) {
        let scope = Scope::of(&flow.matching);
        let hash = self.hash;
        let partition = self.partitions.entry(scope).or_default();
        if partition.subtables.is_empty() && scope.eth_type.is_none() {
            self.wild += 1;
        }
        let mask = flow.matching.mask();
        let position = match partition.subtables.iter().position(|s| s.mask() == mask) {
            Some(position) => position,
            None => {
                partition.subtables.push(Subtable::new(mask, scope.eth_type.is_some()));
                self.subtables += 1;
                partition.subtables.len() - 1
            }
        };
        partition.subtables[position].insert(hash, flow, slot);
    }

    /// Takes a megaflow out; returns its number.
    pub fn remove(&mut self, matching: &Match) -> Option<u32> {
        let scope = Scope::of(matching);
        let partition = self.partitions.get_mut(&scope)?;
        let position = partition.subtables.iter().position(|s| s.mask() == matching.mask())?;
        let slot = partition.subtables[position].remove(self.hash, matching)?;
        if partition.subtables[position].is_empty() {
            partition.subtables.remove(position);
            self.subtables -= 1;
            if partition.subtables.is_empty() {
                self.partitions.remove(&scope);
                self.wild -= usize::from(scope.eth_type.is_none());
            }
        }
        Some(slot)
    }

    /// The number of the megaflow that the key hits.
    pub fn lookup(&mut self, key: &Key) -> Option<u32> {
        let mut visited = 0;
        let slot = self.find(key, &mut visited);
        self.counters.lookups += 1;
        self.counters.hits += u64::from(slot.is_some());
        self.counters.visited += visited;
        slot
    }

    /// Like [`Classifier::lookup`], but leaves the counters as they are; adds the subtables that
    /// it visits to `visited`.
    pub(crate) fn find(&mut self, key: &Key, visited: &mut u64) -> Option<u32> {
        let hash = self.hash;
        scopes_of(key, self.wild)
            .find_map(|scope| self.partitions.get_mut(&scope)?.lookup(hash, key, visited))
    }

    /// Number of subtables: one per mask in each partition.
    #[must_use]
    pub fn subtables(&self) -> usize {
        self.subtables
    }

    /// What lookups did so far.
    #[must_use]
    pub fn counters(&self) -> ClassifierCounters {
        self.counters
    }
}

impl Scope {
    fn of(matching: &Match) -> Scope {
        let whole = matching.mask().eth_type == u16::MAX;
        Scope {
            in_port: matching.key().in_port,
            recirc_id: matching.key().recirc_id,
            eth_type: whole.then_some(matching.key().eth_type),
        }
    }
}

/// The scopes in which a key can hit: that of its EtherType, and that of the masks with a wild
/// EtherType if there are any.
fn scopes_of(key: &Key, wild: usize) -> impl Iterator<Item = Scope> + use<> {
    let (in_port, recirc_id) = (key.in_port, key.recirc_id);
    let types = [Some(key.eth_type), None];
    let count = if wild == 0 { 1 } else { 2 };
    types.into_iter().take(count).map(move |eth_type| Scope { in_port, recirc_id, eth_type })
}

impl Partition {
    fn lookup(&mut self, hash: Hash, key: &Key, visited: &mut u64) -> Option<u32> {
        let found =
            self.subtables.iter().enumerate().find_map(|(position, subtable)| {
                subtable.find(hash, key).map(|slot| (position, slot))
            });
        let Some((position, slot)) = found else {
            *visited += self.subtables.len() as u64;
            return None;
        };
        *visited += position as u64 + 1;
        self.subtables[position].count_hit();
        let half = position / 2;
        if half < position && self.subtables[position].hits() > self.subtables[half].hits() {
            self.subtables.swap(position, half);
        }
        // Old hits fade, or a subtable that was busy once would stay in front for ever.
        if self.subtables[half].hits() >= FADE {
            self.subtables.iter_mut().for_each(Subtable::fade);
        }
        Some(slot)
    }
}

/// Hits of one subtable after which all of a partition are halved.
const FADE: u32 = 1 << 20;
