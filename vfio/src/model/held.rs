//! Completions that the card has not written yet: it may complete commands in any order.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::ring::record::RECORD_BYTES;

/// Completions of executed commands, until they are written to the host.
#[derive(Default)]
pub(super) struct HeldCompletions {
    records: VecDeque<[u8; RECORD_BYTES]>,
    /// The state of the dice that choose the order; with 0 it is the order of the ring.
    pub(super) dice: Arc<AtomicU64>,
}

impl HeldCompletions {
    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    pub(super) fn clear(&mut self) {
        self.records.clear();
    }

    pub(super) fn push(&mut self, record: [u8; RECORD_BYTES]) {
        self.records.push_back(record);
    }

    /// Takes a completion to be written now. Unless all are due, there may be none.
    pub(super) fn pop(&mut self, all_are_due: bool) -> Option<[u8; RECORD_BYTES]> {
        if self.dice.load(Ordering::Relaxed) == 0 {
            return self.records.pop_front();
        }
        if self.records.is_empty() || !all_are_due && self.roll().is_multiple_of(3) {
            return None;
        }
        let at = crate::int::to_usize(self.roll() % self.records.len() as u64);
        self.records.swap_remove_back(at)
    }

    /// Rolls the dice: splitmix64.
    fn roll(&self) -> u64 {
        let step = 0x9e37_79b9_7f4a_7c15;
        let mut z = self.dice.fetch_add(step, Ordering::Relaxed).wrapping_add(step);
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }
}
