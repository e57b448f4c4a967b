//! A key as `ovs-ofctl parse-pcap` prints it.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::transport::{ICMP, ICMPV6, IGMP, SCTP, TCP, UDP};
use super::{arp, ipv4, ipv6, mpls};
use crate::id::VLAN_PRESENT;
use crate::key::Key;

/// EtherType of NSH, for which OVS prints the IP fields too, as zeros.
const ETH_TYPE_NSH: u16 = 0x894f;

/// Prints a key as one line without a newline; the port is unknown (`in_port=ANY`). Fields that OVS
/// prints and a [`Key`] does not have are left out: `nd_target`, `nd_sll`, `nd_tll`, `nsh_…`.
#[must_use]
pub fn format(key: &Key) -> String {
    let mut parts = Vec::new();
    let named_type = push_type(&mut parts, key);
    parts.push("in_port=ANY".to_owned());
    push_vlans(&mut parts, key);
    parts.push(format!("dl_src={}", key.eth_src));
    parts.push(format!("dl_dst={}", key.eth_dst));
    if !named_type {
        parts.push(format!("dl_type=0x{:04x}", key.eth_type));
    }
    match key.eth_type {
        ipv4::ETH_TYPE | ipv6::ETH_TYPE | ETH_TYPE_NSH => push_ip(&mut parts, key),
        arp::ETH_TYPE | arp::ETH_TYPE_RARP => push_arp(&mut parts, key),
        mpls::ETH_TYPE | mpls::ETH_TYPE_MULTICAST => push_mpls(&mut parts, key),
        _ => {}
    }
    parts.join(",")
}

/// Adds the short name of the packet's protocol; returns true if the name implies the EtherType.
fn push_type(parts: &mut Vec<String>, key: &Key) -> bool {
    let name = match (key.eth_type, key.ip_proto) {
        (ipv4::ETH_TYPE, ICMP) => "icmp",
        (ipv4::ETH_TYPE, TCP) => "tcp",
        (ipv4::ETH_TYPE, UDP) => "udp",
        (ipv4::ETH_TYPE, SCTP) => "sctp",
        (ipv4::ETH_TYPE, _) => "ip",
        (ipv6::ETH_TYPE, ICMPV6) => "icmp6",
        (ipv6::ETH_TYPE, TCP) => "tcp6",
        (ipv6::ETH_TYPE, UDP) => "udp6",
        (ipv6::ETH_TYPE, SCTP) => "sctp6",
        (ipv6::ETH_TYPE, _) => "ipv6",
        (arp::ETH_TYPE, _) => "arp",
        (arp::ETH_TYPE_RARP, _) => "rarp",
        (mpls::ETH_TYPE, _) => "mpls",
        (mpls::ETH_TYPE_MULTICAST, _) => "mplsm",
        _ => return false,
    };
    parts.push(name.to_owned());
    true
}

/// Adds each tag, and a TCI of 0 for the first absent one.
fn push_vlans(parts: &mut Vec<String>, key: &Key) {
    for (index, tci) in ["", "1"].into_iter().zip([key.vlan_tci, key.cvlan_tci]) {
        if tci & VLAN_PRESENT == 0 {
            parts.push(format!("vlan_tci{index}=0x{tci:04x}"));
            return;
        }
        parts.push(format!("dl_vlan{index}={}", tci & 0xfff));
        parts.push(format!("dl_vlan_pcp{index}={}", tci >> 13));
    }
}

