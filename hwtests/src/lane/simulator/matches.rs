//! Every key that a rule can match: a frame that it takes, and one that it must leave alone.

use super::frames::{Flags, Inner, MAC_1, UDP, arp, fragment, ipv4, ipv6, udp};
use super::rig::{expect, install, output, send};
use crate::check::Checks;
use crate::frame::{mpls, readdressed, tag};

#[derive(Clone)]
struct Case {
    /// What tc calls the rule, without flags and action.
    rule: &'static str,
    hit: Vec<u8>,
    miss: Vec<u8>,
}

pub(super) fn run(checks: &mut Checks) {
    let cases = [ethernet(), vlan(), network(), transport(), others()].concat();
    for Case { rule, hit, miss } in &cases {
        checks.check(&format!("match {rule}"), || {
            let (protocol, keys) = rule.split_once(' ').unwrap_or((rule, ""));
            let action = "action mirred egress redirect dev swrep1";
            install(&[&format!("protocol {protocol} flower skip_sw {keys} {action}")])?;
            expect(&send(hit)?, &[output("swvf1", hit)])?;
            expect(&send(miss)?, &[output("swrep0", miss)])
        });
    }
}

fn case(rule: &'static str, hit: Vec<u8>, miss: Vec<u8>) -> Case {
    Case { rule, hit, miss }
}

fn ethernet() -> Vec<Case> {
    let other = readdressed(&udp(), [2, 0, 0, 9, 0, 2], [2, 0, 0, 0, 0, 9]);
    let tagged = tag(&udp(), 0x8100, 5);
    vec![
        case("all dst_mac 02:00:00:00:00:00/ff:ff:ff:ff:00:00", udp(), other.clone()),
        case("all src_mac 02:00:00:00:00:01", udp(), other.clone()),
        case("all dst_mac 02:00:00:00:00:02", tagged.clone(), other),
        case("ip", udp(), tagged),
        case("ip dst_ip 10.0.0.2", udp(), tag(&udp(), 0x8100, 0)),
        case("0x88b5", [&MAC_1[..], &MAC_1, &[0x88, 0xb5, 1, 2, 3]].concat(), udp()),
    ]
}

fn vlan() -> Vec<Case> {
    let inner = |ip| ipv4(UDP, |h| h.destination = ip);
    let double = |id| tag(&tag(&udp(), 0x8100, id), 0x88a8, 5);
    vec![
        case("802.1Q", tag(&udp(), 0x8100, 0), udp()),
        case("802.1Q vlan_id 5", tag(&udp(), 0x8100, 5), tag(&udp(), 0x8100, 6)),
        case("802.1Q vlan_id 5 vlan_prio 3", tag(&udp(), 0x8100, 0x6005), tag(&udp(), 0x8100, 5)),
        case("802.1Q vlan_id 5", tag(&udp(), 0x8100, 0xf005), tag(&udp(), 0x88a8, 5)),
        case(
            "802.1Q vlan_id 5 vlan_ethtype ip dst_ip 10.0.0.2",
            tag(&udp(), 0x8100, 5),
            tag(&inner([10, 0, 0, 3]), 0x8100, 5),
        ),
        case("802.1ad vlan_id 5 vlan_ethtype 802.1q cvlan_id 6", double(6), double(7)),
        case(
            "802.1ad vlan_id 5 vlan_ethtype 802.1q cvlan_id 6 cvlan_ethtype ip dst_ip 10.0.0.2",
            double(6),
            tag(&udp(), 0x88a8, 5),
        ),
        case("802.1Q vlan_id 5 vlan_ethtype ip", tag(&udp(), 0x8100, 5), {
            tag(&tag(&udp(), 0x8100, 5), 0x8100, 5)
        }),
    ]
}

