//! The MPLS label stack.

use super::{Layers, Packet, ethernet, wire};
use crate::action::SetFields;
use crate::key::Key;

/// Unicast.
pub(super) const ETH_TYPE: u16 = 0x8847;
/// Multicast, or upstream-assigned labels.
pub(super) const ETH_TYPE_MULTICAST: u16 = 0x8848;
/// One label stack entry.
const ENTRY: usize = 4;
/// Bottom of stack, in an entry.
const BOTTOM: u32 = 0x100;

/// Fills in up to three entries, down to the bottom of the stack or the end of the frame.
pub(super) fn parse(frame: &[u8], start: usize, key: &mut Key, layers: &mut Layers) {
    let mut at = start;
    for entry in [&mut key.mpls0, &mut key.mpls1, &mut key.mpls2] {
        let Some(value) = wire::be32(frame, at) else { break };
        *entry = value;
        layers.labels += 1;
        at += ENTRY;
        if value & BOTTOM != 0 {
            break;
        }
    }
}

/// Rewrites those entries of the mask that are there.
pub(super) fn set(frame: &mut [u8], layers: &Layers, set: &SetFields) {
    let (value, mask) = (&set.value, &set.mask);
    let entries = [(value.mpls0, mask.mpls0), (value.mpls1, mask.mpls1), (value.mpls2, mask.mpls2)];
    for (index, (value, mask)) in entries.into_iter().enumerate().take(layers.labels.into()) {
        let at = layers.payload() + index * ENTRY;
        wire::merge_at(frame, at, value.to_be_bytes(), mask.to_be_bytes());
    }
}

/// Inserts an entry in front of the stack or the network header, behind all tags. A frame without
/// an EtherType stays as it is.
pub(super) fn push(packet: &mut Packet, layers: &Layers, lse: u32, eth_type: u16) {
    if layers.eth_type().is_some() {
        ethernet::set_type(packet.bytes_mut(), layers, eth_type, 4);
        packet.insert(layers.payload(), lse.to_be_bytes());
    }
}

/// Removes the outermost entry and sets the EtherType that the action names, whatever follows.
pub(super) fn pop(packet: &mut Packet, layers: &Layers, eth_type: u16) {
    if layers.labels > 0 {
        ethernet::set_type(packet.bytes_mut(), layers, eth_type, 4u16.wrapping_neg());
        packet.remove(layers.payload(), ENTRY);
    }
}
