//! The frames that nearly all are: untagged, IPv4 without options, no fragment, with TCP or UDP.
//! Everything in them is at a fixed place, so that one look at the frame's length is enough.

use super::{Layers, ethernet, ipv4, transport};
use crate::id::MacAddr;
use crate::key::Key;

/// Ethernet, IPv4 and UDP, or the start of TCP.
const HEADERS: usize = ethernet::HEADER + ipv4::HEADER + 8;
/// Where the transport header is.
const TRANSPORT: usize = ethernet::HEADER + ipv4::HEADER;
/// Version 4, and a header of 20 bytes.
const IPV4: u8 = 0x45;

/// Adds the fields of such a frame to a key in which they are zero. `None` for every other frame,
/// whose key is not changed: [`super::parse_into`] reads it header by header.
#[inline]
pub(super) fn parse(frame: &[u8], key: &mut Key) -> Option<Layers> {
    let head: &[u8; HEADERS] = frame.first_chunk()?;
    let be16 = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
    let be32 = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let (size, length) = (frame.len() - ethernet::HEADER, usize::from(be16(16)));
    let is_fragment = be16(20) & 0x3fff != 0;
    let padding = size.checked_sub(length)?;
    if be16(12) != ipv4::ETH_TYPE || head[14] != IPV4 || is_fragment || padding > 0xffff {
        return None;
    }
    let protocol = head[23];
    let end = ethernet::HEADER + length;
    let have = end.checked_sub(TRANSPORT)?;
    let flags = match protocol {
        transport::UDP if have >= 8 => 0,
        transport::TCP => {
            let [offset, flags] =
                *frame.get(TRANSPORT + transport::TCP_CONTROL..)?.first_chunk()?;
            let header = usize::from(offset >> 4) * 4;
            if header < 20 || header > have {
                return None;
            }
            u16::from_be_bytes([offset, flags]) & 0xfff
        }
        _ => return None,
    };
    let [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, ..] = *head;
    key.eth_dst = MacAddr([d0, d1, d2, d3, d4, d5]);
    key.eth_src = MacAddr([s0, s1, s2, s3, s4, s5]);
    key.eth_type = ipv4::ETH_TYPE;
    (key.ip_tos, key.ip_ttl, key.ip_proto) = (head[15], head[22], protocol);
    (key.ipv4_src, key.ipv4_dst) = (be32(26), be32(30));
    (key.tp_src, key.tp_dst, key.tcp_flags) = (be16(34), be16(36), flags);
    let mut layers = Layers::default();
    layers.found_eth_type(ethernet::TYPE);
    layers.found_payload(ethernet::HEADER);
    layers.found_header(ethernet::HEADER);
    layers.found_network(ethernet::HEADER);
    layers.found_transport(TRANSPORT, end);
    (layers.kind, layers.protocol) = (ipv4::ETH_TYPE, protocol);
    Some(layers)
}
