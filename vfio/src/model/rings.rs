//! The card's end of a ring.

use super::registers::Registers;
use crate::register::words::ring;
use crate::sys::{DmaFault, HostMemory};

/// The state of a ring in the card's thread.
pub(super) struct CardRing {
    number: usize,
    session: u32,
    enabled: bool,
    base: u64,
    shadow: u64,
    entries: u16,
    pub(super) stride: u32,
    pub(super) index: u16,
    /// The index in the shadow word.
    published: u16,
    /// The doorbell that was refused last; it is counted only once.
    refused: Option<u16>,
}

/// The result of checking the host's index.
pub(super) enum Doorbell {
    /// The number of records that wait (host produces) or fit (card produces).
    Room(u16),
    /// The index is impossible; nothing waits and nothing fits until the host writes a possible
    /// one. `true` the first time.
    Bad(bool),
}

impl CardRing {
    pub(super) fn new(number: usize) -> CardRing {
        CardRing {
            number,
            session: 0,
            enabled: false,
            base: 0,
            shadow: 0,
            entries: 0,
            stride: 0,
            index: 0,
            published: 0,
            refused: None,
        }
    }

    /// Takes over the host's settings if the host turned the ring on or off; true if the ring is
    /// on.
    pub(super) fn refresh(&mut self, registers: &Registers) -> bool {
        let session = registers.session(self.number);
        if session != self.session {
            self.session = session;
            let get = |word| registers.ring(self.number, word);
            let pair = |low, high| u64::from(get(high)) << 32 | u64::from(get(low));
            self.enabled = get(ring::ENABLE) == 1;
            self.base = pair(ring::BASE_LO, ring::BASE_HI);
            self.shadow = pair(ring::SHADOW_LO, ring::SHADOW_HI);
            self.entries = 1 << get(ring::LOG2).min(15);
            self.stride = get(ring::STRIDE);
            (self.index, self.published, self.refused) = (0, 0, None);
        }
        self.enabled
    }

    /// Returns the number of the host's records that wait.
    pub(super) fn waiting(&mut self, registers: &Registers) -> Doorbell {
        self.obey(registers, |doorbell, ring| {
            let waiting = doorbell.wrapping_sub(ring.index);
            (waiting <= ring.entries).then_some(waiting)
        })
    }

    /// Returns the number of records that the card may still write.
    pub(super) fn free(&mut self, registers: &Registers) -> Doorbell {
        self.obey(registers, |doorbell, ring| {
            ring.entries.checked_sub(ring.index.wrapping_sub(doorbell))
        })
    }

    fn obey(
        &mut self,
        registers: &Registers,
        room: impl Fn(u16, &CardRing) -> Option<u16>,
    ) -> Doorbell {
        let doorbell = crate::int::low16(u64::from(registers.ring(self.number, ring::DOORBELL)));
        match room(doorbell, self) {
            Some(room) => Doorbell::Room(room),
            None => {
                let first = self.refused != Some(doorbell);
                self.refused = Some(doorbell);
                Doorbell::Bad(first)
            }
        }
    }

    fn record(&self) -> u64 {
        let slot = self.index & (self.entries - 1);
        self.base.wrapping_add(u64::from(slot) * u64::from(self.stride))
    }

    /// Reads part of the next record.
    pub(super) fn read(
        &self,
        memory: &dyn HostMemory,
        offset: u64,
        out: &mut [u8],
    ) -> Result<(), DmaFault> {
        memory.read(self.record().wrapping_add(offset), out)
    }

    /// Writes part of the next record.
    pub(super) fn write(
        &self,
        memory: &dyn HostMemory,
        offset: u64,
        data: &[u8],
    ) -> Result<(), DmaFault> {
        memory.write(self.record().wrapping_add(offset), data)
    }

    /// Moves on to the next record.
    pub(super) fn advance(&mut self) {
        self.index = self.index.wrapping_add(1);
    }

    /// Tells the host the card's index; returns true if the index is new to the host.
    pub(super) fn publish(
        &mut self,
        memory: &dyn HostMemory,
        registers: &Registers,
        epoch: u32,
    ) -> Result<bool, DmaFault> {
        if !self.enabled || self.published == self.index {
            return Ok(false);
        }
        self.published = self.index;
        registers.put_ring(self.number, ring::INDEX, u32::from(self.index));
        memory.store(self.shadow, epoch << 16 | u32::from(self.index))?;
        Ok(true)
    }

    /// Returns the vector to raise if an interrupt is due.
    pub(super) fn interrupt(&self, registers: &Registers) -> Option<u32> {
        (self.enabled && registers.take_arm(self.number, self.index))
            .then(|| registers.ring(self.number, ring::VECTOR))
    }
}
