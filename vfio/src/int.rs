//! Conversions between integers whose truncation is meant or impossible.
#![allow(clippy::cast_possible_truncation, reason = "the point of this file")]

/// The low 8 bits.
pub(crate) fn low_byte(value: u64) -> u8 {
    value as u8
}

/// The low 16 bits.
pub(crate) fn low16(value: u64) -> u16 {
    value as u16
}

/// The low 32 bits.
pub(crate) fn low32(value: u64) -> u32 {
    value as u32
}

/// A count or index of this process as a register value; they are far below 2³².
pub(crate) const fn to_u32(value: usize) -> u32 {
    debug_assert!(value <= u32::MAX as usize);
    value as u32
}

/// A device's 64-bit number as an index; this code runs on 64-bit hosts only (checked here).
pub(crate) fn to_usize(value: u64) -> usize {
    const { assert!(size_of::<usize>() == 8) };
    value as usize
}
