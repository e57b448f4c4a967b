//! Forms and errors by example; the property tests over all forms are in `flow/tests`.

use super::*;
use crate::{Action, Field, Key, MacAddr, Mask, Match, PortId, VLAN_PRESENT};

/// Lines in exactly the form in which OVS prints them.
const MATCHES: &[&str] = &[
    "recirc_id(0),in_port(1),eth()",
    "recirc_id(0x1f),dp_hash(0x5/0xf),in_port(7),eth(src=00:01:02:03:04:05)",
    "recirc_id(0),in_port(1),eth(dst=01:00:00:00:00:00/01:00:00:00:00:00),eth_type(0x0800),\
     ipv4(src=10.0.0.0/255.0.0.0,proto=6,tos=0/0x3,ttl=64,frag=no),tcp(src=80,dst=0x1f90/0xff00)",
    "recirc_id(0),in_port(1),eth(),eth_type(0x0800),ipv4(proto=6,frag=first),tcp_flags(+syn-ack)",
    "recirc_id(0),in_port(1),eth(),eth_type(0x0800),ipv4(proto=6),tcp_flags(psh|ack)",
    "recirc_id(0),in_port(1),eth(),eth_type(0x0800),ipv4(proto=6),tcp_flags(0)",
    "recirc_id(0),in_port(1),eth(),eth_type(0x0800),ipv4(proto=1,frag=later)",
    "recirc_id(0),in_port(1),eth(),eth_type(0x0800),ipv4(proto=1),icmp(type=8,code=0/0xf)",
    "recirc_id(0),in_port(1),eth(),eth_type(0x86dd),ipv6(src=2001:db8::/ffff:ffff::,dst=::1,\
     label=0x12345,proto=58,tclass=0x70/0xfc,hlimit=255,frag=no),icmpv6(type=135,code=0)",
    "recirc_id(0),in_port(1),eth(),eth_type(0x86dd),ipv6(src=::1.2.3.4,dst=::ffff:1.2.3.4)",
    "recirc_id(0),in_port(1),eth(),eth_type(0x0806),arp(sip=1.2.3.4,tip=1.2.3.0/255.255.255.0,\
     op=1/0xff,sha=00:0f:10:11:12:13,tha=00:00:00:00:00:00)",
    "recirc_id(0),in_port(1),eth(),eth_type(0x8847),\
     mpls(label=100/0xfffff,tc=7/7,ttl=0/0x0,bos=1/1)",
    "recirc_id(0),in_port(1),eth(),eth_type(0x8847),mpls(label=100,tc=3,ttl=64,bos=0,label=5,tc=0,\
     ttl=1,bos=1)",
    "recirc_id(0),in_port(1),eth(),eth_type(0x8100),vlan(vid=99,pcp=7),encap(eth_type(0x0800),\
     ipv4(proto=17,frag=no),udp(src=81,dst=6632))",
    "recirc_id(0),in_port(1),eth(),eth_type(0x88a8),vlan(vid=0,pcp=0),encap(eth_type(0x8100),\
     vlan(vid=5/0xff),encap(eth_type(0x0800),ipv4(frag=no)))",
    "recirc_id(0),in_port(1),eth(),eth_type(0x8100),vlan(),encap()",
    "recirc_id(0),in_port(1),eth(),eth_type(0x8100),vlan(vid=0,pcp=0,cfi=0),encap()",
    "recirc_id(0),in_port(1),eth(),eth_type(0/0xffff)",
    "recirc_id(0),in_port(1),eth(),eth_type(0x1230/0xfff0)",
    "recirc_id(0),in_port(1),eth(),eth_type(0x0800),vlan(cfi=0/0)",
    "recirc_id(0),in_port(1),eth(),vlan(cfi=0/0)",
];

#[test]
fn printed_forms_are_round_trips() {
    for text in MATCHES {
        let text = text.replace("0x1f90", "7936");
        let matching = parse_match(&text).unwrap_or_else(|e| panic!("{text}: {e}"));
        assert_eq!(format_match(&matching), text);
    }
}

#[test]
fn vlan_convention() {
    let mask = |text| *parse_match(text).unwrap().mask();
    assert_eq!(mask("in_port(1),eth_type(0x0800)").vlan_tci, 0xffff);
    assert_eq!(mask("in_port(1),eth()").vlan_tci, 0xffff);
    assert_eq!(mask("in_port(1),eth_type(0x0800/0xff00)").vlan_tci, 0xffff);
    assert_eq!(mask("in_port(1),eth_type(0x0800),vlan(cfi=0/0)").vlan_tci, 0);
    let tagged = "in_port(1),eth_type(0x8100),vlan(vid=5),encap(eth_type(0x0800))";
    let tagged = parse_match(tagged).unwrap();
    let wanted = Mask {
        in_port: u32::MAX,
        recirc_id: u32::MAX,
        vlan_tpid: 0xffff,
        vlan_tci: VLAN_PRESENT | 0xfff,
        cvlan_tci: 0xffff,
        eth_type: 0xffff,
        ..Mask::default()
    };
    assert_eq!(*tagged.mask(), wanted);
    assert_eq!(tagged.key().vlan_tci, VLAN_PRESENT | 5);
    let tci = "in_port(1),eth_type(0x8100),vlan(tci=0x1005/0x1fff),encap(eth_type(0x0800))";
    assert_eq!(parse_match(tci).unwrap(), tagged);
}

