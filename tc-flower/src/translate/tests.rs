use flow::{Action, Attr, Key, Mask, Match, PortId, RecircId, SetFields, Subject, odp};
use proptest::prelude::*;

use std::sync::Arc;

use super::*;
use crate::rule::{Header, PeditWord, TcAction};

pub(crate) fn target() -> Target {
    let device = |ifindex: u32, switch: &str| PortDevice {
        ifindex,
        name: format!("rep{ifindex}"),
        switch_id: switch.into(),
    };
    let ports = [(1, 3, "ab"), (2, 2, "ab"), (4, 7, "cd")];
    let ports = ports.map(|(port, ifindex, switch)| (PortId(port), device(ifindex, switch)));
    Target { ports: ports.into(), recirculation: false }
}

fn flow(keys: &str, actions: &str) -> Megaflow {
    let matching = odp::parse_match(&format!("in_port(1),{keys}")).unwrap();
    let actions = match actions {
        "drop" => [].into(),
        actions => odp::parse_actions(actions).unwrap(),
    };
    Megaflow::new(matching, actions)
}

fn refusal(keys: &str, actions: &str) -> String {
    translate(&flow(keys, actions), &target()).unwrap_err().to_string()
}

fn rule(keys: &str, actions: &str) -> Rule {
    translate(&flow(keys, actions), &target()).unwrap()
}

/// Returns kind, value and mask of each key.
fn keys(keys: &str) -> Vec<(u16, Vec<u8>, Vec<u8>)> {
    let rule = rule(keys, "2");
    rule.keys.iter().map(|key| (key.kind, key.value().to_vec(), key.mask().to_vec())).collect()
}

#[test]
fn untagged_is_implied_by_the_ethertype_and_wild_is_every_protocol() {
    let untagged = rule("eth_type(0x0800)", "2");
    assert_eq!((untagged.protocol, untagged.keys.len()), (0x0800, 1));
    let wild = rule("eth(dst=02:00:00:00:00:01),vlan(cfi=0/0)", "2");
    assert_eq!((wild.protocol, wild.keys.len()), (3, 1));
    // tc has no filter for every EtherType without a tag.
    assert!(refusal("eth(dst=02:00:00:00:00:01)", "2").contains("tc can match \"no tag\" by"));
}

#[test]
fn tags_are_keys_and_the_protocol_is_the_outermost() {
    let one = rule("eth_type(0x8100),vlan(vid=5,pcp=3),encap(eth_type(0x0800))", "2");
    assert_eq!(one.protocol, 0x8100);
    let kinds: Vec<u16> = one.keys.iter().map(|key| key.kind).collect();
    assert_eq!(kinds, [8, 23, 24, 25]);
    assert_eq!(one.keys[1].value(), 5u16.to_ne_bytes());
    assert_eq!(one.keys[3].value(), [8, 0]);
    let two = keys(
        "eth_type(0x88a8),vlan(vid=5,pcp=0/0),encap(eth_type(0x8100),vlan(vid=6,pcp=2),\
         encap(eth_type(0x86dd)))",
    );
    assert_eq!(two[2], (25, vec![0x81, 0], vec![0xff, 0xff]));
    assert_eq!(two.iter().map(|key| key.0).collect::<Vec<_>>(), [8, 23, 25, 77, 78, 79]);
}

