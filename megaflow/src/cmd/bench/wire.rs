//! `megaflow bench wire`: two hosts in network namespaces of their own, whose cables end in a
//! switch: a Linux bridge, or the `system` ports of a host datapath.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use flow::packet::Packet;
use flow::{Actions, Clock, MacAddr, Match, PortId};
use hostdp::port::system::{SystemIo, SystemPort};
use hostdp::port::{BURST, Port, TxReport};
use hostdp::{Datapath, DatapathSettings};
use nix::time::ClockId;

use super::host::install;
use super::measure::cpu_of;
use super::results::BenchResults;
use super::traffic::{IN, OUT, frame_of, key};
use crate::cmd::outcome::{CommandFailure, CommandOutcome};
use crate::namespace::Namespace;

/// The switch's ends of the cables.
const CABLES: [(PortId, &str); 2] = [(IN, "h1"), (OUT, "h2")];
const SERVER: (Ipv4Addr, u16) = (Ipv4Addr::new(10, 0, 0, 2), 5001);
/// Time in which a connection has to come about.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) fn run(runs: u64, length: Duration, as_json: bool) -> CommandOutcome {
    let mut results = BenchResults::default();
    for _ in 0..runs {
        one(length, &mut results).map_err(CommandFailure::Job)?;
    }
    results.print(as_json)
}

/// One run: each kind of traffic through each switch.
fn one(length: Duration, results: &mut BenchResults) -> Result<(), String> {
    let bridge = Lan::new()?.through_bridge(length)?;
    let lan = Lan::new()?;
    let ports = lan.through_ports(length)?;
    results.add("TCP through a Linux bridge", "Gbit/s", bridge);
    results.add("TCP through system ports", "Gbit/s", ports);
    results.add("ports to bridge", "%", 100.0 * ports / bridge);
    for (name, io) in [("AF_PACKET", SystemIo::Packet), ("AF_XDP", SystemIo::Xdp)] {
        let of = |what: &str| format!("packets of 60 bytes, {name}, {what}");
        match Lan::new()?.small_packets(io, length)? {
            Some(small) => {
                results.add(of("offered"), "thousand a second", small.offered);
                results.add(of("delivered"), "thousand a second", small.delivered);
                results.add(of("CPU of each"), "ns", small.cpu);
            }
            None => results.skip(of("delivered"), "thousand a second", "it does not work here"),
        }
    }
    Ok(())
}

/// The hosts with addresses, and the switch without any.
struct Lan {
    switch: Namespace,
    hosts: [Namespace; 2],
}

/// What became of a flood of small packets. The times are those of the datapath's thread, which
/// polls all the time.
struct Small {
    offered: f64,
    delivered: f64,
    cpu: f64,
}

impl Lan {
    fn new() -> Result<Lan, String> {
        let host = |number: u8| Namespace::new(&format!("wire-host{number}"), false);
        let make = || {
            let lan =
                Lan { switch: Namespace::new("wire-switch", false)?, hosts: [host(1)?, host(2)?] };
            for ((number, host), (_, cable)) in (1..).zip(&lan.hosts).zip(CABLES) {
                lan.switch.cable(cable, host, "eth0", MacAddr([2, 0, 0, 0, 0, number]))?;
                host.address("eth0", &[(IpAddr::from([10, 0, 0, number]), 24)])?;
            }
            io::Result::Ok(lan)
        };
        make().map_err(|error| format!("can't make the hosts: {error}"))
    }

    /// Gbit/s of a TCP connection.
    fn through_bridge(&self, length: Duration) -> Result<f64, String> {
        let bridge = self.switch.bridge("br0", CABLES.map(|(_, cable)| cable));
        bridge.map_err(|error| format!("can't make a bridge: {error}"))?;
        self.tcp(length)
    }

    fn through_ports(&self, length: Duration) -> Result<f64, String> {
        let datapath = self.datapath(SystemIo::Packet)?;
        let worker = hostdp::worker::spawn(vec![datapath], &Clock::start(), &[]);
        let worker = worker.map_err(|error| format!("can't start a worker: {error}"))?;
        let rate = self.tcp(length);
        drop(worker);
        rate
    }

    /// A datapath that sends on what comes in at either port by the other one.
    fn datapath(&self, by: SystemIo) -> Result<Datapath, String> {
        self.switch
            .run(move || {
                let mut datapath = Datapath::new(DatapathSettings::default());
                for (id, cable) in CABLES {
                    let port = SystemPort::open_with(cable, cable, by).map_err(io::Error::other)?;
                    datapath.add_port(id, Box::new(port)).map_err(io::Error::other)?;
                }
                for (from, to) in [(IN, OUT), (OUT, IN)] {
                    let parsed = flow::odp::parse_match(&format!("in_port({from})"));
                    let flow: Match = parsed.map_err(io::Error::other)?;
                    let actions: Actions = vec![flow::Action::Output(to)].into();
                    install(&mut datapath, flow, actions).map_err(io::Error::other)?;
                }
                io::Result::Ok(datapath)
            })
            .map_err(|error| error.to_string())
    }

