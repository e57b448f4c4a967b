//! The words of OpenFlow for protocols and fields, as `ovs-fields` lists them.

use flow::{Field, VLAN_PRESENT};

/// Words that stand for an EtherType, and words that also stand for an IP protocol.
pub(super) const PROTOCOLS: &[(&str, u16, Option<u8>)] = &[
    ("ip", 0x0800, None),
    ("ipv4", 0x0800, None),
    ("ipv6", 0x86dd, None),
    ("ip6", 0x86dd, None),
    ("arp", 0x0806, None),
    ("rarp", 0x8035, None),
    ("mpls", 0x8847, None),
    ("mplsm", 0x8848, None),
    ("icmp", 0x0800, Some(1)),
    ("tcp", 0x0800, Some(6)),
    ("udp", 0x0800, Some(17)),
    ("sctp", 0x0800, Some(132)),
    ("icmp6", 0x86dd, Some(58)),
    ("tcp6", 0x86dd, Some(6)),
    ("udp6", 0x86dd, Some(17)),
    ("sctp6", 0x86dd, Some(132)),
];

/// The headers that a field is in.
pub(super) struct Needs {
    /// The EtherTypes, one of which the filter has to name; empty for no condition.
    pub(super) types: &'static [u16],
    /// The IP protocols, one of which the filter has to name; empty for no condition.
    pub(super) protocols: &'static [u8],
    /// The headers in words, for people.
    pub(super) words: &'static str,
}

const BOTH: &[u16] = &[0x0800, 0x86dd];

const fn needs(types: &'static [u16], protocols: &'static [u8], words: &'static str) -> Needs {
    Needs { types, protocols, words }
}

static IP: Needs = needs(&[0x0800], &[], "ip");
static IPV6: Needs = needs(&[0x86dd], &[], "ipv6");
static ANY_IP: Needs = needs(BOTH, &[], "ip or ipv6");
static ARP: Needs = needs(&[0x0806, 0x8035], &[], "arp or rarp");
static MPLS: Needs = needs(&[0x8847, 0x8848], &[], "mpls or mplsm");
static TCP: Needs = needs(BOTH, &[6], "tcp or tcp6");
static UDP: Needs = needs(BOTH, &[17], "udp or udp6");
static SCTP: Needs = needs(BOTH, &[132], "sctp or sctp6");
static PORTS: Needs = needs(BOTH, &[6, 17, 132, 1, 58], "tcp, udp, sctp, icmp or icmp6");
static ICMP: Needs = needs(&[0x0800], &[1], "icmp");
static ICMP6: Needs = needs(&[0x86dd], &[58], "icmp6");

/// The field, or the part of one, that a name stands for.
pub(super) struct Named {
    pub(super) names: &'static [&'static str],
    pub(super) field: Field,
    /// The place of the value's lowest bit in the field.
    pub(super) shift: u32,
    /// The width of a value in bits.
    pub(super) bits: u32,
    /// The bits of the field that the name stands for.
    pub(super) cover: u128,
    /// Bits that are set in key and mask, whatever the value is.
    pub(super) always: u128,
    pub(super) needs: Option<&'static Needs>,
}

/// Names a whole field.
const fn whole(names: &'static [&'static str], field: Field, bits: u32) -> Named {
    part(names, field, 0, bits)
}

/// Names `bits` bits of a field, from bit `shift` up.
const fn part(names: &'static [&'static str], field: Field, shift: u32, bits: u32) -> Named {
    let cover = (u128::MAX >> (128 - bits)) << shift;
    Named { names, field, shift, bits, cover, always: 0, needs: None }
}

impl Named {
    const fn within(self, needs: &'static Needs) -> Named {
        Named { needs: Some(needs), ..self }
    }

    /// Marks a part of the VLAN tag: the filter then requires the tag to be there.
    const fn of_tag(self) -> Named {
        Named { always: VLAN_PRESENT as u128, ..self }
    }

    /// Restricts the name to these bits; other bits of a value are ignored.
    const fn cut_to(self, cover: u128) -> Named {
        Named { cover, ..self }
    }
}

