//! Ethernet II, 802.3 with 802.2 and SNAP, and VLAN tags.

use super::{ETH_TYPE_NONE, Layers, Packet, wire};
use crate::action::SetFields;
use crate::id::{MacAddr, VLAN_PRESENT};
use crate::key::Key;

/// Destination, source, EtherType.
pub(super) const HEADER: usize = 14;
/// Where the outer tag or EtherType is.
pub(super) const TYPE: usize = 12;
/// TPID and TCI.
const TAG: usize = 4;
/// Lowest EtherType; below it the field is an 802.3 length.
const TYPE_MIN: u16 = 0x600;
/// 802.2 LLC (DSAP, SSAP, control) and SNAP organisation 0, in front of the SNAP type.
const SNAP: [u8; 6] = [0xaa, 0xaa, 0x03, 0, 0, 0];

/// Adds the fields of the link layer to the key; returns the offset of the payload, or `None` if
/// the header is not whole.
pub(super) fn parse(frame: &[u8], key: &mut Key, layers: &mut Layers) -> Option<usize> {
    let header: [u8; HEADER] = wire::bytes(frame, 0)?;
    key.eth_dst = MacAddr(wire::bytes(&header, 0)?);
    key.eth_src = MacAddr(wire::bytes(&header, 6)?);
    let mut at = TYPE;
    let tags = [(&mut key.vlan_tpid, &mut key.vlan_tci), (&mut key.cvlan_tpid, &mut key.cvlan_tci)];
    for (tpid, tci) in tags {
        let Some(tag) = tag(frame, at) else { break };
        (*tpid, *tci) = tag;
        at += TAG;
    }
    let (eth_type, payload) = parse_type(frame, at, layers)?;
    key.eth_type = eth_type;
    layers.found_payload(payload);
    Some(payload)
}

/// The tag at an offset, if it is one and a whole EtherType follows.
fn tag(frame: &[u8], at: usize) -> Option<(u16, u16)> {
    let tpid = wire::be16(frame, at).filter(|tpid| matches!(tpid, 0x8100 | 0x88a8))?;
    let tci = wire::be16(frame, at + 2)?;
    wire::be16(frame, at + TAG)?;
    Some((tpid, tci | VLAN_PRESENT))
}

fn parse_type(frame: &[u8], at: usize, layers: &mut Layers) -> Option<(u16, usize)> {
    let eth_type = wire::be16(frame, at)?;
    let payload = at + 2;
    if eth_type >= TYPE_MIN {
        layers.found_eth_type(at);
        return Some((eth_type, payload));
    }
    layers.found_length(at);
    let snap_type = wire::be16(frame, payload + SNAP.len());
    if wire::bytes(frame, payload) == Some(SNAP)
        && let Some(snap_type) = snap_type
        && snap_type >= TYPE_MIN
    {
        layers.found_eth_type(payload + SNAP.len());
        return Some((snap_type, payload + SNAP.len() + 2));
    }
    Some((ETH_TYPE_NONE, payload))
}

/// Rewrites the addresses.
pub(super) fn set(frame: &mut [u8], set: &SetFields) {
    if frame.len() >= HEADER {
        wire::merge_at(frame, 0, set.value.eth_dst.0, set.mask.eth_dst.0);
        wire::merge_at(frame, 6, set.value.eth_src.0, set.mask.eth_src.0);
    }
}

/// Inserts a tag, without the presence bit, in front of the existing ones.
pub(super) fn push_vlan(packet: &mut Packet, tpid: u16, tci: u16) {
    if packet.len() >= HEADER {
        let [a, b] = tpid.to_be_bytes();
        let [c, d] = (tci & !VLAN_PRESENT).to_be_bytes();
        packet.insert_in_front(TYPE, [a, b, c, d]);
    }
}

/// Removes the outer tag.
pub(super) fn pop_vlan(packet: &mut Packet) {
    if tag(packet.bytes(), TYPE).is_some() {
        packet.remove_in_front(TYPE, TAG);
    }
}

/// Rewrites the EtherType after a header behind it was inserted or removed; an 802.3 length grows
/// by `growth` bytes, modulo 2¹⁶.
pub(super) fn set_type(frame: &mut [u8], layers: &Layers, eth_type: u16, growth: u16) {
    if let Some(at) = layers.eth_type() {
        wire::put(frame, at, eth_type.to_be_bytes());
    }
    if let Some(at) = layers.length()
        && let Some(length) = wire::be16(frame, at)
    {
        let new = length.wrapping_add(growth);
        // A length that would turn into an EtherType stays: it was wrong before.
        if new < TYPE_MIN {
            wire::put(frame, at, new.to_be_bytes());
        }
    }
}
