//! `megaflow bench`

mod calm;
mod child;
mod classifier;
mod flaps;
mod flows;
mod host;
mod measure;
mod readers;
mod results;
mod rig;
mod scale;
mod sets;
mod setup;
mod traffic;
mod wire;

use std::time::Duration;

use serde_json::json;

use super::outcome::{CommandFailure, CommandOutcome, print, print_json};
use crate::control::render::table;
use measure::{Case, Measured, measure};

/// Measures CPU time per packet, lookup or update, in this process on this machine, per new
/// flow (setup), what many megaflows cost a daemon of its own (scale), what readers of them wait
/// for and cost others (readers), how soon an address that moves is followed (flaps), or what
/// passes between two hosts (wire).
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
    /// readers, flaps, wire)
    #[arg(long, alias = "runs", default_value_t = 5, value_parser = scale::number(1..=1000))]
    windows: u64,
    /// Length of a window in seconds; of the flood (setup); of the time without work (scale); of
    /// the time with each kind of readers (readers); of the moves and of the new addresses (flaps);
    /// of each kind of traffic (wire)
    #[arg(long, default_value_t = 0.5)]
    seconds: f64,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    scale: scale::ScaleArgs,
    /// setup: new flows offered in a second
    #[arg(long, default_value_t = 100_000, value_parser = scale::number(1000..=1_000_000))]
    rate: u64,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Part {
    Host,
    Classifier,
    Setup,
    Scale,
    Readers,
    Flaps,
    Wire,
}

pub(super) fn run(args: &Args) -> CommandOutcome {
    let window = Duration::try_from_secs_f64(args.seconds)
        .ok()
        .filter(|window| (Duration::from_millis(10)..=Duration::from_secs(60)).contains(window))
        .ok_or_else(|| CommandFailure::Input("--seconds: expected 0.01 to 60".to_owned()))?;
    let cases = match args.part {
        Part::Host => host::CASES,
        Part::Classifier => classifier::CASES,
        Part::Setup | Part::Scale | Part::Readers | Part::Flaps | Part::Wire
            if args.list || !args.cases.is_empty() =>
        {
            return Err(CommandFailure::Input(
                "setup, scale, readers, flaps and wire have no cases to choose".to_owned(),
            ));
        }
        Part::Setup => return setup::run(args.rate, args.windows, window, args.json),
        Part::Scale => return scale::run(&args.scale, args.windows, window, args.json),
        Part::Readers => return readers::run(&args.scale, args.windows, window, args.json),
        Part::Wire => return wire::run(args.windows, window, args.json),
        Part::Flaps => return flaps::run(&args.scale, args.windows, window, args.json),
    };
    if args.list {
        return list(cases, args.json);
    }
    let chosen = choose(cases, &args.cases)?;
    let mut results = Vec::new();
    for case in chosen {
        let mut work = (case.setup)(u32::MAX)
            .map_err(|e| CommandFailure::Job(format!("{}: {e}", case.name)))?;
        let measured = measure(case.name, &mut work, args.windows, window);
        results.push((case, measured.map_err(CommandFailure::Job)?));
    }
    if args.json { print_json(&as_json(&results)) } else { print(&as_text(&results)) }
}

fn list(cases: &[Case], as_json: bool) -> CommandOutcome {
    if as_json {
        let cases = cases.iter().map(|c| json!({"case": c.name, "unit": c.unit, "what": c.what}));
        return print_json(&cases.collect::<Vec<_>>());
    }
    let row = |case: &Case| [case.name, case.unit, case.what].map(str::to_owned);
    let rows: Vec<[String; 3]> = cases.iter().map(row).collect();
    print(&table(&rows, &[]))
}

fn choose<'a>(cases: &'a [Case], names: &[String]) -> Result<Vec<&'a Case>, CommandFailure> {
    if let Some(bad) = names.iter().find(|name| !cases.iter().any(|case| case.name == **name)) {
        let known: Vec<&str> = cases.iter().map(|case| case.name).collect();
        return Err(CommandFailure::Input(format!(
            "no case '{bad}' (there are {})",
            known.join(", ")
        )));
    }
    let wanted = |case: &&Case| names.is_empty() || names.iter().any(|name| name == case.name);
    Ok(cases.iter().filter(wanted).collect())
}

fn as_json(results: &[(&Case, Measured)]) -> serde_json::Value {
    let object = |(case, measured): &(&Case, Measured)| {
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

fn as_text(results: &[(&Case, Measured)]) -> String {
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