/// A megaflow is refused if its filter would be narrower or wider.
#[test]
fn a_filter_never_matches_other_packets_than_its_megaflow() {
    let cases = [
        // tc has no filter for one EtherType behind any number of tags, only for each number.
        ("eth_type(0x0800),vlan(vid=0/0,cfi=0/0)", "match-mask vlan_tci"),
        ("eth_type(0x8100),vlan(vid=5/0xf00)", "match-mask vlan_tci"),
        ("eth_type(0x8100),vlan(vid=5,pcp=3/1)", "match-mask vlan_tci"),
        ("eth_type(0x0800/0xff00)", "match-mask eth_type"),
        ("eth_type(0/0xffff)", "match-value eth_type"),
        ("eth_type(0x0800),ipv4(proto=6/4)", "match-mask ip_proto"),
        ("eth_type(0x0800),ipv4(proto=6),tcp(dst=80)", "match-mask ip_frag"),
        ("eth_type(0x0800),ipv4(proto=6,frag=first),tcp(dst=80)", "match-value tp_dst"),
        ("eth_type(0x86dd),ipv6(frag=later)", "match-value ip_frag"),
        ("eth_type(0x86dd),ipv6(label=5)", "match-field ipv6_label"),
        ("eth_type(0x0806),arp(op=3)", "match-value arp_op"),
        ("eth_type(0x0806),arp(op=1/0xff)", "match-mask arp_op"),
        // The protocol of a later IPv6 fragment is 44 in our key, but tc shows the one behind the
        // fragment header.
        ("eth_type(0x86dd),ipv6(proto=17)", "match-mask ip_frag"),
        ("eth_type(0x86dd),ipv6(dst=fd00::1,proto=50)", "match-mask ip_frag"),
        ("eth_type(0x86dd),ipv6(proto=44)", "match-value ip_proto"),
        ("eth_type(0x86dd),ipv6(proto=51,frag=no)", "match-value ip_proto"),
        ("eth_type(0x86dd),ipv6(proto=0,frag=no)", "match-value ip_proto"),
        // tc shows zeros for ARP operations that it does not read.
        ("eth_type(0x0806),arp(sip=0.0.0.0)", "match-mask arp_op"),
        ("eth_type(0x0806),arp(sip=0.0.0.0/255.0.0.0,tha=00:00:00:00:00:00)", "match-mask arp_op"),
        ("eth_type(0x8035),arp(sip=0.0.0.0)", "match-mask arp_op"),
        ("eth_type(0x8847),mpls(label=5/1)", "match-mask mpls0"),
        ("eth_type(0x8847),mpls(label=1,label=2)", "match-field mpls1"),
        ("dp_hash(1),eth_type(0x0800)", "match-field dp_hash"),
        ("recirc_id(7),eth_type(0x0800)", "recirculation recirc_id"),
    ];
    for (keys, want) in cases {
        let got = refusal(keys, "2");
        assert!(got.starts_with(want), "{keys}: {got}");
    }
    assert!(refusal("eth_type(0x8100),vlan(vid=5),encap(eth_type(0x9100))", "9").contains("port"));
}

#[test]
fn every_fault_is_a_reason_and_each_is_said_once() {
    let why = |matching: &str, actions: &str| {
        let flow = Megaflow::new(
            odp::parse_match(matching).unwrap(),
            odp::parse_actions(actions).unwrap(),
        );
        let refusals = translate(&flow, &target()).unwrap_err();
        refusals.iter().map(|refusal| refusal.to_string()).collect::<Vec<_>>()
    };
    let switch = "the port has no interface on a switchdev NIC";
    assert_eq!(
        why(
            "in_port(9),dp_hash(1),eth_type(0x0800),ipv4(proto=6/4,ttl=3,frag=no)",
            "trunc(99),pop_vlan,set(ipv4(ttl=1)),set(arp(sip=1.1.1.1,op=1)),4,trunc(98)",
        ),
        [
            &format!("port in_port 9: {switch}"),
            "match-mask ip_proto: mask 0x4 is partial; the device takes the whole field or nothing",
            "match-field dp_hash: tc has no key for it in such packets",
            "action trunc: tc has none",
            "action-list pop_vlan: match on the tag that is taken off",
            "set-field arp_op: tc does not rewrite it",
            "set-field arp_sip: tc does not rewrite it",
        ]
    );
    // Both tags are matched in part, and the actions pop them.
    assert_eq!(
        why(
            "in_port(1),eth_type(0x88a8),vlan(vid=5/0xf00),encap(eth_type(0x8100),\
             vlan(vid=6,pcp=1/1),encap(eth_type(0x86dd),ipv6(label=5,frag=later)))",
            "pop_vlan,pop_vlan,pop_vlan,5,2",
        ),
        [
            "match-mask vlan_tci: mask 0x1f00 is partial; the device takes the whole field or \
             nothing",
            "match-mask cvlan_tci: mask 0x3fff is partial; the device takes the whole field or \
             nothing",
            "match-value ip_frag: fragments of IPv6 are the host's",
            "match-field ipv6_label: tc has no key for it in such packets",
            "action-list pop_vlan: match on the tag that is taken off",
            &format!("port output 5: {switch}"),
        ]
    );
    assert_eq!(
        why("in_port(1),recirc_id(1),eth_type(0x0806),arp(op=3)", "2,pop_vlan,recirc(2)"),
        [
            "recirculation recirc_id: chains are off: a packet that misses in a chain would come \
             to the host without its recirculation id",
            "match-value arp_op: tc knows 1 and 2, not 3",
            "action-list pop_vlan: match on the tag that is taken off",
        ]
    );
}

