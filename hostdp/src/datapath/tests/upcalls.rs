//! Upcalls end to end: one per key, answers, and upcalls of recirculated packets.

use flow::{RecircId, UpcallReason};

use super::*;
use crate::upcall::Resolution;

#[test]
fn one_upcall_per_key_and_all_its_packets_are_counted_on_the_new_megaflow() {
    let (mut datapath, peers) = datapath(DatapathSettings::default(), 2);
    let frame = testing::frame(2, 1, 10);
    (0..5).for_each(|_| assert!(datapath.receive(PortId(1), &frame, Moment(3))));
    let upcalls = datapath.next_upcalls(10);
    assert_eq!(upcalls.len(), 1);
    let upcall = &upcalls[0];
    assert_eq!((&upcall.frame, &upcall.reason), (&frame, &UpcallReason::Miss));
    assert_eq!((upcall.port, upcall.queued_at), (PortId(1), Moment(3)));
    assert!(datapath.receive(PortId(1), &frame, Moment(4)), "while the client thinks");
    assert!(datapath.next_upcalls(10).is_empty());

    let flow = only(1, &frame, &[output(2)]);
    install(&mut datapath, &flow);
    assert!(datapath.resolve(upcall.id.unwrap(), &Resolution::Reinject, Moment(5)));
    assert_eq!(sent(&peers[1]).len(), 6);
    let (_, stats) = datapath.table().get(flow.ufid).unwrap();
    assert_eq!((stats.counters.packets, stats.used), (6, Some(Moment(5))));
    assert_eq!(datapath.ledger().fresh.hits_first_pass, stats.counters);
    assert!(datapath.ledger().is_exact());
}

/// As in OVS, a packet whose lookup missed counts as missed, whatever the answer to its upcall.
#[test]
fn a_packet_that_waited_is_counted_as_one_lookup() {
    let (mut datapath, peers) = datapath(DatapathSettings::default(), 2);
    let frames = [testing::frame(2, 1, 10), testing::frame(2, 2, 10)];
    for frame in &frames {
        (0..3).for_each(|_| assert!(datapath.receive(PortId(1), frame, Moment(1))));
    }
    // The second frame gets no megaflow: its packets miss their answer and are dropped.
    install(&mut datapath, &only(1, &frames[0], &[output(2)]));
    for upcall in datapath.next_upcalls(10) {
        assert!(datapath.resolve(upcall.id.unwrap(), &Resolution::Reinject, Moment(2)));
    }
    assert!(datapath.receive(PortId(1), &frames[0], Moment(3)));
    assert_eq!(sent(&peers[1]).len(), 4);
    let snapshot = datapath.snapshot();
    let lookups = snapshot.lookups;
    assert_eq!((lookups.hits, lookups.lookups - lookups.hits), (1, 6));
    assert_eq!(snapshot.lookups_at_depth.iter().sum::<u64>(), 7);
    assert_eq!(snapshot.drops.get(DropReason::ClientMismatch).packets, 3);
    assert!(snapshot.ledger.is_exact());
}

#[test]
fn a_recirculated_miss_comes_up_as_it_is_then() {
    let (mut datapath, peers) = datapath(DatapathSettings::default(), 2);
    // Kind 1 is MPLS over IPv4: the label goes, then the inner packet is looked up.
    let pop = Action::PopMpls { eth_type: 0x0800 };
    let frame = testing::frame(1, 1, 10);
    install(&mut datapath, &only(1, &frame, &[pop, Action::Recirc(RecircId(9))]));
    datapath.receive(PortId(1), &frame, Moment(1));
    let upcall = datapath.next_upcalls(10).remove(0);
    assert_eq!((upcall.key.recirc_id, upcall.key.eth_type), (9, 0x0800));
    assert_eq!(upcall.key.ip_proto, 17);
    assert_eq!(upcall.frame.len(), frame.len() - 4);
    let mut again = extract(&upcall.frame);
    (again.in_port, again.recirc_id) = (1, 9);
    assert_eq!(again, upcall.key);
    assert!(datapath.ledger().fresh.pending.is_zero(), "it was a hit already");

    let execute = Resolution::Execute([output(2)].into());
    assert!(datapath.resolve(upcall.id.unwrap(), &execute, Moment(2)));
    assert_eq!(sent(&peers[1]), [upcall.frame]);
    assert!(datapath.ledger().fresh.executed.is_zero());
    assert!(datapath.ledger().is_exact());
}

#[test]
fn a_client_that_recirculates_for_ever_meets_the_limit() {
    let (mut datapath, _peers) = datapath(DatapathSettings::default(), 1);
    datapath.receive(PortId(1), &testing::frame(2, 1, 10), Moment(1));
    let mut answers = 0;
    while let Some(upcall) = datapath.next_upcalls(1).pop() {
        let next = Action::Recirc(RecircId(answers + 1));
        datapath.resolve(upcall.id.unwrap(), &Resolution::Execute([next].into()), Moment(1));
        answers += 1;
    }
    assert_eq!(answers, 9);
    assert_eq!(datapath.snapshot().drops.get(DropReason::RecircLimit).packets, 1);
}

#[test]
fn a_megaflow_that_does_not_match_is_the_clients_fault() {
    let (mut datapath, _peers) = datapath(DatapathSettings::default(), 1);
    datapath.receive(PortId(1), &testing::frame(2, 1, 10), Moment(1));
    let upcall = datapath.next_upcalls(1).remove(0);
    datapath.resolve(upcall.id.unwrap(), &Resolution::Reinject, Moment(1));
    let drops = datapath.ledger().fresh.drops_before_hit;
    assert_eq!(drops.get(DropReason::ClientMismatch).packets, 1);
    assert_eq!(datapath.upcalls_waiting(), (0, 0));
}
