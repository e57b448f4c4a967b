//! What readings keep from one part to the next.

use std::collections::BTreeSet;

use crate::table::{EntryHandle, Move};

/// What readings keep from one part to the next.
#[derive(Default)]
pub(super) struct CardReading {
    /// Statistics: the tables' fill was not what was believed.
    pub(super) is_odd: bool,
    /// Statistics: entries found lost, and entries of nobody.
    pub(super) losses: usize,
    /// Statistics: the operations that had been taken when the fill was read; `None` if some had
    /// not ended.
    pub(super) taken: Option<u64>,
    /// The number of the dump under way.
    pub(super) dump: u64,
    /// Dump: the next slot, counted over both tables.
    pub(super) next: u32,
    /// Dump: entries that moved out of a slot that was still to be read into one that had been.
    pub(super) missed: BTreeSet<EntryHandle>,
}

impl CardReading {
    /// Follows the move of an entry in the exact-match table.
    pub(super) fn moved(&mut self, step: &Move) {
        if step.to < self.next && self.next <= step.from {
            self.missed.insert(step.owner);
        }
    }
}