fn network() -> Vec<Case> {
    let v6 = ipv6(UDP, |_| {});
    let far = ipv6(UDP, |h| h.destination[7] = 1);
    let tcp = Inner::Tcp(1000, 2000, Flags::Syn);
    vec![
        case("ip src_ip 10.0.0.0/24", udp(), ipv4(UDP, |h| h.source = [10, 0, 1, 1])),
        case("ip dst_ip 10.0.0.2/31", ipv4(UDP, |h| h.destination = [10, 0, 0, 3]), {
            ipv4(UDP, |h| h.destination = [10, 0, 0, 4])
        }),
        case("ip ip_proto udp", udp(), ipv4(tcp, |_| {})),
        case(
            "ip ip_tos 0x10/0xf0",
            ipv4(UDP, |h| h.dscp = dscp(0x1c)),
            ipv4(UDP, |h| {
                h.dscp = dscp(0x2c);
            }),
        ),
        case("ip ip_ttl 64", udp(), ipv4(UDP, |h| h.time_to_live = 63)),
        case("ip ip_flags frag", fragment(true, |_| {}), udp()),
        case("ip ip_flags nofrag", udp(), fragment(false, |_| {})),
        case("ip ip_flags frag/nofirstfrag", fragment(false, |_| {}), fragment(true, |_| {})),
        case("ip ip_flags frag/firstfrag", fragment(true, |_| {}), fragment(false, |_| {})),
        case("ip ip_proto udp dst_port 2000", udp(), fragment(true, |_| {})),
        case("ipv6 dst_ip fd00::/64", v6.clone(), far),
        case("ipv6 src_ip fd00::1", v6.clone(), ipv6(UDP, |h| h.source[15] = 9)),
        case("ipv6 ip_tos 0x20/0xe0", ipv6(UDP, |h| h.traffic_class = 0x3f), v6.clone()),
        case("ipv6 ip_ttl 64", v6.clone(), ipv6(UDP, |h| h.hop_limit = 1)),
        case("ipv6", v6, udp()),
    ]
}

/// The DSCP part of a tos byte.
fn dscp(tos: u8) -> etherparse::IpDscp {
    etherparse::IpDscp::try_new(tos >> 2).unwrap_or_default()
}

fn transport() -> Vec<Case> {
    let tcp = |from, to, flags| ipv4(Inner::Tcp(from, to, flags), |_| {});
    let echo = |id| ipv4(Inner::Echo(id), |_| {});
    let mut reply = echo(1);
    reply[34] = 0;
    let mut code = echo(1);
    code[35] = 3;
    vec![
        case("ip ip_proto udp src_port 1000 dst_port 2000", udp(), {
            ipv4(Inner::Udp(1000, 2001), |_| {})
        }),
        case("ip ip_proto udp dst_port 0x0700/0xff00", udp(), ipv4(Inner::Udp(1000, 80), |_| {})),
        case(
            "ip ip_proto tcp dst_port 80",
            tcp(1, 80, Flags::Ack),
            ipv4(Inner::Udp(1, 80), |_| {}),
        ),
        case("ip ip_proto tcp tcp_flags 0x2/0x2", tcp(1, 80, Flags::Syn), tcp(1, 80, Flags::Ack)),
        case("ip ip_proto icmp type 8", echo(1), reply),
        case("ip ip_proto icmp code 0", echo(1), code),
        case("ipv6 ip_proto udp dst_port 2000", ipv6(UDP, |_| {}), {
            ipv6(Inner::Tcp(1000, 2000, Flags::Syn), |_| {})
        }),
        case("ipv6 ip_proto icmpv6 type 128", ipv6(Inner::Echo(1), |_| {}), ipv6(UDP, |_| {})),
    ]
}

fn others() -> Vec<Case> {
    vec![
        case("arp arp_op request arp_tip 10.0.0.2", arp([10, 0, 0, 2]), arp([10, 0, 0, 3])),
        case("arp arp_sip 10.0.0.0/24 arp_sha 02:00:00:00:00:01", arp([10, 0, 0, 2]), udp()),
        case("mpls_uc mpls_label 100", mpls(&udp(), 100, 0, 64), mpls(&udp(), 101, 0, 64)),
        case("mpls_uc mpls_tc 5 mpls_ttl 3", mpls(&udp(), 1, 5, 3), mpls(&udp(), 1, 5, 4)),
    ]
}
