use super::*;

fn waiting() -> Waiting {
    Waiting { packet: Packet::new(&[0; 60]), origin: Origin::Fresh, depth: 0 }
}

fn key(port: u32, n: u16) -> Key {
    Key { in_port: port, tp_src: n, ..Key::default() }
}

fn upcalls(limits: UpcallLimits, ports: u32) -> Upcalls {
    let mut upcalls = Upcalls::new(1, limits);
    (1..=ports).for_each(|port| upcalls.add_port(PortId(port)));
    upcalls
}

fn action(port: u32) -> Upcall {
    Upcall {
        id: None,
        port: PortId(port),
        key: key(port, 0),
        frame: vec![0; 60],
        reason: UpcallReason::Action(vec![]),
        queued_at: Moment(0),
    }
}

#[test]
fn a_flooded_port_does_not_starve_the_others() {
    let limits = UpcallLimits { queue: 100, special: 4, quota: 4, ..UpcallLimits::default() };
    let mut upcalls = upcalls(limits, 3);
    let mut dropped = 0;
    for n in 0..1000 {
        dropped += u64::from(upcalls.miss(&key(1, n), waiting(), Moment(0)).is_err());
    }
    for n in 0..3 {
        upcalls.miss(&key(3, n), waiting(), Moment(0)).unwrap();
        assert!(upcalls.action(SPECIAL_PID, action(1)));
    }
    let first = upcalls.next(11);
    let ports: Vec<u32> = first.iter().map(|upcall| upcall.port.0).collect();
    assert!(first[..3].iter().all(|upcall| upcall.id.is_none()), "special first");
    assert_eq!(ports[3..], [1, 1, 1, 1, 3, 3, 3, 1]);
    assert_eq!((dropped, upcalls.port(PortId(1)).dropped), (900, 900));
    assert_eq!(upcalls.port(PortId(1)).length, 95);
    assert_eq!(upcalls.special().delivered, 3);
}

#[test]
fn the_turn_goes_on_where_it_stopped() {
    let limits = UpcallLimits { quota: 1, ..UpcallLimits::default() };
    let mut upcalls = upcalls(limits, 3);
    for n in 0..4 {
        (1..=3).for_each(|port| upcalls.miss(&key(port, n), waiting(), Moment(0)).unwrap());
    }
    let mut order = Vec::new();
    for _ in 0..6 {
        order.extend(upcalls.next(2).iter().map(|upcall| (upcall.port.0, upcall.key.tp_src)));
    }
    let want: Vec<(u32, u16)> = (0..4).flat_map(|n| (1..=3).map(move |port| (port, n))).collect();
    assert_eq!(order, want);
}

#[test]
fn waiting_packets_are_bounded_by_key_and_by_port() {
    let limits = UpcallLimits { waiting_per_key: 3, waiting: 5, ..UpcallLimits::default() };
    let mut upcalls = upcalls(limits, 2);
    let full = Err(DropReason::UpcallPendingFull);
    let mut one = |port, n| upcalls.miss(&key(port, n), waiting(), Moment(0));
    assert_eq!([one(1, 0), one(1, 0), one(1, 0), one(1, 0)], [Ok(()), Ok(()), Ok(()), full]);
    assert_eq!([one(1, 1), one(1, 1), one(1, 1), one(1, 2)], [Ok(()), Ok(()), full, full]);
    assert_eq!([one(2, 0), one(7, 0)], [Ok(()), Err(DropReason::NoSuchPort)]);
    let ids: Vec<UpcallId> = upcalls.next(9).into_iter().filter_map(|upcall| upcall.id).collect();
    assert_eq!(ids.len(), 3);
    assert_eq!(upcalls.take(ids[0]).unwrap().packets.len(), 3);
    assert!(upcalls.take(ids[0]).is_none());
    assert_eq!(upcalls.miss(&key(1, 2), waiting(), Moment(0)), Ok(()));
}

#[test]
fn what_timed_out_in_the_queue_is_not_delivered() {
    let mut upcalls = upcalls(UpcallLimits::default(), 1);
    upcalls.miss(&key(1, 0), waiting(), Moment(0)).unwrap();
    upcalls.miss(&key(1, 1), waiting(), Moment(0) + Duration::from_secs(3)).unwrap();
    assert_eq!(upcalls.expire(Moment(0) + Duration::from_secs(5)).len(), 1);
    // A new upcall takes the old one's index: the queue must not mix the two up.
    upcalls.miss(&key(1, 2), waiting(), Moment(9)).unwrap();
    let keys: Vec<u16> = upcalls.next(9).iter().map(|upcall| upcall.key.tp_src).collect();
    assert_eq!(keys, [1, 2]);
    assert_eq!((upcalls.outstanding(), upcalls.queued()), (2, 0));
    assert_eq!(upcalls.remove_port(PortId(1)).len(), 2);
    assert_eq!(upcalls.outstanding(), 0);
}
