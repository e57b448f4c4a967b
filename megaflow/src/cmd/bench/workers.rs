//! `megaflow bench workers`: two forwarding threads beside one, each with two ports in memory, a
//! table and a core of its own.

use std::time::Duration;

use crossbeam_channel::unbounded;
use flow::Clock;
use hostdp::worker::{self, Reply, Worker};

use super::child::own_cpu;
use super::host;
use super::results::BenchResults;
use super::traffic::OUT;
use crate::cmd::outcome::{CommandFailure, CommandOutcome};

/// Longest wait for an answer of the workers.
const PATIENCE: Duration = Duration::from_secs(10);
/// Time before a measurement begins.
const WARM: Duration = Duration::from_millis(50);

pub(super) fn run(runs: u64, length: Duration, as_json: bool) -> CommandOutcome {
    let mut results = BenchResults::default();
    for _ in 0..runs {
        one(length, &mut results).map_err(CommandFailure::Job)?;
    }
    results.print(as_json)
}

/// One run: one worker and two in turn, so that both have the same machine.
fn one(length: Duration, results: &mut BenchResults) -> Result<(), String> {
    if std::thread::available_parallelism().is_ok_and(|cores| cores.get() < 2) {
        results.skip("two workers to one", "%", "there is one core");
        return Ok(());
    }
    let [single, both] = [&[0][..], &[0, 1]].map(|cores| forwarded(cores, length));
    let (single, both) = (single?, both?);
    for (name, found) in [("one worker", &single), ("two workers", &both)] {
        results.add(name, "million packets a second", found.rate / 1e6);
        results.add(format!("{name}, CPU of each packet"), "ns", found.cpu);
    }
    results.add("two workers to one", "%", 100.0 * both.rate / single.rate);
    results.add("two workers to one, by CPU", "%", 200.0 * single.cpu / both.cpu);
    Ok(())
}

struct Forwarded {
    /// Packets a second that all workers have sent.
    rate: f64,
    /// CPU nanoseconds of a packet.
    cpu: f64,
}

#[allow(clippy::cast_precision_loss, reason = "ratios")]
fn forwarded(cores: &[usize], length: Duration) -> Result<Forwarded, String> {
    let datapaths = cores.iter().map(|_| host::emc1()).collect::<Result<Vec<_>, _>>()?;
    let clock = Clock::start();
    let worker = worker::spawn(datapaths, &clock, cores).map_err(|error| error.to_string())?;
    std::thread::sleep(WARM);
    let (before, cpu, began) = (sent(&worker)?, own_cpu()?, clock.now());
    std::thread::sleep(length);
    let (after, cpu, took) =
        (sent(&worker)?, own_cpu()?.saturating_sub(cpu), clock.now().since(began));
    worker.stop().ok_or("a worker has died")?;
    let packets = (after - before).max(1) as f64;
    Ok(Forwarded { rate: packets / took.as_secs_f64(), cpu: cpu as f64 / packets })
}

/// Number of packets that all workers have sent.
fn sent(worker: &Worker) -> Result<u64, String> {
    let (reply, answer) = unbounded();
    worker.handle().snapshot(Reply::to(reply)).map_err(|gone| gone.to_string())?;
    let snapshot = answer.recv_timeout(PATIENCE).map_err(|error| error.to_string())?;
    let out = snapshot.ports.iter().find(|port| port.id == OUT);
    Ok(out.map_or(0, |port| port.sent.packets))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workers_of_a_run_forward() {
        let mut results = BenchResults::default();
        one(Duration::from_millis(20), &mut results).unwrap();
        assert!(results.last("two workers").is_none_or(|rate| rate > 0.0));
    }
}