/// Similar megaflows whose filter is exact are taken.
#[test]
fn what_implies_the_rest_of_a_match_is_a_filter() {
    for keys in [
        "eth_type(0x86dd),ipv6(proto=17,frag=no)",
        "eth_type(0x86dd),ipv6(dst=fd00::1)",
        "eth_type(0x0800),ipv4(proto=17)",
        "eth_type(0x0800),ipv4(proto=51)",
        "eth_type(0x0806),arp(sip=0.0.0.0,op=1)",
        "eth_type(0x0806),arp(sip=0.0.0.0,tip=10.0.0.1)",
        "eth_type(0x0806)",
    ] {
        rule(keys, "2");
    }
}

#[test]
fn ports_are_on_one_switch() {
    assert!(refusal("eth_type(0x0800)", "9").starts_with("port output 9: the port has no"));
    assert!(refusal("eth_type(0x0800)", "4").contains("on another switch"));
    let matching = odp::parse_match("in_port(9),eth_type(0x0800)").unwrap();
    let refused = translate(&Megaflow::new(matching, []), &target()).unwrap_err();
    assert_eq!(refused.first.subject, Subject::InPort(PortId(9)));
}

#[test]
fn outputs_are_mirrors_but_the_last_and_nothing_is_a_drop() {
    let (mirror, redirect) = (TcAction::Mirror { ifindex: 2 }, TcAction::Redirect { ifindex: 2 });
    assert_eq!(rule("eth_type(0x0800)", "2,2").actions, [mirror, redirect]);
    assert_eq!(rule("eth_type(0x0800)", "drop").actions, [TcAction::Drop]);
    assert!(refusal("eth_type(0x0800)", "2,push_vlan(vid=1,pcp=0)").starts_with("action-list"));
}

#[test]
fn what_tc_lacks_is_refused_by_name() {
    for (actions, name) in [
        ("userspace(pid=1)", "userspace"),
        ("2,hash(l4(0)),2", "hash"),
        ("trunc(100),2", "trunc"),
        ("sample(sample=50.0%,actions(2)),2", "sample"),
    ] {
        let want = format!("action {name}: tc has none");
        assert_eq!(refusal("eth_type(0x0800)", actions), want);
    }
    assert!(refusal("eth_type(0x0800)", "recirc(1)").starts_with("recirculation"));
}

#[test]
fn chains_are_recirculation_ids_where_they_are_asked_for() {
    let chained = Target { recirculation: true, ..target() };
    let child = translate(&flow("recirc_id(9),eth_type(0x0800)", "2"), &chained).unwrap();
    assert_eq!(child.chain, 9);
    let parent = translate(&flow("eth_type(0x0800)", "2,recirc(9)"), &chained).unwrap();
    assert_eq!(parent.actions[1], TcAction::Goto { chain: 9 });
    let middle = translate(&flow("eth_type(0x0800)", "recirc(9),2"), &chained).unwrap_err();
    assert_eq!(middle.first.reason, Reason::ActionList);
    let flow = Megaflow::new(
        flow("eth_type(0x0800)", "2").matching,
        [Action::Recirc(RecircId(0x1000_0000))],
    );
    assert_eq!(translate(&flow, &chained).unwrap_err().first.reason, Reason::Recirculation);
}

