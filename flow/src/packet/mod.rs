//! Frames: how a key is extracted from a frame, and how actions change the frame's bytes.
//!
//! One file per layer holds that layer's offsets, its part of the key and its rewrites. A
//! truncated header, or one with a false length, gives the key that OVS's userspace gives. No
//! frame causes a panic.

use crate::key::Key;

mod arp;
mod buffer;
mod checksum;
mod edit;
mod ethernet;
mod hash;
mod ipv4;
mod ipv6;
mod layers;
mod mpls;
pub mod ofctl;
mod quick;
mod ready;
mod transport;
mod unfinished;
mod wire;

#[cfg(test)]
mod tests;

pub use buffer::{HEADROOM, Packet};
pub use checksum::complete_checksum;
pub use edit::{edit, rewrite};
pub use hash::hash;
pub use layers::{IpPayload, Layers};
pub use ready::ReadyRewrite;
pub use unfinished::Unfinished;

/// [`Key::eth_type`] of an 802.2 frame that carries no EtherType in a SNAP header.
pub const ETH_TYPE_NONE: u16 = 0x05ff;

/// The key of a frame (Ethernet, without FCS), as OVS's userspace extracts it. `in_port`,
/// `recirc_id` and `dp_hash` are 0: the caller sets them. Every sequence of bytes has a key:
///
/// - A frame of less than 14 bytes has the zero key.
/// - A VLAN tag without a whole EtherType behind it is not a tag; the key has at most two tags.
/// - MPLS: the key has up to three whole entries, and no field from behind the label stack.
/// - IPv4 whose IHL or total length is impossible: the key has the Ethernet fields only. Padding
///   behind the packet is ignored.
/// - IPv6 whose payload length is impossible: likewise. If the extension headers are broken, the
///   key has the IPv6 addresses only.
/// - If a transport header is not whole, `tp_src`, `tp_dst` and `tcp_flags` are 0.
/// - A later fragment has no transport header; its `ip_proto` in IPv6 is 44.
/// - ARP and RARP are read only for IPv4 over Ethernet; an opcode above 255 reads as 0.
/// - IGMP has type and code in `tp_src` and `tp_dst`, as ICMP has.
#[must_use]
pub fn extract(frame: &[u8]) -> Key {
    parse(frame).0
}

/// Where the headers of a frame are, by the rules of [`extract`].
#[must_use]
pub fn layers(frame: &[u8]) -> Layers {
    parse(frame).1
}

/// Key and header offsets in one pass.
#[must_use]
pub fn parse(frame: &[u8]) -> (Key, Layers) {
    let mut key = Key::default();
    let layers = parse_into(frame, &mut key);
    (key, layers)
}

/// Adds the fields of a frame to a key in which they are zero.
#[inline]
fn parse_into(frame: &[u8], key: &mut Key) -> Layers {
    match quick::parse(frame, key) {
        Some(layers) => layers,
        None => parse_headers(frame, key),
    }
}

/// Does so header by header.
fn parse_headers(frame: &[u8], key: &mut Key) -> Layers {
    let mut layers = Layers::default();
    if let Some(payload) = ethernet::parse(frame, key, &mut layers) {
        layers.kind = key.eth_type;
        match key.eth_type {
            ipv4::ETH_TYPE => ipv4::parse(frame, payload, key, &mut layers),
            ipv6::ETH_TYPE => ipv6::parse(frame, payload, key, &mut layers),
            arp::ETH_TYPE | arp::ETH_TYPE_RARP => arp::parse(frame, payload, key, &mut layers),
            mpls::ETH_TYPE | mpls::ETH_TYPE_MULTICAST => {
                mpls::parse(frame, payload, key, &mut layers);
            }
            _ => {}
        }
        layers.protocol = key.ip_proto;
        if let Some(transport) = layers.transport() {
            transport::parse(frame, transport, key);
        }
    }
    layers
}
