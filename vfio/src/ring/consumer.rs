//! A ring that the card fills: completions, events, packets.

use std::sync::Arc;

use crate::error::Error;
use crate::register::{RingRegisters, RingSetup};
use crate::ring::shadow_index;
use crate::sys::{Arena, Region};

/// The host's end of such a ring.
pub struct Consumer {
    registers: RingRegisters,
    records: Region,
    shadow: Region,
    entries: u16,
    stride: usize,
    epoch: u32,
    /// Records taken.
    next: u16,
    /// Records given back to the card.
    returned: u16,
}

impl Consumer {
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
    ) -> Result<Consumer, Error> {
        let records = arena.allocate(stride << log2)?;
        let shadow = arena.allocate(4)?;
        registers.enable(&RingSetup {
            base: records.iova(),
            log2,
            stride: crate::int::to_u32(stride),
            shadow: shadow.iova(),
            vector,
        })?;
        let (next, returned, entries) = (0, 0, 1 << log2);
        Ok(Consumer { registers, records, shadow, entries, stride, epoch, next, returned })
    }

    /// Records that wait. A card that claims more than fit is not believed.
    #[must_use]
    pub fn waiting(&self) -> u16 {
        let index = shadow_index(self.shadow.load(0), self.epoch).unwrap_or(self.next);
        let waiting = index.wrapping_sub(self.next);
        if waiting > self.entries { 0 } else { waiting }
    }

    /// Copies the first bytes of the record that is `ahead` of the next one.
    pub fn peek(&self, ahead: u16, offset: usize, out: &mut [u8]) {
        let index = self.next.wrapping_add(ahead) & (self.entries - 1);
        self.records.read(usize::from(index) * self.stride + offset, out);
    }

    /// Bytes of a record.
    #[must_use]
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// Done with that many records.
    pub fn advance(&mut self, count: u16) {
        self.next = self.next.wrapping_add(count);
    }

    /// Gives what was taken back to the card, once a quarter of the ring is due or on demand.
    pub fn give_back(&mut self, now: bool) {
        let due = self.next.wrapping_sub(self.returned);
        if due > 0 && (now || due >= self.entries / 4) {
            self.returned = self.next;
            self.registers.doorbell(self.next);
        }
    }

    /// Asks for an interrupt at the next record; at once if some wait already.
    pub fn arm(&self) {
        self.registers.arm(self.next);
    }

    /// Turns the ring off.
    pub fn disable(&self) {
        self.registers.disable();
    }
}