#[test]
fn tags_and_labels_go_where_they_are_known_to_be() {
    let tagged = "eth_type(0x8100),vlan(vid=5),encap(eth_type(0x0800))";
    let list = rule(tagged, "pop_vlan,push_vlan(tpid=0x88a8,vid=7,pcp=3),2").actions;
    assert_eq!(list[0], TcAction::VlanPop);
    assert_eq!(list[1], TcAction::VlanPush { tpid: 0x88a8, vid: 7, pcp: 3 });
    assert!(refusal("eth_type(0x0800)", "pop_vlan,2").starts_with("action-list pop_vlan"));
    assert!(refusal(tagged, "pop_vlan,pop_vlan,2").starts_with("action-list pop_vlan"));
    let push = "push_mpls(label=5,tc=1,ttl=64,bos=1,eth_type=0x8847)";
    assert!(refusal(tagged, &format!("{push},2")).starts_with("action-list push_mpls"));
    rule(tagged, &format!("pop_vlan,{push},2"));
    assert!(refusal("eth_type(0x0800)", &format!("{push},set(ipv4(ttl=3)),2")).contains("ip_ttl"));
    assert!(refusal("eth_type(0x0800)", "pop_mpls(eth_type=0x800),2").contains("match on the"));
}

#[test]
fn rewrites_are_words_and_checksums_follow_before_anybody_looks() {
    let udp = "eth_type(0x0800),ipv4(proto=17,frag=no)";
    let list =
        rule(udp, "set(ipv4(dst=9.9.9.9,ttl=63)),set(udp(dst=7)),2,set(eth(src=2:0:0:0:0:1)),2");
    let word = |header, offset, value, mask| PeditWord { header, offset, value, mask };
    assert_eq!(
        list.actions,
        [
            TcAction::Pedit(vec![
                word(Header::Ipv4, 8, [63, 0, 0, 0], [0xff, 0, 0, 0]),
                word(Header::Ipv4, 16, [9, 9, 9, 9], [0xff; 4]),
            ]),
            TcAction::Pedit(vec![word(Header::Udp, 0, [0, 0, 0, 7], [0, 0, 0xff, 0xff])]),
            TcAction::Csum(1 | 16),
            TcAction::Mirror { ifindex: 2 },
            TcAction::Pedit(vec![
                word(Header::Ethernet, 4, [0, 0, 2, 0], [0, 0, 0xff, 0xff]),
                word(Header::Ethernet, 8, [0, 0, 0, 1], [0xff; 4]),
            ]),
            TcAction::Redirect { ifindex: 2 },
        ]
    );
    let v6 = rule("eth_type(0x86dd),ipv6(proto=58,frag=no)", "set(ipv6(tclass=0x2e,hlimit=9)),2");
    let words = vec![
        word(Header::Ipv6, 0, [2, 0xe0, 0, 0], [0x0f, 0xf0, 0, 0]),
        word(Header::Ipv6, 4, [0, 0, 0, 9], [0, 0, 0, 0xff]),
    ];
    assert_eq!(v6.actions, [TcAction::Pedit(words), TcAction::Redirect { ifindex: 2 }]);
    let icmp = rule("eth_type(0x86dd),ipv6(proto=58,frag=no)", "set(ipv6(dst=::1)),2");
    assert_eq!(icmp.actions[1], TcAction::Csum(2));
    let other = rule("eth_type(0x0800),ipv4(proto=50)", "set(ipv4(src=1.1.1.1)),2");
    assert_eq!(other.actions[1], TcAction::Csum(1));
}

