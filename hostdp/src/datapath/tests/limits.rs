//! Limits, counted drops and the sample action's share.

use flow::{RecircId, Userspace};

use super::*;

#[test]
fn recirculation_ends_at_the_limit() {
    let (mut datapath, peers) = datapath(DatapathSettings::default(), 2);
    install(&mut datapath, &everything(1, 0, &[Action::Recirc(RecircId(5))]));
    install(&mut datapath, &everything(1, 5, &[output(2), Action::Recirc(RecircId(5))]));
    let frame = testing::frame(2, 1, 10);
    datapath.receive(PortId(1), &frame, Moment(1));
    let snapshot = datapath.snapshot();
    assert_eq!(snapshot.lookups_at_depth, [1; 9]);
    let dropped = snapshot.drops.get(DropReason::RecircLimit);
    assert_eq!(dropped, Counters::packet(frame.len()));
    assert_eq!(sent(&peers[1]).len(), 8);
    assert!(snapshot.ledger.is_exact());
    assert_eq!(snapshot.ledger.fresh.hits_first_pass.packets, 1);
}

#[test]
fn copies_do_not_multiply_without_end() {
    let (mut datapath, peers) = datapath(DatapathSettings::default(), 2);
    let bomb: Vec<Action> = (0..20).map(|_| Action::Recirc(RecircId(5))).collect();
    install(&mut datapath, &everything(1, 0, &bomb));
    install(&mut datapath, &everything(1, 5, &[&[output(2)], &bomb[..]].concat()));
    datapath.receive(PortId(1), &testing::frame(2, 1, 10), Moment(1));
    let snapshot = datapath.snapshot();
    assert_eq!(sent(&peers[1]).len(), 64, "one lookup for each recirculation allowed");
    assert_eq!(snapshot.lookups_at_depth.iter().sum::<u64>(), 65);
    let limits = [DropReason::DeferredLimit, DropReason::RecircLimit];
    let dropped: u64 = limits.iter().map(|reason| snapshot.drops.get(*reason).packets).sum();
    assert_eq!(dropped, 20 + 64 * 20 - 64);
}

#[test]
fn a_hit_on_a_megaflow_without_actions_is_a_hit() {
    let (mut datapath, _peers) = datapath(DatapathSettings::default(), 1);
    let flow = everything(1, 0, &[]);
    install(&mut datapath, &flow);
    let frame = testing::frame(2, 1, 10);
    datapath.receive(PortId(1), &frame, Moment(4));
    let snapshot = datapath.snapshot();
    assert_eq!(snapshot.explicit_drops, Counters::packet(frame.len()));
    assert!(snapshot.drops.total().is_zero());
    let (_, stats) = datapath.table().get(flow.ufid).unwrap();
    assert_eq!((stats.counters.packets, stats.used), (1, Some(Moment(4))));
    assert_eq!(stats.tcp_flags, extract(&frame).tcp_flags);
}

#[test]
fn sample_takes_its_share() {
    let (mut datapath, peers) =
        datapath(DatapathSettings { seed: 42, ..DatapathSettings::default() }, 2);
    let quarter = Action::Sample { probability: u32::MAX / 4, actions: [output(2)].into() };
    install(&mut datapath, &everything(1, 0, &[quarter]));
    let frame = testing::frame(2, 1, 10);
    (0..4000).for_each(|_| assert!(datapath.receive(PortId(1), &frame, Moment(1))));
    let share = sent(&peers[1]).len();
    assert!((850..1150).contains(&share), "{share} of 4000");
}

#[test]
fn executed_frames_are_injected_not_received() {
    let (mut datapath, peers) = datapath(DatapathSettings::default(), 2);
    let frame = testing::frame(3, 1, 10);
    let twice = [Action::Trunc(20), output(2), output(2)].into();
    datapath.execute(&frame, PortId(1), &twice, Moment(1));
    datapath.execute(&frame[..13], PortId(1), &[output(2)].into(), Moment(1));
    datapath.execute(&frame, PortId(1), &[Action::Trunc(1)].into(), Moment(1));
    assert_eq!(sent(&peers[1]), [&frame[..20], &frame[..]]);
    let snapshot = datapath.snapshot();
    assert_eq!((snapshot.injected.packets, snapshot.ledger), (3, Ledger::default()));
    assert_eq!(snapshot.drops.get(DropReason::Malformed).bytes, 13);
    assert_eq!(snapshot.drops.get(DropReason::Client).packets, 1);
    assert!(!datapath.receive(PortId(8), &frame, Moment(1)));
}

#[test]
fn a_full_device_and_a_missing_port_are_counted() {
    let mut datapath = Datapath::new(DatapathSettings::default());
    let (one, peer) = memory::open("one", 2).unwrap();
    datapath.add_port(PortId(1), Box::new(one)).unwrap();
    let (twin, _peer) = memory::open("one", 2).unwrap();
    assert!(datapath.add_port(PortId(2), Box::new(twin)).is_err(), "the name is taken");
    let userspace = Action::Userspace(Userspace { pid: 3, userdata: vec![] });
    let all = [output(1), output(1), output(1), output(4), userspace];
    install(&mut datapath, &everything(1, 0, &all));
    let frame = testing::frame(0, 0, 0);
    assert!(peer.send(&frame));
    assert_eq!(datapath.poll(Moment(1)), 1);
    let snapshot = datapath.snapshot();
    let port = &snapshot.ports[0];
    assert_eq!((port.sent.packets, port.received), (2, Counters::packet(frame.len())));
    assert_eq!(port.transmit_drops.get(DropReason::TxFull).packets, 1);
    assert_eq!(snapshot.drops.get(DropReason::NoSuchPort).bytes, frame.len() as u64);
    assert_eq!(datapath.next_upcalls(9).len(), 1);
}
