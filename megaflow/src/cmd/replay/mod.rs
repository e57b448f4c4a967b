//! `megaflow replay`: the host datapath offline.

mod report;
mod run;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use flow::{Megaflow, PortId, odp};

use super::{Failure, Outcome, print_json};

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
    inputs: Vec<Input>,
    /// The folder that captures are written to; made if missing
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// No effect: the summary is always JSON
    #[arg(long)]
    json: bool,
}

/// One capture and the port that receives it.
#[derive(Clone)]
struct Input {
    port: PortId,
    file: PathBuf,
}

fn input(text: &str) -> Result<Input, String> {
    let (port, file) = text.split_once('=').ok_or("expected PORT=F.pcap")?;
    let port = port.parse().map_err(|_| format!("'{port}' is not a port number"))?;
    Ok(Input { port: PortId(port), file: file.into() })
}

pub(super) fn run(args: &Args) -> Outcome {
    let flows = read_flows(&args.flows).map_err(Failure::Input)?;
    let summary = run::replay(&flows, &args.inputs, &args.out)?;
    print_json(&summary)
}

/// A megaflow of a file, and the file and line where it is.
struct Line {
    place: String,
    flow: Arc<Megaflow>,
}

/// The flows of a file; an error names file and line.
fn read_flows(file: &Path) -> Result<Vec<Line>, String> {
    let name = file.display();
    let text = crate::text::read(file).map_err(|error| format!("{name}: {error}"))?;
    let mut flows = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if !line.is_empty() {
            let place = format!("{name}:{}", number + 1);
            let flow = read_flow(line).map_err(|error| format!("{place}: {error}"))?;
            flows.push(Line { place, flow: Arc::new(flow) });
        }
    }
    Ok(flows)
}

fn read_flow(line: &str) -> Result<Megaflow, String> {
    let (matching, actions) = if line.contains("actions:") {
        let (_, matching, actions) = odp::parse_flow(line).map_err(|error| error.to_string())?;
        (matching, actions.unwrap_or_default())
    } else {
        let (flow, actions) =
            line.rsplit_once(char::is_whitespace).ok_or("expected FLOW ACTIONS".to_owned())?;
        let (_, matching, _) = odp::parse_flow(flow).map_err(|error| format!("flow: {error}"))?;
        let actions = odp::parse_actions(actions).map_err(|error| format!("actions: {error}"))?;
        (matching, actions)
    };
    Ok(Megaflow::new(matching, actions))
}
