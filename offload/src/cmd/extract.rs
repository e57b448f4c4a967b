//! `megaflow extract`

use std::io::{BufWriter, Write};
use std::path::PathBuf;

use flow::{odp, packet};
use hostdp::port::pcap;
use serde_json::json;

use super::{Failure, Outcome};

/// The key of each packet of a capture, as the datapath extracts it, one a line.
#[derive(clap::Args)]
#[command(after_help = "Example: megaflow extract --format ofctl trace.pcap")]
pub(super) struct Args {
    /// The capture
    #[arg(value_name = "F.pcap")]
    capture: PathBuf,
    /// ODP text, or that of ovs-ofctl parse-pcap
    #[arg(long, value_enum, default_value_t = Format::Odp)]
    format: Format,
    /// The port that the packets come in by; ofctl text has no port
    #[arg(long, default_value_t = 0, value_name = "N")]
    port: u32,
    /// Print a JSON object a line
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Format {
    Odp,
    Ofctl,
}

pub(super) fn run(args: &Args) -> Outcome {
    let name = args.capture.display();
    let wrong = |error: &dyn std::fmt::Display| Failure::Input(format!("{name}: {error}"));
    let reader = pcap::open(&args.capture).map_err(|error| wrong(&error))?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    for (number, record) in reader.enumerate() {
        // What came before a broken record stands printed.
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
    out.flush().map_err(|error| Failure::Job(format!("stdout: {error}")))
}