#[test]
fn verbose_dumps_are_read() {
    let text = "ufid:01234567-89ab-cdef-0011-223344556677, skb_priority(0/0),skb_mark(0/0),\
        ct_state(0/0),ct_zone(0/0),ct_mark(0/0),ct_label(0/0),recirc_id(0),dp_hash(0/0),\
        in_port(v1),packet_type(ns=0,id=0),\
        eth(src=00:00:00:00:00:09/00:00:00:00:00:00,dst=00:00:00:00:00:0a),\
        eth_type(0x0800),ipv4(src=10.0.0.1/0.0.0.0,dst=10.0.0.2/0.0.0.0,proto=6/0,tos=0/0,ttl=64/0,\
        frag=no),tcp(src=1/0,dst=2/0),tcp_flags(0/0), packets:5, bytes:500, used:0.123s, \
        flags:SFPR., offloaded:yes, dp:tc, actions:v2,3, dp-extra-info:miniflow_bits(4,1)";
    let ports = |name: &str| name.strip_prefix('v').and_then(|n| n.parse().ok()).map(PortId);
    let (ufid, matching, actions) = parse_flow_with(text, &ports).unwrap();
    assert_eq!(ufid.map(|u| u.0), Some(0x0123_4567_89ab_cdef_0011_2233_4455_6677));
    let plain = "recirc_id(0),in_port(1),eth(dst=00:00:00:00:00:0a),eth_type(0x0800),ipv4(frag=no)";
    assert_eq!(format_match(&matching), plain);
    assert_eq!(format_actions(&actions.unwrap()), "2,3");
    assert_eq!(parse_flow(plain).unwrap(), (None, matching, None));
    assert_eq!(parse_flow(&format!("{plain}, actions:drop")).unwrap().2, Some([].into()));
}

/// As `ovs-dpctl parse-actions` and `dump-flows` print them.
const ACTIONS: &[&str] = &[
    "drop",
    "1,2,3",
    "set(eth(src=00:01:02:03:04:05,dst=10:11:12:00:00:00/ff:ff:ff:00:00:00))",
    "set(eth_type(0x1234))",
    "set(in_port(2))",
    "set(ipv4(src=35.8.2.41,dst=172.16.0.20,proto=5,tos=0x80,ttl=128,frag=no))",
    "set(ipv4(tos=0/0x3))",
    "set(ipv6(label=0/0xfff,proto=10,tclass=0x70/0x70))",
    "set(tcp(src=256/0xff00,dst=8080))",
    "set(udp(dst=6633)),set(sctp(src=82)),set(icmp(type=1,code=2)),set(icmpv6(code=2))",
    "set(arp(op=2,sha=00:0f:10:11:12:13))",
    "set(vlan(vid=5))",
    "set(vlan(vid=3,pcp=5,cfi=0))",
    "set(mpls(label=200,tc=7,ttl=64,bos=1))",
    "set(mpls(label=0/0x0,tc=0/0,ttl=63/0xff,bos=0/0))",
    "push_vlan(vid=12,pcp=0)",
    "push_vlan(tpid=0x88a8,vid=13,pcp=5,cfi=0)",
    "pop_vlan",
    "push_mpls(label=200,tc=7,ttl=64,bos=1,eth_type=0x8847),pop_mpls(eth_type=0x800)",
    "hash(l4(0)),recirc(0x1f)",
    "hash(sym_l4(4294967295)),recirc(0xffffffff)",
    "trunc(100),userspace(pid=5),userspace(pid=6,userdata(0102030405060708))",
    "sample(sample=9.7%,actions(1,2,push_vlan(vid=1,pcp=2),sample(sample=100.0%,actions(drop))))",
    "sample(sample=0.0%,actions(1)),sample(sample=0.00000002%,actions(1))",
];

#[test]
fn printed_actions_are_round_trips() {
    for text in ACTIONS {
        let actions = parse_actions(text).unwrap_or_else(|e| panic!("{text}: {e}"));
        assert_eq!(format_actions(&actions), *text);
    }
    assert_eq!(parse_actions("recirc(31)").unwrap(), parse_actions(" recirc(0x1f)\n").unwrap());
    assert!(parse_actions("").unwrap().is_empty());
    assert!(parse_actions("DROP").unwrap().is_empty());
}

