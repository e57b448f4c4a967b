//! The megaflows of one port and recirculation id, in partitions by EtherType.

use crate::key::WORDS;
use crate::{Key, Mask, Match};

use super::overlapped::Overlapped;
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

    pub(super) fn of_match(matching: &Match) -> ScopeKey {
        ScopeKey { in_port: matching.port().0, recirc_id: matching.recirc().0 }
    }
}

/// The megaflows of a scope.
pub(super) struct Scope {
    pub(super) key: ScopeKey,
    /// Those that compare the whole EtherType, if it is one of the first sixteen. Anybody who sends
    /// packets chooses types, so there are not as many partitions as types.
    typed: Vec<(u16, Partitions)>,
    /// The others.
    mixed: Partitions,
    seed: u64,
    /// A question about overlaps that takes several steps, and how many partitions have answered.
    question: Option<(Match, usize)>,
}

const TYPES: usize = 16;

/// The megaflows of a scope and type: those whose masks have bits in six words at most, and the
/// others (IPv6 together with Ethernet addresses, and stranger ones). Each is made when it is
/// needed.
#[derive(Default)]
struct Partitions {
    narrow: Option<Box<Partition<NARROW>>>,
    wide: Option<Box<Partition<WIDE>>>,
}

const NARROW: usize = 6;
/// All words but that of the scope.
const WIDE: usize = WORDS - 1;

impl Scope {
    pub(super) fn new(key: ScopeKey, seed: u64) -> Scope {
        Scope { key, typed: Vec::new(), mixed: Partitions::default(), seed, question: None }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.typed.is_empty() && self.mixed.is_empty()
    }

    /// The sizes of all tables, and the number of their views.
    #[cfg(test)]
    pub(super) fn tables(&self) -> (Vec<usize>, usize) {
        let all = self.typed.iter().map(|(_, one)| one).chain([&self.mixed]);
        let narrow = all.clone().filter_map(|one| one.narrow.as_ref());
        let wide = all.filter_map(|one| one.wide.as_ref());
        let narrow = narrow.flat_map(|one| one.tables.iter().flatten());
        let wide = wide.flat_map(|one| one.tables.iter().flatten());
        let (sizes, views): (Vec<usize>, Vec<usize>) = (narrow.map(|t| (t.len(), t.views())))
            .chain(wide.map(|t| (t.len(), t.views())))
            .unzip();
        (sizes, views.into_iter().sum())
    }

    /// Adds a megaflow; returns true if its mask is new to its partition.
    pub(super) fn insert(&mut self, matching: &Match, number: u32) -> bool {
        self.question = None;
        let (key, mask) = (&matching.key(), rest(matching.mask()));
        let eth_type = key.eth_type;
        let known = self.typed.iter().position(|(of, _)| *of == eth_type);
        if mask.eth_type != u16::MAX || (known.is_none() && self.typed.len() == TYPES) {
            return self.mixed.insert(key, &mask, number, self.seed);
        }
        let place = known.unwrap_or_else(|| {
            self.typed.push((eth_type, Partitions::default()));
            self.typed.len() - 1
        });
        self.typed[place].1.insert(key, &typed(mask), number, self.seed)
    }

    /// Takes a megaflow out; returns its number, and whether it was the last one of its mask.
    pub(super) fn remove(&mut self, matching: &Match) -> Option<(u32, bool)> {
        self.question = None;
        let (key, mask) = (&matching.key(), rest(matching.mask()));
        if mask.eth_type == u16::MAX
            && let Some(place) = self.typed.iter().position(|(of, _)| *of == key.eth_type)
        {
            let partitions = &mut self.typed[place].1;
            let removed = partitions.remove(key, &typed(mask));
            if partitions.is_empty() {
                self.typed.swap_remove(place);
            }
            if removed.is_some() {
                return removed;
            }
        }
        self.mixed.remove(key, &mask)
    }

    /// Looks keys of this scope and an EtherType up, see [`Partition::lookup`]. The places in
    /// `group` are those that hit nothing afterwards.
    pub(super) fn lookup(
        &mut self,
        eth_type: u16,
        keys: &[&Key],
        group: &mut Unfound,
        found: &mut [Option<u32>],
        visited: &mut u64,
    ) {
        if let Some((_, partitions)) = self.typed.iter_mut().find(|(of, _)| *of == eth_type) {
            partitions.lookup(keys, group, found, visited);
        }
        self.mixed.lookup(keys, group, found, visited);
    }

    /// See [`super::Classifier::overlapping`].
    pub(super) fn overlapping(&mut self, matching: &Match, found: &mut Overlapped<'_>) -> bool {
        let (key, mask) = (&matching.key(), rest(matching.mask()));
        let question = self.question.take().filter(|(old, _)| old == matching);
        let answered = question.as_ref().map_or(0, |(_, answered)| *answered);
        let fits = |of: u16| (of ^ key.eth_type) & mask.eth_type == 0;
        let typed = self.typed.iter_mut().filter(|(of, _)| fits(*of)).map(|(_, one)| one);
        let all = [&mut self.mixed].into_iter().chain(typed).flat_map(Partitions::both);
        for (number, one) in all.enumerate().skip(answered) {
            let goes_on = question.is_some() && number == answered;
            let known = match one {
                Either::Narrow(one) => one.overlapping(key, &mask, goes_on, found),
                Either::Wide(one) => one.overlapping(key, &mask, goes_on, found),
            };
            if found.is_full() {
                break;
            }
            if !known {
                self.question = Some((matching.clone(), number));
                return false;
            }
        }
        true
    }
}

/// A partition of either width.
enum Either<'a> {
    Narrow(&'a mut Partition<NARROW>),
    Wide(&'a mut Partition<WIDE>),
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
        if let Some(narrow) = self.narrow.as_mut().filter(|_| !left.is_empty()) {
            narrow.lookup(keys, left, found, visited);
        }
        if let Some(wide) = self.wide.as_mut().filter(|_| !left.is_empty()) {
            wide.lookup(keys, left, found, visited);
        }
    }

    fn both(&mut self) -> impl Iterator<Item = Either<'_>> {
        let narrow = self.narrow.as_deref_mut().map(Either::Narrow);
        narrow.into_iter().chain(self.wide.as_deref_mut().map(Either::Wide))
    }
}

/// What a mask compares beyond its scope.
fn rest(mask: &Mask) -> Mask {
    Mask { in_port: 0, recirc_id: 0, ..*mask }
}

/// What a mask compares beyond its EtherType.
fn typed(mask: Mask) -> Mask {
    Mask { eth_type: 0, ..mask }
}
