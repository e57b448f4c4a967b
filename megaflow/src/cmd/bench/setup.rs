//! New flows: packets that nothing matches yet, through the host datapath, the engine and the L2
//! client, on the threads that a daemon has.

use std::time::Duration;

use flow::Moment;
use offload::Settings;

use super::calm::{CalmFlows, PORTION, pair, teach};
use super::results::{BenchResults, longest_steps};
use super::rig::{BenchRig, ThreadTimes};
use crate::cmd::outcome::{CommandFailure, CommandOutcome};

/// Time without a frame after which no more is waited for.
const SILENCE: Duration = Duration::from_secs(1);

pub(super) fn run(rate: u64, runs: u64, length: Duration, as_json: bool) -> CommandOutcome {
    let mut results = BenchResults::default();
    for _ in 0..runs {
        measure(rate, length, &mut results).map_err(CommandFailure::Job)?;
    }
    results.print(as_json)
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
    /// The flows of somebody else.
    calm: CalmFlows,
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
        self.calm.offer(&mut self.rig);
    }

    fn collect(&mut self) {
        let came = self.rig.peers[1].drain().len() as u64;
        let now = self.rig.clock.now();
        if came > 0 {
            self.forwarded += came;
            self.last = now;
        }
        self.calm.collect(&mut self.rig);
    }
}

#[allow(clippy::cast_precision_loss, reason = "measured values")]
fn measure(rate: u64, length: Duration, to: &mut BenchResults) -> Result<(), String> {
    let mut rig = BenchRig::start(0, Settings::default().max_idle)?;
    teach(&mut rig)?;
    let (before, times) = (rig.status()?, ThreadTimes::now()?);
    let began = rig.clock.now();
    let calm = CalmFlows::new(0, began);
    let mut flood = Flood { rig, began, offered: 0, taken: 0, forwarded: 0, last: began, calm };
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
    let now = ThreadTimes::now()?;
    for (name, thread) in [("CPU, engine", "engine"), ("CPU, host", "megaflow-worker")] {
        let used = now.since(&times, thread);
        to.add(name, "ns a new flow", used as f64 / flood.forwarded.max(1) as f64);
    }
    let per_second = |count: u64| count as f64 / length.as_secs_f64();
    to.add("offered", "new flows a second", per_second(flood.offered));
    to.add("taken by the port", "new flows a second", per_second(flood.taken));
    to.add("answered in time", "new flows a second", per_second(in_time));
    let after = flood.rig.status()?;
    let (calm, came) = flood.calm.count();
    let mut ended = flood.forwarded + came;
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
    flood.calm.tell("another port's new flows", to);
    longest_steps(&metrics::encode(&after.metrics), to);
    flood.rig.stop()
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
