//! Sends the same frames with the same actions through Debian's Open vSwitch and through
//! `replay`. The outputs have to be the same, byte for byte. The frames are the parser's hostile
//! ones: lying lengths, headers cut short, fragments, two and three tags.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod common;

use std::collections::BTreeSet;

use common::daemon::Folder;
use common::ovs::Ovs;
use common::pcap::{capture, frames, hex};
use common::{says, until};
use flow::{Key, Match, odp, packet};

const ACTIONS: &[&str] = &[
    "2",
    "set(eth(dst=02:00:00:00:00:99)),2",
    "set(ipv4(ttl=9)),2",
    "set(ipv4(src=192.0.2.1)),2",
    "set(ipv4(dst=192.0.2.2,tos=0x20/0xfc)),2",
    "set(ipv6(dst=2001:db8::1,hlimit=9)),2",
    "set(ipv6(label=0x54321,tclass=0x70)),2",
    "set(tcp(src=7,dst=8)),2",
    "set(udp(dst=9)),2",
    "set(sctp(src=7)),2",
    "set(arp(op=2,sip=192.0.2.1)),2",
    "set(icmp(type=3,code=1)),2",
    "push_vlan(vid=3,pcp=1),2",
    "push_vlan(vid=3,pcp=1),set(ipv4(ttl=9)),2",
    "push_vlan(vid=3,pcp=1),set(ipv6(hlimit=9)),set(udp(src=5)),2",
    "push_vlan(tpid=0x88a8,vid=3,pcp=1),push_vlan(vid=4,pcp=0),set(ipv4(src=192.0.2.1)),2",
    "pop_vlan,2",
    "pop_vlan,set(ipv4(ttl=9)),2",
    "pop_vlan,pop_vlan,set(ipv6(hlimit=9)),2",
    "pop_vlan,push_vlan(vid=9,pcp=0),set(udp(src=5,dst=6)),2",
    "set(mpls(label=7,tc=0,ttl=3,bos=1)),2",
    "trunc(20),2",
];

/// Frames from whose keys Open vSwitch makes no megaflow: they have no EtherType, a tag or label
/// that is cut off, or attributes that our keys do not have.
const NOT_TAKEN: &[&str] = &["llc-stp", "mpls-cut", "nd-solicit", "nsh", "snap-low", "vlan-cut"];

/// The frames of the parser's corpus that are Ethernet frames, by name.
fn corpus() -> Vec<(String, Vec<u8>)> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../flow/tests/corpus");
    let mut found = Vec::new();
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let digits: String = text.lines().filter(|line| !line.starts_with('#')).collect();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        found.push((name, hex(&digits)));
    }
    found.retain(|(_, frame)| frame.len() >= 14);
    found.sort();
    found
}

/// A match on every attribute of the frame's key, because OVS wants whole attributes.
fn matching(frame: &[u8]) -> Match {
    let key = Key { in_port: 1, ..packet::extract(frame) };
    odp::parse_match(&odp::format_key(&key)).unwrap()
}

/// Returns true for cases that Open vSwitch 3.1 gets wrong. It fails an assertion if the network
/// header to rewrite is not whole. When it rewrites addresses, it writes a TCP checksum into the
/// data of later fragments, and does not update a TCP checksum behind an IPv6 fragment header.
/// The kernel does as we do.
fn wrong_in_ovs(frame: &[u8], actions: &str) -> bool {
    let key = packet::extract(frame);
    let tags = [key.vlan_tci, key.cvlan_tci].iter().filter(|tci| **tci != 0).count();
    let network = frame.get(14 + 4 * tags..).unwrap_or_default();
    let headers = [("set(ipv4", 20), ("set(ipv6", 40), ("set(arp", 28), ("mpls", 4)];
    let cut = headers.iter().any(|(set, length)| actions.contains(set) && network.len() < *length);
    let addressed = ["ipv4(src=", "ipv4(dst=", "ipv6(dst="].iter().any(|set| actions.contains(set));
    let later = key.ip_frag == 2 && key.ip_proto == 6;
    let behind_a_fragment_header = key.eth_type == 0x86dd && network.get(6) == Some(&44);
    cut || addressed && (later || behind_a_fragment_header)
}

#[test]
fn what_comes_out_is_what_ovs_sends() {
    let ovs = Ovs::new();
    let folder = Folder::new();
    let (mut flows, mut sent, mut names) = (String::new(), Vec::new(), Vec::new());
    let mut not_taken = BTreeSet::new();
    for (name, frame) in corpus() {
        for actions in ACTIONS {
            // Each frame gets a source address of its own, and by it a megaflow of its own.
            let number = u16::try_from(sent.len()).unwrap().to_be_bytes();
            let mut frame = frame.clone();
            frame[6..12].copy_from_slice(&[2, 0, 0, 0x52, number[0], number[1]]);
            let matching = matching(&frame);
            let list = odp::parse_actions(actions).unwrap();
            if flow::validate(&matching, &list).is_err() || wrong_in_ovs(&frame, actions) {
                continue;
            }
            let text = odp::format_match(&matching);
            let added = ovs.try_appctl(&["dpctl/add-flow", &text, actions]);
            if added.err.contains("updating flow table") {
                not_taken.insert(name.clone());
                continue;
            }
            assert_eq!((added.code, added.err.as_str()), (Some(0), ""), "{name}: {text} {actions}");
            let digits: String = frame.iter().map(|byte| format!("{byte:02x}")).collect();
            ovs.appctl(&["netdev-dummy/receive", "left", &digits]);
            flows.push_str(&format!("{text},actions:{actions}\n"));
            names.push(format!("{name} {actions} {text}"));
            sent.push(frame);
        }
    }
    assert_eq!(not_taken.into_iter().collect::<Vec<_>>(), NOT_TAKEN);
    assert!(sent.len() > 300, "{}", sent.len());
    let mut theirs = Vec::new();
    until("Open vSwitch has sent them", || {
        theirs = frames(&std::fs::read(ovs.sent()).unwrap());
        theirs.len() >= sent.len()
    });
    std::fs::write(folder.file("in.pcap"), capture(&sent)).unwrap();
    let flows = folder.write("flows", &flows);
    let inputs = format!("1={}", folder.file("in.pcap"));
    says(&["replay", "--flows", &flows, "--in", &inputs, "--out", &folder.file("out")]);
    let ours = frames(&std::fs::read(folder.path().join("out/2.pcap")).unwrap());
    assert_eq!((ours.len(), theirs.len()), (sent.len(), sent.len()));
    let mut differing = Vec::new();
    for (number, name) in names.iter().enumerate() {
        if ours[number] != theirs[number] {
            differing.push(format!(
                "{name}\n  in     {:02x?}\n  ours   {:02x?}\n  theirs {:02x?}",
                sent[number], ours[number], theirs[number]
            ));
        }
    }
    assert!(differing.is_empty(), "{} differ:\n{}", differing.len(), differing.join("\n"));
}
