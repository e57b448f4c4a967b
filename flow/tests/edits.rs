//! Edits against an independent oracle: an edited frame is, byte for byte, the frame that
//! `etherparse` builds from scratch for the key as it should be now.
#![allow(clippy::panic, clippy::expect_used, reason = "a test fails by panicking")]
#![allow(clippy::cast_possible_truncation, reason = "cutting off is how bytes are made")]

use common::{Rng, build, checks, fuzz};
use flow::packet::{Packet, ReadyRewrite, Unfinished, edit, extract, layers, rewrite};
use flow::{Action, Attr, Field, Key, SetFields};
use proptest::prelude::*;

mod common;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn the_key_of_a_built_frame(seed in any::<u64>()) {
        let mut rng = Rng(seed);
        let key = build::key(&mut rng);
        let rest = build::rest(&mut rng);
        prop_assert_eq!(extract(&build::frame(&key, &rest)), key);
    }

    #[test]
    fn set_gives_the_frame_of_the_new_key(seed in any::<u64>()) {
        let mut rng = Rng(seed);
        let key = build::key(&mut rng);
        let rest = build::rest(&mut rng);
        let mut now = key;
        let mut wanted = key;
        let mut packet = Packet::new(&build::frame(&key, &rest));
        // Several in a row: increments must not wear a checksum out.
        for _ in 0..3 {
            let fields = fitting(&mut rng, &key);
            apply(&mut wanted, &fields);
            edit(&mut packet, &mut now, &Action::Set(Box::new(fields)));
            prop_assert_eq!(now, wanted, "{:?}", fields);
            prop_assert_eq!(packet.bytes(), build::frame(&wanted, &rest), "{:?}", fields);
        }
    }

    /// A rewrite that was made ready does what the plain one does, on any frame: cut, tagged,
    /// unfinished, with a false length.
    #[test]
    fn a_ready_rewrite_is_the_plain_one(seed in any::<u64>()) {
        let mut rng = Rng(seed);
        let key = build::key(&mut rng);
        let mut frame = build::frame(&key, &build::rest(&mut rng));
        if rng.one_in(3) {
            frame.truncate(rng.below(frame.len() + 1));
        }
        if rng.one_in(3) && !frame.is_empty() {
            let at = rng.below(frame.len());
            frame[at] = rng.byte();
        }
        let mut plain = Packet::new(&frame);
        if rng.one_in(3) {
            plain.set_unfinished(Unfinished::of(&frame, rng.pick(&[0, 9, 100])));
        }
        let mut ready = plain.clone();
        for _ in 0..4 {
            if rng.one_in(4) {
                let tags = [Action::PushVlan { tpid: 0x8100, tci: 0x1005 }, Action::PopVlan];
                let tag = &tags[rng.below(2)];
                prop_assert!(rewrite(&mut plain, tag) && rewrite(&mut ready, tag));
            }
            // Attributes of the other IP version, and other protocols, among them.
            let attr = rng.pick(&[Attr::Eth, Attr::Ip, Attr::Ipv4, Attr::Ipv6, Attr::Transport]);
            let protocol = match attr {
                Attr::Ip => rng.pick(&[0, 4, 6]),
                Attr::Transport => rng.pick(&[6, 17, key.ip_proto]),
                _ => 0,
            };
            let fields = fields_of(&mut rng, attr, protocol);
            rewrite(&mut plain, &Action::Set(Box::new(fields)));
            match ReadyRewrite::of(&fields) {
                Some(set) => set.execute(&mut ready),
                None => _ = rewrite(&mut ready, &Action::Set(Box::new(fields))),
            }
            prop_assert_eq!(&plain, &ready, "{:?}", fields);
            prop_assert_eq!(plain.layers(), ready.layers());
        }
    }

    #[test]
    fn tags_come_and_go(seed in any::<u64>()) {
        let mut rng = Rng(seed);
        let mut key = build::key(&mut rng);
        (key.cvlan_tpid, key.cvlan_tci) = (0, 0);
        let rest = build::rest(&mut rng);
        let mut now = key;
        let mut packet = Packet::new(&build::frame(&key, &rest));
        let tci = rng.word() as u16 | flow::VLAN_PRESENT;
        edit(&mut packet, &mut now, &Action::PushVlan { tpid: 0x88a8, tci });
        let inner = (key.vlan_tpid, key.vlan_tci);
        let mut pushed = Key { vlan_tpid: 0x88a8, vlan_tci: tci, ..key };
        (pushed.cvlan_tpid, pushed.cvlan_tci) = inner;
        prop_assert_eq!(now, pushed);
        prop_assert_eq!(packet.bytes(), build::frame(&pushed, &rest));
        edit(&mut packet, &mut now, &Action::PopVlan);
        prop_assert_eq!(now, key);
        prop_assert_eq!(packet.bytes(), build::frame(&key, &rest));
        edit(&mut packet, &mut now, &Action::PopVlan);
        (key.vlan_tpid, key.vlan_tci) = (0, 0);
        prop_assert_eq!(now, key);
        prop_assert_eq!(packet.bytes(), build::frame(&key, &rest));
    }

    #[test]
    fn labels_come_and_go(seed in any::<u64>()) {
        let mut rng = Rng(seed);
        let key = build::key(&mut rng);
        let frame = build::frame(&key, &build::rest(&mut rng));
        let mut now = key;
        let mut packet = Packet::new(&frame);
        let labels = [0x0006_4140, 0x0006_5040, 0x0006_6040, 0x0006_7040];
        let mut stack = Vec::new();
        for lse in labels {
            edit(&mut packet, &mut now, &Action::PushMpls { lse, eth_type: 0x8847 });
            stack.splice(0..0, lse.to_be_bytes());
            let tags = [key.vlan_tpid, key.cvlan_tpid].iter().filter(|tpid| **tpid != 0).count();
            let mut wanted = frame[..12 + 4 * tags].to_vec();
            wanted.extend([0x88, 0x47]);
            wanted.extend(&stack);
            wanted.extend(&frame[14 + 4 * tags..]);
            prop_assert_eq!(packet.bytes(), wanted);
            prop_assert_eq!((now.eth_type, now.mpls0, now.ip_proto), (0x8847, lse, 0));
        }
        prop_assert_eq!((now.mpls1, now.mpls2), (labels[2], labels[1]));
        for left in (0..labels.len()).rev() {
            let eth_type = if left == 0 { key.eth_type } else { 0x8847 };
            edit(&mut packet, &mut now, &Action::PopMpls { eth_type });
        }
        prop_assert_eq!((packet.bytes(), now), (&frame[..], key));
    }

    /// What is done to a large frame is done to each of its segments, and their checksums are
    /// right.
    #[test]
    fn an_unfinished_frame_is_edited_as_its_segments_are(seed in any::<u64>()) {
        let mut rng = Rng(seed);
        let mut key = build::key(&mut rng);
        while !matches!(key.ip_proto, 6 | 17) {
            key = build::key(&mut rng);
        }
        let mut rest = build::rest(&mut rng);
        rest.padding.clear();
        let size = rng.pick(&[0, 1, 50, 1000]);
        let mut large = Packet::new(&build::frame(&key, &rest));
        let unfinished = Unfinished::of(large.bytes(), size);
        let Some(unfinished) = unfinished else { return Err(TestCaseError::reject("no layers")) };
        unfinished.begin_checksum(large.bytes_mut());
        large.set_unfinished(Some(unfinished));
        let mut segments = whole(&large);
        let tci = rng.word() as u16 | flow::VLAN_PRESENT;
        for _ in 0..4 {
            let action = match rng.pick(&[0, 1, 2, 2, 2]) {
                0 => Action::PushVlan { tpid: 0x8100, tci },
                1 => Action::PopVlan,
                _ => Action::Set(Box::new(fitting(&mut rng, &key))),
            };
            rewrite(&mut large, &action);
            segments.iter_mut().for_each(|segment| _ = rewrite(segment, &action));
        }
        let bytes = segments.iter().map(|segment| segment.len() as u64).sum();
        let packets = segments.len() as u64;
        prop_assert_eq!(large.counters(), flow::Counters { packets, bytes });
        let longest = segments.iter().map(Packet::len).max();
        prop_assert!(longest <= Some(large.longest()));
        for (segment, mut edited) in whole(&large).into_iter().zip(segments) {
            // Behind a third tag nothing is parsed.
            let is_seen = layers(segment.bytes()).transport().is_some();
            prop_assert!(checks::verify(segment.bytes()).transport || !is_seen, "{:?}", segment);
            // One's complement has two zeroes.
            let transport = edited.layers().transport().expect("it was found before the tags");
            let at = transport.start + usize::from(unfinished.checksum().1);
            if edited.bytes()[at..at + 2] == [0; 2] {
                edited.bytes_mut()[at..at + 2].fill(0xff);
            }
            prop_assert_eq!(&segment, &edited);
        }
    }

    /// A datagram in two fragments, edited one by one, is put together again: the transport
    /// checksum, which only the first one carries, covers both.
    #[test]
    fn fragments_fit_together_after_set(seed in any::<u64>()) {
        let mut rng = Rng(seed);
        let mut key = build::key(&mut rng);
        while key.eth_type != 0x800 || !matches!(key.ip_proto, 6 | 17) {
            key = build::key(&mut rng);
        }
        let mut rest = build::rest(&mut rng);
        rest.payload = rng.fill(100);
        let whole = build::transport(&key, &rest);
        let mut edited = Vec::new();
        let transport = fields_of(&mut rng, Attr::Transport, key.ip_proto);
        let fields = [fields_of(&mut rng, Attr::Ipv4, 4), transport];
        for (part, word, frag) in [(&whole[..64], 0x2000u16, 1), (&whole[64..], 8, 2)] {
            let frame = fragment(&key, &rest, part, word);
            let mut packet = Packet::new(&frame);
            let mut now = extract(&frame);
            prop_assert_eq!(now.ip_frag, frag);
            prop_assert_eq!(now.tp_src, if frag == 1 { key.tp_src } else { 0 });
            for fields in &fields {
                edit(&mut packet, &mut now, &Action::Set(Box::new(*fields)));
                prop_assert_eq!(now, extract(packet.bytes()));
                prop_assert!(checks::verify(packet.bytes()).ip);
            }
            let end = packet.len() - rest.padding.len();
            edited.extend_from_slice(&packet.bytes()[end - part.len()..end]);
        }
        let mut wanted = key;
        fields.iter().for_each(|fields| apply(&mut wanted, fields));
        prop_assert_eq!(edited, build::transport(&wanted, &rest));
    }
}

