//! `megaflow flows`

use super::client::DaemonSocket;
use super::outcome::{CommandOutcome, print, print_json};
use crate::control::render::flow_table;
use crate::control::view::Flow;

/// Lists the megaflows of a running daemon: where each one lives, or why it is not in hardware.
#[derive(clap::Args)]
#[command(after_help = "Example: megaflow flows --where refused in_port=1,tcp")]
pub(super) struct Args {
    #[command(flatten)]
    daemon: DaemonSocket,
    /// List only megaflows with this placement
    #[arg(long = "where", value_name = "PLACE", value_enum)]
    place: Option<Where>,
    /// List only megaflows that a packet of this description can hit:
    /// in_port=1,tcp,nw_dst=10.0.0.0/8, or ODP text
    filter: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Where {
    Host,
    Nic,
    Refused,
}

pub(super) fn run(args: &Args) -> CommandOutcome {
    let place = match args.place {
        None => "all",
        Some(Where::Host) => "host",
        Some(Where::Nic) => "nic",
        Some(Where::Refused) => "refused",
    };
    let filter = args.filter.as_deref().unwrap_or_default();
    let mut flows: Vec<Flow> = args.daemon.data("offload/flows", &[place, filter])?;
    flows.sort_by(|a, b| a.ufid.cmp(&b.ufid));
    if args.json { print_json(&flows) } else { print(&flow_table(&flows)) }
}
