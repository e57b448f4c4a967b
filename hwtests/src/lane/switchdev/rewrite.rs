//! Megaflows that an operator wants: rewritten addresses and ports, tags pushed and popped, all in
//! hardware. The hosts' own stacks check every checksum.

use std::net::UdpSocket;
use std::time::Duration;

use super::books::{self, Baseline};
use super::rig::{DEBUG, RunningDaemon, SOON, config, nothing_left};
use super::traffic::{self, Stream, StreamEnd};
use crate::check::{Checks, Failure, Outcome, WithContext, equal};
use crate::daemon::Daemon;
use crate::guest;

/// Host 1 reaches host 2 as 10.0.0.99 and is known there as 10.0.0.88: for TCP, then for UDP.
const TRANSLATED: [(&str, &str); 4] = [
    (
        "in_port(1),eth_type(0x0800),ipv4(dst=10.0.0.99,proto=6,frag=no),tcp(dst=7000)",
        "set(eth(src=02:00:00:00:00:88,dst=02:00:00:00:00:02)),\
         set(ipv4(src=10.0.0.88,dst=10.0.0.2)),set(tcp(dst=8000)),2",
    ),
    (
        "in_port(2),eth_type(0x0800),ipv4(dst=10.0.0.88,proto=6,frag=no),tcp(src=8000)",
        "set(eth(src=02:00:00:00:00:99,dst=02:00:00:00:00:01)),\
         set(ipv4(src=10.0.0.99,dst=10.0.0.1)),set(tcp(src=7000)),1",
    ),
    (
        "in_port(1),eth_type(0x0800),ipv4(dst=10.0.0.99,proto=17,frag=no),udp(dst=7000)",
        "set(eth(src=02:00:00:00:00:88,dst=02:00:00:00:00:02)),\
         set(ipv4(src=10.0.0.88,dst=10.0.0.2,ttl=9)),set(udp(dst=8000)),2",
    ),
    (
        "in_port(2),eth_type(0x0800),ipv4(dst=10.0.0.88,proto=17,frag=no),udp(src=8000)",
        "set(eth(src=02:00:00:00:00:99,dst=02:00:00:00:00:01)),\
         set(ipv4(src=10.0.0.99,dst=10.0.0.1)),set(udp(src=7000)),1",
    ),
];

/// Host 2 is in VLAN 5, host 1 in none.
const TAGGED: [(&str, &str); 4] = [
    ("in_port(1),eth_type(0x0806),arp(tip=10.5.0.2)", "push_vlan(vid=5,pcp=3),2"),
    ("in_port(1),eth_type(0x0800),ipv4(dst=10.5.0.2)", "push_vlan(vid=5,pcp=3),2"),
    ("in_port(2),eth_type(0x8100),vlan(vid=5,pcp=0/0),encap(eth_type(0x0806))", "pop_vlan,1"),
    ("in_port(2),eth_type(0x8100),vlan(vid=5,pcp=0/0),encap(eth_type(0x0800))", "pop_vlan,1"),
];

pub(super) fn run(checks: &mut Checks) {
    let mut running = RunningDaemon::default();
    let mut books = None;
    checks.check("an operator's megaflows with rewrites and tags are in hardware at once", || {
        hosts()?;
        books = Some(Baseline::open()?);
        let daemon = running.0.insert(Daemon::start(&config("none"))?);
        for (flow, actions) in TRANSLATED.iter().chain(&TAGGED) {
            daemon.ctl("dpctl/add-flow", &[flow, actions])?;
        }
        books::all_in_hardware(daemon, Duration::ZERO)
    });
    let up = books::came_up();
    checks.check("TCP between translated addresses and ports", || {
        let client = StreamEnd { namespace: "f0", address: "10.0.0.99:7000" };
        let server = StreamEnd { namespace: "f1", address: "10.0.0.2:8000" };
        stream(client, server, "10.0.0.88")
    });
    checks.check("UDP between translated addresses and ports, both ways", datagrams);
    checks.check("ARP, ping and TCP between a VLAN and none", || {
        traffic::ping("f0", "10.5.0.2", 3)?;
        let client = StreamEnd { namespace: "f0", address: "10.5.0.2:8000" };
        let server = StreamEnd { namespace: "f1", address: "10.5.0.2:8000" };
        stream(client, server, "10.5.0.1")
    });
    let books_of = || books.ok_or_else(|| Failure::new("no books"));
    checks.check("not one packet came up; every hit is counted; tc agrees", || {
        equal("packets that came up", &books::came_up()?, &up?)?;
        books_of()?.balance(running.get()?)?;
        books::tc_agrees(running.get()?)
    });
    checks.check("a replacement is in hardware, and the counts before it are kept", || {
        replace(running.get()?)?;
        books_of()?.balance(running.get()?)
    });
    checks.check("exit leaves nothing", || {
        running.take()?.exit()?;
        guest::run("ip -n f1 link del tagged")?;
        guest::run("ip -n f0 addr del 10.5.0.1/24 dev swvf0")?;
        nothing_left()
    });
}

