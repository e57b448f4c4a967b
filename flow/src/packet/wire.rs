//! Fixed-size reads and writes in network order. Out of bounds reads are `None`.

/// `N` bytes at an offset.
pub(super) fn bytes<const N: usize>(frame: &[u8], at: usize) -> Option<[u8; N]> {
    frame.get(at..)?.first_chunk().copied()
}

pub(super) fn be16(frame: &[u8], at: usize) -> Option<u16> {
    bytes(frame, at).map(u16::from_be_bytes)
}

pub(super) fn be32(frame: &[u8], at: usize) -> Option<u32> {
    bytes(frame, at).map(u32::from_be_bytes)
}

/// Writes bytes at an offset, if all of them fit; the caller has read the same place before.
pub(super) fn put<const N: usize>(frame: &mut [u8], at: usize, new: [u8; N]) {
    if let Some(place) = frame.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
        *place = new;
    }
}

/// Replaces the masked bits at an offset.
pub(super) fn merge_at<const N: usize>(frame: &mut [u8], at: usize, value: [u8; N], mask: [u8; N]) {
    if let Some(old) = bytes(frame, at) {
        put(frame, at, merge(old, value, mask));
    }
}

/// `old` with the masked bits of `value`.
pub(super) fn merge<const N: usize>(old: [u8; N], value: [u8; N], mask: [u8; N]) -> [u8; N] {
    let mut new = old;
    for (new, (value, mask)) in new.iter_mut().zip(value.into_iter().zip(mask)) {
        *new = *new & !mask | value & mask;
    }
    new
}
