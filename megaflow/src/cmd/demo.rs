//! `megaflow demo`

use std::path::PathBuf;
use std::process::ExitCode;

use super::outcome::fail;
use super::run::RecordArgs;
use crate::demo::{DemoArgs, main};
use flow::testing::faulty::Faults;

/// Sends real traffic through the embedded card and accounts for every packet; needs no hardware.
#[derive(clap::Args)]
#[command(after_help = "Example: megaflow demo --seconds 10")]
pub(super) struct Args {
    /// Seconds of bulk traffic
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// A capture to replay besides the bundled one (repeatable)
    #[arg(long = "pcap", value_name = "F")]
    captures: Vec<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    record: RecordArgs,
    /// Puts a fault in front of the card, which the demo then has to find
    #[arg(long, hide = true, value_enum)]
    fault: Option<FaultName>,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum FaultName {
    DropCounterUpdate,
}

pub(super) fn run(args: &Args) -> ExitCode {
    let faults = args.fault.map(|fault| match fault {
        FaultName::DropCounterUpdate => Faults { lost_update: true, ..Faults::default() },
    });
    let record = match args.record.file() {
        Ok(record) => record,
        Err(error) => return fail("demo", &error),
    };
    let (seconds, captures) = (args.seconds, args.captures.clone());
    main(&DemoArgs { seconds, captures, json: args.json, faults }, record)
}