fn hosts() -> Outcome {
    guest::load_module("8021q")?;
    for line in [
        "ip -n f0 neigh replace 10.0.0.99 lladdr 02:00:00:00:00:99 dev swvf0 nud permanent",
        "ip -n f1 neigh replace 10.0.0.88 lladdr 02:00:00:00:00:88 dev swvf1 nud permanent",
        "ip -n f0 addr add 10.5.0.1/24 dev swvf0",
        "ip -n f1 link add link swvf1 name tagged type vlan id 5",
        "ip -n f1 addr add 10.5.0.2/24 dev tagged",
        "ip -n f1 link set tagged up",
    ] {
        guest::run(line)?;
    }
    Ok(())
}

fn stream(client: StreamEnd, server: StreamEnd, seen_as: &'static str) -> Outcome {
    let stream = Stream::start(client, server, Some(seen_as))?;
    stream.goes_on(100_000)?;
    stream.stop().map(drop)
}

/// Datagrams of many lengths, odd ones too; each comes back as it was sent.
fn datagrams() -> Outcome {
    const PATIENCE: Option<Duration> = Some(Duration::from_secs(5));
    let (bound, is_bound) = std::sync::mpsc::channel();
    let server = traffic::start("f1", move || {
        let socket = UdpSocket::bind("10.0.0.2:8000").context("binding")?;
        socket.set_read_timeout(PATIENCE).context("a socket")?;
        // Whoever waits for it has failed otherwise already.
        let _ = bound.send(());
        let mut buffer = [0; 2048];
        loop {
            let (length, from) = socket.recv_from(&mut buffer).context("the server")?;
            equal("the client's address", &from.ip().to_string().as_str(), &"10.0.0.88")?;
            socket.send_to(&buffer[..length], from).context("the server")?;
            if length == 0 {
                return Ok(());
            }
        }
    });
    // An error here is the server's, which `join` shows.
    let _ = is_bound.recv();
    traffic::within("f0", || {
        let socket = UdpSocket::bind("10.0.0.1:0").context("binding")?;
        socket.set_read_timeout(PATIENCE).context("a socket")?;
        socket.connect("10.0.0.99:7000").context("connecting")?;
        let mut buffer = [0; 2048];
        for length in [1, 2, 3, 64, 511, 1000, 1471, 1472, 0] {
            let sent: Vec<u8> = (0..=u8::MAX).cycle().take(length).collect();
            socket.send(&sent).context("the client")?;
            let received = socket.recv(&mut buffer).context("the client")?;
            equal("what came back", &buffer[..received].to_vec(), &sent)?;
        }
        Ok(())
    })?;
    server.join().map_err(|_| Failure::new("the server panicked"))?
}

/// From now on with another TTL: the host sees it.
fn replace(daemon: &Daemon) -> Outcome {
    let [(flow, actions), ..] = TRANSLATED;
    let before = daemon.explain(flow)?.installed;
    let before = before.ok_or_else(|| Failure::new("it is not installed"))?;
    let actions = actions.replace("dst=10.0.0.2))", "dst=10.0.0.2,ttl=7))");
    daemon.ctl("dpctl/mod-flow", &[flow, &actions])?;
    let client = StreamEnd { namespace: "f0", address: "10.0.0.99:7000" };
    let server = StreamEnd { namespace: "f1", address: "10.0.0.2:8000" };
    guest::write(&format!("{}/frames", DEBUG), "clear")?;
    stream(client, server, "10.0.0.88")?;
    books::all_in_hardware(daemon, SOON)?;
    let after = daemon.explain(flow)?.installed;
    let after = after.ok_or_else(|| Failure::new("it is not installed"))?;
    equal("counts went back", &(after.nic.packets < before.nic.packets), &false)?;
    // Byte 22 of the frame is the TTL. The capture has the last frames of both directions.
    let captured = guest::read(&format!("{}/frames", DEBUG))?;
    let ttl = |line: &str| line.split(' ').nth(2)?.get(44..46).map(str::to_owned);
    let mut seen: Vec<String> =
        captured.lines().filter(|line| line.starts_with("swvf1 ")).filter_map(ttl).collect();
    seen.dedup();
    equal("TTLs that host 2 sees", &seen, &vec!["07".to_owned()])
}
