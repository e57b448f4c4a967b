//! Writes tc actions in the words of the `tc` command.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};

use flow::Field;

use super::words::{mac, name, protocol};
use crate::netlink::consts::{
    TCA_CSUM_UPDATE_FLAG_ICMP, TCA_CSUM_UPDATE_FLAG_IPV4HDR, TCA_CSUM_UPDATE_FLAG_TCP,
    TCA_CSUM_UPDATE_FLAG_UDP,
};
use crate::rule::{Header, PeditWord, TcAction};
use crate::translate::{Target, words_to_fields};

pub(super) fn print(line: &mut String, action: &TcAction, target: &Target) {
    line.push_str(" action ");
    let _ = match action {
        TcAction::Redirect { ifindex } => {
            write!(line, "mirred egress redirect dev {}", name(*ifindex, target))
        }
        TcAction::Mirror { ifindex } => {
            write!(line, "mirred egress mirror dev {}", name(*ifindex, target))
        }
        TcAction::Drop => write!(line, "drop"),
        TcAction::Goto { chain } => write!(line, "goto chain {chain}"),
        TcAction::VlanPush { tpid, vid, pcp } => {
            write!(line, "vlan push id {vid} protocol {} priority {pcp}", protocol(*tpid))
        }
        TcAction::VlanPop => write!(line, "vlan pop"),
        TcAction::MplsPush { lse, protocol: behind } => write!(
            line,
            "mpls push protocol {} label {} tc {} ttl {} bos {}",
            protocol(*behind),
            lse >> 12,
            lse >> 9 & 7,
            lse & 0xff,
            lse >> 8 & 1
        ),
        TcAction::MplsPop { protocol: behind } => {
            write!(line, "mpls pop protocol {}", protocol(*behind))
        }
        TcAction::Pedit(words) => {
            line.push_str("pedit ex");
            pedit(line, words);
            write!(line, " pipe")
        }
        TcAction::Csum(flags) => {
            line.push_str("csum");
            csum(line, *flags);
            write!(line, " pipe")
        }
    };
}

fn csum(line: &mut String, flags: u32) {
    let words = [
        (TCA_CSUM_UPDATE_FLAG_IPV4HDR, " ip4h"),
        (TCA_CSUM_UPDATE_FLAG_ICMP, " icmp"),
        (TCA_CSUM_UPDATE_FLAG_TCP, " tcp"),
        (TCA_CSUM_UPDATE_FLAG_UDP, " udp"),
    ];
    let chosen = words.iter().filter(|(flag, _)| flags & flag != 0).map(|(_, word)| *word);
    line.push_str(&chosen.collect::<Vec<_>>().join(" and"));
}

fn pedit(line: &mut String, words: &[PeditWord]) {
    let (Some(first), Some((value, mask))) = (words.first(), words_to_fields(words)) else {
        return;
    };
    for field in mask.fields() {
        let _ = write!(line, " munge {} set ", munged(first.header, field));
        let (value, mask) = (value.get(field), mask.get(field));
        let [.., a, b, c, d] = value.to_be_bytes();
        let _ = match field {
            Field::EthDst | Field::EthSrc => {
                mac(line, &value.to_be_bytes()[10..]);
                Ok(())
            }
            Field::Ipv4Src | Field::Ipv4Dst => write!(line, "{}", Ipv4Addr::new(a, b, c, d)),
            Field::Ipv6Src | Field::Ipv6Dst => write!(line, "{}", Ipv6Addr::from(value)),
            Field::IpTos => write!(line, "{value:#x}"),
            _ => write!(line, "{value}"),
        };
        if mask != field.full_mask() {
            let _ = write!(line, " retain {mask:#x}");
        }
    }
}

/// Returns the name of a field in `tc-pedit(8)`.
fn munged(header: Header, field: Field) -> &'static str {
    match (header, field) {
        (Header::Ethernet, Field::EthDst) => "eth dst",
        (Header::Ethernet, _) => "eth src",
        (Header::Ipv4, Field::Ipv4Src) => "ip src",
        (Header::Ipv4, Field::Ipv4Dst) => "ip dst",
        (Header::Ipv4, Field::IpTos) => "ip tos",
        (Header::Ipv4, _) => "ip ttl",
        (Header::Ipv6, Field::Ipv6Src) => "ip6 src",
        (Header::Ipv6, Field::Ipv6Dst) => "ip6 dst",
        (Header::Ipv6, Field::IpTos) => "ip6 traffic_class",
        (Header::Ipv6, _) => "ip6 hoplimit",
        (Header::Tcp, Field::TpSrc) => "tcp sport",
        (Header::Tcp, _) => "tcp dport",
        (Header::Udp, Field::TpSrc) => "udp sport",
        (Header::Udp, _) => "udp dport",
    }
}
