//! A hash table without long steps: it is made of small tables, and grows and shrinks by one of
//! them at a time (linear hashing).
//!
//! A table in one piece moves all its entries when it doubles: tens of milliseconds for a million
//! of them, in which the thread that forwards packets would forward none.

use hashbrown::HashTable;
use hashbrown::hash_table::{Iter, IterHash};

/// Entries by hash; the caller keeps them distinct. Each call that takes a `hasher` wants the hash
/// that the entry was inserted with.
pub struct Shards<T> {
    shards: Vec<HashTable<T>>,
    len: usize,
}

/// Mean number of entries of a shard above which the next shard is split. A shard that is not split
/// yet has twice as many at most, and hashbrown's tables of 2,048 buckets hold just these.
const SIZE: usize = 896;

impl<T> Default for Shards<T> {
    fn default() -> Shards<T> {
        Shards { shards: vec![HashTable::new()], len: 0 }
    }
}

impl<T> Shards<T> {
    /// Number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns true if there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The entry with this hash that is the right one.
    pub fn find(&self, hash: u64, is: impl FnMut(&T) -> bool) -> Option<&T> {
        self.shards.get(place(hash, self.shards.len()))?.find(hash, is)
    }

    /// All entries with this hash, and possibly others.
    pub fn iter_hash(&self, hash: u64) -> IterHash<'_, T> {
        let shard = self.shards.get(place(hash, self.shards.len()));
        shard.map(|shard| shard.iter_hash(hash)).unwrap_or_default()
    }

    /// All entries, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.shards.iter().flatten()
    }

    /// The entries of one shard; `None` behind the last one. An insert or a removal may move
    /// entries to other shards.
    #[must_use]
    pub fn shard(&self, number: usize) -> Option<Iter<'_, T>> {
        self.shards.get(number).map(HashTable::iter)
    }

    /// Adds an entry.
    pub fn insert(&mut self, hash: u64, entry: T, hasher: impl Fn(&T) -> u64) {
        if self.len >= self.shards.len() * SIZE {
            self.split(&hasher);
        }
        let place = place(hash, self.shards.len());
        if let Some(shard) = self.shards.get_mut(place) {
            shard.insert_unique(hash, entry, hasher);
            self.len += 1;
        }
    }

    /// Takes the entry with this hash out that is the right one.
    pub fn remove(
        &mut self,
        hash: u64,
        is: impl FnMut(&T) -> bool,
        hasher: impl Fn(&T) -> u64,
    ) -> Option<T> {
        let place = place(hash, self.shards.len());
        let entry = self.shards.get_mut(place)?.find_entry(hash, is).ok()?.remove().0;
        self.len -= 1;
        // Not at once after a split, so that splits and merges don't take turns. But not late
        // either: an allocator puts off work until something large is freed, and then does it all.
        if self.len + 2 * SIZE <= self.shards.len() * SIZE {
            self.merge(&hasher);
        }
        Some(entry)
    }

    /// Splits the next shard in two.
    fn split(&mut self, hasher: &impl Fn(&T) -> u64) {
        let count = self.shards.len() + 1;
        let Some(whole) = self.shards.get_mut(partner(count)) else { return };
        let whole = std::mem::take(whole);
        self.shards.push(HashTable::with_capacity(SIZE));
        self.scatter(whole, hasher);
    }

    /// Puts the last shard's entries back to where they were before its split.
    fn merge(&mut self, hasher: &impl Fn(&T) -> u64) {
        let Some(last) = self.shards.pop() else { return };
        self.scatter(last, hasher);
    }

    fn scatter(&mut self, entries: HashTable<T>, hasher: &impl Fn(&T) -> u64) {
        let count = self.shards.len();
        for entry in entries {
            let hash = hasher(&entry);
            if let Some(shard) = self.shards.get_mut(place(hash, count)) {
                shard.insert_unique(hash, entry, hasher);
            }
        }
    }
}

/// The shard of a hash among this number of shards. The bits are neither those that hashbrown
/// places by, the lowest, nor those that it tells entries apart by, the highest.
#[allow(clippy::cast_possible_truncation, reason = "cut to the number of shards in any case")]
fn place(hash: u64, count: usize) -> usize {
    let (bits, wide) = ((hash >> 32) as usize, count.next_power_of_two());
    let place = bits & (wide - 1);
    // The shards up to the next power of two are not split off yet.
    if place < count { place } else { place & (wide / 2 - 1) }
}

/// The shard that the last of this number of shards is split off from.
fn partner(count: usize) -> usize {
    (count - 1) & (count.next_power_of_two() / 2 - 1)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn hash(entry: &u64) -> u64 {
        // Every hash has a few entries.
        (entry / 3).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    /// Up, down and up again, against a set: every entry is found, and once.
    #[test]
    fn it_holds_what_a_set_holds() {
        let (mut fast, mut slow) = (Shards::default(), BTreeSet::new());
        let (mut state, mut most) = (7_u64, 0);
        for n in 0..60_000_u64 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let entry = (state >> 33) % 12_000;
            let growing = !(20_000..40_000).contains(&n);
            if growing && slow.insert(entry) {
                fast.insert(hash(&entry), entry, hash);
            } else if !growing {
                let removed = fast.remove(hash(&entry), |other| *other == entry, hash);
                assert_eq!(removed, slow.take(&entry));
            }
            assert_eq!(fast.len(), slow.len());
            most = most.max(fast.shards.len());
        }
        assert!(most > 8, "{most}");
        let all: Vec<u64> = fast.iter().copied().collect();
        assert!(all.len() == slow.len() && all.into_iter().collect::<BTreeSet<_>>() == slow);
        for entry in 0..12_000 {
            let found = fast.find(hash(&entry), |other| *other == entry);
            assert_eq!(found, slow.get(&entry));
            assert_eq!(fast.iter_hash(hash(&entry)).any(|e| *e == entry), slow.contains(&entry));
        }
        for entry in slow {
            assert_eq!(fast.remove(hash(&entry), |other| *other == entry, hash), Some(entry));
        }
        assert!(fast.is_empty() && fast.shards.len() == 1 && fast.shard(1).is_none());
    }

    /// No shard is much larger than the largest that is to be split, whatever the number of
    /// entries.
    #[test]
    fn no_shard_is_large() {
        let mut shards = Shards::default();
        for entry in 0..100_000_u64 {
            let hash = |entry: &u64| entry.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            shards.insert(hash(&entry), entry, hash);
            if entry % 500 == 0 {
                let largest = shards.shards.iter().map(HashTable::len).max();
                assert!(largest < Some(SIZE * 5 / 2), "{largest:?} of {entry}");
            }
        }
    }
}
