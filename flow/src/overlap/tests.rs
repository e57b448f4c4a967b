use proptest::prelude::*;

use super::*;
use crate::validate;

/// Packets of few addresses, so that matches collide: tagged or not, IPv4 with TCP or UDP, or ARP.
pub(crate) fn packet() -> impl Strategy<Value = Key> {
    let tag = prop_oneof![
        Just((0, 0)),
        (0..4_u16, 0..2_u16).prop_map(|(vid, pcp)| { (0x8100, VLAN_PRESENT | pcp << 13 | vid) })
    ];
    let ip = (0..4_u32, 0..4_u32, prop_oneof![Just(6_u8), Just(17)], 0..4_u16, 0..4_u16);
    (1..3_u32, 0..3_u8, tag, any::<bool>(), ip).prop_map(|(in_port, mac, tag, is_arp, ip)| {
        let (src, dst, proto, sport, dport) = ip;
        let key = Key {
            in_port,
            eth_dst: crate::MacAddr([2, 0, 0, 0, 0, mac]),
            vlan_tpid: tag.0,
            vlan_tci: tag.1,
            ..Key::default()
        };
        if is_arp {
            return Key { eth_type: 0x0806, arp_op: 1, arp_sip: src, arp_tip: dst, ..key };
        }
        let (ip_proto, tp_src, tp_dst) = (proto, sport, dport);
        let key = Key { eth_type: 0x0800, ipv4_src: src, ipv4_dst: dst, ip_proto, ..key };
        Key { tp_src, tp_dst, ip_ttl: 64, ..key }
    })
}

/// Masks as an operator writes them: some fields, addresses and ports in part.
fn mask(key: &Key, choice: u32, part: u16) -> Mask {
    let mut mask = Mask::default();
    let is = |bit: u32| choice >> bit & 1 == 1;
    if is(0) {
        mask.eth_dst = crate::MacAddr::BROADCAST;
    }
    if is(1) {
        mask = whole(&Mask { vlan_tci: VLAN_PRESENT | 0xfff, ..mask }, key);
    }
    if !is(2) {
        return mask;
    }
    mask.eth_type = u16::MAX;
    if key.eth_type == 0x0806 {
        mask.arp_tip = if is(3) { u32::from(part) } else { 0 };
        return mask;
    }
    mask.ipv4_src = if is(3) { u32::from(part) } else { 0 };
    mask.ipv4_dst = if is(4) { u32::MAX } else { 0 };
    if is(5) {
        mask.ip_proto = u8::MAX;
        mask.tp_dst = if is(6) { part } else { 0 };
    }
    mask
}

pub(crate) fn matching() -> impl Strategy<Value = Match> {
    (packet(), 0..128_u32, 0..4_u16)
        .prop_map(|(key, choice, part)| Match::new(&key, &mask(&key, choice, part)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn a_narrowed_match_keeps_its_packet_and_loses_the_others(
        key in packet(), choice in 0..128_u32, part in 0..4_u16, against in matching(),
    ) {
        let wide = Match::new(&key, &mask(&key, choice, part));
        match wide.narrowed(&key, &against) {
            None => prop_assert!(against.hits(&key)),
            Some(narrow) => {
                prop_assert!(narrow.hits(&key));
                prop_assert!(!narrow.overlaps(&against));
                prop_assert!(wide.mask().without(narrow.mask()).is_zero(), "no wider than it was");
                let valid = |m: &Match| validate(m, &[]).map_err(|error| error.to_string());
                if valid(&against).is_ok() && valid(&wide).is_ok() {
                    prop_assert_eq!(valid(&narrow), Ok(()), "{:?}", narrow);
                }
            }
        }
    }

    /// The narrowed matches that different packets make of one match are equal or disjoint.
    #[test]
    fn narrowed_matches_stand_side_by_side(
        keys in prop::collection::vec(packet(), 2..20), against in matching(),
    ) {
        let wide = |key: &Key| Match::new(key, &Mask::default());
        let narrow: Vec<Match> =
            keys.iter().filter_map(|key| wide(key).narrowed(key, &against)).collect();
        for one in &narrow {
            for other in &narrow {
                prop_assert!(one == other || !one.overlaps(other), "{one:?} {other:?}");
            }
        }
    }
}

#[test]
fn the_words_name_the_bits_that_only_one_compares() {
    let parse = |text: &str| crate::odp::parse_match(text).unwrap();
    let wide = parse("in_port(1),eth(),eth_type(0x0800),ipv4(dst=10.0.0.0/255.0.0.0)");
    let other = parse("in_port(1),eth(),eth_type(0x0800),ipv4(dst=10.0.0.2,proto=6),tcp(dst=80)");
    let other = Megaflow::new(other, []);
    let text = explain(&wide, &other);
    assert!(
        text.starts_with(&format!("overlaps {} recirc_id(0),in_port(1)", other.ufid)),
        "{text}"
    );
    assert!(
        text.ends_with("only one of them compares ipv4_dst/0xffffff, ip_proto, tp_dst"),
        "{text}"
    );
}
