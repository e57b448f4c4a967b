//! ERR: the first error, and the number of errors since.

use super::block::Window;
use crate::error::Error;
use crate::layout::layout;

layout! {
    /// The ERR block.
    err "ERR" {
        FIRST_CODE 0x10 4;
        FIRST_INFO 0x14 4;
        FIRST_TS 0x18 4;
        DMA_ERRORS 0x1c 4;
        CRC_ERRORS 0x20 4;
        RING_ERRORS 0x24 4;
        EVENTS_LOST 0x28 4;
    }
}

/// The ERR block.
pub struct ErrBlock(pub Window);

impl ErrBlock {
    /// Returns the code of the first error since the last [`ErrBlock::clear`]; 0 if there was none.
    pub fn code(&self) -> Result<u32, Error> {
        self.0.read(err::FIRST_CODE)
    }

    /// Forgets the first error.
    pub fn clear(&self) {
        self.0.write(err::FIRST_CODE, 1);
    }
}
