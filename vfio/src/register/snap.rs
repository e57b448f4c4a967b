//! SNAP: the destination of counter snapshots.

use super::block::Window;
use crate::layout::layout;

layout! {
    /// The SNAP block.
    snap "SNAP" {
        DST_LO 0x10 4;
        DST_HI 0x14 4;
        FIRST 0x18 4;
        COUNT 0x1c 4;
        TRIGGER 0x20 4;
        LAST_SEQ 0x24 4;
    }
}

/// The SNAP block.
pub struct Snap(pub Window);

impl Snap {
    /// Sets the destination and the range of counters.
    pub fn set(&self, address: u64, first: u32, count: u32) {
        self.0.write_address(snap::DST_LO, address);
        self.0.write(snap::FIRST, first);
        self.0.write(snap::COUNT, count);
    }
}
