//! The bounded fuzz run over the parser and the edits: seeded, so a failure comes back.
//!
//! Each packet starts from the kept corpus or is composed, is damaged, extracted and edited. A
//! failure prints the frame; kept as `tests/corpus/NAME.hex` it is a regression from then on.

use std::path::Path;

use flow::packet::{self, Packet};
use flow::{Action, Attr, Field, HashAlgorithm, Key, PortId, RecircId, SetFields, reference};

use super::{Rng, checks, compose, damage};

/// What a run saw: a run that never gets to the interesting packets is no test.
#[derive(Default, Debug)]
pub(crate) struct Summary {
    pub(crate) packets: u64,
    pub(crate) with_network: u64,
    pub(crate) with_transport: u64,
    pub(crate) changed_by_action: u64,
    pub(crate) checksums_kept: u64,
}

/// The frames of the corpus by name. Lines of hex digits; `#` starts a comment.
pub(crate) fn corpus() -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let files = std::fs::read_dir(&folder).expect("the corpus folder");
    let mut paths: Vec<_> = files.map(|file| file.expect("an entry").path()).collect();
    paths.sort();
    let frames = paths.iter().map(|path| {
        let text = std::fs::read_to_string(path).expect("a corpus file");
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        (name, unhex(&text))
    });
    frames.collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let digits: Vec<_> = lines.flat_map(str::chars).filter_map(|c| c.to_digit(16)).collect();
    digits.chunks_exact(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect()
}

/// Puts that many packets through; panics at the first that breaks a rule.
pub(crate) fn run(seed: u64, packets: u64) -> Summary {
    let corpus = corpus();
    assert!(!corpus.is_empty(), "the corpus is empty");
    let mut rng = Rng(seed);
    let actions: Vec<_> = (0..1024).map(|_| action(&mut rng)).collect();
    let mut summary = Summary::default();
    let (mut frame, mut packet, mut elsewhere) = (Vec::new(), Packet::new(&[]), Vec::new());
    for _ in 0..packets {
        frame.clear();
        if rng.one_in(8) {
            frame = compose(&mut rng);
        } else {
            frame.extend_from_slice(&corpus[rng.below(corpus.len())].1);
        }
        if !rng.one_in(4) {
            damage(&mut rng, &mut frame);
        }
        let action = &actions[rng.below(actions.len())];
        let culprit = Culprit { seed, frame: &frame, action };
        one(&frame, action, &mut packet, &mut elsewhere, &mut summary);
        if rng.one_in(16) {
            list(&frame, &actions, &mut rng);
        }
        std::mem::forget(culprit);
        summary.packets += 1;
    }
    summary
}

/// Prints the case while a panic passes.
struct Culprit<'a> {
    seed: u64,
    frame: &'a [u8],
    action: &'a Action,
}

impl Drop for Culprit<'_> {
    fn drop(&mut self) {
        let hex: String = self.frame.iter().map(|byte| format!("{byte:02x}")).collect();
        eprintln!("seed {}: {:?}\nframe {hex}", self.seed, self.action);
    }
}

fn one(
    frame: &[u8],
    action: &Action,
    packet: &mut Packet,
    elsewhere: &mut Vec<u8>,
    summary: &mut Summary,
) {
    let metadata = Key { in_port: 7, recirc_id: 8, dp_hash: 9, ..Key::default() };
    let (extracted, layers) = packet::parse(frame);
    // The same bytes at another place, with others behind them.
    elsewhere.clear();
    elsewhere.push(0xa5);
    elsewhere.extend_from_slice(frame);
    elsewhere.extend_from_slice(&[0x5a; 9]);
    assert_eq!(extracted, packet::extract(&elsewhere[1..=frame.len()]), "not deterministic");
    summary.with_network += u64::from(layers.network().is_some());
    summary.with_transport += u64::from(extracted.tp_src != 0 || extracted.tp_dst != 0);

    let before = metadata.union(&extracted);
    let mut key = before;
    packet.reset(frame);
    packet::edit(packet, &mut key, action);
    let fresh = packet::extract(packet.bytes());
    let kept = Key { dp_hash: key.dp_hash, ..metadata };
    assert_eq!(key, kept.union(&fresh), "the key is not what extract gives");
    summary.changed_by_action += u64::from(packet.bytes() != frame);
    match action {
        Action::Set(fields) => {
            assert_eq!(packet.len(), frame.len(), "set keeps the length");
            let mask = reach(fields);
            assert_eq!(key.without(&mask), before.without(&mask), "set beyond its mask");
            let (was, is) = (checks::verify(frame), checks::verify(packet.bytes()));
            assert!(!was.ip || is.ip, "the IPv4 checksum was right");
            assert!(!was.transport || is.transport, "the transport checksum was right");
            if packet.bytes() != frame {
                summary.checksums_kept += u64::from(was.ip) + u64::from(was.transport);
            }
        }
        Action::PushVlan { .. } => {
            packet::edit(packet, &mut key, &Action::PopVlan);
            assert_eq!((packet.bytes(), key), (frame, before), "push and pop");
        }
        Action::PushMpls { .. } if layers.length().is_none() => {
            let pop = Action::PopMpls { eth_type: extracted.eth_type };
            packet::edit(packet, &mut key, &pop);
            assert_eq!((packet.bytes(), key), (frame, before), "push and pop");
        }
        Action::Hash { .. } => assert!(key.dp_hash != 0 && packet.bytes() == frame),
        _ => {}
    }
}

