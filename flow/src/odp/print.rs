//! Matches and keys as OVS prints them.

use std::fmt::Write as _;

use super::attr::{self, AttrLayout, print_mpls, print_parts};
use super::single::{print_eth_type, print_tcp_flags, print_u32};
use super::vlan::{TAGS, is_tpid, print_vlan};
use super::{Names, print_port};
use crate::{Key, Mask, Match, VLAN_PRESENT};

/// Prints a match as `dump-flows` does, without wild fields. Fields that mean nothing under the
/// match's EtherType or protocol ([`crate::validate()`] refuses them) are printed under the most
/// likely attribute.
#[must_use]
pub fn format_match(matching: &Match) -> String {
    format_match_with(matching, &|_| None)
}

/// The same with names of ports.
#[must_use]
pub fn format_match_with(matching: &Match, names: Names<'_>) -> String {
    let mut out = String::new();
    print_match(&mut out, matching, names);
    out
}

/// Appends the same to a text.
pub fn print_match(out: &mut String, matching: &Match, names: Names<'_>) {
    let (key, mask) = (&matching.key(), matching.mask());
    print_u32(out, "recirc_id", key.recirc_id, mask.recirc_id);
    if mask.dp_hash != 0 {
        out.push(',');
        print_u32(out, "dp_hash", key.dp_hash, mask.dp_hash);
    }
    out.push_str(",in_port(");
    print_port(out, key.port(), names);
    out.push(')');
    print_layout(out, &attr::ETH, key, Some(mask));
    print_level(out, key, mask, 0);
}

/// Prints the key of a packet with all the fields that a packet of its kind has.
#[must_use]
pub fn format_key(key: &Key) -> String {
    let mut out = String::new();
    print_u32(&mut out, "recirc_id", key.recirc_id, u32::MAX);
    out.push(',');
    print_u32(&mut out, "dp_hash", key.dp_hash, u32::MAX);
    let _ = write!(out, ",in_port({})", key.in_port);
    print_layout(&mut out, &attr::ETH, key, None);
    let mut closing = 0;
    for (tpid, tci) in TAGS {
        let tci = key.get(tci);
        if tci == 0 {
            break;
        }
        separate(&mut out);
        let _ = write!(out, "eth_type(0x{:04x}),vlan(", key.get(tpid));
        print_vlan(&mut out, u16::try_from(tci).unwrap_or(u16::MAX), 0xffff, true);
        out.push_str("),encap(");
        closing += 1;
    }
    if key.eth_type >= 0x600 {
        separate(&mut out);
        print_eth_type(&mut out, key.eth_type, 0xffff);
        if is_tpid(key.eth_type) && closing < TAGS.len() {
            out.push_str(CUT_TAG);
        }
        print_packet(&mut out, key);
    }
    out.extend(std::iter::repeat_n(')', closing));
    out
}

/// Printed behind the EtherType of a tag that the frame is too short to hold.
const CUT_TAG: &str = ",vlan(vid=0,pcp=0,cfi=0),encap()";

/// A comma, unless something was just opened.
fn separate(out: &mut String) {
    if !out.ends_with('(') {
        out.push(',');
    }
}

/// `name(parts)`.
fn print_layout(out: &mut String, layout: &AttrLayout, key: &Key, mask: Option<&Mask>) {
    separate(out);
    out.push_str(layout.open());
    print_parts(out, layout.parts, key, mask);
    out.push(')');
}

fn open(out: &mut String, name: &str) {
    separate(out);
    out.push_str(name);
    out.push('(');
}

/// What a match says from tag `depth` on.
fn print_level(out: &mut String, key: &Key, mask: &Mask, depth: usize) {
    let Some((tpid, tci)) = TAGS.get(depth) else {
        if mask.eth_type != 0 {
            separate(out);
            print_eth_type(out, key.eth_type, mask.eth_type);
        }
        return print_payload(out, key, mask);
    };
    let inner = &TAGS[depth + 1..];
    let says_inner = inner.iter().any(|(tpid, tci)| mask.get(*tpid) != 0 || mask.get(*tci) != 0);
    let tci_mask = u16::try_from(mask.get(*tci)).unwrap_or(u16::MAX);
    let tci_value = u16::try_from(key.get(*tci)).unwrap_or(u16::MAX);
    let says_untagged = tci_mask == 0xffff && tci_value == 0;
    let tagged =
        tci_value & VLAN_PRESENT != 0 || !says_untagged && (mask.get(*tpid) != 0 || says_inner);
    if tagged {
        if mask.get(*tpid) != 0 {
            separate(out);
            let tpid_mask = u16::try_from(mask.get(*tpid)).unwrap_or(u16::MAX);
            print_eth_type(out, u16::try_from(key.get(*tpid)).unwrap_or(u16::MAX), tpid_mask);
        }
        open(out, "vlan");
        print_vlan(out, tci_value, tci_mask, false);
        out.push(')');
        open(out, "encap");
        print_level(out, key, mask, depth + 1);
        out.push(')');
        return;
    }
    if mask.eth_type != 0 {
        separate(out);
        print_eth_type(out, key.eth_type, mask.eth_type);
    }
    if says_untagged && mask.eth_type == 0xffff && is_tpid(key.eth_type) {
        out.push_str(CUT_TAG);
        return print_payload(out, key, mask);
    }
    if !says_untagged {
        open(out, "vlan");
        print_vlan(out, tci_value, tci_mask, false);
        out.push(')');
    }
    print_payload(out, key, mask);
}