#[test]
fn sample_probability_is_kept() {
    for probability in [0, 1, 2, 12345, 429_496_730, u32::MAX / 2, u32::MAX - 1, u32::MAX] {
        let actions = [Action::Sample { probability, actions: [].into() }];
        let text = format_actions(&actions);
        assert_eq!(*parse_actions(&text).unwrap(), actions, "{text}");
    }
}

#[test]
fn errors_name_place_and_cause() {
    let cases = [
        ("in_port(1),skb_mark(5)", 12, "skb_mark is not supported"),
        ("in_port(1),ct_state(+trk)", 12, "ct_state is not supported"),
        ("in_port(1),tunnel()", 12, "tunnel is not supported"),
        ("in_port(1),packet_type(ns=1,id=0x800)", 12, "packet_type is not supported"),
        ("in_port(1),foo(1)", 12, "there is no key 'foo'"),
        ("eth()", 1, "in_port(…) is missing"),
        ("in_port(1/3)", 1, "in_port(…) has to be exact"),
        ("in_port(x)", 9, "there is no port 'x'"),
        ("in_port(1),recirc_id(1/2)", 12, "recirc_id(…) has to be exact"),
        ("in_port(1),eth_type(0x10000)", 21, "eth_type 0x10000 is too large, at most 65535"),
        ("in_port(1),eth_type(010)", 21, "begins with 0"),
        ("in_port(1),eth(src=1:2)", 20, "expected an Ethernet address"),
        ("in_port(1),eth_type(0x800),ipv4(src=1.2.3)", 37, "expected an IPv4 address"),
        ("in_port(1),eth_type(0x800),ipv4(tos=256)", 37, "too large, at most 255"),
        ("in_port(1),eth_type(0x800),ipv4(x=1)", 33, "expected src= dst= proto="),
        ("in_port(1),eth_type(0x800),ipv4(ttl=1,ttl=2)", 39, "appears twice"),
        ("in_port(1),eth_type(0x86dd),ipv4(ttl=1)", 29, "needs eth_type(0x0800)"),
        ("in_port(1),eth_type(0x800),tcp(src=1)", 28, "needs proto=6"),
        ("in_port(1),in_port(2)", 12, "appears twice"),
        ("in_port(1),eth_type(0x800),vlan(vid=1)", 28, "needs eth_type(0x8100)"),
        ("in_port(1),encap(eth_type(0x800))", 12, "needs vlan(…)"),
        ("in_port(1),eth_type(0x8100),vlan(vid=4096),encap()", 38, "too large, at most 4095"),
        ("in_port(1),eth_type(0x800),ipv4(frag=yes)", 38, "expected no, first or later"),
        ("in_port(1),eth(", 16, "expected src= dst="),
        ("in_port(1) )", 12, "expected a key, found ')'"),
    ];
    for (text, column, message) in cases {
        let error = parse_match(text).expect_err(text);
        assert!(error.message.contains(message), "{text}: {error}");
        assert_eq!(error.column, column, "{text}: {error}");
        assert!(!error.to_string().contains('\n'));
    }
    let three = "in_port(1),eth_type(0x88a8),vlan(vid=1),encap(eth_type(0x8100),vlan(vid=2),\
                 encap(eth_type(0x8100),vlan(vid=3),encap()))";
    assert!(parse_match(three).expect_err(three).message.contains("third VLAN tag"));
    let outside = "in_port(1),eth_type(0x8100),vlan(vid=1),encap(eth_type(0x800)),ipv4(ttl=1)";
    assert!(parse_match(outside).expect_err(outside).message.contains("inside encap"));
}

#[test]
fn action_errors_name_place_and_cause() {
    let cases = [
        ("1,drop", 3, "drop stands alone"),
        ("drop,1", 1, "drop stands alone"),
        ("ct(commit)", 1, "action ct is not supported"),
        ("1,ct_clear", 3, "action ct_clear is not supported"),
        ("userspace(pid=1,slow_path(cfm))", 17, "userspace(slow_path) is not supported"),
        ("userspace(pid=1,userdata(01),actions)", 30, "userspace(actions) is not supported"),
        ("userspace(pid=1,userdata(012))", 26, "hexadecimal"),
        ("set(tunnel(tun_id=1))", 5, "set(tunnel(…)) is not supported"),
        ("set(eth())", 5, "sets nothing"),
        ("foo", 1, "there is no action or port 'foo'"),
        ("foo(1)", 1, "there is no action 'foo(1)'"),
        ("4294967296", 1, "too large"),
        ("trunc(x)", 7, "not a number"),
        ("push_vlan(pcp=1)", 11, "needs vid="),
        ("push_vlan(vid=1,pcp=8)", 21, "at most 7"),
        ("push_mpls(label=1)", 11, "needs label="),
        ("hash(l5(0))", 6, "expected l4( or sym_l4("),
        ("sample(sample=100.1%,actions(1))", 15, "expected 0 to 100"),
        ("sample(sample=1%,actions(1)", 27, "expected '))'"),
        ("1)2", 2, "expected an action"),
        ("set(mpls(label=1,label=2))", 18, "more than 1 label"),
    ];
    for (text, column, message) in cases {
        let error = parse_actions(text).expect_err(text);
        assert!(error.message.contains(message), "{text}: {error}");
        assert_eq!(error.column, column, "{text}: {error}");
    }
}

