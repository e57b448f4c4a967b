//! FWID: identity of the firmware.

use super::block::Window;
use crate::error::Error;
use crate::layout::layout;

layout! {
    /// The FWID block.
    fwid "FWID" {
        MAGIC 0x10 4;
        FW_VERSION 0x14 4;
        BOARD_ID 0x18 4;
        BUILD_DATE 0x1c 4;
        GIT_HASH 0x20 4;
    }
}

/// "MFC1".
pub const MAGIC: u32 = 0x4d46_4331;

/// Fails unless the card implements the ABI that this crate is written for.
pub fn check(block: &Window) -> Result<(), Error> {
    match block.read(fwid::MAGIC)? {
        MAGIC => Ok(()),
        other => Err(Error::Unusable(format!("MAGIC is {other:#x}; expected {MAGIC:#x}"))),
    }
}
