//! Internet checksums by increments (RFC 1624, equation 3) and the CRC-32C of SCTP.
//!
//! An increment keeps a right checksum right, and a wrong one wrong by the same difference, so a
//! packet that was damaged on the wire never leaves with a right checksum.

use super::wire;

/// The amount that rewritten 16-bit words add to a one's complement sum: the complement of the old
/// words plus the new ones.
#[derive(Clone, Copy, Default)]
pub(super) struct Delta(u32);

impl Delta {
    /// Adds the replacement of whole 16-bit words; equal words add nothing.
    pub(super) fn replace(&mut self, old: &[u8], new: &[u8]) {
        for (old, new) in old.chunks_exact(2).zip(new.chunks_exact(2)) {
            if let ([a, b], [c, d]) = (old, new)
                && old != new
            {
                self.0 += u32::from(!u16::from_be_bytes([*a, *b]));
                self.0 += u32::from(u16::from_be_bytes([*c, *d]));
            }
        }
    }

    /// Returns true if no word was really changed.
    pub(super) fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// Brings the checksum at an offset up to date.
    pub(super) fn apply(self, frame: &mut [u8], at: usize) {
        if let Some(old) = wire::be16(frame, at)
            && !self.is_zero()
        {
            wire::put(frame, at, self.next(old).to_be_bytes());
        }
    }

    /// Updates the checksum of UDP, where 0 means "no checksum" and a computed 0 is written as
    /// 0xffff.
    pub(super) fn apply_udp(self, frame: &mut [u8], at: usize) {
        if let Some(old) = wire::be16(frame, at)
            && !self.is_zero()
            && old != 0
        {
            let new = self.next(old);
            wire::put(frame, at, if new == 0 { [0xff; 2] } else { new.to_be_bytes() });
        }
    }

    fn next(self, checksum: u16) -> u16 {
        !fold(u32::from(!checksum) + self.0)
    }
}

/// A 32-bit sum as the 16-bit one's complement sum.
fn fold(sum: u32) -> u16 {
    let once = (sum & 0xffff) + (sum >> 16);
    let [_, _, a, b] = ((once & 0xffff) + (once >> 16)).to_be_bytes();
    u16::from_be_bytes([a, b])
}

/// The bits of a message's CRC-32C that change if the bits `changed` of its first bytes change and
/// `tail` unchanged bytes follow. The CRC is linear, so the message itself is not needed.
pub(super) fn crc32c_delta(changed: &[u8], tail: usize) -> u32 {
    let head = changed.iter().fold(0, |crc, byte| crc32c_byte(crc, *byte));
    (0..tail).fold(head, |crc, _| crc32c_byte(crc, 0))
}

fn crc32c_byte(crc: u32, byte: u8) -> u32 {
    let [low, ..] = crc.to_le_bytes();
    (crc >> 8) ^ CRC32C.get(usize::from(low ^ byte)).copied().unwrap_or_default()
}

/// Castagnoli polynomial, bits reversed (RFC 9260, appendix A).
const POLYNOMIAL: u32 = 0x82f6_3b78;

const CRC32C: [u32; 256] = {
    let mut table = [0; 256];
    let mut index = 0u32;
    while index < 256 {
        let mut crc = index;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ POLYNOMIAL } else { crc >> 1 };
            bit += 1;
        }
        table[index as usize] = crc;
        index += 1;
    }
    table
};
