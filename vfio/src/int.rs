//! Conversions between integers whose truncation is meant or impossible.
#![allow(clippy::cast_possible_truncation, reason = "the point of this file")]

/// Returns the low 8 bits.
pub(crate) fn low_byte(value: u64) -> u8 {
    value as u8
}

/// Returns the low 16 bits.
pub(crate) fn low16(value: u64) -> u16 {
    value as u16
}

/// Returns the low 32 bits.
pub(crate) fn low32(value: u64) -> u32 {
    value as u32
}

/// Converts a count or index of this process to a register value; such a value is far below 2³².
pub(crate) const fn to_u32(value: usize) -> u32 {
    debug_assert!(value <= u32::MAX as usize);
    value as u32
}

/// Converts a device's 64-bit number to an index; this code runs on 64-bit hosts only (checked
/// here).
pub(crate) fn to_usize(value: u64) -> usize {
    const { assert!(size_of::<usize>() == 8) };
    value as usize
}
