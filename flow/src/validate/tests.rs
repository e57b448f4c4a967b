use super::*;
use crate::{Key, Mask, PortId, VLAN_PRESENT, odp};

fn check(matching: &str, actions: &str) -> Result<(), String> {
    let matching = odp::parse_match(&format!("in_port(1),{matching}")).unwrap();
    let actions = odp::parse_actions(actions).unwrap();
    validate(&matching, &actions).map_err(|error| error.to_string())
}

const TCP: &str = "eth_type(0x0800),ipv4(proto=6,frag=no),tcp(dst=80)";
const OPEN: &str = "eth_type(0x0800),ipv4(proto=6),tcp(dst=80)";
const ARP: &str = "eth_type(0x0806),arp(op=1)";
const MPLS: &str = "eth_type(0x8847),mpls(label=5,tc=0,ttl=9,bos=1)";
const TAGGED: &str = "eth_type(0x8100),vlan(vid=5,pcp=0),encap(eth_type(0x0800))";

#[test]
fn good_flows_are_taken() {
    let cases = [
        ("eth()", "drop"),
        (TCP, "65534"),
        (TCP, "set(dp_hash(0x5)),recirc(0x1)"),
        (
            TCP,
            "push_vlan(vid=1,pcp=0),push_vlan(vid=2,pcp=0),pop_vlan,pop_vlan,\
               push_mpls(label=1,tc=0,ttl=1,bos=1,eth_type=0x8847),1",
        ),
        ("eth()", "1,set(eth(src=00:01:02:03:04:05)),push_vlan(vid=1,pcp=0),2,pop_vlan"),
        (TCP, "set(ipv4(src=1.2.3.4,ttl=9)),set(tcp(src=1)),1"),
        (OPEN, "set(tcp(src=1)),1"),
        (TCP, "push_vlan(vid=1,pcp=0),set(ipv4(ttl=1)),1"),
        (TCP, "set(ipv4(src=1.1.1.1,dst=2.2.2.2,proto=6,tos=0,ttl=1,frag=no)),1"),
        (TCP, "push_mpls(label=1,tc=0,ttl=1,bos=1,eth_type=0x8847),set(mpls(ttl=9)),1"),
        (TCP, "hash(l4(0)),recirc(0x5)"),
        (TCP, "trunc(14),1,userspace(pid=9,userdata(01))"),
        (ARP, "set(arp(op=2))"),
        (MPLS, "set(mpls(ttl=8)),pop_mpls(eth_type=0x800),recirc(0x7)"),
        (TAGGED, "pop_vlan,push_mpls(label=1,tc=0,ttl=1,bos=1,eth_type=0x8848),1"),
        ("eth_type(0x86dd),ipv6(proto=58),icmpv6(type=135)", "set(icmpv6(type=136))"),
        (
            TCP,
            "sample(sample=1.0%,actions(push_mpls(label=1,tc=0,ttl=1,bos=1,eth_type=0x8847),1)),\
               set(ipv4(ttl=1)),1",
        ),
    ];
    for (matching, actions) in cases {
        assert_eq!(check(matching, actions), Ok(()), "{matching} {actions}");
        // What is valid for a match is valid for a packet that hits the match.
        let key = odp::parse_match(&format!("in_port(1),{matching}")).unwrap().key();
        let later = Key { ip_frag: if matching == OPEN { odp::LATER } else { key.ip_frag }, ..key };
        let actions = odp::parse_actions(actions).unwrap();
        for key in [key, later] {
            assert_eq!(validate_actions(&key, &actions), Ok(()), "{matching} {actions:?}");
        }
    }
}

