//! Filters of ours that readings found and that are in no entry of the table.

use std::collections::BTreeMap;
use std::sync::Arc;

use flow::{Megaflow, PART, Ufid};

use super::table::Placed;
use crate::rule::Signature;

/// A filter of ours that a reading found.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) placed: Placed,
    pub(super) digest: Option<u64>,
    /// The megaflow, if the filter could be decoded.
    pub(super) flow: Option<(Arc<Megaflow>, Signature)>,
    /// The number of the last reading that has shown the filter.
    pub(super) shown: u64,
}

/// What the last dump found, and readings of statistics since then. `adopt` takes filters from
/// here, and those that are not adopted are removed.
#[derive(Debug, Default)]
pub(super) struct FoundFilters {
    /// Each with the number of its dump.
    all: BTreeMap<(u64, Ufid), Found>,
    dumps: u64,
}

impl FoundFilters {
    /// A dump begins. What was found before counts no more, and is taken out of memory in parts.
    pub(super) fn begin(&mut self) {
        self.dumps += 1;
    }

    pub(super) fn get(&self, ufid: Ufid) -> Option<&Found> {
        self.all.get(&(self.dumps, ufid))
    }

    pub(super) fn insert(&mut self, ufid: Ufid, found: Found) {
        self.all.insert((self.dumps, ufid), found);
    }

    pub(super) fn remove(&mut self, ufid: Ufid) -> Option<Found> {
        self.all.remove(&(self.dumps, ufid))
    }

    /// Takes a part of what counts no more out of memory.
    pub(super) fn tidy(&mut self) {
        for _ in 0..PART {
            match self.all.first_entry() {
                Some(first) if first.key().0 < self.dumps => drop(first.remove()),
                _ => return,
            }
        }
    }

    /// The number of filters that count no more and are still in memory.
    #[cfg(test)]
    pub(super) fn leftovers(&self) -> usize {
        self.all.range(..(self.dumps, Ufid(0))).count()
    }
}
