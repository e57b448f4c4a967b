//! A card that goes and comes back: every operation in flight has its end, the card is opened
//! again, and its table and its ports work as at the start.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::cast_possible_truncation)]

mod common;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use common::{FIRST_PORT, Rig, flow, udp_frame};
use flow::exception::CardPort;
use flow::{
    Blocking, Clock, Completion, Generation, Megaflow, Op, Provider, ProviderError, ProviderEvent,
    Submission, Tag,
};
use vfio::CardCapabilities;

fn to_wire(n: usize, out: u32) -> Arc<Megaflow> {
    let port = FIRST_PORT + out;
    flow(&format!("in_port(10),eth(dst=02:00:00:00:00:{n:02x}) actions:{port}"))
}

fn is_gone(completion: &Completion) -> bool {
    matches!(completion.result, Err(ProviderError::Gone(_)))
}

/// How a card goes, and what a test does so that it can come back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    /// Somebody else resets it.
    Reset,
    /// It falls off the bus.
    CutOff,
}

fn rig() -> Rig {
    Rig::with(2, CardCapabilities::default(), |config| {
        config.patience = Duration::from_millis(200);
    })
}

/// Puts operations in flight, of which some have ended; the tags of those that have not.
fn put_in_flight(rig: &mut Rig, looks: usize) -> BTreeMap<Tag, Op> {
    let mut ops = Vec::new();
    for round in 0..3 {
        for n in 0..60 {
            let flow = to_wire(n, 1);
            ops.push(match round {
                0 => Op::Install { flow, generation: Generation(1) },
                1 => Op::Replace { flow, generation: Generation(2) },
                _ => Op::Remove { ufid: flow.ufid },
            });
        }
    }
    let mut open: BTreeMap<Tag, Op> =
        Submission::number(ops.iter().cloned()).map(|s| (s.tag, s.op)).collect();
    let mut waiting: VecDeque<_> = Submission::number(ops).collect();
    for _ in 0..=looks {
        rig.provider.submit(&mut waiting);
        let mut done = Vec::new();
        rig.provider.poll(Duration::ZERO, &mut done);
        done.iter().for_each(|completion| drop(open.remove(&completion.tag)));
    }
    open.retain(|tag, _| !waiting.iter().any(|left| left.tag == *tag));
    open
}

/// Polls until the provider says that the card is gone; each operation has one end.
fn see_it_go(rig: &mut Rig, mut open: BTreeMap<Tag, Op>) {
    let start = Clock::start();
    let mut events = Vec::new();
    while events.is_empty() {
        events = rig.provider.events();
        assert!(start.elapsed() < Duration::from_secs(20), "the card seems to be there");
    }
    assert!(matches!(events[..], [ProviderEvent::Gone(_)]), "{events:?}");
    let mut done = Vec::new();
    rig.provider.poll(Duration::ZERO, &mut done);
    for completion in done {
        let op = open.remove(&completion.tag).expect("a second end");
        assert_eq!((op.ufid(), op.kind()), (completion.ufid, completion.kind));
    }
    assert!(open.is_empty(), "without an end: {open:?}");
    assert_eq!(rig.provider.events(), vec![], "told once");
    let op = Op::Install { flow: to_wire(99, 1), generation: Generation(1) };
    let mut done = Vec::new();
    rig.provider.apply(&[op], &mut done);
    assert!(is_gone(&done[0]));
}

/// The card is as at the start.
fn works(rig: &mut Rig, life: u32) {
    assert_eq!(rig.provider.events(), vec![]);
    let mut found = Vec::new();
    rig.provider.all_dumped(&mut found).unwrap();
    assert_eq!(found, vec![], "tables are empty after a reset");
    let installed = to_wire(7, 1);
    let op = Op::Install { flow: installed.clone(), generation: Generation(life) };
    assert!(rig.apply(&[op])[0].is_ok());
    let (hit, miss) = (udp_frame(7, 2, 5000, 50), udp_frame(8, 2, 5000, 60));
    while rig.wires[1].take().is_some() {}
    rig.send(0, &hit);
    assert_eq!(rig.receive(1), hit);
    assert_eq!(rig.stats(installed.ufid).counters.packets, 1);
    rig.send(0, &miss);
    let (mut up, start) = (Vec::new(), Clock::start());
    while up.is_empty() {
        rig.ports[0].receive(8, &mut |_, frame| up.push(frame.to_vec())).unwrap();
        assert!(start.elapsed() < Duration::from_secs(5), "no miss comes up");
    }
    assert_eq!(up, [miss]);
    for port in &mut rig.ports {
        assert!(port.link().unwrap());
        port.arm().unwrap();
    }
    assert!(rig.ports[1].transmit(&hit).unwrap());
    rig.ports[1].kick().unwrap();
    assert_eq!(rig.receive(1), hit);
    assert!(rig.card.driver.check().is_ok());
}

#[test]
fn a_card_that_went_at_any_point_is_opened_again() {
    for fate in [Fate::Reset, Fate::CutOff] {
        let mut rig = rig();
        works(&mut rig, 1);
        for looks in [0, 1, 2, 5, 20] {
            let open = put_in_flight(&mut rig, looks);
            match fate {
                Fate::Reset => rig.card.card.reset(),
                Fate::CutOff => rig.card.card.cut_off(),
            }
            see_it_go(&mut rig, open);
            assert!(rig.ports[0].link().is_err(), "{fate:?}: the port still uses the card");
            if fate == Fate::CutOff {
                assert!(rig.provider.reopen().is_err(), "nothing is there to be opened");
                assert!(rig.provider.all_stats(&mut Vec::new()).is_err());
                rig.card.card.reconnect();
            }
            rig.provider.reopen().unwrap();
            works(&mut rig, 2 + looks as u32);
        }
    }
}

/// The old rings are given up while the port's thread still uses them.
#[test]
fn a_port_in_use_changes_to_its_new_rings_by_itself() {
    let mut rig = rig();
    let mut port = rig.ports.remove(0);
    let (stop, up) = (Arc::new(AtomicBool::default()), Arc::new(AtomicU64::default()));
    let (is_over, seen) = (stop.clone(), up.clone());
    let thread = std::thread::spawn(move || {
        while !is_over.load(Ordering::Relaxed) {
            let received = port.receive(8, &mut |_, _| {
                seen.fetch_add(1, Ordering::Relaxed);
            });
            if received.is_err() || !matches!(port.transmit(&[0; 64]), Ok(true)) {
                std::thread::sleep(Duration::from_micros(200));
            }
            let _ = port.kick();
        }
    });
    for round in 0..10 {
        rig.card.card.reset();
        see_it_go(&mut rig, BTreeMap::new());
        rig.provider.reopen().unwrap();
        let (before, start) = (up.load(Ordering::Relaxed), Clock::start());
        while up.load(Ordering::Relaxed) == before {
            rig.send(0, &udp_frame(1, 2, 3, 64));
            std::thread::sleep(Duration::from_millis(1));
            while rig.wires[0].take().is_some() {}
            assert!(start.elapsed() < Duration::from_secs(5), "round {round}: nothing goes up");
        }
    }
    stop.store(true, Ordering::Relaxed);
    thread.join().unwrap();
}
