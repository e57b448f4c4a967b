//! Numbers by hash: an index into a table that has its entries by number.

use std::num::NonZeroU32;

use crate::buckets::Buckets;

/// Numbers of the entries of a table, by hashes of the entries. The index knows nothing else of
/// them: it moves and forgets numbers without a look at the table, whose entries are elsewhere in
/// memory.
#[derive(Default)]
pub struct Numbers(Buckets);

impl Numbers {
    /// Count of the numbers.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns true if there is no number.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The numbers under this hash, and possibly others.
    pub fn of(&self, hash: u64) -> impl Iterator<Item = u32> + '_ {
        self.0.of(kept(hash)).map(number_of)
    }

    /// All numbers, in no order.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.0.iter().map(number_of)
    }

    /// The numbers of one segment, a small part of all; `None` behind the last one.
    pub fn segment(&self, segment: usize) -> Option<impl Iterator<Item = u32> + '_> {
        Some(self.0.segment(segment)?.map(number_of))
    }

    /// Adds a number under a hash. The caller makes sure that it is new there.
    pub fn insert(&mut self, hash: u64, number: u32) {
        self.0.insert(kept(hash), value_of(number));
    }

    /// Takes a number out that was added under this hash. Returns true if it was there.
    pub fn remove(&mut self, hash: u64, number: u32) -> bool {
        self.0.remove(kept(hash), value_of(number))
    }
}

/// The half of a hash that is kept: both halves have a part in it.
fn kept(hash: u64) -> u32 {
    u32::try_from((hash ^ hash >> 32) & u64::from(u32::MAX)).unwrap_or(0)
}

/// Numbers are below 2^32 - 1: memory has no room for more entries.
fn value_of(number: u32) -> NonZeroU32 {
    NonZeroU32::MIN.saturating_add(number)
}

fn number_of(value: NonZeroU32) -> u32 {
    value.get() - 1
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Few hashes with many numbers each, and hashes that differ in one half only, against a set.
    #[test]
    fn it_holds_what_a_set_of_pairs_holds() {
        let (mut fast, mut slow) = (Numbers::default(), BTreeSet::new());
        let mut state = 7_u64;
        for n in 0..40_000_u32 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let number = u32::try_from(state >> 40).unwrap() % 8000;
            let half = u64::from(number % 900);
            let hash = if number % 2 == 0 { half } else { half << 32 };
            if (15_000..30_000).contains(&n) || slow.contains(&(hash, number)) {
                assert_eq!(fast.remove(hash, number), slow.remove(&(hash, number)));
            } else {
                fast.insert(hash, number);
                slow.insert((hash, number));
            }
            assert_eq!((fast.len(), fast.is_empty()), (slow.len(), slow.is_empty()));
            let of: BTreeSet<u32> = fast.of(hash).collect();
            let want = slow.range((hash, 0)..=(hash, u32::MAX)).map(|(_, number)| *number);
            assert!(want.clone().all(|number| of.contains(&number)));
            assert!(of.iter().all(|number| number % 900 == hashed(hash)), "{of:?}");
        }
        assert!(slow.len() > 1000);
        let want: BTreeSet<u32> = slow.iter().map(|(_, number)| *number).collect();
        assert_eq!(fast.iter().collect::<BTreeSet<_>>(), want);
        let parts = (0..).map_while(|segment| fast.segment(segment)).flatten();
        assert_eq!(parts.collect::<BTreeSet<_>>(), want);
    }

    fn hashed(hash: u64) -> u32 {
        kept(hash)
    }
}
