//! Writes flower keys in the words of the `tc` command.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::words::{mac, protocol};
use crate::rule::{FlowerKey, Rule};
use crate::translate::table;

/// The text form of a key's bytes.
#[derive(Clone, Copy)]
enum Form {
    Mac,
    Ip4,
    Ip6,
    /// A decimal number with a hexadecimal mask.
    Number,
    /// A hexadecimal number with a hexadecimal mask.
    Hex,
    /// A decimal number from bytes in the machine's order.
    Native,
    Protocol,
    IpProtocol,
    Fragment,
    ArpOp,
}

/// Kind, word and form of each key, from `linux/pkt_cls.h` and `tc-flower(8)`.
const WORDS: &[(u16, &str, Form)] = &[
    (4, "dst_mac", Form::Mac),
    (6, "src_mac", Form::Mac),
    (table::IP_PROTO, "ip_proto", Form::IpProtocol),
    (10, "src_ip", Form::Ip4),
    (12, "dst_ip", Form::Ip4),
    (14, "src_ip", Form::Ip6),
    (16, "dst_ip", Form::Ip6),
    (18, "src_port", Form::Number),
    (19, "dst_port", Form::Number),
    (20, "src_port", Form::Number),
    (21, "dst_port", Form::Number),
    (41, "src_port", Form::Number),
    (42, "dst_port", Form::Number),
    (51, "type", Form::Number),
    (49, "code", Form::Number),
    (55, "type", Form::Number),
    (53, "code", Form::Number),
    (table::VLAN[0], "vlan_id", Form::Native),
    (table::VLAN[1], "vlan_prio", Form::Number),
    (table::VLAN[2], "vlan_ethtype", Form::Protocol),
    (table::CVLAN[0], "cvlan_id", Form::Native),
    (table::CVLAN[1], "cvlan_prio", Form::Number),
    (table::CVLAN[2], "cvlan_ethtype", Form::Protocol),
    (table::FLAGS, "ip_flags", Form::Fragment),
    (57, "arp_sip", Form::Ip4),
    (59, "arp_tip", Form::Ip4),
    (table::ARP_OP, "arp_op", Form::ArpOp),
    (63, "arp_sha", Form::Mac),
    (65, "arp_tha", Form::Mac),
    (table::MPLS_TTL, "mpls_ttl", Form::Number),
    (table::MPLS_BOS, "mpls_bos", Form::Number),
    (table::MPLS_TC, "mpls_tc", Form::Number),
    (table::MPLS_LABEL, "mpls_label", Form::Native),
    (71, "tcp_flags", Form::Hex),
    (73, "ip_tos", Form::Hex),
    (75, "ip_ttl", Form::Number),
];

pub(super) fn print(line: &mut String, rule: &Rule) {
    for key in &rule.keys {
        // The EtherType has no word here, because it is tc's protocol.
        let Some((_, word, form)) = WORDS.iter().find(|(kind, ..)| *kind == key.kind) else {
            continue;
        };
        let _ = write!(line, " {word} ");
        value(line, key, *form);
    }
}

fn value(line: &mut String, key: &FlowerKey, form: Form) {
    let (value, mask) = (number(key.value()), number(key.mask()));
    let whole = key.mask().iter().all(|byte| *byte == 0xff);
    let _ = match form {
        Form::Mac => {
            mac(line, key.value());
            if !whole {
                line.push('/');
                mac(line, key.mask());
            }
            Ok(())
        }
        Form::Ip4 => ip(line, Ipv4Addr::from(low32(value)), Ipv4Addr::from(low32(mask)), {
            prefix(mask, 32)
        }),
        Form::Ip6 => ip(line, Ipv6Addr::from(value), Ipv6Addr::from(mask), prefix(mask, 128)),
        Form::Number if whole => write!(line, "{value}"),
        Form::Number => write!(line, "{value}/{mask:#x}"),
        Form::Hex => write!(line, "{value:#x}/{mask:#x}"),
        Form::Native => write!(line, "{}", native(key.value())),
        Form::Protocol => {
            let [.., high, low] = value.to_be_bytes();
            write!(line, "{}", protocol(u16::from_be_bytes([high, low])))
        }
        Form::IpProtocol => match value {
            1 => write!(line, "icmp"),
            6 => write!(line, "tcp"),
            17 => write!(line, "udp"),
            58 => write!(line, "icmpv6"),
            132 => write!(line, "sctp"),
            other => write!(line, "{other:#04x}"),
        },
        Form::Fragment => write!(line, "{}", fragment(low32(value), low32(mask))),
        Form::ArpOp => match value {
            1 => write!(line, "request"),
            2 => write!(line, "reply"),
            other => write!(line, "{other}"),
        },
    };
}

fn fragment(flags: u32, mask: u32) -> &'static str {
    match (flags & table::FLAG_FRAGMENT != 0, mask & table::FLAG_FIRST != 0) {
        (false, _) => "nofrag",
        (true, false) => "frag",
        (true, true) if flags & table::FLAG_FIRST != 0 => "frag/firstfrag",
        (true, true) => "frag/nofirstfrag",
    }
}

fn ip(
    line: &mut String,
    address: impl std::fmt::Display,
    mask: impl std::fmt::Display,
    prefix: Option<u32>,
) -> std::fmt::Result {
    match prefix {
        Some(prefix) => write!(line, "{address}/{prefix}"),
        None => write!(line, "{address}/{mask}"),
    }
}

/// Returns the prefix length if the mask is a prefix.
fn prefix(mask: u128, bits: u32) -> Option<u32> {
    let left = mask << (128 - bits);
    (left.leading_ones() == left.count_ones()).then_some(left.count_ones())
}

fn number(bytes: &[u8]) -> u128 {
    bytes.iter().fold(0, |number, byte| number << 8 | u128::from(*byte))
}

fn native(bytes: &[u8]) -> u32 {
    match *bytes {
        [a, b] => u32::from(u16::from_ne_bytes([a, b])),
        [a, b, c, d] => u32::from_ne_bytes([a, b, c, d]),
        _ => 0,
    }
}

fn low32(number: u128) -> u32 {
    let [.., a, b, c, d] = number.to_be_bytes();
    u32::from_be_bytes([a, b, c, d])
}
