//! `megaflow odp`

use std::io::{BufRead, Write};

use flow::odp::{format_actions, format_key, format_match, parse_actions, parse_key, parse_match};
use serde_json::json;

use super::{Failure, Outcome};

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

pub(super) fn run(args: &Args) -> Outcome {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for line in std::io::stdin().lock().split(b'\n') {
        let line = line.map_err(|error| Failure::Job(format!("stdin: {error}")))?;
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
    out.flush().map_err(|error| Failure::Job(format!("stdout: {error}")))
}

fn canonical(kind: Kind, text: &str) -> Result<String, String> {
    match kind {
        Kind::Keys => parse_key(text).map(|key| format_key(&key)),
        Kind::Masks => parse_match(text).map(|matching| format_match(&matching)),
        Kind::Actions => parse_actions(text).map(|actions| format_actions(&actions)),
    }
    .map_err(|error| error.to_string())
}
