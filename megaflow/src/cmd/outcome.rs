//! How a command ends: with what it prints, or with a failure.

use std::io::Write;
use std::process::ExitCode;

use serde::Serialize;

/// Why a command failed, in one line.
#[derive(Debug)]
pub(super) enum CommandFailure {
    /// The job failed: exit 1.
    Job(String),
    /// Usage or input is wrong: exit 2.
    Input(String),
}

impl CommandFailure {
    /// The line, whatever kind of failure it is.
    pub(super) fn text(&self) -> &str {
        match self {
            CommandFailure::Job(text) | CommandFailure::Input(text) => text,
        }
    }
}

pub(super) type CommandOutcome = Result<(), CommandFailure>;

pub(super) fn fail(name: &str, failure: &CommandFailure) -> ExitCode {
    let (code, text) = match failure {
        CommandFailure::Job(text) => (1, text),
        CommandFailure::Input(text) => (2, text),
    };
    let text = crate::limits::explained(&text.trim_end().replace('\n', " "));
    eprintln!("megaflow {name}: {text}");
    ExitCode::from(code)
}

/// Prints to stdout. A reader that has gone away (`| head`) is no failure.
pub(super) fn print(text: &str) -> CommandOutcome {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(CommandFailure::Job(format!("stdout: {error}")))
        }
        _ => Ok(()),
    }
}

pub(super) fn print_json(value: &impl Serialize) -> CommandOutcome {
    match serde_json::to_string_pretty(value) {
        Ok(text) => print(&(text + "\n")),
        Err(error) => Err(CommandFailure::Job(error.to_string())),
    }
}
