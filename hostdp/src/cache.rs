//! The exact-match cache: whole keys that were looked up before, in front of the classifier.
//!
//! The cache is two-way set-associative. A line counts only if its whole key is equal and its slot
//! still holds the same life of a megaflow. So the cache is never flushed: the lines of a removed
//! megaflow go stale by themselves, and those of a replaced megaflow stay right.

use flow::Key;

use crate::hash::Hash;

pub(crate) struct Cache {
    hash: Hash,
    /// The sets; their number is a power of two, or 0 while the cache is off.
    sets: Vec<[Line; 2]>,
    counters: CacheCounters,
}

/// What the exact-match cache did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CacheCounters {
    /// Lookups; none while the cache is off.
    pub lookups: u64,
    /// Lookups that hit.
    pub hits: u64,
}

/// A slot of the flow table in one of its lives. Life 0 stands for an empty cache line.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct SlotLife {
    pub(crate) slot: u32,
    pub(crate) life: u32,
}

#[derive(Clone, Copy, Default)]
struct Line {
    key: Key,
    place: SlotLife,
}

impl Cache {
    /// A cache for about the given number of keys; 0 turns the cache off.
    pub(crate) fn new(hash: Hash, keys: usize) -> Cache {
        let sets = if keys == 0 { 0 } else { keys.div_ceil(2).next_power_of_two() };
        Cache { hash, sets: vec![Default::default(); sets], counters: CacheCounters::default() }
    }

    /// The slot that the key hit before, if the slot's life by `lives` is still the same.
    pub(crate) fn lookup(&mut self, key: &Key, lives: impl Fn(u32) -> u32) -> Option<u32> {
        if self.sets.is_empty() {
            return None;
        }
        self.counters.lookups += 1;
        let set = self.set(key);
        let line = self.sets[set].iter().find(|line| {
            line.place.life != 0 && line.key == *key && lives(line.place.slot) == line.place.life
        })?;
        self.counters.hits += 1;
        Some(line.place.slot)
    }

    /// Remembers where the key hit; the older line of the set is overwritten.
    pub(crate) fn insert(&mut self, key: &Key, place: SlotLife) {
        if self.sets.is_empty() {
            return;
        }
        let set = self.set(key);
        let [newer, older] = &mut self.sets[set];
        if newer.key != *key {
            *older = *newer;
        }
        *newer = Line { key: *key, place };
    }

    pub(crate) fn counters(&self) -> CacheCounters {
        self.counters
    }

    #[allow(clippy::cast_possible_truncation, reason = "cut to the number of sets in any case")]
    fn set(&self, key: &Key) -> usize {
        self.hash.words(key.words()) as usize & (self.sets.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_an_ended_life_is_not_believed() {
        let mut cache = Cache::new(Hash::new(1), 16);
        let key = Key { tp_dst: 80, ..Key::default() };
        assert_eq!(cache.lookup(&key, |_| 0), None, "an empty line is no zero key");
        assert_eq!(cache.lookup(&Key::default(), |_| 0), None);
        cache.insert(&key, SlotLife { slot: 3, life: 5 });
        assert_eq!(cache.lookup(&key, |_| 5), Some(3));
        assert_eq!(cache.lookup(&Key { tp_dst: 81, ..key }, |_| 5), None);
        assert_eq!(cache.lookup(&key, |_| 6), None);
        assert_eq!(cache.counters(), CacheCounters { lookups: 5, hits: 1 });
    }

    #[test]
    fn two_keys_of_one_set_stay() {
        let mut cache = Cache::new(Hash::new(1), 2);
        let keys: Vec<Key> = (0..3).map(|n| Key { tp_dst: n, ..Key::default() }).collect();
        for (slot, key) in (0..).zip(&keys) {
            cache.insert(key, SlotLife { slot, life: 1 });
        }
        let found: Vec<_> = keys.iter().map(|key| cache.lookup(key, |_| 1)).collect();
        assert_eq!(found, [None, Some(1), Some(2)]);
    }

    #[test]
    fn off_is_off() {
        let mut cache = Cache::new(Hash::new(1), 0);
        cache.insert(&Key::default(), SlotLife { slot: 0, life: 1 });
        assert_eq!(cache.lookup(&Key::default(), |_| 1), None);
        assert_eq!(cache.counters(), CacheCounters::default());
    }
}
