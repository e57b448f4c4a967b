//! A ring that the card fills: completions, events, packets.

use std::sync::Arc;

use super::shared::{RingConfig, Shared};
use crate::error::Error;
use crate::register::RingRegisters;
use crate::sys::Arena;

/// The host's end of such a ring.
pub struct Consumer {
    ring: Shared,
    /// Records taken.
    next: u16,
    /// Records given back to the card.
    returned: u16,
}

impl Consumer {
    /// Sets the ring up in the arena and turns it on.
    pub fn new(
        registers: RingRegisters,
        arena: &Arc<Arena>,
        config: RingConfig,
    ) -> Result<Consumer, Error> {
        Ok(Consumer { ring: Shared::new(registers, arena, config)?, next: 0, returned: 0 })
    }

    /// Records that wait. The card may have written as many as were given back to it.
    pub fn waiting(&self) -> Result<u16, Error> {
        let free = self.returned.wrapping_add(self.ring.entries()).wrapping_sub(self.next);
        self.ring.progress(self.next, free)
    }

    /// Records that fit.
    #[must_use]
    pub fn entries(&self) -> u16 {
        self.ring.entries()
    }

    /// Copies the first bytes of the record that is `ahead` of the next one.
    pub fn peek(&self, ahead: u16, offset: usize, out: &mut [u8]) {
        self.ring.read(self.next.wrapping_add(ahead), offset, out);
    }

    /// Bytes of a record.
    #[must_use]
    pub fn stride(&self) -> usize {
        self.ring.config.stride
    }

    /// Gives the given number of records back to the card.
    pub fn advance(&mut self, count: u16) {
        self.next = self.next.wrapping_add(count);
    }

    /// Gives what was taken back to the card, once a quarter of the ring is due or on demand.
    pub fn give_back(&mut self, now: bool) {
        let due = self.next.wrapping_sub(self.returned);
        if due > 0 && (now || due >= self.ring.entries() / 4) {
            self.returned = self.next;
            self.ring.doorbell(self.next);
        }
    }

    /// Asks for an interrupt at the next record; at once if some wait already.
    pub fn arm(&self) {
        self.ring.arm(self.next);
    }

    /// Turns the ring off.
    pub fn disable(&self) {
        self.ring.disable();
    }
}
