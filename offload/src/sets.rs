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
