use super::*;

fn waiting() -> Waiting {
    waiting_with(60)
}

fn waiting_with(len: usize) -> Waiting {
    Waiting { packet: Packet::new(&vec![0; len]), origin: Origin::Fresh, depth: 0 }
}

fn key(port: u32, n: u16) -> Key {
    Key { in_port: port, tp_src: n, ..Key::default() }
}

fn upcalls(limits: UpcallLimits, ports: u32) -> Upcalls {
    let mut upcalls = Upcalls::new(1, limits);
    (1..=ports).for_each(|port| upcalls.add_port(PortId(port)));
    upcalls
}

fn action(port: u32) -> QueuedUpcall {
    QueuedUpcall {
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
        dropped += u64::from(upcalls.miss(&key(1, n), &waiting(), Moment(0)).is_err());
    }
    for n in 0..3 {
        upcalls.miss(&key(3, n), &waiting(), Moment(0)).unwrap();
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
        (1..=3).for_each(|port| upcalls.miss(&key(port, n), &waiting(), Moment(0)).unwrap());
    }
    let mut order = Vec::new();
    for _ in 0..6 {
        order.extend(upcalls.next(2).iter().map(|upcall| (upcall.port.0, upcall.key.tp_src)));
    }
    let want: Vec<(u32, u16)> = (0..4).flat_map(|n| (1..=3).map(move |port| (port, n))).collect();
    assert_eq!(order, want);
}

/// The bounds hold against a plain sum over the packets that wait, whatever comes and is answered.
#[test]
fn waiting_packets_are_bounded_by_bytes_and_time() {
    let one = waiting_with(0).memory();
    let (per_key, per_port) = (5 * one, 12 * one);
    let limits = UpcallLimits {
        bytes_per_key: per_key,
        bytes_per_port: per_port,
        timeout: Duration::from_secs(2),
        ..UpcallLimits::default()
    };
    let mut upcalls = upcalls(limits, 2);
    // The packets that wait by port and number of the key, and the moment of the first.
    let mut slow: BTreeMap<(u32, u16), (usize, u64)> = BTreeMap::new();
    let (mut dice, mut refused, mut expired) = (1, [0; 2], 0);
    for now in 0..20_000 {
        let roll = flow::hash::split_mix(&mut dice);
        let (port, n) = (1 + (roll >> 8 & 1) as u32, (roll >> 16 & 7) as u16);
        let packet = waiting_with((roll >> 24) as usize % 900);
        let bytes = packet.memory();
        let at_port: usize = slow.iter().filter(|s| s.0.0 == port).map(|s| s.1.0).sum();
        let at_key = slow.get(&(port, n)).map(|(bytes, _)| *bytes);
        let fits_key = at_key.is_none_or(|sum| sum + bytes <= per_key);
        let fits = fits_key && at_port + bytes <= per_port;
        let now = Moment(0) + Duration::from_millis(now * 10);
        let done = upcalls.miss(&key(port, n), &packet, now);
        assert_eq!(done, if fits { Ok(()) } else { Err(DropReason::UpcallPendingFull) });
        refused[usize::from(fits_key)] += usize::from(!fits);
        if fits {
            slow.entry((port, n)).or_insert((0, now.0)).0 += bytes;
        }
        if roll.is_multiple_of(32) {
            for id in upcalls.next(1).into_iter().filter_map(|upcall| upcall.id) {
                let key = upcalls.take(id).unwrap().key;
                slow.remove(&(key.in_port, key.tp_src)).unwrap();
            }
        }
        for pending in upcalls.expire(now) {
            let (bytes, since) = slow.remove(&(pending.port.0, pending.key.tp_src)).unwrap();
            assert_eq!(pending.packets.iter().map(Waiting::memory).sum::<usize>(), bytes);
            assert!(now.since(Moment(since)) >= limits.timeout);
            expired += 1;
        }
        assert!(slow.values().all(|(_, since)| now.since(Moment(*since)) < limits.timeout));
    }
    assert!(refused[0] > 100 && refused[1] > 100 && expired > 20, "{refused:?} {expired}");
}

/// A burst of a millisecond on a fast port waits as a whole, in small packets and in large ones.
#[test]
fn a_real_burst_fits() {
    for (len, count) in [(60, 2300), (1514, 550)] {
        let mut upcalls = upcalls(UpcallLimits::default(), 1);
        for _ in 0..count {
            upcalls.miss(&key(1, 0), &waiting_with(len), Moment(0)).unwrap();
        }
        let id = upcalls.next(9)[0].id.unwrap();
        assert_eq!(upcalls.take(id).unwrap().packets.len(), count);
    }
}

#[test]
fn the_first_packet_has_room_and_a_removed_port_has_none() {
    let limits = UpcallLimits { bytes_per_key: 1, ..UpcallLimits::default() };
    let mut upcalls = upcalls(limits, 1);
    assert_eq!(upcalls.miss(&key(1, 0), &waiting(), Moment(0)), Ok(()));
    let full = Err(DropReason::UpcallPendingFull);
    assert_eq!(upcalls.miss(&key(1, 0), &waiting(), Moment(0)), full);
    let missing = Err(DropReason::NoSuchPort);
    assert_eq!(upcalls.miss(&key(7, 0), &waiting(), Moment(0)), missing);
    let id = upcalls.next(9)[0].id.unwrap();
    assert_eq!(upcalls.take(id).unwrap().packets.len(), 1);
    assert!(upcalls.take(id).is_none());
}

#[test]
fn what_timed_out_in_the_queue_is_not_delivered() {
    let mut upcalls = upcalls(UpcallLimits::default(), 1);
    upcalls.miss(&key(1, 0), &waiting(), Moment(0)).unwrap();
    upcalls.miss(&key(1, 1), &waiting(), Moment(0) + Duration::from_secs(3)).unwrap();
    assert_eq!(upcalls.expire(Moment(0) + Duration::from_secs(5)).len(), 1);
    // A new upcall takes the old one's index: the queue must not mix the two up.
    upcalls.miss(&key(1, 2), &waiting(), Moment(9)).unwrap();
    let keys: Vec<u16> = upcalls.next(9).iter().map(|upcall| upcall.key.tp_src).collect();
    assert_eq!(keys, [1, 2]);
    assert_eq!((upcalls.outstanding(), upcalls.queued()), (2, 0));
    assert_eq!(upcalls.remove_port(PortId(1)).len(), 2);
    assert_eq!(upcalls.outstanding(), 0);
}
