//! `megaflow odp`

use std::io::{BufRead, Read, Write};

use flow::odp::{format_actions, format_key, format_match, parse_actions, parse_key, parse_match};
use serde_json::json;

use super::outcome::{CommandFailure, CommandOutcome};

/// Reads ODP text from stdin, and prints each line's canonical form or `error: …`.
#[derive(clap::Args)]
#[command(after_help = "Example: echo 'push_vlan(vid=5,pcp=0),1' | megaflow odp actions")]
pub(super) struct Args {
    /// What each line is: the key of a packet, a match with masks, or a list of actions
    #[arg(value_enum)]
    kind: Kind,
    /// Print one JSON object per line
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Kind {
    Keys,
    Masks,
    Actions,
}

/// Largest length of a line in bytes: the longest list of actions fits.
const LONGEST: u64 = 1 << 20;

pub(super) fn run(args: &Args) -> CommandOutcome {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let mut input = std::io::stdin().lock();
    loop {
        let mut line = Vec::new();
        let read = input.by_ref().take(LONGEST + 1).read_until(b'\n', &mut line);
        match read.map_err(|error| CommandFailure::Job(format!("stdin: {error}")))? as u64 {
            0 => break,
            length if length > LONGEST => {
                let message = format!("stdin: a line of more than {LONGEST} bytes");
                return Err(CommandFailure::Input(message));
            }
            _ => {}
        }
        line.pop_if(|last| *last == b'\n');
        let text = match String::from_utf8(line) {
            Ok(text) => canonical(args.kind, text.trim_end_matches('\r')),
            Err(_) => Err("not UTF-8".to_owned()),
        };
        let line = match (text, args.json) {
            (Ok(text), false) => text,
            (Err(error), false) => format!("error: {error}"),
            (Ok(text), true) => json!({ "text": text }).to_string(),
            (Err(error), true) => json!({ "error": error }).to_string(),
        };
        if writeln!(out, "{line}").is_err() {
            return Ok(());
        }
    }
    out.flush().map_err(|error| CommandFailure::Job(format!("stdout: {error}")))
}

fn canonical(kind: Kind, text: &str) -> Result<String, String> {
    match kind {
        Kind::Keys => parse_key(text).map(|key| format_key(&key)),
        Kind::Masks => parse_match(text).map(|matching| format_match(&matching)),
        Kind::Actions => parse_actions(text).map(|actions| format_actions(&actions)),
    }
    .map_err(|error| error.to_string())
}
