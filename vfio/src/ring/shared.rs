//! The common part of both ends of a ring: records, a shadow word, registers.

use std::sync::Arc;

use crate::error::Error;
use crate::register::{RingRegisters, RingSetup};
use crate::sys::{Arena, Region};

/// The settings of a ring.
#[derive(Clone, Copy, Debug)]
pub struct RingConfig {
    /// The ring has 2^n records.
    pub log2: u32,
    /// The length of a record in bytes.
    pub stride: usize,
    /// The MSI-X vector that the ring raises.
    pub vector: u32,
    /// The card's boot epoch; a shadow word of another epoch is ignored.
    pub epoch: u32,
}

/// A ring that is turned on.
pub(super) struct Shared {
    registers: RingRegisters,
    records: Region,
    shadow: Region,
    pub(super) config: RingConfig,
}

/// Returns the size in bytes of the DMA memory of a ring.
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

    /// Returns by how many records the card's index, in its shadow word, is ahead of `from`; 0
    /// until the card has written an index of this epoch. More than `possible` is an error.
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

    /// Tells the card the host's index.
    pub(super) fn doorbell(&self, number: u16) {
        self.registers.doorbell(number);
    }

    /// Asks for an interrupt at the record of this number.
    pub(super) fn arm(&self, number: u16) {
        self.registers.arm(number);
    }

    pub(super) fn disable(&self) {
        self.registers.disable();
    }
}
