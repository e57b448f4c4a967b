//! A million megaflows in a daemon: what each costs in time and memory.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::RangedU64ValueParser;
use flow::{Clock, Moment};
use serde_json::Value;

use super::child::{BenchDaemon, own_cpu};
use super::flows;
use super::results::{BenchResults, longest_steps};
use crate::cmd::outcome::{CommandFailure, CommandOutcome};

/// What `bench scale` is told.
#[derive(clap::Args)]
#[group(skip)]
pub(super) struct ScaleArgs {
    /// scale, readers, flaps: number of megaflows [default: 1000000; flaps: 50000]
    #[arg(long, value_parser = number(1..=4_000_000))]
    pub(super) flows: Option<u64>,
    /// scale, readers: number of masks
    #[arg(long, default_value_t = 1, value_parser = number(1..=flows::MASKS))]
    pub(super) masks: u64,
    /// scale, readers, flaps: entries of the embedded card, which takes megaflows; 0 is no card
    #[arg(long, default_value_t = 0, value_parser = number(0..=4_000_000))]
    pub(super) card: u64,
    /// scale: measure this build instead of this program
    #[arg(long, value_name = "PATH")]
    binary: Option<PathBuf>,
}

impl ScaleArgs {
    pub(super) fn flows(&self) -> u64 {
        self.flows.unwrap_or(1_000_000)
    }
}

pub(super) fn number(range: RangeInclusive<u64>) -> RangedU64ValueParser {
    RangedU64ValueParser::new().range(range)
}

/// Time between two scrapes of the idle daemon, as of a Prometheus server.
const SCRAPE: Duration = Duration::from_secs(1);
/// Time for the memory of megaflows that are gone to be given back.
const LEISURE: Duration = Duration::from_secs(3);
/// Time without a change after which the card has what it takes.
const SETTLED: Duration = Duration::from_secs(2);

pub(super) fn run(args: &ScaleArgs, runs: u64, length: Duration, as_json: bool) -> CommandOutcome {
    let binary = match &args.binary {
        Some(binary) => binary.clone(),
        None => std::env::current_exe().map_err(|error| CommandFailure::Job(error.to_string()))?,
    };
    let mut results = BenchResults::default();
    for _ in 0..runs {
        let daemon =
            BenchDaemon::start(&binary, args.flows(), args.card).map_err(CommandFailure::Job)?;
        measure(&daemon, args, length, &mut results).map_err(CommandFailure::Job)?;
    }
    results.print(as_json)
}

#[allow(clippy::cast_precision_loss, reason = "measured values")]
fn measure(
    daemon: &BenchDaemon,
    args: &ScaleArgs,
    length: Duration,
    to: &mut BenchResults,
) -> Result<(), String> {
    let file = daemon.file("flows");
    flows::write(&file, args.flows(), args.masks).map_err(|error| error.to_string())?;
    let file = file.to_str().ok_or("the folder for temporary files has no name in UTF-8")?;
    let before = daemon.resident()?;
    let each = args.flows() as f64;
    let grown =
        |daemon: &BenchDaemon| Ok::<_, String>(daemon.resident()?.saturating_sub(before) as f64);

    call(daemon, "add-flows", &[file], each, to)?;
    if args.card > 0 {
        let (cpu, placed) = placed(daemon)?;
        to.add("offloaded", "megaflows", placed as f64);
        to.add("offload, daemon CPU", "ns a megaflow", cpu as f64 / (placed.max(1)) as f64);
    }
    let full = grown(daemon)?;
    to.add("memory, full", "bytes a megaflow", full / each);
    to.add("idle, daemon CPU", "% of a core", idle(daemon, length)? * 100.0);
    let text = call(daemon, "dump-flows", &[], each, to)?;
    let dumped = text.lines().count() as u64;
    if dumped != args.flows() {
        return Err(format!("{dumped} megaflows were dumped, not {}", args.flows()));
    }
    call(daemon, "del-flows", &[], each, to)?;
    // Memory is given back at leisure.
    std::thread::sleep(LEISURE);
    to.add("memory, after deletion", "% of full", grown(daemon)? / full * 100.0);
    longest_steps(&daemon.call("metrics/show", &[])?, to);
    Ok(())
}

/// Calls a method of `dpctl` and notes what it cost for each megaflow.
#[allow(clippy::cast_precision_loss, reason = "measured values")]
fn call(
    daemon: &BenchDaemon,
    method: &str,
    params: &[&str],
    each: f64,
    to: &mut BenchResults,
) -> Result<String, String> {
    let (cpu, own, clock) = (daemon.cpu()?, own_cpu()?, Clock::start());
    let text = daemon.call(&format!("dpctl/{method}"), params)?;
    let wall = clock.now().since(Moment::default()).as_secs_f64();
    let (unit, rate) = ("ns a megaflow", "megaflows a second");
    to.add(format!("{method}, daemon CPU"), unit, (daemon.cpu()? - cpu) as f64 / each);
    to.add(format!("{method}, client CPU"), unit, (own_cpu()? - own) as f64 / each);
    to.add(format!("{method}, rate"), rate, each / wall);
    Ok(text)
}

/// Waits until the card takes no more; returns what that cost and the number that it took.
fn placed(daemon: &BenchDaemon) -> Result<(u64, u64), String> {
    let (cpu, clock) = (daemon.cpu()?, Clock::start());
    let (mut found, mut spent, mut changed) = (0, 0, clock.now());
    while clock.now().since(changed) < SETTLED {
        std::thread::sleep(SETTLED / 10);
        let status: Value = serde_json::from_str(&daemon.call("offload/status", &[])?)
            .map_err(|error| format!("offload/status: {error}"))?;
        let now = status["flows"]["nic"].as_u64().unwrap_or_default();
        if now != found {
            (found, spent, changed) = (now, daemon.cpu()? - cpu, clock.now());
        }
    }
    Ok((spent, found))
}

/// The part of a core that the daemon uses while nothing happens but scrapes and statistics.
#[allow(clippy::cast_precision_loss, reason = "measured values")]
fn idle(daemon: &BenchDaemon, length: Duration) -> Result<f64, String> {
    let (cpu, clock) = (daemon.cpu()?, Clock::start());
    let passed = || clock.now().since(Moment::default());
    while passed() < length {
        std::thread::sleep(SCRAPE.min(length));
        daemon.call("metrics/show", &[])?;
    }
    Ok((daemon.cpu()? - cpu) as f64 / 1e9 / passed().as_secs_f64())
}
