//! `megaflow ctl`

use super::client::DaemonSocket;
use super::outcome::{CommandOutcome, print};

/// Calls a method of a running daemon, as ovs-appctl does.
#[derive(clap::Args)]
#[command(after_help = "Example: megaflow ctl dpctl/dump-flows -m")]
pub(super) struct Args {
    #[command(flatten)]
    daemon: DaemonSocket,
    /// The method's name; the method list-commands lists all names
    method: String,
    /// The method's parameters
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARG")]
    params: Vec<String>,
}

pub(super) fn run(args: &Args) -> CommandOutcome {
    let params: Vec<&str> = args.params.iter().map(String::as_str).collect();
    let text = args.daemon.call(&args.method, &params)?;
    let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    print(&(text + end))
}
