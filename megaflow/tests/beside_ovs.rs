//! Asks Debian's Open vSwitch and the running daemon the same questions: each filter has to show
//! the same megaflows in both.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod common;

use std::collections::BTreeSet;

use common::daemon::{Daemon, Folder};
use common::net::Lan;
use common::ovs::Ovs;

/// A sequence of random numbers from a fixed seed.
struct Dice(u64);

impl Dice {
    /// A number below this one.
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) % end
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[usize::try_from(self.below(of.len() as u64)).unwrap()]
    }

    /// One of the words, or an empty text.
    fn perhaps(&mut self, of: &[&str]) -> String {
        if self.below(2) == 0 { String::new() } else { self.one(of).to_owned() }
    }
}

/// A megaflow in a scope of its own, so that no two megaflows overlap.
fn flow(dice: &mut Dice, scope: u32) -> String {
    let port = dice.one(&["1", "2"]);
    let eth = dice.perhaps(&["src=02:00:00:00:00:01", "dst=02:00:00:00:00:02"]);
    let layer4 = |dice: &mut Dice| {
        let tcp = "proto=6,,tcp(dst=80),tcp_flags(+syn)";
        let l4 =
            ["", tcp, "proto=6,,tcp(src=7)", "proto=17,,udp(dst=53)", "proto=132,,sctp(dst=9)"];
        let l4 = dice.one(&l4);
        let (proto, rest) = l4.split_once(",,").unwrap_or_default();
        (proto.to_owned(), if rest.is_empty() { String::new() } else { format!(",{rest}") })
    };
    let inner = match dice.below(5) {
        0 => {
            let op = dice.perhaps(&["op=1", "op=2"]);
            format!("eth_type(0x0806),arp(sip=10.0.0.{}{}{op})", dice.below(3), comma(&op))
        }
        1 => {
            let (proto, l4) = layer4(dice);
            let address = dice.one(&["src=fe80::/ffc0::", "dst=fe80::1", "src=fe80::2"]);
            format!("eth_type(0x86dd),ipv6({address}{}{proto},frag=no){l4}", comma(&proto))
        }
        2 => "eth_type(0x88b5)".to_owned(),
        _ => {
            let (proto, l4) = layer4(dice);
            let bits = dice.perhaps(&["ttl=64", "tos=0x4/0xfc", "tos=0x1/0x3", "src=10.0.0.1"]);
            let address = ["dst=10.0.0.0/255.0.0.0", "dst=10.0.0.1", "dst=10.1.2.3"];
            let all = [dice.one(&address), &bits, &proto, "frag=no"];
            let all: Vec<&str> = all.into_iter().filter(|part| !part.is_empty()).collect();
            format!("eth_type(0x0800),ipv4({}){l4}", all.join(","))
        }
    };
    let inner = match dice.below(3) {
        0 => {
            let vlan = dice.one(&["vid=5,pcp=0", "vid=5/0xfff,pcp=0/0x0", "vid=6,pcp=3"]);
            format!("eth_type(0x8100),vlan({vlan}),encap({inner})")
        }
        _ => inner,
    };
    format!("recirc_id({scope:#x}),in_port({port}),eth({eth}),{inner}")
}

fn comma(next: &str) -> &str {
    if next.is_empty() { "" } else { "," }
}

