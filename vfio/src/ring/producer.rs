//! A ring that the host fills: commands, and frames for a wire.

use std::sync::Arc;

use super::shared::{RingConfig, Shared};
use crate::error::Error;
use crate::register::RingRegisters;
use crate::sys::Arena;

/// The host's end of such a ring.
pub struct Producer {
    ring: Shared,
    /// Records written.
    next: u16,
    /// Records that the card has been told of.
    rung: u16,
    /// Records that the card has taken, as far as known.
    taken: u16,
}

impl Producer {
    /// Sets the ring up in the arena and turns it on.
    pub fn new(
        registers: RingRegisters,
        arena: &Arc<Arena>,
        config: RingConfig,
    ) -> Result<Producer, Error> {
        Ok(Producer { ring: Shared::new(registers, arena, config)?, next: 0, rung: 0, taken: 0 })
    }

    /// Room for how many more records?
    pub fn room(&mut self) -> u16 {
        let used = self.next.wrapping_sub(self.taken);
        if used < self.ring.entries() {
            return self.ring.entries() - used;
        }
        if let Some(index) = self.ring.index() {
            self.taken = index;
        }
        self.ring.entries() - self.next.wrapping_sub(self.taken)
    }

    /// Writes the next record as several parts, one after another; false if the ring is full.
    pub fn push(&mut self, parts: &[&[u8]]) -> bool {
        if self.room() == 0 {
            return false;
        }
        let mut offset = 0;
        for part in parts {
            self.ring.write(self.next, offset, part);
            offset += part.len();
        }
        self.next = self.next.wrapping_add(1);
        true
    }

    /// Tells the card what was written since the last time.
    pub fn ring(&mut self) {
        if self.rung != self.next {
            self.rung = self.next;
            self.ring.doorbell(self.next);
        }
    }

    /// Turns the ring off.
    pub fn disable(&self) {
        self.ring.disable();
    }
}