#[test]
fn rewrites_that_a_checksum_can_not_follow_are_refused() {
    for (keys, actions, want) in [
        ("eth_type(0x0800)", "set(ipv4(src=1.1.1.1)),2", "match on ip_proto"),
        ("eth_type(0x0800),ipv4(proto=6)", "set(ipv4(src=1.1.1.1)),2", "match frag=no"),
        ("eth_type(0x0800),ipv4(proto=6,frag=later)", "set(ipv4(src=1.1.1.1)),2", "frag=no"),
        ("eth_type(0x0800),ipv4(proto=6)", "set(tcp(src=1)),2", "match frag=no"),
        ("eth_type(0x0800),ipv4(proto=6,frag=no)", "set(udp(src=1)),2", "match on the ip_proto"),
        ("eth_type(0x0800),ipv4(proto=132,frag=no)", "set(sctp(src=1)),2", "TCP and UDP only"),
        ("eth_type(0x86dd)", "set(ipv4(ttl=1)),2", "EtherType"),
        ("eth_type(0x86dd)", "set(ipv6(label=1)),2", "does not rewrite"),
        ("eth_type(0x0800)", "set(tcp_flags(1)),2", "does not rewrite"),
    ] {
        let got = refusal(keys, actions);
        assert!(got.starts_with("set-field") && got.contains(want), "{keys} {actions}: {got}");
    }
    let words = "set(ipv6(src=::1,dst=::2)),".repeat(5);
    assert!(
        refusal("eth_type(0x86dd),ipv6(proto=50,frag=no)", &format!("{words}2"))
            .contains("rewritten words, at most 32")
    );
    let many = "2,".repeat(33);
    assert!(refusal("eth_type(0x0800)", many.trim_end_matches(',')).contains("at most 32"));
}

/// Makes matches that mostly make sense: each field is wild, whole or under a random mask.
fn any_match() -> impl Strategy<Value = Match> {
    let eth_type =
        prop_oneof![Just(0x0800u16), Just(0x86dd), Just(0x0806), Just(0x8847), Just(0x88b5)];
    let proto = prop_oneof![Just(6u8), Just(17), Just(1), Just(58), Just(132)];
    let tag = prop_oneof![Just(0u16), any::<u16>().prop_map(|tci| tci | 0x1000)];
    let bits = proptest::collection::vec((0..4u8, any::<u128>(), any::<u128>()), 30);
    (eth_type, proto, (tag.clone(), tag), bits).prop_map(|(eth_type, proto, tags, bits)| {
        let (mut key, mut mask) = (Key::default(), Mask::default());
        for (field, (how, value, bits)) in Field::ALL.iter().zip(&bits) {
            key.set(*field, *value);
            mask.set(
                *field,
                match how {
                    0 | 1 => 0,
                    2 => field.full_mask(),
                    _ => *bits & field.full_mask(),
                },
            );
        }
        // With a matched EtherType, most matches can be translated.
        (key.eth_type, mask.eth_type, key.ip_proto) = (eth_type, 0xffff, proto);
        mask.ip_proto = if bits[0].0 > 0 { 0xff } else { 0 };
        (key.ip_frag, mask.ip_frag) = (0, 0xff);
        (key.vlan_tci, key.cvlan_tci) = tags;
        (key.vlan_tpid, key.cvlan_tpid) = (0x8100, 0x8100);
        (mask.vlan_tpid, mask.cvlan_tpid) = (0xffff, 0xffff);
        mask.vlan_tci |= 0x1000;
        mask.cvlan_tci |= 0x1000;
        if key.vlan_tci == 0 {
            (key.vlan_tpid, key.cvlan_tpid, key.cvlan_tci) = (0, 0, 0);
        }
        if key.cvlan_tci == 0 {
            key.cvlan_tpid = 0;
        }
        (mask.recirc_id, key.recirc_id, mask.dp_hash, mask.ipv6_label) = (0, 0, 0, 0);
        key.in_port = 1;
        let known = if mask.ip_proto == 0 { 0 } else { proto };
        clear_foreign(&mut mask, eth_type, known);
        for part in [0x0fffu16, 0xe000] {
            for tci in [&mut mask.vlan_tci, &mut mask.cvlan_tci] {
                *tci = if *tci & part == 0 { *tci } else { *tci | part };
            }
        }
        Match::new(&key, &mask)
    })
}