#[test]
fn bad_actions_are_named() {
    let push = "push_mpls(label=1,tc=0,ttl=1,bos=1,eth_type=0x8847)";
    let pop = "pop_mpls(eth_type=0x800)";
    let cases = [
        (TCP, "trunc(13),1", "trunc(13): shorter"),
        (TCP, "userspace(pid=0)", "userspace(pid=0): pid 0"),
        (TCP, "push_vlan(tpid=0x9100,vid=1,pcp=0)", "TPID 0x9100"),
        (TCP, "push_vlan(vid=1,pcp=0,cfi=0)", "push_vlan(vid=1,pcp=0,cfi=0): cfi=0"),
        (TAGGED, push, "there is a VLAN tag"),
        ("eth_type(0x0800),vlan(cfi=0/0)", push, "leaves open whether there is a VLAN tag"),
        ("vlan(cfi=0/0)", push, "leaves open"),
        ("eth()", push, "the EtherType is not known here"),
        (
            TCP,
            "push_vlan(vid=1,pcp=0),push_vlan(vid=2,pcp=0),pop_vlan,push_mpls(label=1,tc=0,\
               ttl=1,bos=1,eth_type=0x8847)",
            "there is a VLAN tag",
        ),
        (TCP, "65535", "65535: a port's number is at most 65534"),
        (TCP, "sample(sample=1.0%,actions(4294967295))", "4294967295: a port's number"),
        ("eth_type(0x88cc)", push, "can't be pushed in front of EtherType 0x88cc"),
        (TCP, "push_mpls(label=1,tc=0,ttl=1,bos=1,eth_type=0x800)", "not an EtherType of MPLS"),
        (TCP, pop, "a packet of EtherType 0x0800 has no label"),
        (MPLS, "pop_mpls(eth_type=0x8847),pop_mpls(eth_type=0x800)", "EtherType is not known"),
        (MPLS, "pop_mpls(eth_type=0x800),set(ipv4(ttl=1))", "recirculate after the last pop_mpls"),
        (MPLS, "set(ipv4(ttl=1))", "a label is in front of this header"),
        ("eth_type(0x0800),ipv4(proto=6)", "set(ipv6(hlimit=1))", "0x0800 has no such header"),
        ("eth()", "set(ipv4(ttl=1))", "the EtherType is not known here"),
        ("eth_type(0x0800)", "set(tcp(src=1))", "needs an exact match on ip_proto 6"),
        (TCP, "set(udp(src=1))", "needs an exact match on ip_proto 17"),
        ("eth_type(0x0800),ipv4(proto=6,frag=later)", "set(tcp(src=1))", "a later fragment"),
        (TCP, "set(ipv4(proto=17))", "ip_proto can't be changed"),
        (TCP, "set(ipv4(frag=first))", "ip_frag can't be changed"),
        (TCP, "set(ipv4(proto=6))", "ip_proto can't be changed"),
        (TCP, "set(tcp_flags(syn))", "this can't be set"),
        (TCP, "set(in_port(2))", "set(in_port(2)): this can't be set"),
        (TAGGED, "set(vlan(vid=9,pcp=0))", "this can't be set"),
        (ARP, "set(mpls(ttl=1))", "0x0806 has no such header"),
        (TCP, "sample(sample=1.0%,actions(trunc(1),2))", "trunc(1)"),
    ];
    for (matching, actions, why) in cases {
        let error = check(matching, actions).expect_err(actions);
        assert!(error.contains(why), "{matching} {actions}: {error}");
    }
    let two = "eth_type(0x8847),mpls(label=5,tc=0,ttl=9,bos=0,label=6,tc=0,ttl=9,bos=1)";
    assert_eq!(check(two, "pop_mpls(eth_type=0x8847),pop_mpls(eth_type=0x800)"), Ok(()));
}

#[test]
fn nesting_ends_at_sixteen() {
    let nested =
        |depth| format!("{}1{}", "sample(sample=50.0%,actions(".repeat(depth), "))".repeat(depth));
    assert_eq!(check("eth()", &nested(16)), Ok(()));
    assert!(check("eth()", &nested(17)).expect_err("17").contains("more than 16 deep"));
}

#[test]
fn bad_matches_are_named() {
    let full = u16::MAX;
    let ipv4 = Key { eth_type: 0x0800, ip_proto: 6, ip_frag: 2, ..Key::default() };
    let tag = |tpid| Key { vlan_tpid: tpid, vlan_tci: VLAN_PRESENT | 5, ..ipv4 };
    let exact_type = Mask { eth_type: full, ..Mask::default() };
    let exact = Mask { eth_type: full, ip_proto: 0xff, ..Mask::default() };
    let cases = [
        (ipv4, Mask { eth_type: 0xfff0, ip_ttl: 1, ..Mask::default() }, "ip_ttl: needs an exact"),
        (ipv4, Mask { ip_proto: 0xfe, tp_src: 1, ..exact }, "tp_src: needs an exact match on ip_"),
        (ipv4, Mask { ip_frag: 0xff, tp_src: 1, ..exact }, "tp_src: a later fragment"),
        (ipv4, Mask { ip_frag: 1, ..exact }, "ip_frag: expected an exact match"),
        (ipv4, Mask { ipv6_src: 1, ..exact }, "ipv6_src: needs an exact match on eth_type 0x86dd"),
        (ipv4, Mask { arp_op: 1, ..exact }, "arp_op: needs"),
        (ipv4, Mask { mpls0: 1, ..exact }, "mpls0: needs"),
        (Key { ip_proto: 17, ..ipv4 }, Mask { tcp_flags: 1, ..exact }, "tcp_flags: needs"),
        (ipv4, Mask { vlan_tci: 0x0fff, ..exact }, "vlan_tci: a match on a tag's bits"),
        (Key { vlan_tci: 5, ..ipv4 }, Mask { vlan_tci: full, ..exact }, "without a tag"),
        (tag(0x9100), Mask { vlan_tpid: full, vlan_tci: full, ..exact }, "TPID 0x9100"),
        (tag(0x8100), Mask { vlan_tpid: full, ..exact }, "vlan_tpid: a match on a tag's TPID"),
        (Key { in_port: 65_535, ..ipv4 }, Mask { in_port: u32::MAX, ..exact }, "in_port: a port's"),
        (Key { eth_type: 0x8100, ..ipv4 }, exact_type, "eth_type: 0x8100 is the EtherType of"),
        (Key { cvlan_tci: 0x1005, ..ipv4 }, Mask { cvlan_tci: full, ..exact }, "needs an outer"),
        (
            Key { ip_proto: 1, ip_frag: 0, tp_src: 0x100, ..ipv4 },
            Mask { tp_src: full, ..exact },
            "tp_src: an ICMP type or code has eight bits",
        ),
    ];
    for (key, mask, why) in cases {
        let error = validate(&Match::new(&key, &mask), &[]).expect_err(why).to_string();
        assert!(error.contains(why), "{why}: {error}");
    }
}

