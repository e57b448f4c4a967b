//! Internet checksums by increments (RFC 1624, equation 3) and the CRC-32C of SCTP.
//!
//! An increment keeps a right checksum right, and a wrong one wrong by the same difference, so a
//! packet that was damaged on the wire never leaves with a right checksum.

use super::wire;

/// The amount that rewritten words add to a one's complement sum: the complement of the old words
/// plus the new ones.
#[derive(Clone, Copy, Default)]
pub(super) struct Delta {
    sum: u64,
    /// Some word became another one.
    is_changed: bool,
}

impl Delta {
    /// Adds the replacement of whole 16-bit words.
    pub(super) fn replace(&mut self, old: &[u8], new: &[u8]) {
        for (old, new) in old.chunks_exact(2).zip(new.chunks_exact(2)) {
            if let ([a, b], [c, d]) = (old, new) {
                let (old, new) = (u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d]));
                self.sum += u64::from(!old) + u64::from(new);
                self.is_changed |= old != new;
            }
        }
    }

    /// Adds the replacement of two 16-bit words by others, both at a time: their sum comes out the
    /// same.
    #[inline]
    pub(super) fn replace_two(&mut self, old: u32, new: u32) {
        self.sum += u64::from(!old) + u64::from(new);
        self.is_changed |= old != new;
    }

    /// Returns true if no word was really changed.
    pub(super) fn is_zero(self) -> bool {
        !self.is_changed
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

    /// Brings a sum at an offset up to date of which no complement was made yet.
    pub(super) fn apply_partial(self, frame: &mut [u8], at: usize) {
        if let Some(old) = wire::be16(frame, at)
            && !self.is_zero()
        {
            wire::put(frame, at, fold(u64::from(old) + self.sum).to_be_bytes());
        }
    }

    fn next(self, checksum: u16) -> u16 {
        !fold(u64::from(!checksum) + self.sum)
    }
}

impl std::ops::AddAssign for Delta {
    fn add_assign(&mut self, other: Delta) {
        self.sum += other.sum;
        self.is_changed |= other.is_changed;
    }
}

/// `csum_offset` of SCTP, which no protocol with an Internet checksum has.
const SCTP_OFFSET: usize = 8;

/// Completes a partial checksum: to the sum of the pseudo header, in the field at `start + offset`,
/// comes the sum from `start` to the end of the frame. At offset 8 is the checksum of SCTP, which
/// is a CRC instead. Returns false and changes nothing if the field is not within the frame.
#[must_use]
pub fn complete_checksum(frame: &mut [u8], start: usize, offset: usize) -> bool {
    let (field, is_sctp) = (start + offset, offset == SCTP_OFFSET);
    let Some(covered) = frame.get(start..) else { return false };
    if covered.len() < offset + if is_sctp { 4 } else { 2 } {
        return false;
    }
    if is_sctp {
        wire::put(frame, field, [0; 4]);
        let crc = frame.get(start..).unwrap_or_default().iter();
        let crc = !crc.fold(!0, |crc, byte| crc32c_byte(crc, *byte));
        wire::put(frame, field, crc.to_le_bytes());
    } else {
        let sum = !fold(add(0, covered));
        // In UDP, 0 means "no checksum". 0xffff stands for the same sum.
        wire::put(frame, field, if sum == 0 { [0xff; 2] } else { sum.to_be_bytes() });
    }
    true
}

/// Adds bytes, as big-endian words, to a sum.
pub(super) fn add(sum: u64, bytes: &[u8]) -> u64 {
    let words = bytes.chunks_exact(2);
    let last = words.remainder().first().map_or(0, |byte| u64::from(*byte) << 8);
    let words = words.map(|word| word.first_chunk().copied().map_or(0, u16::from_be_bytes));
    sum + last + words.map(u64::from).sum::<u64>()
}

/// A sum in 16 bits, as one's complement adds it.
pub(super) fn fold(mut sum: u64) -> u16 {
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).unwrap_or_default()
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

#[cfg(test)]
mod tests {
    use super::complete_checksum;

    #[test]
    fn crc_has_its_check_value() {
        // RFC 3720, appendix B.4.
        let mut zeroes = [0; 32];
        assert!(complete_checksum(&mut zeroes, 0, 8));
        let crc = 0x8a91_36aa_u32.to_le_bytes();
        assert!(zeroes.iter().enumerate().all(|(at, byte)| match at {
            8..12 => *byte == crc[at - 8],
            _ => *byte == 0,
        }));
        let mut short = *b"123456780000";
        assert!(complete_checksum(&mut short, 0, 8));
        assert!(!complete_checksum(&mut short, 1, 8) && !complete_checksum(&mut short, 99, 2));
    }
}
