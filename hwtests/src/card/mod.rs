//! `megaflow-hwtests card`: the card's model as a PCI device over vfio-user, its wires plugged into
//! hosts that are network namespaces of this process, and a control socket for who tests with it.
//!
//! Nothing outlives the process: namespaces and interfaces go with its threads.

mod bench;
#[cfg(test)]
mod conformance;
mod endpoint;
mod hosts;
mod pci;
mod slot;
mod socket;
mod traffic;

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::check::{Outcome, WithContext};
use bench::Bench;
use endpoint::PciEndpoint;
use hosts::Hosts;
pub(crate) use pci::{DEVICE_ID, VENDOR_ID};
use slot::PciSlot;
use socket::listen;

/// What the process says on its standard output when both sockets are there.
pub(crate) const READY: &str = "card: ready";

#[derive(clap::Args)]
pub(crate) struct CardArgs {
    /// Where QEMU's vfio-user-pci connects to
    #[arg(long, value_name = "PATH")]
    socket: PathBuf,
    /// Where commands come in, one a line; `help` lists them
    #[arg(long, value_name = "PATH")]
    control: PathBuf,
    /// Wires that the card has, each with a host at its end
    #[arg(long, value_name = "NUMBER", default_value_t = 2)]
    #[arg(value_parser = clap::value_parser!(u8).range(1..=8))]
    wires: u8,
}

/// Serves until standard input ends. Must be called before the process has a second thread: an
/// unprivileged user gets a user namespace first.
pub(crate) fn main(args: &CardArgs) -> ExitCode {
    match serve(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("megaflow-hwtests card: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn serve(args: &CardArgs) -> Outcome {
    megaflow::namespace::become_root_of_our_own()?;
    let control = listen(&args.control)?;
    let hosts = Hosts::new(args.wires)?;
    let (slot, card) = PciSlot::new(hosts.wires()?)?;
    PciEndpoint::new(slot.clone(), card.vector_count()).serve(&args.socket)?;
    let mut bench = Bench::new(slot, card, hosts);
    std::thread::Builder::new()
        .name("control".into())
        .spawn(move || {
            for client in control.incoming().flatten() {
                // A client that goes away in the middle of a line is one that went away.
                let _ = obey(&client, &mut bench);
            }
        })
        .context("starting the control's thread")?;
    println!("{READY}");
    std::io::stdout().flush().context("standard output")?;
    // Whoever started this holds the other end; when that is gone, this is.
    std::io::stdin().read_to_end(&mut Vec::new()).context("standard input")?;
    for path in [&args.socket, &args.control] {
        let _ = std::fs::remove_file(path);
    }
    Ok(())
}

/// Answers each line with one line: `ok` and what was asked for, or `error` and why not.
fn obey(client: &UnixStream, bench: &mut Bench) -> std::io::Result<()> {
    let mut answers = client;
    for line in BufReader::new(client).lines() {
        let answer = match bench.obey(line?.trim()) {
            Ok(text) => format!("ok {text}"),
            Err(failure) => format!("error {}", failure.to_string().replace('\n', " | ")),
        };
        answers.write_all(format!("{}\n", answer.trim_end()).as_bytes())?;
    }
    Ok(())
}
