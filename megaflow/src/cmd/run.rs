//! `megaflow run`

use std::path::PathBuf;
use std::process::ExitCode;

use super::outcome::{CommandFailure, fail};
use crate::config::load;
use crate::control::log::Log;
use crate::record::RecordFile;

/// Runs the daemon, which forwards packets until it is told to stop.
#[derive(clap::Args)]
#[command(after_help = "Example: megaflow run --config /etc/megaflow/megaflow.toml")]
pub(super) struct Args {
    /// The configuration file
    #[arg(long, value_name = "F")]
    config: PathBuf,
    #[command(flatten)]
    record: RecordArgs,
}

/// Where to record, and how much.
#[derive(clap::Args)]
pub(super) struct RecordArgs {
    /// Records what happens to the engine in a new file, for megaflow rerun; it has packets in it
    #[arg(long = "record", value_name = "F")]
    file: Option<PathBuf>,
    /// Largest size of the recording in MiB; there the recording ends, and the daemon goes on
    #[arg(long = "record-limit", value_name = "MIB", default_value_t = 1024, requires = "file")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    limit: u64,
}

impl RecordArgs {
    /// Makes the file, if there is to be one.
    pub(super) fn file(&self) -> Result<Option<RecordFile>, CommandFailure> {
        let create = |path| RecordFile::create(path, self.limit << 20);
        let file = self.file.as_deref().map(create).transpose();
        file.map_err(|error| CommandFailure::Input(error.to_string()))
    }
}

pub(super) fn run(args: &Args) -> ExitCode {
    let config = match load(&args.config) {
        Ok(config) => config,
        Err(error) => return fail("run", &CommandFailure::Input(error.to_string())),
    };
    let record = match args.record.file() {
        Ok(record) => record,
        Err(error) => return fail("run", &error),
    };
    match Log::install() {
        Ok(log) => crate::daemon::main(&config, record, log),
        Err(error) => fail("run", &CommandFailure::Job(error.to_string())),
    }
}
