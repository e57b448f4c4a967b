//! IPv6 and its extension headers.

use super::checksum::Delta;
use super::{Layers, transport, wire};
use crate::action::SetFields;
use crate::key::Key;

/// EtherType.
pub(super) const ETH_TYPE: u16 = 0x86dd;

pub(super) const HEADER: usize = 40;
const LENGTH: usize = 4;
const NEXT: usize = 6;
const HOP_LIMIT: usize = 7;
pub(super) const SRC: usize = 8;
pub(super) const DST: usize = 24;
/// The 20 bits of the flow label, in the first word.
const LABEL: u32 = 0xf_ffff;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION: u8 = 60;

/// Adds the fields of a header to the key, if the header's length is possible in this frame. If the
/// extension headers are broken, only the addresses are added.
pub(super) fn parse(frame: &[u8], start: usize, key: &mut Key, layers: &mut Layers) {
    let Some(header) = wire::bytes::<HEADER>(frame, start) else { return };
    layers.found_header(start);
    let rest = frame.len() - start - HEADER;
    let length = usize::from(u16::from_be_bytes([header[LENGTH], header[LENGTH + 1]]));
    // Padding of more than 65,535 bytes does not fit OVS's own field for it.
    if length > rest || rest - length > usize::from(u16::MAX) {
        return;
    }
    layers.found_network(start);
    key.ipv6_src = u128::from_be_bytes(wire::bytes(&header, SRC).unwrap_or_default());
    key.ipv6_dst = u128::from_be_bytes(wire::bytes(&header, DST).unwrap_or_default());
    let end = start + HEADER + length;
    let body = frame.get(..end).unwrap_or_default();
    let Some(chain) = extensions(body, start + HEADER, header[NEXT]) else { return };
    let word = wire::be32(&header, 0).unwrap_or_default();
    let [_, tos, _, _] = (word >> 4).to_be_bytes();
    key.ip_tos = tos;
    key.ipv6_label = word & LABEL;
    key.ip_ttl = header[HOP_LIMIT];
    key.ip_proto = chain.protocol;
    key.ip_frag = chain.fragment;
    layers.routed = chain.routed;
    if chain.fragment != 2 {
        layers.found_transport(chain.at, end);
    }
}

/// The result of a walk through the extension headers.
struct Chain {
    protocol: u8,
    fragment: u8,
    at: usize,
    routed: bool,
}

/// Walks to the first header that is not an extension, or to the fragment header of a later
/// fragment. `None` if a header is not whole. `body` ends at the end of the payload.
fn extensions(body: &[u8], start: usize, next: u8) -> Option<Chain> {
    let mut chain = Chain { protocol: next, fragment: 0, at: start, routed: false };
    loop {
        let kind = chain.protocol;
        if !matches!(kind, HOP_BY_HOP | ROUTING | FRAGMENT | AUTHENTICATION | DESTINATION) {
            return Some(chain);
        }
        let header: [u8; 8] = wire::bytes(body, chain.at)?;
        chain.protocol = header[0];
        let units = usize::from(header[1]);
        chain.at += match kind {
            FRAGMENT => 8,
            AUTHENTICATION => (units + 2) * 4,
            _ => (units + 1) * 8,
        };
        if chain.at > body.len() {
            return None;
        }
        chain.routed |= kind == ROUTING && header[3] > 0;
        let word = u16::from_be_bytes([header[2], header[3]]);
        // The reserved bits count as "fragment" too: OVS compares the whole word.
        if kind == FRAGMENT && word != 0 {
            chain.fragment = 1;
            if word & 0xfff8 != 0 {
                chain.fragment = 2;
                chain.protocol = FRAGMENT;
                return Some(chain);
            }
        }
    }
}

/// Rewrites addresses, traffic class, flow label and hop limit, with the transport checksum.
pub(super) fn set(frame: &mut [u8], layers: &Layers, set: &SetFields) {
    let Some(start) = layers.header() else { return };
    let Some(old) = wire::bytes::<HEADER>(frame, start) else { return };
    let (value, mask) = (&set.value, &set.mask);
    let word = |key: &Key| u32::from(key.ip_tos) << 20 | key.ipv6_label & LABEL;
    let mut new = old;
    wire::merge_at(&mut new, 0, word(value).to_be_bytes(), word(mask).to_be_bytes());
    wire::merge_at(&mut new, HOP_LIMIT, [value.ip_ttl], [mask.ip_ttl]);
    wire::merge_at(&mut new, SRC, value.ipv6_src.to_be_bytes(), mask.ipv6_src.to_be_bytes());
    wire::merge_at(&mut new, DST, value.ipv6_dst.to_be_bytes(), mask.ipv6_dst.to_be_bytes());
    wire::put(frame, start, new);

    let covered = if layers.routed { SRC..DST } else { SRC..HEADER };
    let mut addresses = Delta::default();
    if let (Some(old), Some(new)) = (old.get(covered.clone()), new.get(covered)) {
        addresses.replace(old, new);
    }
    transport::addresses_changed(frame, layers, true, addresses);
}

/// A header with the fields that actions set.
pub(super) fn settable(key: &Key) -> Vec<u8> {
    let mut header = [0; HEADER];
    let word = u32::from(key.ip_tos) << 20 | key.ipv6_label & LABEL;
    wire::put(&mut header, 0, word.to_be_bytes());
    wire::put(&mut header, HOP_LIMIT, [key.ip_ttl]);
    wire::put(&mut header, SRC, key.ipv6_src.to_be_bytes());
    wire::put(&mut header, DST, key.ipv6_dst.to_be_bytes());
    header.to_vec()
}