/// Prints the part of a match behind the tags.
fn print_payload(out: &mut String, key: &Key, mask: &Mask) {
    if mask.mpls0 != 0 || mask.mpls1 != 0 || mask.mpls2 != 0 {
        open(out, "mpls");
        print_mpls(out, key, mask);
        out.push(')');
    }
    let shared = mask.ip_proto | mask.ip_tos | mask.ip_ttl | mask.ip_frag != 0;
    let ipv6 = mask.ipv6_src | mask.ipv6_dst != 0 || mask.ipv6_label != 0;
    let is_ipv6 = key.eth_type == 0x86dd || ipv6 && key.eth_type != 0x0800;
    let ipv4 = mask.ipv4_src | mask.ipv4_dst != 0;
    let no_ip = Mask { ip_proto: 0, ip_tos: 0, ip_ttl: 0, ip_frag: 0, ..*mask };
    if ipv4 || shared && !is_ipv6 {
        print_layout(out, &attr::IPV4, key, Some(if is_ipv6 { &no_ip } else { mask }));
    }
    if ipv6 || shared && is_ipv6 {
        print_layout(out, &attr::IPV6, key, Some(if is_ipv6 { mask } else { &no_ip }));
    }
    if attr::ARP.parts.iter().any(|part| part.get(mask) != 0) {
        print_layout(out, &attr::ARP, key, Some(mask));
    }
    if mask.tp_src | mask.tp_dst != 0 {
        print_layout(out, transport(key, mask), key, Some(mask));
    }
    if mask.tcp_flags != 0 {
        separate(out);
        print_tcp_flags(out, key.tcp_flags, mask.tcp_flags);
    }
}

/// The attribute that ports, or type and code, belong to.
fn transport(key: &Key, mask: &Mask) -> &'static AttrLayout {
    let wide = |mask: u16| mask > 0xff && mask != 0xffff;
    let ports = wide(mask.tp_src | mask.tp_dst) || (key.tp_src | key.tp_dst) > 0xff;
    let likely = by_protocol(key).filter(|layout| !ports || !layout.name().starts_with("icmp"));
    likely.unwrap_or(&attr::TCP)
}

fn by_protocol(key: &Key) -> Option<&'static AttrLayout> {
    match (key.ip_proto, key.eth_type) {
        (6, _) => Some(&attr::TCP),
        (17, _) => Some(&attr::UDP),
        (132, _) => Some(&attr::SCTP),
        (1, 0x0800) => Some(&attr::ICMP),
        (58, 0x86dd) => Some(&attr::ICMPV6),
        _ => None,
    }
}

/// Prints the fields that a packet of this kind has behind its EtherType.
fn print_packet(out: &mut String, key: &Key) {
    match key.eth_type {
        0x0800 | 0x86dd => {
            let layout = if key.eth_type == 0x0800 { &attr::IPV4 } else { &attr::IPV6 };
            print_layout(out, layout, key, None);
            if let (Some(layout), 0 | 1) = (by_protocol(key), key.ip_frag) {
                print_layout(out, layout, key, None);
            }
            if key.tcp_flags != 0 {
                out.push(',');
                print_tcp_flags(out, key.tcp_flags, 0xfff);
            }
        }
        0x0806 | 0x8035 => {
            print_layout(out, &attr::ARP, key, None);
        }
        0x8847 | 0x8848 => {
            let has = |lse: u32| if lse == 0 { 0 } else { u32::MAX };
            let (mpls1, mpls2) = (has(key.mpls1), has(key.mpls2));
            open(out, "mpls");
            print_mpls(out, key, &Mask { mpls0: u32::MAX, mpls1, mpls2, ..Mask::default() });
            out.push(')');
        }
        _ => {}
    }
}