/// The packets that an unfinished one is on a wire.
fn whole(packet: &Packet) -> Vec<Packet> {
    let segment = |index| {
        let mut whole = Packet::default();
        packet.segment(index, &mut whole);
        whole
    };
    (0..packet.segments()).map(segment).collect()
}

/// One IPv4 fragment; `word` is flags and offset.
fn fragment(key: &Key, rest: &build::Rest, part: &[u8], word: u16) -> Vec<u8> {
    let mut frame = vec![0; 12];
    frame.extend([8, 0]);
    frame.extend(build::ipv4(key, rest, part));
    frame[20..22].copy_from_slice(&word.to_be_bytes());
    // The builder's checksum is that of an unfragmented packet: all that is missing is the word.
    let sum = u32::from(!u16::from_be_bytes([frame[24], frame[25]])) + u32::from(word);
    let folded = !((sum & 0xffff) + (sum >> 16)) as u16;
    frame[24..26].copy_from_slice(&folded.to_be_bytes());
    frame.extend(&rest.padding);
    frame
}

/// A `set` of an attribute that the key has, most of the time.
fn fitting(rng: &mut Rng, key: &Key) -> SetFields {
    let (ip, arp) = match key.eth_type {
        0x800 => (Attr::Ipv4, Attr::Eth),
        0x86dd => (Attr::Ipv6, Attr::Eth),
        _ => (Attr::Ipv6, Attr::Arp),
    };
    let version = if ip == Attr::Ipv4 { 4 } else { 6 };
    let (attr, protocol) = rng.pick(&[
        (Attr::Eth, 0),
        (ip, version),
        (ip, version),
        (Attr::Ip, version),
        (Attr::Ip, 0),
        (Attr::Transport, key.ip_proto),
        (Attr::Transport, key.ip_proto),
        (Attr::Transport, 6),
        (arp, 0),
    ]);
    fields_of(rng, attr, protocol)
}

