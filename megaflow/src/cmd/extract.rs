//! `megaflow extract`

use std::io::{BufWriter, Write};
use std::path::PathBuf;

use flow::{odp, packet};
use hostdp::port::pcap;
use serde_json::json;

use super::outcome::{CommandFailure, CommandOutcome};

/// Prints the key of each packet of a capture, one per line, as the datapath extracts it.
#[derive(clap::Args)]
#[command(after_help = "Example: megaflow extract --format ofctl trace.pcap")]
pub(super) struct Args {
    /// The capture file
    #[arg(value_name = "F.pcap")]
    capture: PathBuf,
    /// The format of a key: ODP text, or the text of ovs-ofctl parse-pcap
    #[arg(long, value_enum, default_value_t = Format::Odp)]
    format: Format,
    /// The in_port of every key; ofctl text always has in_port=ANY
    #[arg(long, default_value_t = 0, value_name = "N")]
    port: u32,
    /// Print one JSON object per line
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Format {
    Odp,
    Ofctl,
}

pub(super) fn run(args: &Args) -> CommandOutcome {
    let name = args.capture.display();
    let wrong = |error: &dyn std::fmt::Display| CommandFailure::Input(format!("{name}: {error}"));
    let reader = pcap::open(&args.capture).map_err(|error| wrong(&error))?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    for (number, record) in reader.enumerate() {
        // The keys of the packets before a broken record are printed.
        let record = record.map_err(|error| {
            let _ = out.flush();
            wrong(&error)
        })?;
        let mut key = packet::extract(&record.frame);
        key.in_port = args.port;
        let text = match args.format {
            Format::Odp => odp::format_key(&key),
            Format::Ofctl => packet::ofctl::format(&key),
        };
        let line = match args.json {
            false => text,
            true => {
                json!({ "packet": number + 1, "time_ns": record.time, "key": text }).to_string()
            }
        };
        if writeln!(out, "{line}").is_err() {
            return Ok(());
        }
    }
    out.flush().map_err(|error| CommandFailure::Job(format!("stdout: {error}")))
}
