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

/// The headers of a frame: their offsets in bytes from the start of the frame, and their kinds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Layers {
    /// The two bytes of the EtherType behind the tags; in a SNAP frame those of the SNAP type.
    /// `None` for 802.2 without SNAP and for less than a whole Ethernet header.
    pub eth_type: Option<usize>,
    /// The length field of an 802.3 frame.
    pub length: Option<usize>,
    /// The first byte behind the EtherType: the label stack or the network header.
    pub payload: usize,
    /// Number of whole label stack entries in the key, 0 to 3; the first is at `payload`.
    pub labels: usize,
    /// The EtherType, as in [`Key::eth_type`].
    pub kind: u16,
    /// The IPv4, IPv6 or ARP header that the EtherType announces, if the frame has all its bytes.
    /// Rewrites use this header even if a length in it is false.
    pub header: Option<usize>,
    /// The same header, if the key has fields of it.
    pub network: Option<usize>,
    /// The IP protocol, as in [`Key::ip_proto`].
    pub protocol: u8,
    /// The IP payload behind options and extension headers; `None` in a later fragment.
    pub transport: Option<IpPayload>,
    /// True if an IPv6 routing header has segments left: then transport checksums cover another
    /// address than the header's destination.
    pub routed: bool,
}

impl Layers {
    /// The same headers after `by` bytes were inserted in front of them (or removed, if negative).
    fn moved(self, by: isize) -> Layers {
        let moved = |at: usize| at.saturating_add_signed(by);
        let transport = |t: IpPayload| IpPayload { start: moved(t.start), end: moved(t.end) };
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
pub struct IpPayload {
    /// Offset of the first byte.
    pub start: usize,
    /// Offset behind the last byte by the IP header's length. Padding may follow.
    pub end: usize,
}
