//! `megaflow run`

use std::path::PathBuf;
use std::process::ExitCode;

use super::{Failure, fail};
use crate::config::load;
use crate::control::log::Log;

/// Runs the daemon, which forwards packets until it is told to stop.
#[derive(clap::Args)]
#[command(after_help = "Example: megaflow run --config /etc/megaflow/megaflow.toml")]
pub(super) struct Args {
    /// The configuration file
    #[arg(long, value_name = "F")]
    config: PathBuf,
}

pub(super) fn run(args: &Args) -> ExitCode {
    let config = match load(&args.config) {
        Ok(config) => config,
        Err(error) => return fail("run", &Failure::Input(error.to_string())),
    };
    match Log::install() {
        Ok(log) => crate::daemon::main(&config, log),
        Err(error) => fail("run", &Failure::Job(error.to_string())),
    }
}