    /// Sends for that time over one connection; Gbit/s as the receiver sees it.
    fn tcp(&self, length: Duration) -> Result<f64, String> {
        let [client, server] = &self.hosts;
        let started = server.start(serve).map_err(|error| error.to_string())?;
        client.run(move || send(length)).map_err(|error| format!("the client: {error}"))?;
        let received = started.recv().map_err(|error| error.to_string())?;
        received.map_err(|error| format!("the server: {error}"))
    }

    /// Sends small packets for that time, as fast as a packet socket takes them. `None` if the
    /// ports can't do their I/O in that way.
    fn small_packets(&self, io: SystemIo, length: Duration) -> Result<Option<Small>, String> {
        let [sender, receiver] = &self.hosts;
        let mut datapath = self.datapath(io)?;
        if datapath.ports().any(|(_, port)| port.trouble().is_some()) {
            return Ok(None);
        }
        let stop = Arc::new(AtomicBool::new(false));
        let is_over = stop.clone();
        let forwarding = std::thread::spawn(move || {
            let clock = Clock::start();
            let before = cpu_of(ClockId::CLOCK_THREAD_CPUTIME_ID)?;
            while !is_over.load(Ordering::Relaxed) {
                datapath.poll(clock.now());
            }
            Ok(cpu_of(ClockId::CLOCK_THREAD_CPUTIME_ID)?.saturating_sub(before))
        });
        let counted = receiver.run(received_packets).map_err(|error| error.to_string())?;
        let sent = sender.run(move || flood(length)).map_err(|error| error.to_string());
        let all = receiver.run(received_packets).map_err(|error| error.to_string())?;
        stop.store(true, Ordering::Relaxed);
        let cpu: Result<u64, String> =
            forwarding.join().map_err(|_| "the datapath's thread ended".to_owned())?;
        let delivered = all.saturating_sub(counted);
        let thousands = |count: u64| ratio(count, 1000) / length.as_secs_f64();
        Ok(Some(Small {
            offered: thousands(sent?),
            delivered: thousands(delivered),
            cpu: ratio(cpu?, delivered.max(1)),
        }))
    }
}

#[allow(clippy::cast_precision_loss, reason = "a ratio")]
fn ratio(count: u64, of: u64) -> f64 {
    count as f64 / of as f64
}

/// Takes one connection and reads it to its end; Gbit/s.
fn serve() -> io::Result<f64> {
    let (mut connection, _) = TcpListener::bind(SERVER)?.accept()?;
    let (clock, mut buffer, mut bytes) = (Clock::start(), vec![0; 1 << 18], 0);
    loop {
        match connection.read(&mut buffer)? {
            0 => return Ok(ratio(bytes * 8, 1_000_000_000) / clock.elapsed().as_secs_f64()),
            count => bytes += count as u64,
        }
    }
}

fn send(length: Duration) -> io::Result<()> {
    let clock = Clock::start();
    let mut connection = loop {
        match TcpStream::connect_timeout(&SERVER.into(), PATIENCE) {
            Ok(connection) => break connection,
            // The server does not listen yet.
            Err(_) if clock.elapsed() < PATIENCE => std::thread::sleep(Duration::from_millis(10)),
            Err(error) => return Err(error),
        }
    };
    let (clock, buffer) = (Clock::start(), vec![7; 1 << 18]);
    while clock.elapsed() < length {
        connection.write_all(&buffer)?;
    }
    Ok(())
}

/// Sends frames of 60 bytes for that time; returns their number.
fn flood(length: Duration) -> io::Result<u64> {
    let mut port = SystemPort::open("eth0").map_err(io::Error::other)?;
    let mut frames = vec![Packet::new(&frame_of(&key(7))); BURST];
    let (clock, mut report) = (Clock::start(), TxReport::default());
    while clock.elapsed() < length {
        port.transmit(&mut frames, &mut report);
        report.dropped.clear();
    }
    Ok(report.sent.packets)
}

/// Packets that this thread's namespace has received by `eth0`.
fn received_packets() -> io::Result<u64> {
    /// Column behind the name.
    const PACKETS: usize = 1;
    let all = std::fs::read_to_string("/proc/thread-self/net/dev")?;
    let line = all.lines().find_map(|line| line.trim_start().strip_prefix("eth0:"));
    let count = line.and_then(|line| line.split_whitespace().nth(PACKETS)?.parse().ok());
    count.ok_or_else(|| io::Error::other("eth0 has no counters"))
}