/// Random bits of an attribute's fields, within what the wire can hold.
fn fields_of(rng: &mut Rng, attr: Attr, protocol: u8) -> SetFields {
    let mut fields = fuzz::set_of(rng, attr, protocol);
    let narrow = Key { arp_op: 0xff00, ..Key::default() };
    let icmp = matches!(protocol, 1 | 58) && attr == Attr::Transport;
    let wide = if icmp { 0xff00 } else { 0 };
    let cut = narrow.union(&Key { tp_src: wide, tp_dst: wide, ..Key::default() });
    fields.mask = fields.mask.without(&cut);
    fields.value = fields.value.without(&cut);
    fields
}

/// What `set` means, field by field.
fn apply(key: &mut Key, fields: &SetFields) {
    let there = match fields.attr {
        Attr::Eth => true,
        Attr::Ipv4 => key.eth_type == 0x800,
        Attr::Ipv6 => key.eth_type == 0x86dd,
        Attr::Ip => match fields.protocol {
            4 => key.eth_type == 0x800,
            6 => key.eth_type == 0x86dd,
            _ => key.eth_type != 0x806,
        },
        Attr::Transport => {
            fields.protocol == key.ip_proto && matches!(key.ip_proto, 6 | 17 | 132 | 1 | 58)
        }
        Attr::Arp => key.eth_type == 0x806,
        other => panic!("{other:?} is not among those tried"),
    };
    for field in Field::ALL.iter().filter(|_| there) {
        let (value, mask) = (fields.value.get(*field), fields.mask.get(*field));
        key.set(*field, key.get(*field) & !mask | value & mask);
    }
}
