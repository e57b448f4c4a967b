//! DBG: counters for people and tests, and the sizes of the tables.

use super::block::Window;
use crate::error::Error;
use crate::layout::layout;

layout! {
    /// The DBG block.
    dbg "DBG" {
        LOOKUPS 0x10 8;
        HITS 0x18 8;
        MISSES 0x20 8;
        COMMANDS 0x28 8;
        COMMANDS_FAILED 0x30 8;
        EM_USED 0x38 4;
        TCAM_USED 0x3c 4;
        MASKS_USED 0x40 4;
        EM_HIGH_WATER 0x44 4;
    }
}

/// The contents of the DBG block, read once.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DebugCounters {
    /// Lookups, recirculated ones included.
    pub lookups: u64,
    /// Lookups that hit.
    pub hits: u64,
    /// Lookups that missed.
    pub misses: u64,
    /// Live exact-match slots.
    pub em_used: u32,
    /// Live masked rows.
    pub rows_used: u32,
    /// Live mask slots.
    pub masks_used: u32,
}

impl DebugCounters {
    /// Reads the block; this is slow and meant for people and tests.
    pub fn read(block: &Window) -> Result<DebugCounters, Error> {
        Ok(DebugCounters {
            lookups: block.read64(dbg::LOOKUPS)?,
            hits: block.read64(dbg::HITS)?,
            misses: block.read64(dbg::MISSES)?,
            em_used: block.read(dbg::EM_USED)?,
            rows_used: block.read(dbg::TCAM_USED)?,
            masks_used: block.read(dbg::MASKS_USED)?,
        })
    }
}
