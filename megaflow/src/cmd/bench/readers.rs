//! Readers of the HTTP listener beside a full table: how soon they are answered, and what a new
//! flow waits for because of them.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use flow::{Action, Clock, Megaflow, odp};
use offload::{Request, Response};

use super::calm::{CalmFlows, PORTION, teach};
use super::flows;
use super::results::{BenchResults, longest_steps};
use super::rig::{BenchRig, PORTS, ThreadTimes};
use super::scale::ScaleArgs;
use crate::cmd::outcome::{CommandFailure, CommandOutcome};
use crate::config::Http;
use crate::control::{Context, log::Log};
use crate::listeners::{HttpSocket, Listeners};

/// Clients that ask for one page after the other.
const READERS: usize = 8;
/// Time between two scrapes.
const SCRAPE: Duration = Duration::from_millis(100);
/// Megaflows in one request.
const BATCH: usize = 64;
/// Longest wait for the last new flows.
const LAST: Duration = Duration::from_millis(500);
/// No megaflow is idle for as long as this takes.
const MAX_IDLE: Duration = Duration::from_secs(3600);

pub(super) fn run(args: &ScaleArgs, runs: u64, length: Duration, as_json: bool) -> CommandOutcome {
    let mut results = BenchResults::default();
    for _ in 0..runs {
        measure(args, length, &mut results).map_err(CommandFailure::Job)?;
    }
    results.print(as_json)
}

#[allow(clippy::cast_precision_loss, reason = "a count of pages")]
fn measure(args: &ScaleArgs, length: Duration, to: &mut BenchResults) -> Result<(), String> {
    let card = u32::try_from(args.card).unwrap_or(u32::MAX);
    let mut rig = BenchRig::start(card, MAX_IDLE)?;
    teach(&mut rig)?;
    fill(&rig, args.flows(), args.masks)?;
    if card > 0 {
        to.add("offloaded", "megaflows", rig.settled()? as f64);
    }
    let context = Context::new(rig.running.handle.clone(), Log::detached());
    let socket = HttpSocket::at(&Http::at(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))));
    let listeners = socket.and_then(|socket| Listeners::start(&context, None, Some(socket)));
    let listeners = listeners.map_err(|error| error.to_string())?;
    let address = listeners.web_address().ok_or("there is no listener")?;

    let mut sent = new_flows(&mut rig, 0, length, "nobody", to)?;
    let scraper = Reader::start(address, "/metrics", SCRAPE);
    sent += new_flows(&mut rig, sent, length, "a scraper", to)?;
    to.add_times("/metrics", scraper.stop()?);
    let page = "/api/v1/flows?limit=1";
    let readers = [(); READERS].map(|()| Reader::start(address, page, Duration::ZERO));
    new_flows(&mut rig, sent, length, "eight readers", to)?;
    let mut pages = Vec::new();
    for reader in readers {
        pages.extend(reader.stop()?);
    }
    to.add("pages", "a second", pages.len() as f64 / length.as_secs_f64());
    to.add_times("a page", pages);
    longest_steps(&metrics::encode(&rig.status()?.metrics), to);
    listeners.stop();
    rig.stop()
}

/// Installs the megaflows of `bench scale`.
fn fill(rig: &BenchRig, flows: u64, masks: u64) -> Result<(), String> {
    let mut numbers = 0..flows;
    while !numbers.is_empty() {
        let batch = numbers.by_ref().take(BATCH).map(|number| {
            let matching = odp::parse_match(&flows::line(number, masks));
            let matching = matching.map_err(|error| error.to_string())?;
            Ok(Arc::new(Megaflow::new(matching, [Action::Output(PORTS[1])])))
        });
        let batch: Result<Vec<_>, String> = batch.collect();
        let request = Request::InstallAll(batch?);
        match rig.running.handle.request(request).map_err(|error| error.to_string())? {
            Response::Installed { failed } if failed.is_empty() => {}
            other => return Err(format!("not all were installed: {other:?}")),
        }
    }
    Ok(())
}

/// Has new flows come for this time, the first of them of this number, while somebody else is there
/// or nobody. Returns their number.
fn new_flows(
    rig: &mut BenchRig,
    first: u64,
    length: Duration,
    beside: &str,
    to: &mut BenchResults,
) -> Result<u64, String> {
    let (before, began) = (ThreadTimes::now()?, rig.clock.now());
    let mut calm = CalmFlows::new(first, began);
    while rig.clock.now() < began + length {
        calm.offer(rig);
        calm.collect(rig);
        std::thread::sleep(PORTION);
    }
    // Those on the way.
    std::thread::sleep(length.min(LAST));
    calm.collect(rig);
    let used = ThreadTimes::now()?.since(&before, "engine");
    let passed = rig.clock.now().since(began);
    let share = Duration::from_nanos(used).as_secs_f64() / passed.as_secs_f64();
    to.add(format!("engine beside {beside}"), "% of a core", share * 100.0);
    let (sent, _) = calm.count();
    calm.tell(&format!("new flows beside {beside}"), to);
    Ok(sent)
}

/// A client that asks for one page again and again.
struct Reader {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Vec<f64>, String>>,
}

impl Reader {
    fn start(address: SocketAddr, path: &'static str, pause: Duration) -> Reader {
        let stop = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut took = Vec::new();
            while !flag.load(Ordering::Relaxed) {
                let clock = Clock::start();
                get(address, path).map_err(|error| format!("{path}: {error}"))?;
                took.push(clock.elapsed().as_secs_f64() * 1e3);
                std::thread::sleep(pause);
            }
            Ok(took)
        });
        Reader { stop, thread }
    }

    /// Returns the milliseconds that each answer took.
    fn stop(self) -> Result<Vec<f64>, String> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or_else(|_| Err("a reader died".to_owned()))
    }
}

/// Reads a page, on a connection of its own.
fn get(address: SocketAddr, path: &str) -> io::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    match answer.starts_with(b"HTTP/1.1 200 ") {
        true => Ok(()),
        false => Err(io::Error::other(String::from_utf8_lossy(&answer).into_owned())),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        scale: ScaleArgs,
    }

    /// Every reader gets its pages, and the new flows beside them are forwarded.
    #[test]
    fn readers_and_new_flows_are_served() {
        let mut results = BenchResults::default();
        let line = Line::parse_from(["bench", "--flows", "500", "--card", "2000"]);
        measure(&line.scale, Duration::from_millis(200), &mut results).unwrap();
        assert!(results.last("pages") > Some(0.0) && results.last("offloaded") >= Some(500.0));
        for beside in ["nobody", "a scraper", "eight readers"] {
            let lost = results.last(&format!("new flows beside {beside}, lost"));
            assert_eq!(lost, Some(0.0), "{beside}");
        }
    }
}
