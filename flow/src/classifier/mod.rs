//! The classifier: it finds the megaflow that a key hits, and the megaflows that a match overlaps,
//! under any set of masks.
//!
//! `in_port` and `recirc_id` are whole in every mask, so each pair of them has partitions of its
//! own: one for each of sixteen EtherTypes, and one for further types and for masks that leave the
//! type wild. Within a
//! partition a lookup does not try mask after mask. A *class* is the masks that are one when they
//! are relaxed to whole octets. A class with many megaflows earns a place in one of at most eight
//! hash tables, by the bits that all its masks have; whatever does not spread there is in a tree,
//! whose depth grows with the megaflows that are alike and not with the number of masks.
//!
//! The cost of a lookup:
//! * Only the lookup's own partitions count. Masks that somebody makes on another port, in another
//!   scope or for another one of the sixteen EtherTypes cost nothing.
//! * A key is reduced once to the words in which masks have bits; a table costs a hash of them and
//!   a cache line, the megaflow itself another one. Keys are looked up in bursts, so that a burst
//!   waits for memory once and not for each key.
//! * A miss visits all tables and walks through the tree.
//!
//! Installs and removals cost the same, and none takes long: tables grow and shrink in pieces, and
//! a class moves to its table a few megaflows at a time, while lookups search both places.

mod audit;
mod class;
mod grants;
mod node;
mod overlapped;
mod partition;
mod parts;
mod path;
mod projection;
mod records;
mod scope;
mod table;
#[cfg(test)]
mod tests;
mod tree;

use std::hash::BuildHasher;

use crate::{Key, Match, Numbers, Slab};
use foldhash::fast::{FixedState, RandomState};

use overlapped::Overlapped;
use partition::{BURST, Unfound, take_alike};
use scope::{Scope, ScopeKey};

pub use audit::overlaps;

/// What lookups did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ClassifierCounters {
    /// Lookups.
    pub lookups: u64,
    /// Lookups that hit.
    pub hits: u64,
    /// Tables and nodes of trees visited by them.
    pub visited: u64,
}

/// A table that finds megaflows by key, each with a number of the caller's.
pub struct Classifier {
    scopes: Slab<Box<Scope>>,
    by_key: Numbers,
    hasher: FixedState,
    seed: u64,
    /// Number of masks in all partitions.
    masks: usize,
    counters: ClassifierCounters,
    /// The keys of a burst that are still looked for, and those of one scope and EtherType; kept
    /// for their allocations.
    left: Unfound,
    group: Unfound,
}

impl Default for Classifier {
    /// An empty classifier with a seed that nobody knows.
    fn default() -> Classifier {
        Classifier::new(RandomState::default().hash_one(0))
    }
}

impl Classifier {
    /// An empty classifier. The seed makes its places unpredictable.
    #[must_use]
    pub fn new(seed: u64) -> Classifier {
        Classifier {
            scopes: Slab::default(),
            by_key: Numbers::default(),
            hasher: FixedState::with_seed(seed),
            seed,
            masks: 0,
            counters: ClassifierCounters::default(),
            left: Vec::new(),
            group: Vec::new(),
        }
    }

    /// Adds a megaflow under the caller's number. The caller makes sure that its match is new. If
    /// it overlaps others, a key that hits several of them finds any of these.
    pub fn insert(&mut self, matching: &Match, number: u32) {
        let key = ScopeKey::of_match(matching);
        let scope = self.scope(key).unwrap_or_else(|| {
            let scope = self.scopes.insert(Box::new(Scope::new(key, self.seed)));
            self.by_key.insert(self.hasher.hash_one(key), scope);
            scope
        });
        let scope = self.scopes.get_mut(scope);
        self.masks += usize::from(scope.is_some_and(|scope| scope.insert(matching, number)));
    }

    /// Takes a megaflow out; returns its number.
    pub fn remove(&mut self, matching: &Match) -> Option<u32> {
        let key = ScopeKey::of_match(matching);
        let number = self.scope(key)?;
        let scope = self.scopes.get_mut(number)?;
        let removed = scope.remove(matching);
        if scope.is_empty() {
            self.scopes.remove(number);
            self.by_key.remove(self.hasher.hash_one(key), number);
        }
        let (number, last) = removed?;
        self.masks -= usize::from(last);
        Some(number)
    }

    /// The numbers of the megaflows that the keys hit, by the places of the keys. `found` is as
    /// long as `keys` afterwards.
    pub fn lookup(&mut self, keys: &[&Key], found: &mut Vec<Option<u32>>) {
        let mut visited = 0;
        self.find(keys, found, &mut visited);
        let hits = found.iter().filter(|number| number.is_some()).count();
        self.counters.lookups += keys.len() as u64;
        self.counters.hits += hits as u64;
        self.counters.visited += visited;
    }

    /// Like [`Classifier::lookup`], but leaves the counters as they are; adds what it visits to
    /// `visited`.
    pub fn find(&mut self, keys: &[&Key], found: &mut Vec<Option<u32>>, visited: &mut u64) {
        found.clear();
        found.resize(keys.len(), None);
        for (keys, found) in keys.chunks(BURST).zip(found.chunks_mut(BURST)) {
            self.find_burst(keys, found, visited);
        }
    }

    /// Adds the numbers of the megaflows that the match overlaps to `found`, until it has `most`.
    /// Returns false if the answer takes another step, which visits a few hundred places: the
    /// caller repeats the call, with what it has found and with no change in between.
    pub fn overlapping(&mut self, matching: &Match, most: usize, found: &mut Vec<u32>) -> bool {
        let mut found = Overlapped { numbers: found, most };
        let scope = self.scope(ScopeKey::of_match(matching));
        match scope.and_then(|scope| self.scopes.get_mut(scope)) {
            Some(scope) => scope.overlapping(matching, &mut found),
            None => true,
        }
    }

    fn scope(&self, key: ScopeKey) -> Option<u32> {
        let is =
            |number: &u32| self.scopes.values().get(*number).is_some_and(|scope| scope.key == key);
        self.by_key.of(self.hasher.hash_one(key)).find(is)
    }

    /// Number of masks: those of each partition.
    #[must_use]
    pub fn masks(&self) -> usize {
        self.masks
    }

    /// What lookups did so far.
    #[must_use]
    pub fn counters(&self) -> ClassifierCounters {
        self.counters
    }

    /// Looks up at most [`BURST`] keys: those of one scope and EtherType after those of another.
    fn find_burst(&mut self, keys: &[&Key], found: &mut [Option<u32>], visited: &mut u64) {
        self.left.clear();
        self.left.extend(0..keys.len());
        while let Some(first) = self.left.first() {
            let of = |key: &Key| (ScopeKey::of(key), key.eth_type);
            let (scope, eth_type) = of(keys[*first]);
            let number = self.scope(scope);
            let Classifier { scopes, left, group, .. } = self;
            take_alike(left, group, |place| of(keys[place]) == (scope, eth_type));
            if let Some(scope) = number.and_then(|number| scopes.get_mut(number)) {
                scope.lookup(eth_type, keys, group, found, visited);
            }
        }
    }
}
