//! The `megaflow` command: one file per subcommand.

mod bench;
mod check_config;
mod client;
mod ctl;
mod demo;
mod doctor;
mod explain;
mod extract;
mod flows;
mod odp;
mod outcome;
mod replay;
mod rerun;
mod run;
mod top;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};

use outcome::fail;

/// Pushes OVS-style megaflows into NIC hardware, and forwards on the host what the NIC can't.
#[derive(Parser)]
#[command(name = "megaflow", version, propagate_version = false, max_term_width = 100)]
#[command(color = clap::ColorChoice::Never, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Demo(demo::Args),
    Run(run::Args),
    CheckConfig(check_config::Args),
    Doctor(doctor::Args),
    Flows(flows::Args),
    Explain(explain::Args),
    Top(top::Args),
    Ctl(ctl::Args),
    Odp(odp::Args),
    Extract(extract::Args),
    Replay(replay::Args),
    Rerun(rerun::Args),
    Bench(bench::Args),
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    run(std::env::args_os())
}

fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let (name, outcome) = match &cli.command {
        // These commands print their own failures.
        Command::Demo(args) => return demo::run(args),
        Command::Run(args) => return run::run(args),
        Command::Doctor(args) => return doctor::run(args),
        Command::CheckConfig(args) => ("check-config", check_config::run(args)),
        Command::Flows(args) => ("flows", flows::run(args)),
        Command::Explain(args) => ("explain", explain::run(args)),
        Command::Top(args) => ("top", top::run(args)),
        Command::Ctl(args) => ("ctl", ctl::run(args)),
        Command::Odp(args) => ("odp", odp::run(args)),
        Command::Extract(args) => ("extract", extract::run(args)),
        Command::Replay(args) => ("replay", replay::run(args)),
        Command::Rerun(args) => ("rerun", rerun::run(args)),
        Command::Bench(args) => ("bench", bench::run(args)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => fail(name, &failure),
    }
}

/// Prints help to stdout as it is, and a usage error as one line on stderr.
fn usage(error: &clap::Error) -> ExitCode {
    let text = error.render().to_string();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            // If stdout is closed, nobody is left to be told.
            let _ = std::io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            eprintln!("megaflow: a command is missing; see megaflow --help");
            ExitCode::from(2)
        }
        _ => {
            let ends = ["\n\nUsage:", "\n\nFor more information"];
            let end = ends.iter().filter_map(|end| text.find(end)).min().unwrap_or(text.len());
            // The paragraphs of clap's message, its tip included, become one line.
            let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
            let text = text[..end].split("\n\n").map(words).collect::<Vec<_>>().join("; ");
            let text = text.strip_prefix("error: ").unwrap_or(&text);
            eprintln!("megaflow: {text}; see --help");
            ExitCode::from(2)
        }
    }
}
