//! `megaflow rerun`

use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;

use super::outcome::{CommandFailure, CommandOutcome, print, print_json};
use crate::record;

/// Runs a fresh engine over a recording and checks that the same events give the same commands.
///
/// Recordings are made by `megaflow run --record` and `megaflow demo --record`. The exit status is
/// 1 if something else came out.
#[derive(clap::Args)]
#[command(after_help = "Example: megaflow rerun /tmp/engine.jsonl")]
pub(super) struct Args {
    /// The recording
    #[arg(value_name = "F")]
    file: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> CommandOutcome {
    let name = args.file.display();
    let wrong = |error: &dyn std::fmt::Display| CommandFailure::Input(format!("{name}: {error}"));
    let file = File::open(&args.file).map_err(|error| wrong(&error))?;
    let found = record::rerun(BufReader::new(file)).map_err(|error| wrong(&error))?;
    if args.json {
        print_json(&found)?;
    }
    match found.difference {
        Some(difference) => Err(CommandFailure::Job(format!("{name}: {difference}"))),
        None if args.json => Ok(()),
        None => {
            let end = found.end.unwrap_or_default();
            print(&format!("{} steps, the same commands; the recording ends: {end}\n", found.steps))
        }
    }
}
