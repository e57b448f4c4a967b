//! `megaflow replay`: the host datapath offline.

mod input;
mod report;
mod run;

use std::path::PathBuf;

use super::outcome::{CommandFailure, CommandOutcome, print_json};
use input::{ReplayInput, input, read_flows};

/// Runs captures through the host datapath, with fixed megaflows and no client.
///
/// The datapath receives the packets of all captures in the order of their timestamps. Packets that
/// a port sends are written to DIR/PORT.pcap, upcalls to DIR/upcall.pcap. The summary is JSON on
/// stdout.
#[derive(clap::Args)]
#[command(after_help = "Example: megaflow replay --flows flows.txt --in 1=a.pcap --out /tmp/out")]
pub(super) struct Args {
    /// A file of megaflows in ODP text, one per line: FLOW,actions:… or FLOW ACTIONS
    #[arg(long, value_name = "F")]
    flows: PathBuf,
    /// A port, and the capture of what it receives (repeatable)
    #[arg(long = "in", value_name = "PORT=F.pcap", required = true, value_parser = input)]
    inputs: Vec<ReplayInput>,
    /// The folder that captures are written to; made if missing
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// No effect: the summary is always JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> CommandOutcome {
    let flows = read_flows(&args.flows).map_err(CommandFailure::Input)?;
    let summary = run::replay(&flows, &args.inputs, &args.out)?;
    print_json(&summary)
}
