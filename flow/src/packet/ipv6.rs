//! IPv6 and its extension headers.

use super::checksum::Delta;
use super::{Layers, Transport, transport, wire};
use crate::action::SetFields;
use crate::key::Key;

/// EtherType.
pub(super) const ETH_TYPE: u16 = 0x86dd;

const HEADER: usize = 40;
const LENGTH: usize = 4;
const NEXT: usize = 6;
const HOP_LIMIT: usize = 7;
const SRC: usize = 8;
const DST: usize = 24;
/// The 20 bits of the flow label, in the first word.
const LABEL: u32 = 0xf_ffff;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION: u8 = 60;

/// Fills in a header whose length can be true; more than the addresses only if the extension
/// headers hold together.
pub(super) fn parse(frame: &[u8], start: usize, key: &mut Key, layers: &mut Layers) {
    let Some(header) = wire::bytes::<HEADER>(frame, start) else { return };
    let rest = frame.len() - start - HEADER;
    let length = usize::from(u16::from_be_bytes([header[LENGTH], header[LENGTH + 1]]));
    // Padding of more than 65,535 bytes does not fit OVS's own field for it.
    if length > rest || rest - length > usize::from(u16::MAX) {
        return;
    }
    layers.network = Some(start);
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
        layers.transport = Some(Transport { start: chain.at, end });
    }
}

/// What the extension headers come to.
struct Chain {
    protocol: u8,
    fragment: u8,
    at: usize,
    routed: bool,
}

/// Walks to the first header that is no extension, or to a later fragment's. `None` if a header
/// is not whole. `body` ends where the payload does.
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
pub(super) fn set(frame: &mut [u8], key: &mut Key, layers: &Layers, set: &SetFields) {
    let Some(start) = layers.network else { return };
    let Some(old) = wire::bytes::<HEADER>(frame, start) else { return };
    let (value, mask) = (&set.value, &set.mask);
    let mut new = old;
    let word_value = u32::from(value.ip_tos) << 20 | value.ipv6_label & LABEL;
    let word_mask = u32::from(mask.ip_tos) << 20 | mask.ipv6_label & LABEL;
    let word = wire::be32(&old, 0).unwrap_or_default() & !word_mask | word_value & word_mask;
    wire::put(&mut new, 0, word.to_be_bytes());
    new[HOP_LIMIT] = old[HOP_LIMIT] & !mask.ip_ttl | value.ip_ttl & mask.ip_ttl;
    key.ipv6_src = key.ipv6_src & !mask.ipv6_src | value.ipv6_src & mask.ipv6_src;
    key.ipv6_dst = key.ipv6_dst & !mask.ipv6_dst | value.ipv6_dst & mask.ipv6_dst;
    wire::put(&mut new, SRC, key.ipv6_src.to_be_bytes());
    wire::put(&mut new, DST, key.ipv6_dst.to_be_bytes());
    wire::put(frame, start, new);

    // Behind broken extension headers the key shows the addresses only.
    if layers.transport.is_some() || key.ip_frag == 2 {
        let [_, tos, _, _] = (word >> 4).to_be_bytes();
        key.ip_tos = tos;
        key.ipv6_label = word & LABEL;
        key.ip_ttl = new[HOP_LIMIT];
    }
    let covered = if layers.routed { SRC..DST } else { SRC..HEADER };
    let mut addresses = Delta::default();
    if let (Some(old), Some(new)) = (old.get(covered.clone()), new.get(covered)) {
        addresses.replace(old, new);
    }
    transport::addresses_changed(frame, layers, key, addresses);
}
