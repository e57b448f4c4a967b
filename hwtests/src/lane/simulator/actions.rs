//! Every action that the card can do, alone and in order, and what it refuses.

use super::frames::{Flags, IP6_2, Inner, MAC_1, MAC_2, UDP, fragment, ipv4, ipv6, udp};
use super::rig::{CardOutput, DEBUG, captured, expect, install, output, through};
use crate::check::{Checks, contains};
use crate::frame::{mpls, readdressed, tag};
use crate::guest;

/// Rules, a frame, and what has to come out.
struct Case {
    name: &'static str,
    rules: Vec<&'static str>,
    frame: Vec<u8>,
    out: Vec<CardOutput>,
}

pub(super) fn run(checks: &mut Checks) {
    let cases = outputs().into_iter().chain(tags()).chain(edits()).chain(sums()).chain(chains());
    for case in cases {
        checks.check(case.name, || expect(&through(&case.rules, &case.frame)?, &case.out));
    }
    checks.check("a frame from a VLAN device is tagged as well", vlan_device);
    for (rule, text) in REFUSED {
        checks.check(&format!("refused: {text}"), || {
            let line = format!("tc filter add dev swrep0 ingress {rule}");
            contains(&guest::refused(&line)?, text)
        });
    }
}

fn case(
    name: &'static str,
    rules: &[&'static str],
    frame: Vec<u8>,
    out: &[(&str, Vec<u8>)],
) -> Case {
    let out = out.iter().map(|(dev, frame)| output(dev, frame)).collect();
    Case { name, rules: rules.to_vec(), frame, out }
}

fn outputs() -> Vec<Case> {
    vec![
        case("drop", &["protocol ip flower skip_sw action drop"], udp(), &[]),
        case(
            "redirect to the uplink",
            &["protocol ip flower skip_sw action mirred egress redirect dev swp0"],
            udp(),
            &[("wire0", udp())],
        ),
        case(
            "outputs in order, with an edit between them",
            &["protocol ip flower skip_sw action mirred egress mirror dev swp0 \
               action vlan push id 7 action mirred egress mirror dev swrep1 \
               action vlan pop action mirred egress redirect dev swrep0"],
            udp(),
            &[("wire0", udp()), ("swvf1", tag(&udp(), 0x8100, 7)), ("swvf0", udp())],
        ),
        case(
            "the lower priority value goes first",
            &[
                "protocol ip pref 20 flower skip_sw action drop",
                "protocol ip pref 10 flower skip_sw action mirred egress redirect dev swrep1",
            ],
            udp(),
            &[("swvf1", udp())],
        ),
    ]
}

fn tags() -> Vec<Case> {
    let tagged = tag(&udp(), 0x8100, 0x6005);
    vec![
        case(
            "vlan push with priority",
            &["protocol ip flower skip_sw action vlan push id 5 priority 3 \
               action mirred egress redirect dev swrep1"],
            udp(),
            &[("swvf1", tagged.clone())],
        ),
        case(
            "vlan push 802.1ad on a tagged frame",
            &["protocol 802.1Q flower skip_sw action vlan push protocol 802.1ad id 9 \
               action mirred egress redirect dev swrep1"],
            tagged.clone(),
            &[("swvf1", tag(&tagged, 0x88a8, 9))],
        ),
        case(
            "vlan pop",
            &["protocol 802.1Q flower skip_sw vlan_id 5 action vlan pop \
               action mirred egress redirect dev swrep1"],
            tagged.clone(),
            &[("swvf1", udp())],
        ),
        case(
            "vlan pop and push: another tag",
            &["protocol 802.1Q flower skip_sw vlan_id 5 action vlan pop \
               action vlan push id 6 action mirred egress redirect dev swrep1"],
            tagged.clone(),
            &[("swvf1", tag(&udp(), 0x8100, 6))],
        ),
        case(
            "vlan modify under a matched priority",
            &["protocol 802.1Q flower skip_sw vlan_id 5 vlan_prio 3 \
               action vlan modify id 8 priority 3 action mirred egress redirect dev swrep1"],
            tagged.clone(),
            &[("swvf1", tag(&udp(), 0x8100, 0x6008))],
        ),
        case(
            "mpls push",
            &["protocol ip flower skip_sw action mpls push protocol mpls_uc label 100 tc 2 ttl 9 \
               action mirred egress redirect dev swrep1"],
            udp(),
            &[("swvf1", mpls(&udp(), 100, 2, 9))],
        ),
        case(
            "mpls pop",
            &["protocol mpls_uc flower skip_sw action mpls pop protocol ip \
               action mirred egress redirect dev swrep1"],
            mpls(&udp(), 100, 2, 9),
            &[("swvf1", udp())],
        ),
        case(
            "mpls modify",
            &["protocol mpls_uc flower skip_sw action mpls modify label 5 ttl 1 \
               action mirred egress redirect dev swrep1"],
            mpls(&udp(), 100, 2, 9),
            &[("swvf1", mpls(&udp(), 5, 2, 1))],
        ),
    ]
}

fn edits() -> Vec<Case> {
    let other = [2, 0, 0, 0, 7, 7];
    vec![
        case(
            "both Ethernet addresses",
            &["protocol ip flower skip_sw action pedit ex \
               munge eth dst set 02:00:00:00:07:07 munge eth src set 02:00:00:00:00:02 \
               action mirred egress redirect dev swrep1"],
            udp(),
            &[("swvf1", readdressed(&udp(), other, MAC_2))],
        ),
        case(
            "an Ethernet address of a tagged frame",
            &["protocol 802.1Q flower skip_sw action pedit ex \
               munge eth dst set 02:00:00:00:07:07 action mirred egress redirect dev swrep1"],
            tag(&udp(), 0x8100, 5),
            &[("swvf1", tag(&readdressed(&udp(), other, MAC_1), 0x8100, 5))],
        ),
        case(
            "ttl minus one",
            &["protocol ip flower skip_sw action pedit ex munge ip ttl add 255 \
               action csum ip action mirred egress redirect dev swrep1"],
            udp(),
            &[("swvf1", ipv4(UDP, |h| h.time_to_live = 63))],
        ),
        case(
            "tos",
            &["protocol ip flower skip_sw action pedit ex munge ip tos set 0xb8 \
               action csum ip action mirred egress redirect dev swrep1"],
            udp(),
            &[("swvf1", ipv4(UDP, |h| h.dscp = etherparse::IpDscp::EF))],
        ),
        case(
            "hop limit and traffic class",
            &["protocol ipv6 flower skip_sw action pedit ex munge ip6 hoplimit set 7 \
               munge ip6 traffic_class set 0x28 action mirred egress redirect dev swrep1"],
            ipv6(UDP, |_| {}),
            &[("swvf1", ipv6(UDP, |h| (h.hop_limit, h.traffic_class) = (7, 0x28)))],
        ),
    ]
}

fn sums() -> Vec<Case> {
    let tcp = |from, to| Inner::Tcp(from, to, Flags::Syn);
    let udp_edit = "protocol ip flower skip_sw ip_proto udp action pedit ex \
        munge ip src set 192.168.7.9 munge udp dport set 53 action csum ip and udp \
        action mirred egress redirect dev swrep1";
    let source = |h: &mut etherparse::Ipv4Header| h.source = [192, 168, 7, 9];
    let mut unsummed = udp();
    unsummed[40..42].fill(0);
    let mut unsummed_after = ipv4(Inner::Udp(1000, 53), source);
    unsummed_after[40..42].fill(0);
    let mut stale = ipv4(UDP, |_| {});
    stale[26..30].copy_from_slice(&[192, 168, 7, 9]);
    vec![
        case(
            "UDP: address, port, both checksums",
            &[udp_edit],
            udp(),
            &[("swvf1", ipv4(Inner::Udp(1000, 53), source))],
        ),
        case("UDP: no checksum stays none", &[udp_edit], unsummed, &[("swvf1", unsummed_after)]),
        case(
            "UDP: the first fragment's checksum covers the whole packet",
            &["protocol ip flower skip_sw action pedit ex munge ip src set 192.168.7.9 \
               action csum ip and udp action mirred egress redirect dev swrep1"],
            fragment(true, |_| {}),
            &[("swvf1", fragment(true, source))],
        ),
        case(
            "UDP: a later fragment keeps its bytes",
            &["protocol ip flower skip_sw ip_proto udp action pedit ex \
               munge ip src set 192.168.7.9 munge udp dport set 53 \
               action csum ip and udp action mirred egress redirect dev swrep1"],
            fragment(false, |_| {}),
            &[("swvf1", fragment(false, source))],
        ),
        case(
            "TCP in a VLAN: ports, address",
            &["protocol 802.1Q flower skip_sw vlan_ethtype ip ip_proto tcp action pedit ex \
               munge ip dst set 10.9.8.7 munge tcp sport set 9 munge tcp dport set 81 \
               action csum ip and tcp action mirred egress redirect dev swrep1"],
            tag(&ipv4(tcp(1, 80), |_| {}), 0x8100, 5),
            &[("swvf1", tag(&ipv4(tcp(9, 81), |h| h.destination = [10, 9, 8, 7]), 0x8100, 5))],
        ),
        case(
            "ICMPv6: an address is part of the checksum",
            &["protocol ipv6 flower skip_sw action pedit ex munge ip6 src set fd00::2 \
               action csum icmp action mirred egress redirect dev swrep1"],
            ipv6(Inner::Echo(5), |_| {}),
            &[("swvf1", ipv6(Inner::Echo(5), |h| h.source = IP6_2))],
        ),
        case(
            "an edit without csum leaves the checksums as they were",
            &["protocol ip flower skip_sw action pedit ex munge ip src set 192.168.7.9 \
               action mirred egress redirect dev swrep1"],
            udp(),
            &[("swvf1", stale)],
        ),
    ]
}

fn chains() -> Vec<Case> {
    let parent = "protocol ip flower skip_sw action mirred egress mirror dev swp0 \
        action pedit ex munge eth dst set 02:00:00:00:07:07 action goto chain 5";
    let moved = readdressed(&udp(), [2, 0, 0, 0, 7, 7], MAC_1);
    vec![
        case(
            "goto: the next chain sees the edited frame",
            &[
                parent,
                "protocol ip chain 5 flower skip_sw dst_mac 02:00:00:00:07:07 \
                 action mirred egress redirect dev swrep1",
            ],
            udp(),
            &[("wire0", udp()), ("swvf1", moved)],
        ),
        case(
            "goto: a miss further on hands up the untouched frame and nothing else",
            &[parent, "protocol ip chain 5 flower skip_sw dst_ip 1.1.1.1 action drop"],
            udp(),
            &[("swrep0", udp())],
        ),
        case(
            "goto: a loop is a miss",
            &[
                "protocol ip flower skip_sw action goto chain 1",
                "protocol ip chain 1 flower skip_sw action goto chain 0",
            ],
            udp(),
            &[("swrep0", udp())],
        ),
    ]
}

/// Tags can also come from the kernel's 802.1Q device rather than in the bytes of a raw frame.
fn vlan_device() -> crate::check::Outcome {
    install(&["protocol 802.1Q flower skip_sw vlan_id 5 action vlan pop \
               action mirred egress redirect dev swrep1"])?;
    guest::run("ip link add link swvf0 name tagging type vlan id 5")?;
    guest::run("ip link set tagging up")?;
    guest::write(&format!("{}/frames", DEBUG), "clear")?;
    guest::RawSocket::open("tagging")?.send(&udp())?;
    let got = captured()?;
    guest::run("ip link del tagging")?;
    expect(&got, &[output("swvf1", &udp())])
}

const REFUSED: &[(&str, &str)] = &[
    (
        "protocol ip flower skip_sw ct_state +trk action drop",
        "swsim: can't match the conntrack state",
    ),
    ("protocol ip flower skip_sw enc_key_id 5 action drop", "swsim: can't match the tunnel id"),
    (
        "protocol ip flower skip_sw ip_proto tcp dst_port 1-9 action drop",
        "swsim: can't match port ranges",
    ),
    ("protocol ip flower skip_sw action sample rate 5 group 3", "swsim: can't do action sample"),
    ("protocol ip flower skip_sw action ct action drop", "swsim: can't do action ct"),
    ("protocol ip flower skip_sw action pass", "swsim: can't do action pass"),
    (
        "protocol ip flower skip_sw action mirred egress redirect dev lo",
        "swsim: lo is no port of this card",
    ),
    (
        "protocol ip flower skip_sw action mirred egress redirect dev wire0",
        "swsim: wire0 is no port of this card",
    ),
    (
        "protocol ip flower skip_sw action mirred ingress redirect dev swrep1",
        "swsim: can't do action redirect to ingress",
    ),
    (
        "protocol ip flower skip_sw action vlan push id 5",
        "swsim: the last action is no drop, redirect or goto",
    ),
    (
        "protocol all flower skip_sw action pedit ex munge ip ttl set 5 action drop",
        "swsim: can't edit the IPv4 header: the rule does not match it",
    ),
    (
        "protocol ip flower skip_sw action pedit ex munge udp dport set 5 action drop",
        "swsim: can't edit the UDP header: the rule does not match it",
    ),
    (
        "protocol ip flower skip_sw action pedit ex munge ip protocol set 5 action drop",
        "of the IPv4 header",
    ),
    (
        "protocol 802.1Q flower skip_sw vlan_id 5 action vlan modify id 6 action drop",
        "swsim: can't change a VLAN tag's priority: match it",
    ),
];
