//! Fields whose bits are the bits of a flower key: `TCA_FLOWER_KEY_…` of `linux/pkt_cls.h`.

use flow::Field;

/// A field, its key and its mask's key. The key on the wire has the lowest `len` bytes of the
/// field, in network order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Simple {
    pub(crate) field: Field,
    pub(crate) kind: u16,
    pub(crate) mask_kind: u16,
    pub(crate) len: usize,
}

const fn simple(field: Field, kind: u16, mask_kind: u16, len: usize) -> Simple {
    Simple { field, kind, mask_kind, len }
}

pub(crate) const ETHERNET: &[Simple] =
    &[simple(Field::EthDst, 4, 5, 6), simple(Field::EthSrc, 6, 7, 6)];

pub(crate) const ETH_TYPE: u16 = 8;
pub(crate) const IP_PROTO: u16 = 9;

pub(crate) const IPV4_TYPE: u16 = 0x0800;
pub(crate) const IPV4: &[Simple] =
    &[simple(Field::Ipv4Src, 10, 11, 4), simple(Field::Ipv4Dst, 12, 13, 4)];

pub(crate) const IPV6_TYPE: u16 = 0x86dd;
pub(crate) const IPV6: &[Simple] =
    &[simple(Field::Ipv6Src, 14, 15, 16), simple(Field::Ipv6Dst, 16, 17, 16)];

pub(crate) const TCP_FLAGS: u16 = 71;
pub(crate) const TCP: &[Simple] = &[
    simple(Field::TpSrc, 18, 35, 2),
    simple(Field::TpDst, 19, 36, 2),
    simple(Field::TcpFlags, TCP_FLAGS, TCP_FLAGS + 1, 2),
];
pub(crate) const UDP: &[Simple] =
    &[simple(Field::TpSrc, 20, 37, 2), simple(Field::TpDst, 21, 38, 2)];
pub(crate) const SCTP: &[Simple] =
    &[simple(Field::TpSrc, 41, 39, 2), simple(Field::TpDst, 42, 40, 2)];
pub(crate) const ICMP: &[Simple] =
    &[simple(Field::TpSrc, 51, 52, 1), simple(Field::TpDst, 49, 50, 1)];
pub(crate) const ICMPV6: &[Simple] =
    &[simple(Field::TpSrc, 55, 56, 1), simple(Field::TpDst, 53, 54, 1)];

pub(crate) const ARP_OP: u16 = 61;
pub(crate) const ARP: &[Simple] = &[
    simple(Field::ArpSip, 57, 58, 4),
    simple(Field::ArpTip, 59, 60, 4),
    simple(Field::ArpSha, 63, 64, 6),
    simple(Field::ArpTha, 65, 66, 6),
];

pub(crate) const IP_BITS: &[Simple] =
    &[simple(Field::IpTos, 73, 74, 1), simple(Field::IpTtl, 75, 76, 1)];

/// `TCA_FLOWER_KEY_FLAGS` and its mask, 32 bits in network order.
pub(crate) const FLAGS: u16 = 47;
pub(crate) const FLAGS_MASK: u16 = 48;
pub(crate) const FLAG_FRAGMENT: u32 = 1;
pub(crate) const FLAG_FIRST: u32 = 2;

/// The keys of a tag: VID (in the machine's byte order), PCP, and the EtherType behind the tag.
pub(crate) const VLAN: [u16; 3] = [23, 24, 25];
pub(crate) const CVLAN: [u16; 3] = [77, 78, 79];

/// The keys of a label entry: TTL, BOS and TC have one byte each, the label has 32 bits in the
/// machine's byte order.
pub(crate) const MPLS_TTL: u16 = 67;
pub(crate) const MPLS_BOS: u16 = 68;
pub(crate) const MPLS_TC: u16 = 69;
pub(crate) const MPLS_LABEL: u16 = 70;

const EIGHT_BITS: &[Simple] = &[simple(Field::ArpOp, ARP_OP, ARP_OP + 1, 1)];

/// Returns all keys whose bits are the bits of a field. The key of the ARP operation has only the
/// low eight bits of its field.
pub(crate) fn simples() -> impl Iterator<Item = Simple> {
    [ETHERNET, IPV4, IPV6, IP_BITS, TCP, UDP, SCTP, ICMP, ICMPV6, ARP, EIGHT_BITS]
        .into_iter()
        .flatten()
        .copied()
}
