//! The registers that every ring has.

use super::block::Window;
use crate::error::Error;
use crate::layout::layout;

layout! {
    /// The registers of a ring.
    ring "RING" {
        BASE_LO 0x00 4;
        BASE_HI 0x04 4;
        LOG2 0x08 4;
        STRIDE 0x0c 4;
        ENABLE 0x10 4;
        SHADOW_LO 0x14 4;
        SHADOW_HI 0x18 4;
        DOORBELL 0x1c 4;
        ARM 0x20 4;
        VECTOR 0x24 4;
        INDEX 0x28 4;
    }
}

/// The values with which a ring is set up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RingSetup {
    /// The address of record 0.
    pub base: u64,
    /// The ring has 2^log2 entries.
    pub log2: u32,
    /// The length of a record in bytes.
    pub stride: u32,
    /// The address of the shadow word.
    pub shadow: u64,
    /// The MSI-X vector.
    pub vector: u32,
}

/// The registers of one ring.
#[derive(Clone)]
pub struct RingRegisters(pub Window);

impl RingRegisters {
    /// Sets the ring up and turns it on; fails if the card refuses.
    pub fn enable(&self, setup: &RingSetup) -> Result<(), Error> {
        self.disable();
        self.0.write_address(ring::BASE_LO, setup.base);
        self.0.write(ring::LOG2, setup.log2);
        self.0.write(ring::STRIDE, setup.stride);
        self.0.write_address(ring::SHADOW_LO, setup.shadow);
        self.0.write(ring::VECTOR, setup.vector);
        self.0.write(ring::ENABLE, 1);
        match self.0.read(ring::ENABLE)? {
            1 => Ok(()),
            _ => Err(Error::Unusable(format!("the card refused the ring {setup:x?}"))),
        }
    }

    /// Turns the ring off.
    pub fn disable(&self) {
        self.0.write(ring::ENABLE, 0);
    }

    /// Tells the card the host's index.
    pub fn doorbell(&self, index: u16) {
        self.0.write(ring::DOORBELL, u32::from(index));
    }

    /// Asks for one interrupt as soon as the card's index differs from this number.
    pub fn arm(&self, seen: u16) {
        self.0.write(ring::ARM, 1 << 16 | u32::from(seen));
    }
}
