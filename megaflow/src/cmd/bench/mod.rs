//! `megaflow bench`

mod calm;
mod child;
mod classifier;
mod dpdk;
mod flaps;
mod flows;
mod host;
mod instructions;
mod measure;
mod readers;
mod results;
mod rig;
mod scale;
mod sets;
mod setup;
mod traffic;
mod wire;
mod workers;

use std::time::Duration;

use serde_json::json;

use super::outcome::{CommandFailure, CommandOutcome, print, print_json};
use crate::control::render::table;
use measure::{Aside, Case, Measurable, Measured, Work, measure};

/// Measures CPU time per packet, lookup or update, in this process on this machine (host,
/// classifier) and beside Open vSwitch on DPDK (dpdk), instructions per packet (instructions), per
/// new flow (setup), what many megaflows cost a daemon of its own (scale), what readers of them
/// wait for and cost others (readers), how soon an address that moves is followed (flaps), what
/// passes between two hosts (wire), or what a second forwarding thread brings (workers).
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  megaflow bench host --case io,emc1 --windows 9\n  \
    megaflow bench classifier --list\n  megaflow bench scale --flows 100000 --masks 30")]
pub(super) struct Args {
    /// The part to measure
    #[arg(value_enum)]
    part: Part,
    /// List the cases of the part and measure nothing
    #[arg(long)]
    list: bool,
    /// Measure only these cases
    #[arg(long = "case", value_name = "C", value_delimiter = ',')]
    cases: Vec<String>,
    /// Number of windows to measure, after one window that does not count; of runs (setup, scale,
    /// readers, flaps, wire, workers); of pairs of windows (dpdk)
    #[arg(long, alias = "runs", default_value_t = 5, value_parser = scale::number(1..=1000))]
    windows: u64,
    /// Length of a window in seconds; of the flood (setup); of the time without work (scale); of
    /// the time with each kind of readers (readers); of the moves and of the new addresses (flaps);
    /// of each kind of traffic (wire); of each number of threads (workers)
    #[arg(long, default_value_t = 0.5)]
    seconds: f64,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// host: do so much of the work of each case, and measure nothing
    #[arg(long, hide = true)]
    calls: Option<u64>,
    /// instructions: fail if a case takes over 3 % more than was recorded
    #[arg(long)]
    check: bool,
    #[command(flatten)]
    scale: scale::ScaleArgs,
    /// setup: new flows offered in a second
    #[arg(long, default_value_t = 100_000, value_parser = scale::number(1000..=1_000_000))]
    rate: u64,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Part {
    Host,
    Dpdk,
    Instructions,
    Classifier,
    Setup,
    Scale,
    Readers,
    Flaps,
    Wire,
    Workers,
}

pub(super) fn run(args: &Args) -> CommandOutcome {
    let window = Duration::try_from_secs_f64(args.seconds)
        .ok()
        .filter(|window| (Duration::from_millis(10)..=Duration::from_secs(60)).contains(window))
        .ok_or_else(|| CommandFailure::Input("--seconds: expected 0.01 to 60".to_owned()))?;
    match args.part {
        Part::Host if args.calls.is_some() => {
            work(&choose(host::CASES, &args.cases)?, args.calls.unwrap_or_default())
        }
        Part::Host => measure_cases(host::CASES, args, window),
        Part::Classifier => measure_cases(classifier::CASES, args, window),
        Part::Dpdk | Part::Instructions if args.list => list(host::CASES, args.json),
        Part::Instructions => {
            let cases = choose(host::CASES, &args.cases)?;
            let names: Vec<&str> = cases.iter().map(|case| case.name).collect();
            let names = if args.cases.is_empty() { &instructions::CASES[..] } else { &names[..] };
            instructions::run(names, args.check, args.json)
        }
        Part::Dpdk => {
            let cases = choose(host::CASES, &args.cases)?;
            dpdk::run(&cases, args.windows, window, args.json)
        }
        Part::Setup | Part::Scale | Part::Readers | Part::Flaps | Part::Wire | Part::Workers
            if args.list || !args.cases.is_empty() =>
        {
            Err(CommandFailure::Input(
                "setup, scale, readers, flaps, wire and workers have no cases to choose".to_owned(),
            ))
        }
        Part::Setup => setup::run(args.rate, args.windows, window, args.json),
        Part::Scale => scale::run(&args.scale, args.windows, window, args.json),
        Part::Readers => readers::run(&args.scale, args.windows, window, args.json),
        Part::Workers => workers::run(args.windows, window, args.json),
        Part::Wire => wire::run(args.windows, window, args.json),
        Part::Flaps => flaps::run(&args.scale, args.windows, window, args.json),
    }
}

/// Measures the chosen cases of a part one after the other.
fn measure_cases<S: Measurable>(
    cases: &[Case<S>],
    args: &Args,
    window: Duration,
) -> CommandOutcome {
    if args.list {
        return list(cases, args.json);
    }
    let chosen = choose(cases, &args.cases)?;
    let mut results = Vec::new();
    for case in chosen {
        let mut work = (case.setup)(u32::MAX)
            .and_then(Measurable::work)
            .map_err(|e| CommandFailure::Job(format!("{}: {e}", case.name)))?;
        let measured = measure(case.name, &mut work, args.windows, window);
        results.push((case, measured.map_err(CommandFailure::Job)?));
    }
    if args.json { print_json(&as_json(&results)) } else { print(&as_text(&results)) }
}

/// Does some work of the cases, for a tool that looks on.
fn work<S: Measurable>(cases: &[&Case<S>], calls: u64) -> CommandOutcome {
    for case in cases {
        let failed = |error| CommandFailure::Job(format!("{}: {error}", case.name));
        let mut work = (case.setup)(u32::MAX).and_then(Measurable::work).map_err(failed)?;
        work_counted(&mut work, calls).map_err(failed)?;
    }
    Ok(())
}

/// A function of its own, whose instructions are counted by its name.
#[inline(never)]
fn work_counted(work: &mut Work, calls: u64) -> Result<(), String> {
    for _ in 0..calls {
        work(&mut Aside::default())?;
    }
    Ok(())
}

fn list<S>(cases: &[Case<S>], as_json: bool) -> CommandOutcome {
    if as_json {
        let cases = cases.iter().map(|c| json!({"case": c.name, "unit": c.unit, "what": c.what}));
        return print_json(&cases.collect::<Vec<_>>());
    }
    let row = |case: &Case<S>| [case.name, case.unit, case.what].map(str::to_owned);
    let rows: Vec<[String; 3]> = cases.iter().map(row).collect();
    print(&table(&rows, &[]))
}

fn choose<'a, S>(
    cases: &'a [Case<S>],
    names: &[String],
) -> Result<Vec<&'a Case<S>>, CommandFailure> {
    if let Some(bad) = names.iter().find(|name| !cases.iter().any(|case| case.name == **name)) {
        let known: Vec<&str> = cases.iter().map(|case| case.name).collect();
        return Err(CommandFailure::Input(format!(
            "no case '{bad}' (there are {})",
            known.join(", ")
        )));
    }
    let wanted = |case: &&Case<S>| names.is_empty() || names.iter().any(|name| name == case.name);
    Ok(cases.iter().filter(wanted).collect())
}

fn as_json<S>(results: &[(&Case<S>, Measured)]) -> serde_json::Value {
    let object = |(case, measured): &(&Case<S>, Measured)| {
        json!({
            "case": case.name,
            "unit": case.unit,
            "windows": measured.windows,
            "cpu_ns": measured.cpu_ns,
            "rate": measured.rate,
        })
    };
    results.iter().map(object).collect()
}

fn as_text<S>(results: &[(&Case<S>, Measured)]) -> String {
    let header = ["case", "cpu ns", "min", "max", "per second", "unit"].map(str::to_owned);
    let mut rows = vec![header];
    for (case, measured) in results {
        let cpu = &measured.cpu_ns;
        rows.push([
            case.name.to_owned(),
            format!("{:.1}", cpu.median),
            format!("{:.1}", cpu.min),
            format!("{:.1}", cpu.max),
            format!("{:.0}", measured.rate.median),
            case.unit.to_owned(),
        ]);
    }
    table(&rows, &[1, 2, 3, 4])
}
