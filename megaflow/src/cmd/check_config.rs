//! `megaflow check-config`

use std::path::PathBuf;

use serde_json::json;

use super::outcome::{CommandFailure, CommandOutcome, print, print_json};
use crate::config::load;

/// Reads and checks a configuration file; opens nothing else and changes nothing.
#[derive(clap::Args)]
#[command(after_help = "Example: megaflow check-config /etc/megaflow/megaflow.toml")]
pub(super) struct Args {
    /// The configuration file
    #[arg(value_name = "F")]
    config: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> CommandOutcome {
    let config = load(&args.config).map_err(|error| CommandFailure::Input(error.to_string()))?;
    let name = &config.datapath.name;
    let client = config.datapath.client.name();
    let providers: Vec<&str> = config.providers.iter().map(|p| p.kind.name()).collect();
    if args.json {
        let ports = config
            .ports
            .iter()
            .map(|port| json!({"number": port.id.0, "name": port.name, "type": port.kind.name()}));
        return print_json(&json!({
            "datapath": name,
            "client": client,
            "workers": config.datapath.workers,
            "ports": ports.collect::<Vec<_>>(),
            "providers": providers,
            "socket": config.control.socket,
            "http": config.http.as_ref().map(|http| http.listen.to_string()),
        }));
    }
    let hardware = if providers.is_empty() { "none".into() } else { providers.join(", ") };
    print(&format!(
        "{}: ok: datapath {name}, client {client}, {} ports, hardware: {hardware}\n",
        args.config.display(),
        config.ports.len(),
    ))
}
