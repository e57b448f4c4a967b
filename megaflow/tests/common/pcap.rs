//! Captures made in a test: the classic format, little endian, microseconds.

/// A capture of Ethernet frames, a millisecond apart.
pub(crate) fn capture(frames: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65_535, 1] {
        bytes.extend(word.to_le_bytes());
    }
    for (number, frame) in (0_u32..).zip(frames) {
        let length = u32::try_from(frame.len()).unwrap();
        for word in [number / 1000, number % 1000 * 1000, length, length] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(frame);
    }
    bytes
}

/// The frames of a capture.
pub(crate) fn frames(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut rest = &bytes[24..];
    let mut found = Vec::new();
    while let Some(head) = rest.get(..16) {
        let length = u32::from_le_bytes(head[8..12].try_into().unwrap()) as usize;
        found.push(rest[16..16 + length].to_vec());
        rest = &rest[16 + length..];
    }
    found
}

/// Bytes from hex digits; other characters are left out.
pub(crate) fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        text.chars().filter_map(|c| c.to_digit(16)).map(|d| d.try_into().unwrap()).collect();
    digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}