/// A whole list through the reference executor: it ends, and what it makes is in bounds.
fn list(frame: &[u8], actions: &[Action], rng: &mut Rng) {
    let mut list: Vec<_> = (0..rng.below(5)).map(|_| rng.pick_ref(actions).clone()).collect();
    list.push(Action::Trunc(rng.below(100) as u32));
    list.push(Action::Output(PortId(1)));
    let nested = list.clone().into();
    list.push(Action::Sample { probability: 1 << 31, actions: nested });
    list.push(Action::Recirc(RecircId(3)));
    let mut toss = Rng(rng.word());
    let key = packet::extract(frame);
    let effects = reference::execute(&list, &Packet::new(frame), &key, &mut |_| toss.one_in(2));
    assert!(effects.len() >= 2, "an output and a recirculation at least");
    for effect in effects {
        if let reference::Effect::Recirc(id, key, packet) = effect {
            let fresh = packet::extract(packet.bytes());
            assert_eq!(key, Key { recirc_id: id.0, dp_hash: key.dp_hash, ..fresh });
        }
    }
}

/// The bits that a `set` may change: a new bottom of stack hides or shows the entries below.
fn reach(fields: &SetFields) -> Key {
    match fields.attr {
        Attr::Mpls => Key::mask_of(&[Field::Mpls0, Field::Mpls1, Field::Mpls2]),
        // An opcode above 255 reads as 0.
        Attr::Arp => fields.mask.union(&Key::mask_of(&[Field::ArpOp])),
        _ => fields.mask,
    }
}

fn action(rng: &mut Rng) -> Action {
    match rng.below(16) {
        0 => Action::PushVlan {
            tpid: rng.pick(&[0x8100, 0x88a8]),
            tci: rng.word() as u16 | flow::VLAN_PRESENT,
        },
        1 => Action::PopVlan,
        2 => Action::PushMpls { lse: rng.word() as u32, eth_type: rng.pick(&[0x8847, 0x8848]) },
        3 => Action::PopMpls { eth_type: rng.pick(&[0x800, 0x86dd, 0x8847, 0x8100, 0x1234]) },
        4 => Action::Hash {
            algorithm: rng.pick(&[HashAlgorithm::L4, HashAlgorithm::SymL4]),
            basis: rng.word() as u32,
        },
        _ => Action::Set(Box::new(set(rng))),
    }
}

/// Any attribute, reachable or not, under masks of all kinds.
fn set(rng: &mut Rng) -> SetFields {
    let (attr, protocol) = rng.pick(&[
        (Attr::Eth, 0),
        (Attr::Ip, 0),
        (Attr::Ip, 4),
        (Attr::Ip, 6),
        (Attr::Ipv4, 4),
        (Attr::Ipv4, 4),
        (Attr::Ipv6, 6),
        (Attr::Ipv6, 6),
        (Attr::Transport, 6),
        (Attr::Transport, 17),
        (Attr::Transport, 132),
        (Attr::Transport, 1),
        (Attr::Transport, 58),
        (Attr::Transport, 2),
        (Attr::Arp, 0),
        (Attr::Mpls, 0),
        (Attr::DpHash, 0),
        (Attr::Vlan, 0),
        (Attr::TcpFlags, 0),
    ]);
    set_of(rng, attr, protocol)
}

/// Random bits of the attribute's settable fields.
pub(crate) fn set_of(rng: &mut Rng, attr: Attr, protocol: u8) -> SetFields {
    let mut value = Key::default();
    let mut mask = Key::default();
    for field in Field::ALL {
        let shared = field.attr() == Attr::Ip && matches!(attr, Attr::Ipv4 | Attr::Ipv6);
        let settable = !matches!(field, Field::IpProto | Field::IpFrag);
        if (field.attr() == attr || shared) && settable && !rng.one_in(3) {
            let bits = [u128::MAX, u128::MAX, rng.wide(), 0xff, 1];
            let bits = rng.pick(&bits);
            mask.set(*field, bits & field.full_mask());
            let bits = [rng.wide(), rng.wide(), 0, u128::MAX];
            value.set(*field, rng.pick(&bits) & mask.get(*field));
        }
    }
    SetFields { attr, protocol, value, mask }
}