/// Words that OVS takes in a filter. A word that another word needs stands before it.
const WORDS: &[&str] = &[
    "in_port=1",
    "in_port=right",
    "in_port=9",
    "recirc_id=3",
    "dl_src=02:00:00:00:00:01",
    "eth_dst=02:00:00:00:00:03",
    "dl_vlan=5",
    "dl_vlan=6",
    "dl_vlan=0xffff",
    "dl_vlan_pcp=3",
    "vlan_vid=0x1005",
    "vlan_tci=0x1005",
    "vlan_tci=0",
    "in_port(1)",
    "in_port(1),eth_type(0x800)",
    "reg0=5",
    "ct_mark=7",
    "tun_id=9",
    "pkt_mark=1",
    "metadata=3",
];
const TYPES: &[&str] = &[
    "ip",
    "tcp",
    "udp",
    "sctp",
    "icmp",
    "arp",
    "rarp",
    "ipv6",
    "tcp6",
    "udp6",
    "icmp6",
    "mpls",
    "dl_type=0x88b5",
    "eth_type=0x800",
    "dl_type=0x0806",
    "tcp tcp_dst=80",
    "tcp,tp_dst=81",
    "tcp,tp_src=7",
    "udp,udp_dst=53",
    "tcp6,tcp_flags=syn",
    "tcp,tcp_flags=0x10",
    "ip,nw_ttl=64",
    "ip,nw_ttl=3",
    "ip,nw_tos=4",
    "ip,nw_tos=3",
    "ip,nw_ecn=1",
    "ip,ip_dscp=1",
    "ip,nw_proto=6",
    "ip,nw_dst=10.0.0.1",
    "tcp,nw_src=10.0.0.2",
    "ip,ip_frag=later",
    "ip,nw_frag=no",
    "arp,arp_op=1",
    "arp,arp_spa=10.0.0.1",
    "arp,arp_tpa=10.0.0.9",
    "arp,arp_sha=02:00:00:00:00:01",
    "ipv6,ipv6_src=fe80::2",
    "ipv6,ipv6_dst=fe80::1",
    "ipv6,ipv6_label=5",
    "ipv6,nw_proto=17",
    "icmp,icmp_type=3",
    "icmp6,icmpv6_type=135",
    "mpls,mpls_label=7",
];

/// The matches of a dump.
fn matches(dump: &str) -> BTreeSet<String> {
    let flows = dump.lines().filter(|line| line.contains(", packets:"));
    flows.map(|line| line.split(", packets:").next().unwrap().to_owned()).collect()
}

#[test]
fn a_filter_shows_the_megaflows_that_ovs_shows() {
    let lan = Lan::new(false);
    let folder = Folder::new();
    let config = folder.example().replace("client = \"l2\"", "client = \"none\"");
    let daemon = Daemon::start(&lan.switch, &folder, &config);
    let ovs = Ovs::new();
    let mut dice = Dice(20_241_125);
    for scope in 1..=60 {
        let flow = flow(&mut dice, scope);
        for said in [
            ovs.try_appctl(&["dpctl/add-flow", &flow, "2"]),
            daemon.try_appctl(&["dpctl/add-flow", &flow, "2"]),
        ] {
            assert!(said.code == Some(0), "{flow}: {said:?}");
        }
    }
    let ask = |filter: &str| {
        let filter = format!("filter={filter}");
        let theirs = ovs.appctl(&["dpctl/dump-flows", &filter]);
        (matches(&theirs), matches(&daemon.appctl(&["dpctl/dump-flows", &filter])))
    };
    let (theirs, ours) = ask("");
    assert!(theirs == ours && ours.len() == 60, "{theirs:#?}\n{ours:#?}");
    let mut partial = 0;
    for round in 0..150 {
        let filter = match round {
            0..43 => TYPES[round].to_owned(),
            43..63 => WORDS[round - 43].to_owned(),
            _ => format!("{},{}", dice.one(WORDS), dice.one(TYPES)),
        };
        // In OVS it is an error if a filter has the EtherType twice.
        if filter.matches("_type(").count() > 0 && round >= 63 {
            continue;
        }
        let (theirs, ours) = ask(&filter);
        assert_eq!(ours, theirs, "filter={filter}");
        partial += usize::from(!ours.is_empty() && ours.len() < 60);
    }
    assert!(partial > 50, "{partial} filters showed some and not all");
    // The command and the page give the same answer to a filter.
    let shown = ask("tcp").1.len();
    let listed = daemon.says("flows", &["--json", "tcp"]);
    assert_eq!(listed.matches("\"match\"").count(), shown);
    let all = daemon.appctl(&["offload/flows", "all"]);
    assert_eq!(all.matches("\"match\"").count(), 60);
    assert_eq!(
        daemon.appctl(&["offload/flows", "all", "tcp"]),
        daemon.appctl(&["offload/flows", "tcp"])
    );
    let page = common::daemon::http(&lan.switch, "GET", "/api/v1/flows?filter=tcp", "localhost");
    assert_eq!(page.body.matches("\"match\"").count(), shown, "{page:?}");
}
