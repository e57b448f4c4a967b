//! New flows: packets that nothing matches yet, through the host datapath, the engine and the L2
//! client, on the threads that a daemon has.

use std::time::Duration;

use flow::Moment;
use offload::Settings;

use super::results::{BenchResults, longest_steps};
use super::rig::{BenchRig, frame, threads};
use crate::cmd::outcome::{CommandFailure, CommandOutcome};

/// Addresses behind each port. Each pair of them is a flow.
const ADDRESSES: u64 = 1500;
/// Time between two new flows of somebody else.
const CALM: Duration = Duration::from_millis(10);
/// Time between two portions of frames.
const PORTION: Duration = Duration::from_millis(1);
/// Time without a frame after which no more is waited for.
const SILENCE: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) fn run(rate: u64, runs: u64, length: Duration, as_json: bool) -> CommandOutcome {
    let mut results = BenchResults::default();
    for _ in 0..runs {
        measure(rate, length, &mut results).map_err(CommandFailure::Job)?;
    }
    results.print(as_json)
}

/// Has the switch learn the addresses that flows go to.
fn teach(rig: &mut BenchRig) -> Result<(), String> {
    let end = rig.clock.now() + PATIENCE;
    // Upcalls that find their queue full are dropped, and their addresses are sent again.
    while rig.status()?.metrics.flows.values().sum::<u64>() < 2 * ADDRESSES {
        if rig.clock.now() > end {
            return Err("the switch does not learn".to_owned());
        }
        for (port, number) in (0..ADDRESSES).flat_map(|number| [(1, number), (3, number)]) {
            rig.peers[port].send(&frame([(port, number), (port, number)]));
            if number % 64 == 0 {
                std::thread::sleep(PORTION);
            }
        }
    }
    rig.peers.iter_mut().for_each(|peer| drop(peer.drain()));
    Ok(())
}

/// The flood, and the flows beside it.
struct Flood {
    rig: BenchRig,
    began: Moment,
    /// New flows offered, and those of them that the port's queue had room for.
    offered: u64,
    taken: u64,
    forwarded: u64,
    /// When the last frame of the flood was forwarded.
    last: Moment,
    /// When each flow of somebody else was sent.
    calm: Vec<Moment>,
    /// Milliseconds that those which were forwarded took.
    latency: Vec<f64>,
}

impl Flood {
    fn offer(&mut self, rate: u64) {
        let now = self.rig.clock.now();
        let passed = now.since(self.began);
        let due = u128::from(rate) * passed.as_micros() / 1_000_000;
        let due = u64::try_from(due).unwrap_or(u64::MAX);
        for number in self.offered..due {
            self.taken += u64::from(self.rig.peers[0].send(&pair([0, 1], number)));
        }
        self.offered = due;
        if now >= self.began + CALM * u32::try_from(self.calm.len()).unwrap_or(u32::MAX) {
            self.rig.peers[2].send(&pair([2, 3], self.calm.len() as u64));
            self.calm.push(now);
        }
    }

    fn collect(&mut self) {
        let came = self.rig.peers[1].drain().len() as u64;
        let calm = self.rig.peers[3].drain();
        let now = self.rig.clock.now();
        if came > 0 {
            self.forwarded += came;
            self.last = now;
        }
        for packet in calm {
            let number = packet.bytes().get(14..22).and_then(|bytes| bytes.try_into().ok());
            let number = number.map_or(u64::MAX, u64::from_be_bytes);
            let sent = usize::try_from(number).ok().and_then(|number| self.calm.get(number));
            self.latency.extend(sent.map(|sent| now.since(*sent).as_secs_f64() * 1e3));
        }
    }
}

#[allow(clippy::cast_precision_loss, reason = "measured values")]
fn measure(rate: u64, length: Duration, to: &mut BenchResults) -> Result<(), String> {
    let mut rig = BenchRig::start(0, Settings::default().max_idle)?;
    teach(&mut rig)?;
    let (before, threads) = (rig.status()?, threads()?);
    let began = rig.clock.now();
    let (calm, latency) = (Vec::new(), Vec::new());
    let mut flood =
        Flood { rig, began, offered: 0, taken: 0, forwarded: 0, last: began, calm, latency };
    let end = began + length;
    while flood.rig.clock.now() < end {
        flood.offer(rate);
        flood.collect();
        std::thread::sleep(PORTION);
    }
    let in_time = flood.forwarded;
    while flood.rig.clock.now().since(flood.last.max(end)) < SILENCE {
        flood.collect();
        std::thread::sleep(PORTION);
    }
    for (thread, nanoseconds) in self::threads()? {
        // Threads of the same name, as of tests beside this one, may have ended meanwhile.
        let before = threads.get(&thread).copied().unwrap_or_default();
        let used = nanoseconds.saturating_sub(before);
        let each = used as f64 / flood.forwarded.max(1) as f64;
        match thread.as_str() {
            "engine" => to.add("CPU, engine", "ns a new flow", each),
            "megaflow-worker" => to.add("CPU, host", "ns a new flow", each),
            _ => {}
        }
    }
    let per_second = |count: u64| count as f64 / length.as_secs_f64();
    to.add("offered", "new flows a second", per_second(flood.offered));
    to.add("taken by the port", "new flows a second", per_second(flood.taken));
    to.add("answered in time", "new flows a second", per_second(in_time));
    let after = flood.rig.status()?;
    let (mut ended, calm) = (flood.forwarded, flood.calm.len() as u64);
    ended += flood.latency.len() as u64;
    for (place, lost) in &after.metrics.conservation.lost {
        let known = before.metrics.conservation.lost.get(place).map_or(0, |lost| lost.packets);
        let (dropped, (_, reason)) = (lost.packets - known, place);
        ended += dropped;
        if dropped > 0 {
            to.add(format!("dropped, {reason}"), "packets", dropped as f64);
        }
    }
    let unknown = i128::from(flood.taken + calm) - i128::from(ended);
    to.add("neither forwarded nor counted", "packets", unknown as f64);
    to.add("backlog after the flood", "ms", flood.last.since(end).as_secs_f64() * 1e3);
    to.add("another port's new flows, lost", "packets", (calm - flood.latency.len() as u64) as f64);
    to.add_times("another port's new flows", flood.latency);
    longest_steps(&metrics::encode(&after.metrics), to);
    flood.rig.stop()
}

/// The frame of a flow from one port's addresses to another's.
fn pair([from, to]: [usize; 2], number: u64) -> Vec<u8> {
    let mut frame = frame([(from, number / ADDRESSES), (to, number % ADDRESSES)]);
    frame.splice(14..22, number.to_be_bytes());
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_new_flow_is_forwarded_or_counted() {
        let mut results = BenchResults::default();
        measure(1000, Duration::from_millis(200), &mut results).unwrap();
        assert_eq!(results.last("neither forwarded nor counted"), Some(0.0));
        assert!(results.last("taken by the port") > Some(0.0));
    }
}