#[test]
fn sets_built_by_hand_are_checked_bit_by_bit() {
    let matching = odp::parse_match(&format!("in_port(1),{TCP}")).unwrap();
    let actions = odp::parse_actions("set(ipv4(ttl=1))").unwrap();
    let Action::Set(good) = &actions[0] else { panic!("a set") };
    let why = |change: &dyn Fn(&mut crate::SetFields)| {
        let mut set = good.clone();
        change(&mut set);
        validate(&matching, &[Action::Set(set)]).expect_err("a bad set").to_string()
    };
    assert!(why(&|set| set.value.ip_tos = 1).contains("outside its mask"));
    assert!(why(&|set| set.mask.tp_src = 1).contains("tp_src belongs to another attribute"));
    assert!(why(&|set| (set.value, set.mask) = Default::default()).contains("nothing is set"));
    let label = |set: &mut crate::SetFields| {
        (set.attr, set.protocol) = (crate::Attr::Ipv6, 6);
        set.mask.ipv6_label = u32::MAX;
    };
    assert!(why(&label).contains("ipv6_label has 20 bits"));
}

#[test]
fn every_fault_is_told_and_each_once() {
    let open = Mask { ip_proto: 0xff, ip_ttl: 0xff, ip_frag: 1, ..Mask::default() };
    let actions = "trunc(13),trunc(13),push_vlan(tpid=0x9100,vid=1,pcp=0,cfi=0),\
                   sample(sample=1.0%,actions(65535)),set(tcp(src=1)),1";
    let actions = odp::parse_actions(actions).unwrap();
    let key = Key { in_port: 65_535, ..Key::default() };
    let invalid = validate(&Match::new(&key, &open), &actions).unwrap_err();
    let faults = [
        ("in_port", "a port's number is at most 65534"),
        ("ip_frag", "expected an exact match on no, first or later"),
        ("ip_proto", "needs an exact match on eth_type 0x0800 or 0x86dd"),
        ("ip_ttl", "needs an exact match on eth_type 0x0800 or 0x86dd"),
        ("ip_frag", "needs an exact match on eth_type 0x0800 or 0x86dd"),
        ("trunc(13)", "shorter than an Ethernet header of 14 bytes"),
        ("push_vlan(tpid=0x9100,vid=1,pcp=0,cfi=0)", "TPID 0x9100 is neither 0x8100 nor 0x88a8"),
        (
            "push_vlan(tpid=0x9100,vid=1,pcp=0,cfi=0)",
            "cfi=0 means no tag, but a pushed tag is present",
        ),
        ("65535", "a port's number is at most 65534"),
        ("set(tcp(src=1))", layers::UNKNOWN),
        ("set(tcp(src=1))", "needs an exact match on ip_proto 6"),
    ];
    let told = invalid.faults().iter().map(|fault| (fault.subject.as_str(), fault.why.as_str()));
    assert_eq!(told.collect::<Vec<_>>(), faults);
    let text = faults.map(|(subject, why)| format!("{subject}: {why}")).join("; ");
    assert_eq!(invalid.to_string(), text);
    // What is behind an action at fault is judged as if that action were left out.
    let why = check(TCP, "push_mpls(label=1,tc=0,ttl=1,bos=1,eth_type=0x800),set(ipv4(ttl=1))");
    assert!(why.unwrap_err().ends_with("expected 0x8847 or 0x8848"));
}

#[test]
fn nobody_is_told_thousands_of_faults() {
    let actions: Vec<Action> = (0..5000).map(|n| Action::Output(PortId(MAX_PORTS + n))).collect();
    let key = Key { in_port: 1, ..Key::default() };
    let invalid = validate(&Match::new(&key, &Mask::default()), &actions).unwrap_err();
    assert_eq!(invalid.faults().len(), MAX_FAULTS);
}
