//! Frames made of other frames, as tests of every lane need them.

/// Where the two addresses end.
const BEHIND_ADDRESSES: usize = 12;

/// The frame with a tag as its outermost: TPID, then priority (3 bits), DEI, VLAN id (12 bits).
pub(crate) fn tag(frame: &[u8], tpid: u16, tci: u16) -> Vec<u8> {
    let (addresses, rest) = frame.split_at(BEHIND_ADDRESSES);
    [addresses, &tpid.to_be_bytes(), &tci.to_be_bytes(), rest].concat()
}

/// The frame as the payload of one MPLS label: label (20 bits), class (3), bottom (1), ttl (8).
pub(crate) fn mpls(frame: &[u8], label: u32, class: u32, ttl: u32) -> Vec<u8> {
    let entry = label << 12 | class << 9 | 1 << 8 | ttl;
    let (addresses, rest) = frame.split_at(BEHIND_ADDRESSES);
    [addresses, &0x8847u16.to_be_bytes(), &entry.to_be_bytes(), &rest[2..]].concat()
}

/// The frame with other Ethernet addresses.
pub(crate) fn readdressed(frame: &[u8], destination: [u8; 6], source: [u8; 6]) -> Vec<u8> {
    [&destination, &source, &frame[BEHIND_ADDRESSES..]].concat()
}
