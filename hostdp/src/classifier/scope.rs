//! The megaflows of one port and recirculation id, in partitions by EtherType.

use flow::key::WORDS;
use flow::{Key, Mask, Match};
use foldhash::fast::FixedState;
use hashbrown::HashMap;

use super::partition::{Partition, Unfound};

/// What every mask compares as a whole.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct ScopeKey {
    in_port: u32,
    recirc_id: u32,
}

impl ScopeKey {
    pub(super) fn of(key: &Key) -> ScopeKey {
        ScopeKey { in_port: key.in_port, recirc_id: key.recirc_id }
    }
}

/// The partitions of a scope.
pub(super) struct Scope {
    /// Those of masks that compare the whole EtherType.
    typed: HashMap<u16, Partitions, FixedState>,
    /// That of the others.
    wild: Partitions,
    seed: u64,
}

/// The megaflows of a scope and type: those whose masks have bits in six words at most, which is
/// nearly all, and the others. Each is made when it is needed.
#[derive(Default)]
struct Partitions {
    narrow: Option<Box<Partition<NARROW>>>,
    wide: Option<Box<Partition<WIDE>>>,
}

const NARROW: usize = 6;
/// All words but that of the scope.
const WIDE: usize = WORDS - 1;

impl Scope {
    pub(super) fn new(seed: u64) -> Scope {
        let typed = HashMap::with_hasher(FixedState::with_seed(seed));
        Scope { typed, wild: Partitions::default(), seed }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.typed.is_empty() && self.wild.is_empty()
    }

    /// Adds a megaflow; returns true if its mask is new to its partition.
    pub(super) fn insert(&mut self, matching: &Match, number: u32) -> bool {
        let partitions = match type_of(matching) {
            Some(eth_type) => self.typed.entry(eth_type).or_default(),
            None => &mut self.wild,
        };
        partitions.insert(matching.key(), &rest(matching.mask()), number, self.seed)
    }

    /// Takes a megaflow out; returns its number, and whether it was the last one of its mask.
    pub(super) fn remove(&mut self, matching: &Match) -> Option<(u32, bool)> {
        let (key, mask) = (matching.key(), rest(matching.mask()));
        let Some(eth_type) = type_of(matching) else { return self.wild.remove(key, &mask) };
        let partitions = self.typed.get_mut(&eth_type)?;
        let removed = partitions.remove(key, &mask);
        if partitions.is_empty() {
            self.typed.remove(&eth_type);
        }
        removed
    }

    /// Looks keys of this scope up, see [`Partition::lookup`]. The places in `group` are those that
    /// hit nothing afterwards.
    pub(super) fn lookup(
        &mut self,
        keys: &[&Key],
        group: &mut Unfound,
        found: &mut [Option<u32>],
        visited: &mut u64,
    ) {
        if !self.typed.is_empty() {
            let first = group.first().map(|place| keys[*place].eth_type);
            if group.iter().all(|place| Some(keys[*place].eth_type) == first) {
                if let Some(partitions) = first.and_then(|first| self.typed.get_mut(&first)) {
                    partitions.lookup(keys, group, found, visited);
                }
            } else {
                self.lookup_mixed(keys, group, found, visited);
            }
        }
        self.wild.lookup(keys, group, found, visited);
    }

    /// The same for keys of several types.
    fn lookup_mixed(
        &mut self,
        keys: &[&Key],
        group: &mut Unfound,
        found: &mut [Option<u32>],
        visited: &mut u64,
    ) {
        let mut missed = Unfound::new();
        while let Some(first) = group.first() {
            let eth_type = keys[*first].eth_type;
            let (mut same, others): (Unfound, Unfound) =
                group.iter().partition(|place| keys[**place].eth_type == eth_type);
            if let Some(partitions) = self.typed.get_mut(&eth_type) {
                partitions.lookup(keys, &mut same, found, visited);
            }
            missed.extend(same);
            *group = others;
        }
        *group = missed;
    }

    /// See [`super::Classifier::overlapping`].
    pub(super) fn overlapping(&mut self, matching: &Match) -> Option<Option<u32>> {
        let (key, mask) = (matching.key(), matching.mask());
        let fits = |eth_type: u16| (eth_type ^ key.eth_type) & mask.eth_type == 0;
        let wild = self.wild.overlapping(key, mask)?;
        if wild.is_some() {
            return Some(wild);
        }
        if let Some(eth_type) = type_of(matching) {
            let Some(partitions) = self.typed.get_mut(&eth_type) else { return Some(None) };
            return partitions.overlapping(key, &rest(mask));
        }
        for (_, partitions) in self.typed.iter_mut().filter(|(eth_type, _)| fits(**eth_type)) {
            let other = partitions.overlapping(key, mask)?;
            if other.is_some() {
                return Some(other);
            }
        }
        Some(None)
    }
}

impl Partitions {
    fn is_empty(&self) -> bool {
        self.narrow.is_none() && self.wide.is_none()
    }

    fn insert(&mut self, key: &Key, mask: &Mask, number: u32, seed: u64) -> bool {
        let narrow = self.narrow.get_or_insert_with(|| Box::new(Partition::new(seed)));
        let new = narrow.insert(key, mask, number);
        self.narrow.take_if(|narrow| narrow.len() == 0);
        new.or_else(|| {
            let wide = self.wide.get_or_insert_with(|| Box::new(Partition::new(seed)));
            wide.insert(key, mask, number)
        })
        .unwrap_or_default()
    }

    fn remove(&mut self, key: &Key, mask: &Mask) -> Option<(u32, bool)> {
        let removed = self.narrow.as_mut().and_then(|narrow| narrow.remove(key, mask));
        if removed.is_some() {
            self.narrow.take_if(|narrow| narrow.len() == 0);
            return removed;
        }
        let removed = self.wide.as_mut()?.remove(key, mask);
        self.wide.take_if(|wide| wide.len() == 0);
        removed
    }

    fn lookup(
        &mut self,
        keys: &[&Key],
        left: &mut Unfound,
        found: &mut [Option<u32>],
        visited: &mut u64,
    ) {
        if let Some(narrow) = &mut self.narrow {
            narrow.lookup(keys, left, found, visited);
        }
        if let Some(wide) = self.wide.as_mut().filter(|_| !left.is_empty()) {
            wide.lookup(keys, left, found, visited);
        }
    }

    fn overlapping(&mut self, key: &Key, mask: &Mask) -> Option<Option<u32>> {
        let narrow =
            self.narrow.as_mut().map_or(Some(None), |narrow| narrow.overlapping(key, mask));
        match (narrow?, &mut self.wide) {
            (None, Some(wide)) => wide.overlapping(key, mask),
            (narrow, _) => Some(narrow),
        }
    }
}

/// The type of the partition that a match belongs to; `None` if its mask leaves bits of it wild.
fn type_of(matching: &Match) -> Option<u16> {
    (matching.mask().eth_type == u16::MAX).then_some(matching.key().eth_type)
}

/// What a mask compares beyond its partition.
fn rest(mask: &Mask) -> Mask {
    let eth_type = if mask.eth_type == u16::MAX { 0 } else { mask.eth_type };
    Mask { in_port: 0, recirc_id: 0, eth_type, ..*mask }
}
