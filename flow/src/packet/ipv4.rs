//! IPv4.

use super::checksum::{Delta, add, fold};
use super::{Layers, transport, wire};
use crate::action::SetFields;
use crate::key::Key;

/// EtherType.
pub(super) const ETH_TYPE: u16 = 0x0800;

/// Without options.
pub(super) const HEADER: usize = 20;
const TOS: usize = 1;
const LENGTH: usize = 2;
const FRAGMENT: usize = 6;
const TTL: usize = 8;
const PROTOCOL: usize = 9;
pub(super) const CHECKSUM: usize = 10;
pub(super) const SRC: usize = 12;
const DST: usize = 16;

/// In the fragment word: more fragments.
const MORE: u16 = 0x2000;
/// In the fragment word: offset in units of 8 bytes.
const OFFSET: u16 = 0x1fff;

/// Adds the fields of a header to the key, if the header's lengths are possible in this frame. As
/// in OVS, the EtherType alone says that the header is IPv4; the version nibble is not checked.
pub(super) fn parse(frame: &[u8], start: usize, key: &mut Key, layers: &mut Layers) {
    let Some(header) = wire::bytes::<HEADER>(frame, start) else { return };
    layers.found_header(start);
    let size = frame.len() - start;
    let ihl = usize::from(header[0] & 0xf) * 4;
    let length = usize::from(u16::from_be_bytes([header[LENGTH], header[LENGTH + 1]]));
    // Padding of more than 65,535 bytes does not fit OVS's own field for it.
    if ihl < HEADER || length < ihl || size < length || size - length > usize::from(u16::MAX) {
        return;
    }
    layers.found_network(start);
    key.ip_tos = header[TOS];
    key.ip_ttl = header[TTL];
    key.ip_proto = header[PROTOCOL];
    key.ipv4_src = wire::be32(&header, SRC).unwrap_or_default();
    key.ipv4_dst = wire::be32(&header, DST).unwrap_or_default();
    let fragment = u16::from_be_bytes([header[FRAGMENT], header[FRAGMENT + 1]]);
    if fragment & OFFSET != 0 {
        key.ip_frag = 2;
        return;
    }
    key.ip_frag = u8::from(fragment & MORE != 0);
    layers.found_transport(start + ihl, start + length);
}

/// Rewrites addresses, TOS and TTL, with header and transport checksum.
pub(super) fn set(frame: &mut [u8], layers: &Layers, set: &SetFields) {
    let Some(start) = layers.header() else { return };
    let Some(old) = wire::bytes::<HEADER>(frame, start) else { return };
    let (value, mask) = (&set.value, &set.mask);
    let mut new = old;
    wire::merge_at(&mut new, TOS, [value.ip_tos], [mask.ip_tos]);
    wire::merge_at(&mut new, TTL, [value.ip_ttl], [mask.ip_ttl]);
    wire::merge_at(&mut new, SRC, value.ipv4_src.to_be_bytes(), mask.ipv4_src.to_be_bytes());
    wire::merge_at(&mut new, DST, value.ipv4_dst.to_be_bytes(), mask.ipv4_dst.to_be_bytes());
    wire::put(frame, start, new);

    let mut header = Delta::default();
    header.replace(&old, &new);
    header.apply(frame, start + CHECKSUM);
    let mut addresses = Delta::default();
    addresses.replace(&old[SRC..], &new[SRC..]);
    transport::addresses_changed(frame, layers, false, addresses);
}

/// A header with the fields that actions set.
pub(super) fn settable(key: &Key) -> Vec<u8> {
    let mut header = [0; HEADER];
    wire::put(&mut header, TOS, [key.ip_tos]);
    wire::put(&mut header, TTL, [key.ip_ttl]);
    wire::put(&mut header, SRC, key.ipv4_src.to_be_bytes());
    wire::put(&mut header, DST, key.ipv4_dst.to_be_bytes());
    header.to_vec()
}

/// Computes the header's checksum anew.
pub(super) fn complete(frame: &mut [u8], start: usize) {
    let length = frame.get(start).map_or(0, |first| usize::from(first & 0xf) * 4);
    wire::put(frame, start + CHECKSUM, [0, 0]);
    let header = frame.get(start..start + length).unwrap_or_default();
    let sum = !fold(add(0, header));
    wire::put(frame, start + CHECKSUM, sum.to_be_bytes());
}
