//! ARP and RARP for IPv4 over Ethernet.

use super::{Layers, wire};
use crate::action::SetFields;
use crate::id::MacAddr;
use crate::key::Key;

/// ARP.
pub(super) const ETH_TYPE: u16 = 0x0806;
/// RARP: the same header.
pub(super) const ETH_TYPE_RARP: u16 = 0x8035;

/// Hardware Ethernet, protocol IPv4, address lengths 6 and 4.
const KIND: [u8; 6] = [0, 1, 8, 0, 6, 4];
const OP: usize = 6;
const SHA: usize = 8;
const SIP: usize = 14;
const THA: usize = 18;
const TIP: usize = 24;
const HEADER: usize = 28;

/// Adds the fields of a whole header to the key, if it is one for IPv4 over Ethernet.
pub(super) fn parse(frame: &[u8], start: usize, key: &mut Key, layers: &mut Layers) {
    let Some(header) = wire::bytes::<HEADER>(frame, start) else { return };
    layers.found_header(start);
    if wire::bytes(&header, 0) != Some(KIND) {
        return;
    }
    layers.found_network(start);
    // OVS keeps the opcode in eight bits and reads a larger one as 0.
    key.arp_op = wire::be16(&header, OP).filter(|op| *op <= 0xff).unwrap_or_default();
    key.arp_sha = MacAddr(wire::bytes(&header, SHA).unwrap_or_default());
    key.arp_sip = wire::be32(&header, SIP).unwrap_or_default();
    key.arp_tha = MacAddr(wire::bytes(&header, THA).unwrap_or_default());
    key.arp_tip = wire::be32(&header, TIP).unwrap_or_default();
}

/// Rewrites the masked bits.
pub(super) fn set(frame: &mut [u8], layers: &Layers, set: &SetFields) {
    let Some(start) = layers.header() else { return };
    let (value, mask) = (&set.value, &set.mask);
    wire::merge_at(frame, start + OP, value.arp_op.to_be_bytes(), mask.arp_op.to_be_bytes());
    wire::merge_at(frame, start + SHA, value.arp_sha.0, mask.arp_sha.0);
    wire::merge_at(frame, start + SIP, value.arp_sip.to_be_bytes(), mask.arp_sip.to_be_bytes());
    wire::merge_at(frame, start + THA, value.arp_tha.0, mask.arp_tha.0);
    wire::merge_at(frame, start + TIP, value.arp_tip.to_be_bytes(), mask.arp_tip.to_be_bytes());
}
