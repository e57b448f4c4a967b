//! Tests of cases that neither the comparison with Open vSwitch's tool (`tests/parse_pcap.rs`) nor
//! the built frames (`tests/edits.rs`) can show.

use super::*;
use crate::hash::split_mix;
use crate::{Action, Attr, HashAlgorithm, Key, SetFields};

const ADDRESSES: &str = "0200000000b20200000000a1";

fn frame(hex: &str) -> Vec<u8> {
    let digits: Vec<_> = hex.chars().filter_map(|c| c.to_digit(16)).collect();
    digits.chunks_exact(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect()
}

fn edited(packet: &mut Packet, action: &Action) -> Key {
    let mut key = extract(packet.bytes());
    edit(packet, &mut key, action);
    assert_eq!(key, extract(packet.bytes()));
    key
}

fn set(attr: Attr, protocol: u8, value: Key, mask: Key) -> Action {
    Action::Set(Box::new(SetFields { attr, protocol, value, mask }))
}

#[test]
fn a_runt_has_the_zero_key() {
    let mut packet = Packet::new(&[0xff; 13]);
    for action in [
        Action::PushVlan { tpid: 0x8100, tci: 0x1001 },
        Action::PopVlan,
        Action::PushMpls { lse: 0x140, eth_type: 0x8847 },
        Action::PopMpls { eth_type: 0x800 },
        set(Attr::Eth, 0, Key::default(), Key::mask_of(&[crate::Field::EthDst])),
    ] {
        assert!(edited(&mut packet, &action).is_zero());
        assert_eq!(packet.bytes(), [0xff; 13]);
    }
}

/// The quick way through the frames that nearly all are gives what the way header by header gives,
/// or leaves the frame to it: whole, cut, damaged and padded ones.
#[test]
fn quick_frames_are_read_as_all_others() {
    let udp = "4500 0024 0001 4000 4011 0000 0a000001 0a000002 0007 0008 0010 0000 00112233";
    let tcp = "4510 0030 0001 0000 3f06 0000 0a000001 0a000002 0007 0008 00000001 00000002 \
               6012 2000 0000 0000 020405b4 00112233";
    let bases: Vec<_> = [udp, tcp].map(|ip| frame(&format!("{ADDRESSES}0800{ip}"))).into();
    let (mut dice, mut quick) = (7, 0);
    let mut below = |most: usize| (split_mix(&mut dice) >> 32) as usize % most;
    for _ in 0..200_000 {
        let mut bytes = bases[below(2)].clone();
        match below(4) {
            0 => bytes.truncate(below(bytes.len() + 1)),
            1 => bytes.resize(bytes.len() + below(70_000), 0),
            _ => {}
        }
        for _ in 0..below(4) {
            let at = below(bytes.len().clamp(1, 62));
            if let Some(byte) = bytes.get_mut(at) {
                *byte = below(256) as u8;
            }
        }
        let (mut one, mut other) = (Key::default(), Key::default());
        let layers = parse_headers(&bytes, &mut other);
        match quick::parse(&bytes, &mut one) {
            Some(found) => {
                assert_eq!((one, found), (other, layers), "{bytes:02x?}");
                quick += 1;
            }
            None => assert!(one.is_zero(), "{bytes:02x?}"),
        }
    }
    assert!(quick > 20_000, "{quick}");
}

/// OVS counts padding in 16 bits and takes a packet with more padding as broken. OVS's capture
/// reader refuses frames of this length, so the comparison can't show the rule.
#[test]
fn padding_has_an_end() {
    let ipv4 = format!("{ADDRESSES}0800 4500001400010000402f0000 0a000001 0a000002");
    let ipv6 = format!("{ADDRESSES}86dd 60000000 0000 3b 40 {}", "fd".repeat(32));
    for (hex, header) in [(ipv4, 20), (ipv6, 40)] {
        let mut bytes = frame(&hex);
        bytes.resize(14 + header + 0xffff, 0);
        assert_ne!(extract(&bytes).ip_proto, 0);
        bytes.push(0);
        let key = extract(&bytes);
        assert_eq!((key.ip_proto, key.ipv4_src, key.ipv6_src), (0, 0, 0));
    }
}

/// While segments are left, the destination in the header is not the one that the transport
/// checksum covers: rewriting it must not touch the checksum. The source always counts.
#[test]
fn a_routing_header_hides_the_destination() {
    let routed = |segments_left: &str| {
        let packet = format!(
            "{ADDRESSES}86dd 60000000 0010 2b 40 {} {} 1100 00{segments_left} 00000000
             1388 0035 0008 1234",
            "00".repeat(16),
            "00".repeat(16),
        );
        Packet::new(&frame(&packet))
    };
    let dst = Key { ipv6_dst: 1, ..Key::default() };
    let src = Key { ipv6_src: 1, ..Key::default() };
    let checksum = |packet: &Packet| wire::be16(packet.bytes(), 14 + 40 + 8 + 6);
    for (segments_left, change, after) in
        [("01", dst, 0x1234), ("01", src, 0x1233), ("00", dst, 0x1233), ("00", src, 0x1233)]
    {
        let mut packet = routed(segments_left);
        edited(&mut packet, &set(Attr::Ipv6, 6, change, change));
        assert_eq!(checksum(&packet), Some(after), "{segments_left} left, {change:?}");
    }
}

/// A label in an 802.3 frame: the SNAP type says so, and the length counts it.
#[test]
fn a_label_counts_in_the_length_of_snap() {
    let plain = frame(&format!("{ADDRESSES} 0010 aaaa03 000000 88cc {}", "07".repeat(8)));
    let mut packet = Packet::new(&plain);
    let key = edited(&mut packet, &Action::PushMpls { lse: 0x0006_4140, eth_type: 0x8847 });
    assert_eq!((key.eth_type, key.mpls0), (0x8847, 0x0006_4140));
    assert_eq!(wire::be16(packet.bytes(), 12), Some(0x14));
    edited(&mut packet, &Action::PopMpls { eth_type: 0x88cc });
    assert_eq!(packet.bytes(), plain);
    // Without SNAP the frame has no EtherType that could announce a label.
    let mut llc = Packet::new(&frame(&format!("{ADDRESSES} 0008 424203 0000000000")));
    let before = llc.clone();
    edited(&mut llc, &Action::PushMpls { lse: 0x0006_4140, eth_type: 0x8847 });
    assert_eq!(llc, before);
}

#[test]
fn headroom_grows_when_it_is_used_up() {
    let plain = frame(&format!("{ADDRESSES}0800 01020304"));
    let mut packet = Packet::new(&plain);
    for _ in 0..100 {
        packet.insert(12, [0x81, 0, 0, 5]);
    }
    let mut wanted = plain[..12].to_vec();
    wanted.extend([0x81, 0, 0, 5].repeat(100));
    wanted.extend(&plain[12..]);
    assert_eq!(packet.bytes(), wanted);
    packet.remove(12, 400);
    assert_eq!(packet.bytes(), plain);
    packet.remove(14, 1000);
    assert_eq!(packet.bytes(), &plain[..14]);
    packet.insert(1000, [9]);
    assert_eq!(packet.bytes().last(), Some(&9));
    packet.reset(&plain);
    assert_eq!((packet.bytes(), packet.len(), packet.is_empty()), (&plain[..], 18, false));
}

fn tcp4() -> Key {
    Key {
        eth_type: 0x800,
        ip_proto: 6,
        ipv4_src: 0x0a00_0001,
        ipv4_dst: 0x0a00_0002,
        tp_src: 40_000,
        tp_dst: 80,
        ..Key::default()
    }
}

fn backwards(key: &Key) -> Key {
    Key {
        eth_src: key.eth_dst,
        eth_dst: key.eth_src,
        ipv4_src: key.ipv4_dst,
        ipv4_dst: key.ipv4_src,
        ipv6_src: key.ipv6_dst,
        ipv6_dst: key.ipv6_src,
        tp_src: key.tp_dst,
        tp_dst: key.tp_src,
        ..*key
    }
}

#[test]
fn only_sym_l4_is_the_same_both_ways() {
    let tcp6 = Key { eth_type: 0x86dd, ipv6_src: 1 << 100, ipv6_dst: 7, ipv4_src: 0, ..tcp4() };
    let arp = Key { eth_type: 0x806, eth_src: crate::MacAddr([2; 6]), ..Key::default() };
    for key in [tcp4(), tcp6, arp] {
        let other = backwards(&key);
        let sym = |key| hash(key, HashAlgorithm::SymL4, 5);
        let l4 = |key| hash(key, HashAlgorithm::L4, 5);
        assert_eq!(sym(&key), sym(&other));
        assert_ne!(l4(&key), l4(&other));
        assert_ne!(l4(&key), hash(&key, HashAlgorithm::L4, 6), "the basis counts");
    }
}

#[test]
fn fragments_of_a_packet_have_one_hash() {
    for algorithm in [HashAlgorithm::L4, HashAlgorithm::SymL4] {
        let first = Key { ip_frag: 1, ..tcp4() };
        let later = Key { ip_frag: 2, tp_src: 0, tp_dst: 0, ..tcp4() };
        assert_eq!(hash(&first, algorithm, 0), hash(&later, algorithm, 0));
        let other = Key { tp_src: 40_001, ..tcp4() };
        assert_ne!(hash(&tcp4(), algorithm, 0), hash(&other, algorithm, 0));
    }
}

/// The hash was computed once and written down: host and card have to agree, and a version must not
/// move connections between a bond's members.
#[test]
fn hash_is_pinned_and_never_zero() {
    assert_eq!(hash(&tcp4(), HashAlgorithm::L4, 0), PINNED_L4);
    assert_eq!(hash(&tcp4(), HashAlgorithm::SymL4, 0), PINNED_SYM);
    let zeros = (0..=u32::MAX)
        .step_by(1 << 14)
        .filter(|basis| hash(&Key { ipv4_src: *basis, ..tcp4() }, HashAlgorithm::L4, 0) == 0);
    assert_eq!(zeros.count(), 0);
    assert_eq!(hash::finish(0), 1);
}

const PINNED_L4: u32 = 0xf36c_afbc;
const PINNED_SYM: u32 = 0x4a42_ca75;

/// Ethernet, tags, an IPv4 header with that total length, and UDP.
fn tagged(tags: usize, total: u16) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
    (0..tags).for_each(|tag| frame.extend([0x81, 0, 0, tag as u8 + 5]));
    frame.extend([0x08, 0x00, 0x45, 0]);
    frame.extend(total.to_be_bytes());
    frame.extend([0, 1, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    frame.extend([0, 7, 0, 9, 0, 12, 0, 0, 1, 2, 3, 4]);
    let at = 14 + 4 * tags;
    let sum = frame[at..at + 20].chunks(2).map(|w| u32::from(w[0]) << 8 | u32::from(w[1])).sum();
    let sum: u32 = sum;
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    frame[at + 10..at + 12].copy_from_slice(&sum.to_be_bytes());
    frame
}

fn set_ipv4(text: &str) -> Action {
    crate::odp::parse_actions(&format!("set(ipv4({text}))")).unwrap()[0].clone()
}

/// OVS and the kernel rewrite what is behind a third tag: they keep the offsets of the key's parse.
#[test]
fn a_tag_that_is_pushed_hides_no_header() {
    let mut packet = Packet::new(&tagged(2, 32));
    let mut key = packet.extract();
    assert_eq!((key.eth_type, key.ip_ttl), (0x0800, 64));
    for action in [
        Action::PushVlan { tpid: 0x8100, tci: 0x7003 },
        set_ipv4("ttl=9"),
        set_ipv4("dst=10.0.0.9"),
        crate::odp::parse_actions("set(udp(dst=80))").unwrap()[0].clone(),
    ] {
        edit(&mut packet, &mut key, &action);
    }
    assert_eq!(key.eth_type, 0x8100, "a key has two tags");
    let mut wanted = tagged(2, 32);
    wanted.splice(12..12, [0x81, 0, 0x60, 3]);
    let ip = 14 + 4 * 3;
    assert_eq!(packet.bytes()[ip + 8], 9);
    assert_eq!(packet.bytes()[ip + 16..ip + 20], [10, 0, 0, 9]);
    assert_eq!(packet.bytes()[ip + 22..ip + 24], [0, 80]);
    assert_eq!(checksum(&packet.bytes()[ip..ip + 20]), 0, "the header's checksum is right");
    edit(&mut packet, &mut key, &Action::PopVlan);
    assert_eq!((key.eth_type, key.ip_ttl, key.tp_dst), (0x0800, 9, 80));
    // A recirculation parses the frame anew.
    edit(&mut packet, &mut key, &Action::PushVlan { tpid: 0x8100, tci: 0x7003 });
    assert_eq!(packet.extract().eth_type, 0x8100);
    edit(&mut packet, &mut key, &set_ipv4("ttl=3"));
    assert_eq!(packet.bytes()[ip + 8], 9);
}

fn checksum(header: &[u8]) -> u16 {
    let sum: u32 = header.chunks(2).map(|w| u32::from(w[0]) << 8 | u32::from(w[1])).sum();
    !((sum & 0xffff) + (sum >> 16)) as u16
}

/// An impossible total length hides the IP fields from the match, but not from the rewrite.
#[test]
fn a_lying_length_does_not_evade_a_rewrite() {
    for total in [0, 19, 33, 1500, u16::MAX] {
        for tags in 0..3 {
            let mut packet = Packet::new(&tagged(tags, total));
            let mut key = packet.extract();
            assert_eq!((key.eth_type, key.ipv4_dst), (0x0800, 0), "{total}");
            edit(&mut packet, &mut key, &set_ipv4("dst=10.0.0.9,ttl=9"));
            let ip = 14 + 4 * tags;
            let header = &packet.bytes()[ip..ip + 20];
            assert_eq!((header[8], &header[16..]), (9, &[10, 0, 0, 9][..]), "{total} {tags}");
            assert_eq!(checksum(header), 0);
            assert_eq!(packet.bytes()[ip + 20..], tagged(tags, total)[ip + 20..]);
        }
    }
    let mut frame = tagged(0, 32);
    frame[12..14].copy_from_slice(&[0x86, 0xdd]);
    frame.resize(14 + 40, 0);
    frame[14..18].copy_from_slice(&[0x60, 0, 0, 0]);
    frame[18..20].copy_from_slice(&[0xff, 0xff]);
    let mut packet = Packet::new(&frame);
    let mut key = packet.extract();
    let action = crate::odp::parse_actions("set(ipv6(hlimit=9))").unwrap()[0].clone();
    edit(&mut packet, &mut key, &action);
    assert_eq!(packet.bytes()[14 + 7], 9);
    frame.truncate(14 + 19);
    let mut packet = Packet::new(&frame);
    let mut key = packet.extract();
    edit(&mut packet, &mut key, &action);
    assert_eq!(packet.bytes(), frame, "half a header is none");
}
