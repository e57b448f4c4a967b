//! `megaflow demo`: shows Megaflow's main job, with nothing to install. Three hosts exchange real
//! traffic through the embedded card, a capture is replayed, megaflows move into the card, and at
//! the end every packet and byte is accounted for, or the exit status is 1.

mod lan;
mod replay;
mod report;
mod rig;
mod traffic;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use flow::Counters;

use crate::handle::Handle;
use crate::limits;
use crate::record::RecordFile;
use crate::status::Status;
use flow::testing::faulty::Faults;
use lan::{HOSTS, Lan, Net};
use offload::{FlowView, Request};
use replay::Timed;
use report::{AccountingCheck, DemoReport};
use rig::Rig;

/// The options of the command line.
#[derive(Clone, Debug)]
pub struct DemoArgs {
    /// Seconds of bulk traffic, all transfers together.
    pub seconds: u64,
    /// Captures to replay besides the bundled one.
    pub captures: Vec<PathBuf>,
    /// Print JSON.
    pub json: bool,
    /// Put these faults in front of the card: the demo must find one that spoils a sum.
    pub faults: Option<Faults>,
}

/// Runs the demo. Must be called before the process has a second thread: an unprivileged user
/// gets a user namespace first.
#[must_use]
pub fn main(args: &DemoArgs, record: Option<RecordFile>) -> ExitCode {
    let frames = match replay::frames(&args.captures) {
        Ok(frames) => frames,
        Err(error) => {
            eprintln!("megaflow demo: {error}");
            return ExitCode::from(2);
        }
    };
    limits::raise_open_files();
    match run(args, frames, record) {
        Ok(outcome) => {
            let text = match args.json {
                true => format!("{}\n", report::json(&outcome)),
                false => report::text(&outcome),
            };
            if let Err(error) = say(&text) {
                eprintln!("megaflow demo: stdout: {error}");
                return ExitCode::FAILURE;
            }
            ExitCode::from(u8::from(!outcome.verdict.passed()))
        }
        Err(error) => {
            eprintln!("megaflow demo: {}", limits::explained(&error));
            ExitCode::FAILURE
        }
    }
}

/// Prints to stdout. A reader that has gone away (`| head`) is no failure.
fn say(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
        _ => Ok(()),
    }
}

fn run(args: &DemoArgs, frames: Vec<Timed>, record: Option<RecordFile>) -> io::Result<DemoReport> {
    let lan = crate::namespace::become_root_of_our_own().and_then(|()| Lan::new());
    let say = |text: &str| {
        if !args.json {
            // If this can't be printed, the report at the end can't be printed either, and
            // reports the error.
            let _ = say(&format!("{text}\n"));
        }
    };
    let lan = match lan {
        Ok(lan) => Some(lan),
        Err(error) => {
            say(&format!("no network namespaces here ({error}): only the captures are replayed"));
            None
        }
    };
    let rig = Rig::start(lan.as_ref(), args.faults, record)?;
    say(&format!("page and metrics: {}", rig.page()));
    rig.operator_flows()?;
    let player = rig.play(frames)?;
    let mut facts = Vec::new();
    let bulk = match &lan {
        Some(lan) => Some(talk(lan, &rig.handle, args.seconds, &mut |fact: String| {
            say(&fact);
            facts.push(fact);
        })?),
        None => None,
    };
    let replayed = player.finish()?;
    let fact = format!("replayed: {replayed} frames of captures");
    say(&fact);
    facts.push(fact);
    rig.close_wires();
    let (flows, status) = quiet(&rig.handle)?;
    let verdict = AccountingCheck::new(&flows, &status, bulk, &rig.ledger);
    let outcome = DemoReport { facts, flows, metrics: status.metrics, verdict };
    rig.stop()?;
    Ok(outcome)
}

/// Lets the hosts talk. Returns the counters of the bulk TCP transfers in the NIC and on the
/// host.
fn talk(
    lan: &Lan,
    handle: &Handle,
    seconds: u64,
    say: &mut dyn FnMut(String),
) -> io::Result<(Counters, Counters)> {
    for net in [Net::V4, Net::V6, Net::Vlan] {
        let mut answers = 0;
        for from in &lan.hosts {
            for to in lan.hosts.iter().filter(|to| to.number != from.number) {
                answers += traffic::ping(&from.namespace, to.address(net), 5)?;
            }
        }
        say(format!("ping {net}: {answers} answers between {HOSTS} hosts"));
    }
    let [first, second, third] = &lan.hosts[..] else {
        return Err(io::Error::other("the demo needs three hosts"));
    };
    for net in [Net::V4, Net::V6, Net::Vlan] {
        let to = third.address(net);
        let echoes = traffic::udp(&first.namespace, &third.namespace, to, 500)?;
        say(format!("UDP {net}: {echoes} echoes"));
    }
    let before = tcp_counters(&flows_of(handle)?);
    let share = Duration::from_millis(seconds * 250);
    let pairs =
        [(first, second, Net::V4, 2), (second, third, Net::V6, 1), (third, first, Net::Vlan, 1)];
    for (client, server, net, shares) in pairs {
        let to = server.address(net);
        let bytes = traffic::tcp(&client.namespace, &server.namespace, to, share * shares)?;
        say(format!("TCP {net}: {} MB arrived as sent", bytes / 1_000_000));
    }
    let after = tcp_counters(&flows_of(handle)?);
    let grown = |a: Counters, b: Counters| a.since(b).unwrap_or_default();
    Ok((grown(after.0, before.0), grown(after.1, before.1)))
}

/// Hits of the megaflows between the hosts, in the NIC and on the host. While the bulk transfers
/// run, there is no other traffic to speak of between the hosts.
fn tcp_counters(flows: &[FlowView]) -> (Counters, Counters) {
    let hosts =
        |view: &&FlowView| (1..=u32::from(HOSTS)).contains(&view.flow.matching.key().in_port);
    let nic = flows.iter().filter(hosts).map(|view| view.nic).sum();
    let host = flows.iter().filter(hosts).map(|view| view.host).sum();
    (nic, host)
}

fn flows_of(handle: &Handle) -> io::Result<Vec<FlowView>> {
    handle.request(Request::Reconcile).map_err(io::Error::other)?;
    handle.flows().map_err(io::Error::other)
}

fn status_of(handle: &Handle) -> io::Result<Status> {
    handle.status().map(|status| *status).map_err(io::Error::other)
}

/// Waits until two looks in a row show the same counters. A packet that is not accounted for by
/// then never will be.
fn quiet(handle: &Handle) -> io::Result<(Vec<FlowView>, Status)> {
    let mut last = None;
    for _ in 0..50 {
        std::thread::sleep(Duration::from_millis(100));
        let flows = flows_of(handle)?;
        let status = status_of(handle)?;
        let now = &status.metrics.conservation;
        if last.as_ref() == Some(now) && now.at_rest && now.in_flight.is_zero() {
            return Ok((flows, status));
        }
        last = Some(status.metrics.conservation);
    }
    Err(io::Error::other("packets are still moving 5 s after the last wire was closed"))
}