#[test]
fn nesting_is_limited() {
    let nested =
        |depth| format!("{}1{}", "sample(sample=50.0%,actions(".repeat(depth), "))".repeat(depth));
    assert!(parse_actions(&nested(31)).is_ok());
    let error = parse_actions(&nested(32)).expect_err("32 levels");
    assert!(error.message.contains("nested more than 32 deep"), "{error}");
    assert!(parse_actions(&nested(100_000)).is_err());
    let encap = format!("in_port(1),{}", "encap(".repeat(100_000));
    assert!(parse_match(&encap).is_err());
    let longest = |bytes: usize| format!("userspace(pid=1,userdata({}))", "aa".repeat(bytes));
    assert!(parse_actions(&longest(65_512)).is_ok());
    assert!(parse_actions(&longest(65_513)).is_err());
}

#[test]
fn keys_have_all_fields() {
    let key = Key {
        in_port: 3,
        eth_src: MacAddr([0, 1, 2, 3, 4, 5]),
        vlan_tpid: 0x8100,
        vlan_tci: VLAN_PRESENT | 9,
        eth_type: 0x0800,
        ip_proto: 6,
        tp_dst: 80,
        tcp_flags: 2,
        ..Key::default()
    };
    let text = "recirc_id(0),dp_hash(0),in_port(3),\
        eth(src=00:01:02:03:04:05,dst=00:00:00:00:00:00),eth_type(0x8100),\
        vlan(vid=9,pcp=0),encap(eth_type(0x0800),ipv4(src=0.0.0.0,dst=0.0.0.0,\
        proto=6,tos=0,ttl=0,frag=no),tcp(src=0,dst=80),tcp_flags(syn))";
    assert_eq!(format_key(&key), text);
    assert_eq!(parse_key(text).unwrap(), key);
    let llc = Key { eth_type: 0x05ff, ..Key::default() };
    assert_eq!(parse_key(&format_key(&llc)).unwrap(), llc);
    let zeros = format!("skb_priority(0),skb_mark(0),ct_state(0),{text}");
    assert_eq!(parse_key(&zeros).unwrap(), key);
    assert!(parse_key(&format!("skb_mark(1),{text}")).is_err());
}

#[test]
fn masked_text_may_leave_the_port_open() {
    let (key, mask) = parse_masked("eth_type(0x0800)", &|_| None).unwrap();
    assert_eq!((key.eth_type, mask.in_port), (0x0800, 0));
    assert_eq!(mask.fields().collect::<Vec<_>>(), [Field::EthType]);
}

#[test]
fn any_match_can_be_printed() {
    for first in Field::ALL {
        for second in Field::ALL {
            let mut mask = Mask::default();
            mask.set(*first, first.full_mask() ^ 1);
            mask.set(*second, second.full_mask());
            assert!(!format_match(&Match::new(&mask, &mask)).is_empty());
        }
    }
}

#[test]
fn ports_are_printed_by_name_and_read_back() {
    let names = |port: PortId| ["zero", "vf0", "pf0vf1.5"].get(port.0 as usize).copied();
    let ports = |name: &str| (0..3).map(PortId).find(|port| names(*port) == Some(name));
    let matching = parse_match("in_port(1),eth(),eth_type(0x0806)").unwrap();
    let text = format_match_with(&matching, &names);
    assert_eq!(text, "recirc_id(0),in_port(vf0),eth(),eth_type(0x0806)");
    assert_eq!(parse_match_with(&text, &ports).unwrap(), matching);
    let text = "2,sample(sample=50.0%,actions(7,0)),push_vlan(vid=1,pcp=2),1";
    let actions = parse_actions(text).unwrap();
    let named = format_actions_with(&actions, &names);
    let want = "pf0vf1.5,sample(sample=50.0%,actions(7,zero)),push_vlan(vid=1,pcp=2),vf0";
    assert_eq!(named, want, "a port without a name stays a number");
    assert_eq!(parse_actions_with(&named, &ports).unwrap(), actions);
    assert_eq!(format_actions(&actions), text);
}
