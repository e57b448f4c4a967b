//! What both ends of a ring in shared memory have: records, a shadow word, registers.

use std::sync::Arc;

use crate::error::Error;
use crate::register::{RingRegisters, RingSetup};
use crate::sys::{Arena, Region};

/// How a ring is set up.
#[derive(Clone, Copy, Debug)]
pub struct RingConfig {
    /// 2^n records.
    pub log2: u32,
    /// Bytes of a record.
    pub stride: usize,
    /// The MSI-X vector that it raises.
    pub vector: u32,
    /// The card's boot epoch: shadow words of another one are not believed.
    pub epoch: u32,
}

/// A ring that is on.
pub(super) struct Shared {
    registers: RingRegisters,
    records: Region,
    shadow: Region,
    pub(super) config: RingConfig,
}

/// Bytes of DMA memory that a ring takes.
pub(crate) fn ring_bytes(log2: u32, stride: usize) -> usize {
    (stride << log2) + 64
}

impl Shared {
    /// Sets the ring up in the arena and turns it on.
    pub(super) fn new(
        registers: RingRegisters,
        arena: &Arc<Arena>,
        config: RingConfig,
    ) -> Result<Shared, Error> {
        let records = arena.allocate(config.stride << config.log2)?;
        let shadow = arena.allocate(4)?;
        registers.enable(&RingSetup {
            base: records.iova(),
            log2: config.log2,
            stride: crate::int::to_u32(config.stride),
            shadow: shadow.iova(),
            vector: config.vector,
        })?;
        Ok(Shared { registers, records, shadow, config })
    }

    pub(super) fn entries(&self) -> u16 {
        1 << self.config.log2
    }

    /// Records by which the card's index, in its shadow word, is ahead of `from`; 0 until the card
    /// has written one of this epoch. It can't be further than `possible`.
    pub(super) fn progress(&self, from: u16, possible: u16) -> Result<u16, Error> {
        let shadow = self.shadow.load(0);
        if shadow >> 16 != self.config.epoch & 0xffff {
            return Ok(0);
        }
        let index = crate::int::low16(u64::from(shadow));
        let ahead = index.wrapping_sub(from);
        if ahead <= possible {
            return Ok(ahead);
        }
        let last = from.wrapping_add(possible);
        Err(Error::Unusable(format!("a ring's index is {index}; expected {from} to {last}")))
    }

    fn at(&self, number: u16) -> usize {
        usize::from(number & (self.entries() - 1)) * self.config.stride
    }

    pub(super) fn read(&self, number: u16, offset: usize, out: &mut [u8]) {
        self.records.read(self.at(number) + offset, out);
    }

    pub(super) fn write(&self, number: u16, offset: usize, part: &[u8]) {
        self.records.write(self.at(number) + offset, part);
    }

    /// Tells the card how far the host is.
    pub(super) fn doorbell(&self, number: u16) {
        self.registers.doorbell(number);
    }

    /// Asks for an interrupt at the record of that number.
    pub(super) fn arm(&self, number: u16) {
        self.registers.arm(number);
    }

    pub(super) fn disable(&self) {
        self.registers.disable();
    }
}
