//! Addresses that move: how soon the megaflows that lead to an address follow it, among many that
//! do not, and what new addresses cost.

use std::collections::BTreeSet;
use std::time::Duration;

use flow::Moment;

use super::results::BenchResults;
use super::rig::{BenchRig, ThreadTimes, frame};
use super::scale::ScaleArgs;
use crate::cmd::outcome::{CommandFailure, CommandOutcome};

/// Addresses behind the first port; those behind the second one are as many as give the number of
/// megaflows.
const ADDRESSES: u64 = 250;
/// Megaflows that lead to the address that moves.
const SENDERS: u64 = 16;
/// Time between two moves.
const MOVE: Duration = Duration::from_millis(100);
/// Time between two frames of the same sender to the address that moves.
const PROBE: Duration = Duration::from_millis(1);
/// Time between two new addresses.
const NEW: Duration = Duration::from_millis(1);
/// Frames that are sent at once while the switch learns.
const PORTION: u64 = 64;
const PATIENCE: Duration = Duration::from_secs(60);
/// No megaflow is idle for as long as this takes.
const MAX_IDLE: Duration = Duration::from_secs(3600);

/// The address that moves between the third port and the fourth one.
const MOVING: (usize, u64) = (9, 0);

pub(super) fn run(args: &ScaleArgs, runs: u64, length: Duration, as_json: bool) -> CommandOutcome {
    let mut results = BenchResults::default();
    let card = u32::try_from(args.card).unwrap_or(u32::MAX);
    for _ in 0..runs {
        measure(args.flows.unwrap_or(50_000), card, length, &mut results)
            .map_err(CommandFailure::Job)?;
    }
    results.print(as_json)
}

#[allow(clippy::cast_precision_loss, reason = "measured values")]
fn measure(flows: u64, card: u32, length: Duration, to: &mut BenchResults) -> Result<(), String> {
    let mut rig = BenchRig::start(card, MAX_IDLE)?;
    learn(&mut rig, flows)?;
    if card > 0 {
        to.add("offloaded", "megaflows", rig.settled()? as f64);
    }
    let millis = moves(&mut rig, length)?;
    let late = millis.iter().filter(|millis| **millis > MOVE.as_secs_f64() * 1e3).count();
    to.add("moves", "moves", millis.len() as f64);
    to.add("moves followed after the next was due", "moves", late as f64);
    to.add_times("followed after", millis);
    to.add("1,000 new addresses a second, engine", "% of a core", new(&mut rig, length)? * 100.0);
    rig.stop()
}

/// Has the switch learn the addresses, and then the flows between them.
fn learn(rig: &mut BenchRig, flows: u64) -> Result<(), String> {
    let others = flows.div_ceil(ADDRESSES);
    let ends = (0..others).map(|to| [(1, to), (0, 0)]);
    let pairs = (0..flows).map(|flow| [(0, flow % ADDRESSES), (1, flow / ADDRESSES)]);
    // The first address is known before others send to it.
    let frames: Vec<_> = [[(0, 0), (0, 0)]].into_iter().chain(ends).chain(pairs).collect();
    let wanted = flows + others;
    let end = rig.clock.now() + PATIENCE;
    let mut known = 0;
    // Frames whose upcall finds its queue full are dropped, and are sent again.
    while known < wanted {
        if rig.clock.now() > end {
            return Err(format!("{known} of {wanted} flows were learned in time"));
        }
        for (number, [from, to]) in (0..).zip(&frames) {
            rig.peers[from.0].send(&frame([*from, *to]));
            if number % PORTION == 0 {
                std::thread::sleep(Duration::from_millis(1));
                rig.peers.iter_mut().for_each(|peer| drop(peer.drain()));
            }
        }
        known = total(rig)?;
    }
    Ok(())
}

fn total(rig: &BenchRig) -> Result<u64, String> {
    Ok(rig.status()?.metrics.flows.values().sum())
}

/// Moves the address to and fro. A move is followed when all senders reach the address where it
/// is; returns the milliseconds that each took.
fn moves(rig: &mut BenchRig, length: Duration) -> Result<Vec<f64>, String> {
    let mut millis = Vec::new();
    let end = rig.clock.now() + length;
    for port in [2, 3].into_iter().cycle() {
        rig.peers.iter_mut().for_each(|peer| drop(peer.drain()));
        let moved = rig.clock.now();
        if moved >= end {
            break;
        }
        rig.peers[port].send(&frame([MOVING, (0, 0)]));
        millis.push(reached(rig, port, moved)?.since(moved).as_secs_f64() * 1e3);
        std::thread::sleep((moved + MOVE).since(rig.clock.now()));
    }
    Ok(millis)
}

/// Sends to the address until all senders have reached it at this port; returns when.
fn reached(rig: &mut BenchRig, port: usize, moved: Moment) -> Result<Moment, String> {
    let to_it = frame([(0, 0), MOVING]);
    let mut reached = BTreeSet::new();
    while rig.clock.now() < moved + PATIENCE {
        for sender in 0..SENDERS {
            rig.peers[0].send(&frame([(0, sender), MOVING]));
        }
        std::thread::sleep(PROBE);
        for packet in rig.peers[port].drain() {
            let addresses = packet.bytes().split_at_checked(6);
            let sender = addresses.filter(|(to, _)| to_it.starts_with(to));
            reached.extend(sender.and_then(|(_, rest)| Some(rest.get(..6)?.to_vec())));
        }
        if reached.len() as u64 >= SENDERS {
            return Ok(rig.clock.now());
        }
    }
    Err(format!("of {SENDERS} senders only {} follow the address that moves", reached.len()))
}

/// Has new addresses appear behind the third port; returns the share of a core that the engine
/// used.
fn new(rig: &mut BenchRig, length: Duration) -> Result<f64, String> {
    let (before, began) = (ThreadTimes::now()?, rig.clock.now());
    let (mut sent, end) = (0, began + length);
    while rig.clock.now() < end {
        let due = rig.clock.now().since(began).as_nanos() / NEW.as_nanos();
        while u128::from(sent) < due {
            sent += 1;
            rig.peers[2].send(&frame([(10, sent), (0, 0)]));
        }
        std::thread::sleep(NEW);
        rig.peers[0].drain();
    }
    let used = ThreadTimes::now()?.since(&before, "engine");
    let time = rig.clock.now().since(began);
    Ok(Duration::from_nanos(used).as_secs_f64() / time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn followed(card: u32) {
        let mut results = BenchResults::default();
        measure(500, card, Duration::from_secs(1), &mut results).unwrap();
        assert!(results.last("moves") > Some(0.0));
        if card > 0 {
            assert!(results.last("offloaded") > Some(400.0));
        }
    }

    /// A move that is never followed is an error.
    #[test]
    fn a_move_is_followed_on_the_host() {
        followed(0);
    }

    #[test]
    fn a_move_is_followed_on_the_card() {
        followed(2000);
    }
}
