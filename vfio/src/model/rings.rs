//! The card's end of a ring.

use super::registers::Registers;
use crate::register::words::ring;
use crate::sys::{DmaFault, HostMemory};

/// A ring as the card's thread sees it.
pub(super) struct CardRing {
    number: usize,
    session: u32,
    enabled: bool,
    base: u64,
    shadow: u64,
    entries: u16,
    pub(super) stride: u32,
    pub(super) index: u16,
    /// The index that the shadow word shows.
    published: u16,
    /// A doorbell that was refused, so that it is counted once.
    refused: Option<u16>,
}

/// What the host's index says.
pub(super) enum Doorbell {
    /// The number of records that wait (host produces) or fit (card produces).
    Room(u16),
    /// It can't be; nothing waits and nothing fits until it is right. `true` the first time.
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

    /// Notices that the host turned the ring on or off.
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

    /// Records of the host that wait.
    pub(super) fn waiting(&mut self, registers: &Registers) -> Doorbell {
        self.obey(registers, |doorbell, ring| {
            let waiting = doorbell.wrapping_sub(ring.index);
            (waiting <= ring.entries).then_some(waiting)
        })
    }

    /// Records that the card may still write.
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

    /// Done with the record.
    pub(super) fn advance(&mut self) {
        self.index = self.index.wrapping_add(1);
    }

    /// Tells the host how far the card is; true if that is news.
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

    /// The vector to raise if an interrupt is due.
    pub(super) fn interrupt(&self, registers: &Registers) -> Option<u32> {
        (self.enabled && registers.take_arm(self.number, self.index))
            .then(|| registers.ring(self.number, ring::VECTOR))
    }
}
