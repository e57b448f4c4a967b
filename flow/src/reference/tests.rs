//! The executor, action by action.

use super::*;
use crate::{Actions, HashAlgorithm};

const FRAME: [u8; 60] = {
    let mut frame = [0x11; 60];
    (frame[12], frame[13]) = (0x88, 0xcc);
    frame
};

fn output(port: u32) -> Action {
    Action::Output(PortId(port))
}

fn tag() -> Action {
    Action::PushVlan { tpid: 0x8100, tci: crate::VLAN_PRESENT | 5 }
}

fn sample(probability: u32, actions: &[Action]) -> Action {
    Action::Sample { probability, actions: Actions::from(actions) }
}

/// Port and length of the outputs, port 0 for userspace, 99 for recirculation.
fn lengths(actions: &[Action], toss: bool) -> Vec<(u32, usize)> {
    let key = Key { in_port: 4, ..packet::extract(&FRAME) };
    let effects = execute(actions, &Packet::new(&FRAME), &key, &mut |_| toss);
    let length = |effect: &Effect| match effect {
        Effect::Output(port, frame) => (port.0, frame.len()),
        Effect::Userspace(_, key, frame) => {
            assert_eq!(key.in_port, 4);
            (0, frame.len())
        }
        Effect::Recirc(_, key, packet) => {
            assert_eq!(key.in_port, 4);
            (99, packet.len())
        }
    };
    effects.iter().map(length).collect()
}

#[test]
fn rewrites_are_seen_by_what_is_behind_them() {
    assert_eq!(lengths(&[output(1), tag(), output(2)], false), [(1, 60), (2, 64)]);
    assert_eq!(lengths(&[], false), []);
}

#[test]
fn trunc_holds_for_one_output() {
    let (cut, up) = (Action::Trunc(20), Action::Userspace(Userspace::default()));
    assert_eq!(lengths(&[cut.clone(), output(1), output(2)], false), [(1, 20), (2, 60)]);
    assert_eq!(lengths(&[cut.clone(), up, output(2)], false), [(0, 20), (2, 60)]);
    assert_eq!(lengths(&[cut.clone(), tag(), output(1)], false), [(1, 24)]);
    assert_eq!(lengths(&[cut.clone(), Action::Trunc(50), output(1)], false), [(1, 50)]);
    assert_eq!(lengths(&[cut, Action::Trunc(100), output(1)], false), [(1, 60)]);
    assert_eq!(lengths(&[Action::Trunc(3), output(1)], false), [(1, 14)]);
}

#[test]
fn sample_leaves_the_packet_as_it_was() {
    let nested = [tag(), Action::Hash { algorithm: HashAlgorithm::L4, basis: 0 }, output(1)];
    for (probability, toss, hit) in
        [(0, true, false), (u32::MAX, false, true), (1, true, true), (1, false, false)]
    {
        let sampled: &[_] = if hit { &[(1, 64), (2, 60)] } else { &[(2, 60)] };
        let list = [sample(probability, &nested), output(2)];
        assert_eq!(lengths(&list, toss), sampled, "{probability}, {toss}");
    }
    let cut = [Action::Trunc(20), sample(u32::MAX, &[output(1)]), output(2)];
    assert_eq!(lengths(&cut, false), [(1, 20), (2, 20)]);
}

#[test]
fn recirc_hands_on_key_and_hash() {
    let list = [
        Action::Hash { algorithm: HashAlgorithm::L4, basis: 0 },
        tag(),
        Action::Trunc(20),
        Action::Recirc(RecircId(7)),
        output(1),
    ];
    let key = Key { in_port: 4, recirc_id: 1, ..packet::extract(&FRAME) };
    let effects = execute(&list, &Packet::new(&FRAME), &key, &mut |_| false);
    let Effect::Recirc(id, next, packet) = &effects[0] else { panic!("{effects:?}") };
    let hash = packet::hash(&key, HashAlgorithm::L4, 0);
    let bytes = packet::extract(packet.bytes());
    assert_eq!((*id, packet.len()), (RecircId(7), 64));
    assert_eq!(*next, Key { in_port: 4, recirc_id: 7, dp_hash: hash, ..bytes });
    assert_eq!(next.vlan_tci, crate::VLAN_PRESENT | 5);
    assert_eq!(lengths(&list, false), [(99, 64), (1, 20)]);
}
