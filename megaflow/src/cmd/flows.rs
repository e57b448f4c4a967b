//! `megaflow flows`

use super::client::Daemon;
use super::outcome::{CommandOutcome, print, print_json};
use crate::control::render::flow_table;
use crate::control::view::Flow;

/// Lists the megaflows of a running daemon: where each one lives, or why it is not in hardware.
#[derive(clap::Args)]
#[command(after_help = "Example: megaflow flows --where refused in_port=1,tcp")]
pub(super) struct Args {
    #[command(flatten)]
    daemon: Daemon,
    /// List only megaflows with this placement
    #[arg(long = "where", value_name = "PLACE", value_enum)]
    place: Option<Place>,
    /// List only megaflows that a packet of this description can hit:
    /// in_port=1,tcp,nw_dst=10.0.0.0/8, or ODP text
    filter: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Place {
    Host,
    Nic,
    Refused,
}

pub(super) fn run(args: &Args) -> CommandOutcome {
    let place = match args.place {
        None => "all",
        Some(Place::Host) => "host",
        Some(Place::Nic) => "nic",
        Some(Place::Refused) => "refused",
    };
    let filter = args.filter.as_deref().unwrap_or_default();
    let mut flows: Vec<Flow> = args.daemon.data("offload/flows", &[place, filter])?;
    flows.sort_by(|a, b| a.ufid.cmp(&b.ufid));
    if args.json { print_json(&flows) } else { print(&flow_table(&flows)) }
}
