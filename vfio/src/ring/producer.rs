//! A ring that the host fills: commands, and frames for a wire.

use crate::error::Error;
use crate::register::{RingRegisters, RingSetup};
use crate::ring::shadow_index;
use crate::sys::{Arena, Region};
use std::sync::Arc;

/// The host's end of such a ring.
pub struct Producer {
    registers: RingRegisters,
    records: Region,
    shadow: Region,
    entries: u16,
    stride: usize,
    epoch: u32,
    /// Records written.
    next: u16,
    /// Records that the card has been told of.
    rung: u16,
    /// Records that the card has taken, as far as known.
    taken: u16,
}

impl Producer {
    /// Bytes of DMA memory that it will take.
    #[must_use]
    pub fn bytes(log2: u32, stride: usize) -> usize {
        (stride << log2) + 64
    }

    /// Sets the ring up in the arena and turns it on.
    pub fn new(
        registers: RingRegisters,
        arena: &Arc<Arena>,
        log2: u32,
        stride: usize,
        vector: u32,
        epoch: u32,
    ) -> Result<Producer, Error> {
        let records = arena.allocate(stride << log2)?;
        let shadow = arena.allocate(4)?;
        registers.enable(&RingSetup {
            base: records.iova(),
            log2,
            stride: crate::int::to_u32(stride),
            shadow: shadow.iova(),
            vector,
        })?;
        let (next, rung, taken) = (0, 0, 0);
        let entries = 1 << log2;
        Ok(Producer { registers, records, shadow, entries, stride, epoch, next, rung, taken })
    }

    /// Room for how many more records?
    pub fn room(&mut self) -> u16 {
        let used = self.next.wrapping_sub(self.taken);
        if used < self.entries {
            return self.entries - used;
        }
        if let Some(index) = shadow_index(self.shadow.load(0), self.epoch) {
            self.taken = index;
        }
        self.entries - self.next.wrapping_sub(self.taken)
    }

    /// Writes the next record as several parts, one after another; false if the ring is full.
    pub fn push(&mut self, parts: &[&[u8]]) -> bool {
        if self.room() == 0 {
            return false;
        }
        let mut at = usize::from(self.next & (self.entries - 1)) * self.stride;
        for part in parts {
            self.records.write(at, part);
            at += part.len();
        }
        self.next = self.next.wrapping_add(1);
        true
    }

    /// Tells the card what was written since the last time.
    pub fn ring(&mut self) {
        if self.rung != self.next {
            self.rung = self.next;
            self.registers.doorbell(self.next);
        }
    }

    /// Turns the ring off.
    pub fn disable(&self) {
        self.registers.disable();
    }
}
