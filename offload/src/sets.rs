//! Sets of megaflows.

use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

/// The engine's own short name for a megaflow that it knows: its index in the slab of
/// [`crate::flows::Flows`]. It is given to another megaflow when this one is forgotten.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct FlowId(pub(super) u32);

/// A set of megaflows for each key that has any.
#[derive(Debug)]
pub(super) struct Sets<K>(BTreeMap<K, BTreeSet<FlowId>>);

impl<K> Default for Sets<K> {
    fn default() -> Sets<K> {
        Sets(BTreeMap::new())
    }
}

impl<K: Ord + Copy> Sets<K> {
    pub(super) fn insert(&mut self, key: K, id: FlowId) {
        self.0.entry(key).or_default().insert(id);
    }

    pub(super) fn remove(&mut self, key: K, id: FlowId) {
        if let Some(set) = self.0.get_mut(&key) {
            set.remove(&id);
            if set.is_empty() {
                self.0.remove(&key);
            }
        }
    }

    /// Takes the whole set of a key.
    pub(super) fn take(&mut self, key: K) -> BTreeSet<FlowId> {
        self.0.remove(&key).unwrap_or_default()
    }

    /// Returns true if the key has a set.
    pub(super) fn has(&self, key: K) -> bool {
        self.0.contains_key(&key)
    }

    /// Returns the megaflows of a key, in order.
    pub(super) fn of(&self, key: K) -> impl DoubleEndedIterator<Item = FlowId> + '_ {
        self.0.get(&key).into_iter().flatten().copied()
    }
}

/// One set of megaflows, with a bit for each place in the slab.
#[derive(Default)]
pub(super) struct FlowBits(Vec<u64>);

impl FlowBits {
    /// Places without a member that one slice passes at most.
    const PASSED: usize = 1 << 18;

    pub(super) fn insert(&mut self, id: FlowId) {
        let (word, bit) = FlowBits::at(id);
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        self.0.get_mut(word).into_iter().for_each(|word| *word |= bit);
    }

    pub(super) fn remove(&mut self, id: FlowId) {
        let (word, bit) = FlowBits::at(id);
        if let Some(word) = self.0.get_mut(word) {
            *word &= !bit;
        }
    }

    /// Returns at most this number of members from a place on, and the place where the next slice
    /// begins; `None` after the last one.
    pub(super) fn slice(&self, from: u32, most: u32) -> (Vec<FlowId>, Option<u32>) {
        let (first, bit) = FlowBits::at(FlowId(from));
        let mut members = Vec::new();
        // The bits below the first one are passed already.
        let mut passed = bit - 1;
        let words = (0_u32..).zip(&self.0).skip(first);
        for (number, word) in words.clone().take(FlowBits::PASSED / 64) {
            let mut rest = word & !std::mem::take(&mut passed);
            while rest != 0 {
                let place = number * 64 + rest.trailing_zeros();
                if members.len() == most as usize {
                    return (members, Some(place));
                }
                members.push(FlowId(place));
                rest &= rest - 1;
            }
        }
        let next = words.map(|(number, _)| number * 64).nth(FlowBits::PASSED / 64);
        (members, next)
    }

    fn at(id: FlowId) -> (usize, u64) {
        (id.0 as usize / 64, 1 << (id.0 % 64))
    }
}

/// The megaflows with the least keys among many.
#[derive(Debug)]
pub(super) struct Least {
    most: usize,
    heap: BinaryHeap<(u64, FlowId)>,
}

impl Least {
    /// Returns an empty set, which keeps at most this number.
    pub(super) fn new(most: usize) -> Least {
        Least { most, heap: BinaryHeap::new() }
    }

    /// Returns true if a megaflow with this key would be kept.
    pub(super) fn keeps(&self, key: u64) -> bool {
        self.heap.len() < self.most || self.heap.peek().is_some_and(|(worst, _)| key < *worst)
    }

    /// Takes the megaflow in if it is among the least so far.
    pub(super) fn offer(&mut self, key: u64, id: FlowId) {
        self.heap.push((key, id));
        if self.heap.len() > self.most {
            self.heap.pop();
        }
    }

    /// Returns the megaflows, the least key first.
    pub(super) fn into_sorted(self) -> Vec<FlowId> {
        self.heap.into_sorted_vec().into_iter().map(|(_, id)| id).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bits against a set, in slices of every size.
    #[test]
    fn bits_hold_what_a_set_holds() {
        let (mut bits, mut set) = (FlowBits::default(), BTreeSet::new());
        let mut dice = 7_u64;
        let mut roll = |sides: u32| {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (dice >> 33) as u32 % sides
        };
        for step in 0..3000 {
            // Some close together, some far apart.
            let id = FlowId([roll(200), roll(2_000_000)][roll(2) as usize]);
            if roll(3) == 0 {
                bits.remove(id);
                set.remove(&id);
            } else {
                bits.insert(id);
                set.insert(id);
            }
            if step % 50 == 0 {
                let (most, mut next, mut all) = (1 + roll(70), Some(0), Vec::new());
                while let Some(from) = next {
                    let (slice, after) = bits.slice(from, most);
                    assert!(slice.len() <= most as usize && after.is_none_or(|after| after > from));
                    all.extend(slice);
                    next = after;
                }
                assert!(all.iter().eq(&set));
            }
        }
    }
}
