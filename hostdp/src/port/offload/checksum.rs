//! Internet checksums over bytes, and the CRC-32C of SCTP.

/// The error for a frame that can't be finished, because its offload header does not fit it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::port) struct Unfinishable;

/// `csum_offset` of SCTP, which no protocol with an Internet checksum has.
const SCTP_OFFSET: usize = 8;

/// Completes a partial checksum: to the sum of the pseudo header, in the field at `start + offset`,
/// comes the sum from `start` to the end of the frame. The checksum of SCTP is a CRC instead.
pub(super) fn complete(frame: &mut [u8], start: usize, offset: usize) -> Result<(), Unfinishable> {
    let size = if offset == SCTP_OFFSET { 4 } else { 2 };
    let field = start + offset;
    if field + size > frame.len() {
        return Err(Unfinishable);
    }
    if offset == SCTP_OFFSET {
        frame[field..field + 4].fill(0);
        let crc = crc32c(&frame[start..]);
        frame[field..field + 4].copy_from_slice(&crc.to_le_bytes());
    } else {
        let sum = not_zero(!fold(add(0, &frame[start..])));
        frame[field..field + 2].copy_from_slice(&sum.to_be_bytes());
    }
    Ok(())
}

/// Returns 0xffff for 0, which would mean "no checksum" in UDP. Both stand for the same sum.
pub(super) fn not_zero(checksum: u16) -> u16 {
    if checksum == 0 { 0xffff } else { checksum }
}

/// Adds bytes, as big-endian words, to a sum.
pub(super) fn add(sum: u64, bytes: &[u8]) -> u64 {
    let words = bytes.chunks_exact(2);
    let last = words.remainder().first().map_or(0, |byte| u64::from(*byte) << 8);
    let words = words.map(|word| u64::from(u16::from_be_bytes([word[0], word[1]])));
    sum + last + words.sum::<u64>()
}

/// The one's complement sum in 16 bits.
pub(super) fn fold(mut sum: u64) -> u16 {
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).unwrap_or(0)
}

fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32| if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
    let byte = |crc: u32, byte: &u8| (0..8).fold(crc ^ u32::from(*byte), |crc, _| step(crc));
    !bytes.iter().fold(!0, byte)
}

#[cfg(test)]
mod tests {
    #[test]
    fn crc_has_its_check_value() {
        // RFC 3720, appendix B.4, and the check value of every CRC catalogue.
        assert_eq!(super::crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(super::crc32c(&[0; 32]), 0x8a91_36aa);
    }
}
