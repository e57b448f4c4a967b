//! Bytes and keys: what a frame's key is, and how actions change its bytes.
//!
//! One file per layer holds that layer's offsets, its part of the key and its rewrites. A
//! truncated or lying header gives the key that OVS's userspace gives; nothing here panics.

use crate::key::Key;

mod arp;
mod buffer;
mod checksum;
mod edit;
mod ethernet;
mod hash;
mod ipv4;
mod ipv6;
mod mpls;
pub mod ofctl;
mod transport;
mod wire;

#[cfg(test)]
mod tests;

pub use buffer::{HEADROOM, Packet};
pub use edit::edit;
pub use hash::hash;

/// [`Key::eth_type`] of an 802.2 frame that carries no EtherType in a SNAP header.
pub const ETH_TYPE_NONE: u16 = 0x05ff;

/// The key of a frame (Ethernet, without FCS), as OVS's userspace extracts it. `in_port`,
/// `recirc_id` and `dp_hash` are 0: the caller knows them. Any bytes are fine:
///
/// - less than 14 bytes: the zero key;
/// - a VLAN tag that does not end in a whole EtherType is no tag; at most two count;
/// - MPLS: up to three whole entries, nothing behind the stack;
/// - IPv4 whose IHL or total length can't be: nothing but Ethernet; padding is not looked into;
/// - IPv6 whose payload length can't be: the same; broken extension headers: addresses only;
/// - a transport header that is not whole: `tp_src`, `tp_dst` and `tcp_flags` 0;
/// - a later fragment has no transport header; in IPv6 its `ip_proto` is 44;
/// - ARP and RARP: only Ethernet over IPv4; an opcode above 255 reads as 0;
/// - IGMP: type and code in `tp_src` and `tp_dst`, as ICMP.
#[must_use]
pub fn extract(frame: &[u8]) -> Key {
    parse(frame).0
}

/// Where the headers of a frame are, as far as [`extract`] believes them.
#[must_use]
pub fn layers(frame: &[u8]) -> Layers {
    parse(frame).1
}

/// Key and header offsets in one pass.
#[must_use]
pub fn parse(frame: &[u8]) -> (Key, Layers) {
    let mut key = Key::default();
    let mut layers = Layers::default();
    if let Some(payload) = ethernet::parse(frame, &mut key, &mut layers) {
        layers.kind = key.eth_type;
        match key.eth_type {
            ipv4::ETH_TYPE => ipv4::parse(frame, payload, &mut key, &mut layers),
            ipv6::ETH_TYPE => ipv6::parse(frame, payload, &mut key, &mut layers),
            arp::ETH_TYPE | arp::ETH_TYPE_RARP => arp::parse(frame, payload, &mut key, &mut layers),
            mpls::ETH_TYPE | mpls::ETH_TYPE_MULTICAST => {
                mpls::parse(frame, payload, &mut key, &mut layers);
            }
            _ => {}
        }
        layers.protocol = key.ip_proto;
        if let Some(transport) = layers.transport {
            transport::parse(frame, transport, &mut key);
        }
    }
    (key, layers)
}

/// Byte offsets from the start of the frame, and what is there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Layers {
    /// The two bytes that `eth_type` was read from: behind the tags, in a SNAP frame the SNAP
    /// type. `None` for 802.2 without one and for less than a whole Ethernet header.
    pub eth_type: Option<usize>,
    /// The length field of an 802.3 frame.
    pub length: Option<usize>,
    /// The first byte behind EtherType: the label stack or the network header.
    pub payload: usize,
    /// Whole label stack entries that the key shows, 0 to 3; the first is at `payload`.
    pub labels: usize,
    /// [`Key::eth_type`].
    pub kind: u16,
    /// The IPv4, IPv6 or ARP header that the EtherType speaks of, if the frame has all its bytes:
    /// what a rewrite finds, also where a length in it is a lie.
    pub header: Option<usize>,
    /// The same header, if the key has fields of it.
    pub network: Option<usize>,
    /// [`Key::ip_proto`].
    pub protocol: u8,
    /// The IP payload behind options and extension headers; `None` in a later fragment.
    pub transport: Option<Transport>,
    /// An IPv6 routing header has segments left: the destination is not the one that transport
    /// checksums cover.
    pub routed: bool,
}

impl Layers {
    /// The same headers in a frame that has as many bytes more in front of them (or, negative,
    /// fewer).
    fn moved(self, by: isize) -> Layers {
        let moved = |at: usize| at.saturating_add_signed(by);
        let transport = |t: Transport| Transport { start: moved(t.start), end: moved(t.end) };
        Layers {
            eth_type: self.eth_type.map(moved),
            length: self.length.map(moved),
            payload: moved(self.payload),
            header: self.header.map(moved),
            network: self.network.map(moved),
            transport: self.transport.map(transport),
            ..self
        }
    }
}

/// An IP payload that is not a later fragment. It may be shorter than the protocol's header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Transport {
    /// First byte.
    pub start: usize,
    /// Behind the last byte, by the IP header's length; padding follows.
    pub end: usize,
}