/// Removes the fields from the mask that packets of this kind do not have.
fn clear_foreign(mask: &mut Mask, eth_type: u16, proto: u8) {
    let keep: &[Attr] = match eth_type {
        0x0800 => &[Attr::Ip, Attr::Ipv4, Attr::Transport, Attr::TcpFlags],
        0x86dd => &[Attr::Ip, Attr::Ipv6, Attr::Transport, Attr::TcpFlags],
        0x0806 => &[Attr::Arp],
        0x8847 => &[Attr::Mpls],
        _ => &[],
    };
    let all =
        [Attr::Ip, Attr::Ipv4, Attr::Ipv6, Attr::Transport, Attr::TcpFlags, Attr::Arp, Attr::Mpls];
    for field in Field::ALL {
        if all.contains(&field.attr()) && !keep.contains(&field.attr()) {
            mask.set(*field, 0);
        }
    }
    if keys_of(eth_type, proto).is_empty() {
        (mask.tp_src, mask.tp_dst) = (0, 0);
    }
    if proto != 6 {
        mask.tcp_flags = 0;
    }
    mask.arp_op = 0;
    (mask.mpls1, mask.mpls2) = (0, 0);
    if mask.mpls0 != 0 {
        mask.mpls0 = u32::MAX;
    }
    if matches!(proto, 1 | 58) {
        (mask.tp_src, mask.tp_dst) = (mask.tp_src & 0x7f, mask.tp_dst & 0x7f);
    }
}

fn any_actions() -> impl Strategy<Value = Vec<Action>> {
    let set = (0..5usize, any::<[u128; 3]>(), any::<[u128; 3]>()).prop_map(|(which, v, m)| {
        use Field::{EthDst, EthSrc, IpTos, IpTtl, Ipv4Dst, Ipv4Src, Ipv6Dst, Ipv6Src};
        let (attr, protocol, fields) = match which {
            0 => (Attr::Eth, 0, [EthSrc, EthDst, EthDst]),
            1 => (Attr::Ipv4, 4, [Ipv4Src, IpTtl, IpTos]),
            2 => (Attr::Ipv4, 4, [Ipv4Dst, IpTtl, IpTtl]),
            3 => (Attr::Ipv6, 6, [Ipv6Src, IpTos, IpTtl]),
            _ => (Attr::Ipv6, 6, [Ipv6Dst, Ipv6Dst, IpTos]),
        };
        let (mut value, mut mask) = (Key::default(), Mask::default());
        for ((field, v), m) in fields.iter().zip(v).zip(m) {
            mask.set(*field, m);
            value.set(*field, v & m);
        }
        Action::Set(Box::new(SetFields { attr, protocol, value: value.masked(&mask), mask }))
    });
    let port = (0..2u32).prop_map(|port| Action::Output(PortId(1 + port)));
    let push = any::<u16>().prop_map(|tci| Action::PushVlan { tpid: 0x8100, tci: tci | 0x1000 });
    let one = prop_oneof![4 => set, 2 => port, 1 => push, 1 => Just(Action::PopVlan)];
    proptest::collection::vec(one, 0..6).prop_map(|mut list| {
        if !list.is_empty() {
            list.push(Action::Output(PortId(2)));
        }
        list
    })
}

/// Makes megaflows, most of which can be translated. The tests of encoding use them too.
pub(crate) fn any_megaflow() -> impl Strategy<Value = Megaflow> {
    (any_match(), any_actions()).prop_map(|(matching, actions)| Megaflow::new(matching, actions))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// No filter is silently widened: a flipped mask bit changes the filter or is refused.
    #[test]
    fn every_mask_bit_counts(
        flow in any_megaflow(),
        field in 0..Field::ALL.len(),
        bit in 0..128u32,
    ) {
        let field = Field::ALL[field];
        let bit = 1u128 << (bit % field.bits());
        prop_assume!(!matches!(field, Field::InPort | Field::RecircId));
        if let Ok(rule) = translate(&flow, &target()) {
            let (key, mut mask) = (flow.matching.key(), *flow.matching.mask());
            mask.set(field, mask.get(field) ^ bit);
            let other = Megaflow::new(Match::new(&key, &mask), Arc::clone(&flow.actions));
            if let Ok(changed) = translate(&other, &target()) {
                prop_assert_ne!(changed, rule, "{} {:#x}", field.name(), bit);
            }
        }
    }
}

#[test]
fn most_of_the_random_megaflows_are_translated() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let made = (0..500).filter(|_| {
        let flow = any_megaflow().new_tree(&mut runner).unwrap().current();
        translate(&flow, &target()).is_ok()
    });
    let made = made.count();
    assert!(made > 100, "{made} of 500");
}
