//! The table changes while packets run through it, from several threads: every packet counts
//! exactly once, in one life of one megaflow, and nothing old is seen after an acknowledgement.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::cast_possible_truncation)]

mod common;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use common::{FIRST_PORT, Rig, flow, udp_frame};
use flow::exception::CardPort;
use flow::{Blocking, Clock, Counters, Generation, Op, Ufid};
use vfio::CardCapabilities;

const DESTINATIONS: u8 = 40;
const TIME: Duration = Duration::from_secs(2);

fn text(destination: u8, out: u32) -> String {
    format!("in_port(10),eth(dst=02:00:00:00:00:{destination:02x}) actions:{}", FIRST_PORT + out)
}

#[test]
fn every_packet_is_counted_once_while_the_table_changes() {
    // A small table and few counters, so that moves, full tables and quarantine happen.
    let caps =
        CardCapabilities { buckets: 4, counters: 60, masks: 2, ..CardCapabilities::default() };
    let mut rig = Rig::with(3, caps, |config| config.command_log2 = 3);
    let stop = Arc::new(AtomicBool::new(false));
    let sent = Arc::new(AtomicU64::new(0));
    let mut near = rig.wires.remove(0);
    let sender = {
        let (stop, sent) = (stop.clone(), sent.clone());
        std::thread::spawn(move || {
            let mut bytes = 0;
            let frames: Vec<_> =
                (0..DESTINATIONS).map(|d| udp_frame(d, 200, 1, usize::from(d))).collect();
            for frame in frames.iter().cycle() {
                if stop.load(Ordering::Relaxed) {
                    return bytes;
                }
                if vfio::Wire::transmit(&mut near, frame).unwrap() {
                    bytes += frame.len() as u64;
                    sent.fetch_add(1, Ordering::Relaxed);
                } else {
                    std::thread::sleep(Duration::from_micros(200));
                }
            }
            bytes
        })
    };
    let mut exception = rig.ports.remove(0);
    let quiet = Arc::new(AtomicBool::new(false));
    let reader = {
        let quiet = quiet.clone();
        std::thread::spawn(move || {
            let mut up = Counters::default();
            loop {
                let last = quiet.load(Ordering::Relaxed);
                let mut sink = |_: flow::exception::MissDescriptor, frame: &[u8]| {
                    up += Counters::packet(frame.len());
                };
                if exception.receive(64, &mut sink).unwrap() == 0 {
                    if last {
                        return up;
                    }
                    std::thread::sleep(Duration::from_micros(100));
                }
            }
        })
    };
    let finals = churn(&mut rig);
    stop.store(true, Ordering::Relaxed);
    let bytes = sender.join().unwrap();
    let offered = Counters { packets: sent.load(Ordering::Relaxed), bytes };
    rig.settle(offered.packets);
    // The card tells the ring's index a moment after the ledger; then everything is there.
    std::thread::sleep(Duration::from_millis(20));
    quiet.store(true, Ordering::Relaxed);
    let up = reader.join().unwrap();

    let ledger = rig.card.ledger();
    let port = ledger.ports().remove(0);
    let drops: Counters = port.drops.values().copied().sum();
    assert_eq!(port.rx, offered);
    assert_eq!(port.rx, port.nic + port.host + drops, "{port:?}");
    assert_eq!(port.host, up, "what went up came up");
    for (life, counters) in ledger.flows() {
        assert_eq!(finals.get(&life), Some(&counters), "{life:?}");
    }
    let counted: Counters = finals.values().copied().sum();
    assert_eq!(counted, port.nic, "each hit in one life of one megaflow");
    assert!(finals.len() > 500 && counted.packets > 1000, "{} lives, {counted:?}", finals.len());
    assert_eq!(rig.provider.counters_in_use(), 0, "nothing leaks");
    let debug = rig.card.driver.debug().unwrap();
    assert_eq!((debug.em_used, debug.rows_used, debug.masks_used), (0, 0, 0));
}

/// Installs, replaces and removes until the time is over, then removes all; returns the final
/// counters of every life.
fn churn(rig: &mut Rig) -> HashMap<(u128, u32), Counters> {
    let mut finals = HashMap::new();
    let mut live: HashMap<Ufid, u32> = HashMap::new();
    let mut generation = 0;
    let start = Clock::start();
    let mut step = 0u64;
    loop {
        let over = start.elapsed() > TIME;
        let mut ops = Vec::new();
        for _ in 0..12 {
            step = step.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
            let destination = (step >> 40) as u8 % DESTINATIONS;
            let out = 1 + (step >> 50) as u32 % 2;
            let flow = flow(&text(destination, out));
            generation += 1;
            ops.push(match (live.contains_key(&flow.ufid), step >> 60 & 3) {
                (false, _) => Op::Install { flow, generation: Generation(generation) },
                (true, 0) => Op::Remove { ufid: flow.ufid },
                (true, _) => Op::Replace { flow, generation: Generation(generation) },
            });
        }
        if over {
            ops = live.keys().map(|ufid| Op::Remove { ufid: *ufid }).collect();
        }
        for (op, result) in ops.iter().zip(rig.apply(&ops)) {
            // Refusals (full, exists: twice in one batch) are part of it; what they must not do
            // is change anything, which the sums at the end show.
            let Ok(stats) = result else { continue };
            let ufid = op.ufid();
            if let Some(ended) = live.remove(&ufid) {
                finals.insert((ufid.0, ended), stats.counters);
            }
            match op {
                Op::Install { generation, .. } | Op::Replace { generation, .. } => {
                    live.insert(ufid, generation.0);
                }
                Op::Remove { .. } => {}
            }
        }
        if generation % 7 == 0 {
            rig.provider.all_stats(&mut Vec::new()).unwrap();
        }
        while rig.wires[0].take().is_some() || rig.wires[1].take().is_some() {}
        if over {
            finals.retain(|_, counters: &mut Counters| counters.packets > 0);
            return finals;
        }
    }
}

#[test]
fn after_an_acknowledged_replace_no_packet_sees_the_old_actions() {
    let mut rig = Rig::new(3);
    rig.install(&text(1, 1));
    let frame = udp_frame(1, 200, 1, 20);
    for round in 0..300u32 {
        let out = 1 + round % 2;
        let op = Op::Replace { flow: flow(&text(1, out)), generation: Generation(round + 2) };
        assert!(rig.apply(&[op])[0].is_ok());
        rig.send(0, &frame);
        assert_eq!(rig.receive(out as usize), frame, "round {round}");
        assert_eq!(rig.wires[3 - out as usize].take(), None, "round {round}");
    }
}
