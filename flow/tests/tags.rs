//! What a text says of VLAN tags and EtherTypes is what a match says of packets, or it is refused.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use flow::packet::extract;
use flow::{Key, Mask, Match, odp, validate};

/// The key of a frame from port 1: two addresses and these bytes.
fn key(behind_addresses: &[u8]) -> Key {
    let mut frame = vec![0_u8; 12];
    frame.extend_from_slice(behind_addresses);
    frame.resize(64, 0);
    Key { in_port: 1, ..extract(&frame) }
}

/// OVS misses here, and the kernel compares the TCI always.
#[test]
fn a_match_that_does_not_speak_of_a_tag_takes_no_tagged_frame() {
    let plain = key(&[0x12, 0x34]);
    let tagged = key(&[0x81, 0, 0, 5, 0x12, 0x34]);
    let twice = key(&[0x88, 0xa8, 0, 5, 0x81, 0, 0, 6, 0x12, 0x34]);
    let one = "in_port(1),eth(),eth_type(0x8100),vlan(vid=5,pcp=0),encap(";
    for (text, hits) in [
        ("in_port(1),eth(),eth_type(0x1234)", [true, false, false]),
        ("in_port(1),eth(),eth_type(0x1234/0)", [true, false, false]),
        ("in_port(1),eth(),eth_type(0x1200/0xff00)", [true, false, false]),
        ("in_port(1),eth()", [true, false, false]),
        ("in_port(1)", [true, false, false]),
        ("in_port(1),vlan(cfi=0/0)", [true, true, true]),
        ("in_port(1),vlan(vid=5)", [false, true, true]),
        (&format!("{one})"), [false, true, false]),
        (&format!("{one}eth_type(0x1234/0))"), [false, true, false]),
        ("in_port(1),vlan(vid=5),encap(vlan(vid=6),encap(eth_type(0x1234)))", [false, false, true]),
    ] {
        let matching = odp::parse_match(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let found = [&plain, &tagged, &twice].map(|key| matching.hits(key));
        assert_eq!(found, hits, "{text}");
        let printed = odp::format_match(&matching);
        assert_eq!(odp::parse_match(&printed), Ok(matching), "{text}: {printed}");
    }
}

#[test]
fn the_key_of_a_packet_has_no_masks() {
    for (text, column) in [
        ("in_port(1),eth_type(0x8100),vlan(tci=0x02/0x2ff0),encap(eth_type(0x0800))", 42),
        ("in_port(1),eth_type(0x8100),vlan(vid=5/0xfff),encap(eth_type(0x0800))", 39),
        ("in_port(1),eth_type(0x0800/0xff00)", 27),
        ("in_port(1),eth_type(0x0806/0)", 27),
        ("in_port(1),eth_type(0x05dc/0xfff0)", 27),
        ("in_port(1),eth_type(0x8100/0xff00),vlan(vid=5),encap(eth_type(0x0800))", 27),
        ("in_port(1),eth_type(0x8100),vlan(vid=5),encap(eth_type(0x0800/0xff00))", 62),
        ("in_port(1),eth_type(0x0800),ipv4(proto=6),tcp_flags(+syn-ack)", 53),
        ("in_port(1/0xff)", 10),
        ("dp_hash(0x1/0x1),in_port(1)", 12),
        ("in_port(1),eth_type(0x0800),ipv4(dst=10.0.0.0/24)", 46),
        ("in_port(1),eth_type(0x0800),ipv4(proto=6),tcp_flags(0x2/0x2)", 56),
    ] {
        let error = odp::parse_key(text).unwrap_err();
        assert_eq!(error.column, column, "{text}: {error}");
        assert!(error.message.contains("the key of a packet has no masks"), "{text}: {error}");
    }
    assert_eq!(odp::parse_key("in_port(1),eth_type(0/0xffff)").unwrap().eth_type, 0x05ff);
}

#[test]
fn a_length_is_no_ether_type() {
    for text in ["eth_type(0x0100)", "eth_type(0)", "eth_type(0x05dc/0xffff)", "eth_type(0x5fe)"] {
        let error = odp::parse_match(&format!("in_port(1),{text}")).unwrap_err();
        assert!(error.message.contains("is a length"), "{text}: {error}");
        assert!(odp::parse_key(&format!("in_port(1),{text}")).is_err(), "{text}");
    }
    for (text, printed) in [
        ("eth_type(0/0xffff)", "eth_type(0/0xffff)"),
        ("eth_type(0x05ff)", "eth_type(0/0xffff)"),
        ("eth_type(0x0600)", "eth_type(0x0600)"),
        ("eth_type(0x0500/0xff00)", "eth_type(0x0500/0xff00)"),
    ] {
        let matching = odp::parse_match(&format!("in_port(1),eth(),{text}")).unwrap();
        assert!(odp::format_match(&matching).ends_with(printed), "{text}");
    }
}

/// Every value and mask from a set that has the awkward ones: a match is refused, or its text is
/// read back as the same match.
#[test]
fn any_tags_are_kept_or_refused() {
    let tcis = [(0, 0), (0, 0xffff), (0, 0x1000), (0x1000, 0x1000), (0x1005, 0xffff), (2, 0x2ff0)];
    let tpids = [
        (0, 0),
        (0, 0xffff),
        (0x8100, 0xffff),
        (0x88a8, 0xffff),
        (0x9100, 0xffff),
        (0x8100, 0xff00),
    ];
    let eth_types = [
        (0, 0),
        (0x0800, 0xffff),
        (0x8100, 0xffff),
        (0x88a8, 0xffff),
        (0x05ff, 0xffff),
        (0x0400, 0xfc00),
        (0x8000, 0xf000),
    ];
    let (mut kept, mut refused) = (0, 0);
    for (outer, inner) in tcis.iter().flat_map(|one| tcis.iter().map(move |two| (one, two))) {
        for (tpid, ctpid) in tpids.iter().flat_map(|one| tpids.iter().map(move |two| (one, two))) {
            for eth_type in eth_types {
                let put = |pick: fn(&(u16, u16)) -> u16| Key {
                    vlan_tci: pick(outer),
                    vlan_tpid: pick(tpid),
                    cvlan_tci: pick(inner),
                    cvlan_tpid: pick(ctpid),
                    eth_type: pick(&eth_type),
                    ..Key::default()
                };
                let mask = Mask { in_port: u32::MAX, recirc_id: u32::MAX, ..put(|pair| pair.1) };
                let matching = Match::new(&Key { in_port: 1, ..put(|pair| pair.0) }, &mask);
                if validate(&matching, &[]).is_err() {
                    refused += 1;
                    continue;
                }
                kept += 1;
                let text = odp::format_match(&matching);
                assert_eq!(odp::parse_match(&text), Ok(matching), "{text}");
            }
        }
    }
    assert!(kept > 100 && refused > 100, "{kept} {refused}");
}
