//! Megaflows by ufid: an index into a table that has its megaflows by number.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;

use crate::id::Ufid;
use crate::numbers::Numbers;

/// The numbers of a table's megaflows by their ufids. Nobody who chooses megaflows can choose where
/// they are in it.
#[derive(Default)]
pub struct UfidIndex {
    hasher: RandomState,
    numbers: Numbers,
}

impl UfidIndex {
    /// Count of the megaflows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.numbers.len()
    }

    /// Returns true if there is no megaflow.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.numbers.is_empty()
    }

    /// The number of the megaflow with this ufid. `ufid_of` gives the ufid of a number that the
    /// index has.
    pub fn find(&self, ufid: Ufid, ufid_of: impl Fn(u32) -> Option<Ufid>) -> Option<u32> {
        let mut numbers = self.numbers.of(self.hasher.hash_one(ufid));
        numbers.find(|number| ufid_of(*number) == Some(ufid))
    }

    /// Adds a megaflow. The caller makes sure that its ufid is new to the index.
    pub fn insert(&mut self, ufid: Ufid, number: u32) {
        self.numbers.insert(self.hasher.hash_one(ufid), number);
    }

    /// Takes a megaflow out.
    pub fn remove(&mut self, ufid: Ufid, number: u32) {
        self.numbers.remove(self.hasher.hash_one(ufid), number);
    }
}
