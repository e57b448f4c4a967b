//! A ring that the host fills: commands, and frames for a wire.

use std::sync::Arc;

use super::shared::{RingConfig, Shared};
use crate::error::Error;
use crate::register::RingRegisters;
use crate::sys::Arena;

/// The host's end of a ring that the host fills.
pub struct Producer {
    ring: Shared,
    /// The number of records written.
    next: u16,
    /// The number of records that the card has been told of.
    rung: u16,
    /// The number of records that the card has taken, as far as known.
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

    /// Returns the number of further records that fit. The card takes only records that it was
    /// told of.
    pub fn room(&mut self) -> Result<u16, Error> {
        if self.next.wrapping_sub(self.taken) == self.ring.entries() {
            let told = self.rung.wrapping_sub(self.taken);
            self.taken = self.taken.wrapping_add(self.ring.progress(self.taken, told)?);
        }
        Ok(self.ring.entries() - self.next.wrapping_sub(self.taken))
    }

    /// Writes the next record as several consecutive parts; returns false if the ring is full.
    pub fn push(&mut self, parts: &[&[u8]]) -> Result<bool, Error> {
        if self.room()? == 0 {
            return Ok(false);
        }
        let mut offset = 0;
        for part in parts {
            self.ring.write(self.next, offset, part);
            offset += part.len();
        }
        self.next = self.next.wrapping_add(1);
        Ok(true)
    }

    /// Tells the card which records were written since the last call.
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