/// Returns true if it is a field of OVS that our keys do not have. Every megaflow leaves such a
/// field wild, so a condition on it holds for all of them.
pub(super) fn is_wild_everywhere(name: &str) -> bool {
    const NAMES: &[&str] = &[
        "tunnel_id",
        "ct_state",
        "ct_zone",
        "ct_mark",
        "ct_label",
        "pkt_mark",
        "skb_priority",
        "metadata",
        "nd_target",
        "nd_sll",
        "nd_tll",
        "packet_type",
        "conj_id",
    ];
    let numbered = |prefix: &str| {
        let number = name.strip_prefix(prefix);
        number.is_some_and(|n| !n.is_empty() && n.bytes().all(|byte| byte.is_ascii_digit()))
    };
    NAMES.contains(&name)
        || name.starts_with("tun_")
        || name.starts_with("ct_nw_")
        || name.starts_with("ct_tp_")
        || name.starts_with("ct_ipv6_")
        || ["reg", "xreg", "xxreg"].into_iter().any(numbered)
}

/// The names of all fields.
pub(super) static FIELDS: &[Named] = &[
    whole(&["in_port"], Field::InPort, 32),
    whole(&["recirc_id"], Field::RecircId, 32),
    whole(&["dp_hash"], Field::DpHash, 32),
    whole(&["dl_src", "eth_src"], Field::EthSrc, 48),
    whole(&["dl_dst", "eth_dst"], Field::EthDst, 48),
    whole(&["dl_type", "eth_type"], Field::EthType, 16),
    whole(&["vlan_tci"], Field::VlanTci, 16),
    part(&["vlan_vid"], Field::VlanTci, 0, 13),
    part(&["dl_vlan"], Field::VlanTci, 0, 12).of_tag(),
    part(&["dl_vlan_pcp", "vlan_pcp"], Field::VlanTci, 13, 3).of_tag(),
    part(&["mpls_label"], Field::Mpls0, 12, 20).within(&MPLS),
    part(&["mpls_tc"], Field::Mpls0, 9, 3).within(&MPLS),
    part(&["mpls_bos"], Field::Mpls0, 8, 1).within(&MPLS),
    part(&["mpls_ttl"], Field::Mpls0, 0, 8).within(&MPLS),
    whole(&["nw_src", "ip_src"], Field::Ipv4Src, 32).within(&IP),
    whole(&["nw_dst", "ip_dst"], Field::Ipv4Dst, 32).within(&IP),
    whole(&["ipv6_src"], Field::Ipv6Src, 128).within(&IPV6),
    whole(&["ipv6_dst"], Field::Ipv6Dst, 128).within(&IPV6),
    whole(&["ipv6_label"], Field::Ipv6Label, 20).within(&IPV6),
    whole(&["nw_proto", "ip_proto"], Field::IpProto, 8).within(&ANY_IP),
    whole(&["nw_tos"], Field::IpTos, 8).cut_to(0xfc).within(&ANY_IP),
    part(&["ip_dscp"], Field::IpTos, 2, 6).within(&ANY_IP),
    part(&["nw_ecn", "ip_ecn"], Field::IpTos, 0, 2).within(&ANY_IP),
    whole(&["nw_ttl"], Field::IpTtl, 8).within(&ANY_IP),
    whole(&["nw_frag", "ip_frag"], Field::IpFrag, 8).within(&ANY_IP),
    whole(&["arp_op"], Field::ArpOp, 16).within(&ARP),
    whole(&["arp_spa"], Field::ArpSip, 32).within(&ARP),
    whole(&["arp_tpa"], Field::ArpTip, 32).within(&ARP),
    whole(&["arp_sha"], Field::ArpSha, 48).within(&ARP),
    whole(&["arp_tha"], Field::ArpTha, 48).within(&ARP),
    whole(&["tcp_flags"], Field::TcpFlags, 12).within(&TCP),
    whole(&["tcp_src"], Field::TpSrc, 16).within(&TCP),
    whole(&["tcp_dst"], Field::TpDst, 16).within(&TCP),
    whole(&["udp_src"], Field::TpSrc, 16).within(&UDP),
    whole(&["udp_dst"], Field::TpDst, 16).within(&UDP),
    whole(&["sctp_src"], Field::TpSrc, 16).within(&SCTP),
    whole(&["sctp_dst"], Field::TpDst, 16).within(&SCTP),
    whole(&["tp_src"], Field::TpSrc, 16).within(&PORTS),
    whole(&["tp_dst"], Field::TpDst, 16).within(&PORTS),
    whole(&["icmp_type"], Field::TpSrc, 8).within(&ICMP),
    whole(&["icmp_code"], Field::TpDst, 8).within(&ICMP),
    whole(&["icmpv6_type"], Field::TpSrc, 8).within(&ICMP6),
    whole(&["icmpv6_code"], Field::TpDst, 8).within(&ICMP6),
];