fn push_ip(parts: &mut Vec<String>, key: &Key) {
    if key.eth_type == ipv4::ETH_TYPE {
        parts.push(format!("nw_src={}", Ipv4Addr::from(key.ipv4_src)));
        parts.push(format!("nw_dst={}", Ipv4Addr::from(key.ipv4_dst)));
    }
    if key.eth_type == ipv6::ETH_TYPE {
        parts.push(format!("ipv6_src={}", ipv6_text(key.ipv6_src)));
        parts.push(format!("ipv6_dst={}", ipv6_text(key.ipv6_dst)));
        parts.push(format!("ipv6_label=0x{:05x}", key.ipv6_label));
    }
    let v4 = key.eth_type == ipv4::ETH_TYPE;
    let named = match key.ip_proto {
        TCP | UDP | SCTP => true,
        ICMP => v4,
        ICMPV6 => !v4,
        _ => false,
    };
    if !named {
        parts.push(format!("nw_proto={}", key.ip_proto));
    }
    parts.push(format!("nw_tos={}", key.ip_tos & 0xfc));
    parts.push(format!("nw_ecn={}", key.ip_tos & 3));
    parts.push(format!("nw_ttl={}", key.ip_ttl));
    let fragment = match key.ip_frag {
        0 => "no",
        1 => "first",
        _ => "later",
    };
    parts.push(format!("nw_frag={fragment}"));
    push_transport(parts, key, named);
}

fn push_transport(parts: &mut Vec<String>, key: &Key, named: bool) {
    let known = matches!(key.ip_proto, ICMP | IGMP | TCP | UDP | ICMPV6 | SCTP);
    if known && key.ip_frag != 2 {
        let icmp = named && matches!(key.ip_proto, ICMP | ICMPV6);
        let (src, dst) = if icmp { ("icmp_type", "icmp_code") } else { ("tp_src", "tp_dst") };
        parts.push(format!("{src}={}", key.tp_src));
        parts.push(format!("{dst}={}", key.tp_dst));
        if key.ip_proto == TCP {
            parts.push(format!("tcp_flags={}", tcp_flags(key.tcp_flags)));
        }
    }
}

fn push_arp(parts: &mut Vec<String>, key: &Key) {
    parts.push(format!("arp_spa={}", Ipv4Addr::from(key.arp_sip)));
    parts.push(format!("arp_tpa={}", Ipv4Addr::from(key.arp_tip)));
    parts.push(format!("arp_op={}", key.arp_op));
    parts.push(format!("arp_sha={}", key.arp_sha));
    parts.push(format!("arp_tha={}", key.arp_tha));
}

fn push_mpls(parts: &mut Vec<String>, key: &Key) {
    let bottom = |lse: u32| lse >> 8 & 1;
    parts.push(format!("mpls_label={}", key.mpls0 >> 12));
    parts.push(format!("mpls_tc={}", key.mpls0 >> 9 & 7));
    parts.push(format!("mpls_ttl={}", key.mpls0 & 0xff));
    parts.push(format!("mpls_bos={}", bottom(key.mpls0)));
    if bottom(key.mpls0) == 0 {
        parts.push(format!("mpls_lse1={}", key.mpls1));
        if bottom(key.mpls1) == 0 {
            parts.push(format!("mpls_lse2={}", key.mpls2));
        }
    }
}

/// `syn|ack`, lowest bit first; 0 for none.
fn tcp_flags(flags: u16) -> String {
    const NAMES: [&str; 12] =
        ["fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr", "ns", "[200]", "[400]", "[800]"];
    let set: Vec<_> = NAMES
        .into_iter()
        .enumerate()
        .filter(|(bit, _)| flags >> bit & 1 == 1)
        .map(|(_, name)| name)
        .collect();
    if set.is_empty() { "0".to_owned() } else { set.join("|") }
}

/// Prints an address as the C library's inet_ntop does. It differs from Rust in one form: the old
/// "IPv4-compatible" addresses end in dotted decimals.
fn ipv6_text(address: u128) -> String {
    let [a, b, c, d] = [96, 64, 32, 0].map(|shift| address >> shift & 0xffff_ffff);
    let mut text = String::new();
    match (a, b, c, u32::try_from(d)) {
        (0, 0, 0, Ok(low)) if low >> 16 != 0 => {
            let _ = write!(text, "::{}", Ipv4Addr::from(low));
        }
        _ => {
            let _ = write!(text, "{}", Ipv6Addr::from(address));
        }
    }
    text
}
