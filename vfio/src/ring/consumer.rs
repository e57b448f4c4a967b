//! A ring that the card fills: completions, events, packets.

use std::sync::Arc;

use super::shared::{RingConfig, Shared};
use crate::error::Error;
use crate::register::RingRegisters;
use crate::sys::Arena;

/// The host's end of a ring that the card fills.
pub struct Consumer {
    ring: Shared,
    /// The number of records taken from the ring.
    next: u16,
    /// The number of records given back to the card.
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

    /// Returns the number of records that wait. It can't exceed the records that the card may
    /// write.
    pub fn waiting(&self) -> Result<u16, Error> {
        let free = self.returned.wrapping_add(self.ring.entries()).wrapping_sub(self.next);
        self.ring.progress(self.next, free)
    }

    /// Returns the number of records in the ring.
    #[must_use]
    pub fn entries(&self) -> u16 {
        self.ring.entries()
    }

    /// Copies bytes, from `offset` on, out of the record `ahead` places after the next one.
    pub fn peek(&self, ahead: u16, offset: usize, out: &mut [u8]) {
        self.ring.read(self.next.wrapping_add(ahead), offset, out);
    }

    /// Returns the length of a record in bytes.
    #[must_use]
    pub fn stride(&self) -> usize {
        self.ring.config.stride
    }

    /// Takes the given number of records; [`Consumer::give_back`] returns them to the card.
    pub fn advance(&mut self, count: u16) {
        self.next = self.next.wrapping_add(count);
    }

    /// Gives the records taken back to the card, if they are a quarter of the ring or if `now` is
    /// set.
    pub fn give_back(&mut self, now: bool) {
        let due = self.next.wrapping_sub(self.returned);
        if due > 0 && (now || due >= self.ring.entries() / 4) {
            self.returned = self.next;
            self.ring.doorbell(self.next);
        }
    }

    /// Asks for an interrupt at the next record; the interrupt comes at once if a record waits
    /// already.
    pub fn arm(&self) {
        self.ring.arm(self.next);
    }

    /// Turns the ring off.
    pub fn disable(&self) {
        self.ring.disable();
    }
}
