//! Compares the conservation of packets with the kernel's counters at the interfaces below the
//! ports.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod common;

use std::net::UdpSocket;

use common::daemon::{Daemon, Folder, http};
use common::metrics::{samples, sum};
use common::net::{LEFT, Lan, RIGHT};
use common::until;
use nix::sys::signal::Signal;
use serde_json::Value;

/// A configuration with the two hosts on system ports, no hardware, and no client that answers
/// upcalls.
fn on_host(folder: &Folder) -> String {
    format!(
        "[datapath]\nname = 'br0'\nclient = 'none'\n[control]\nsocket = '{}'\n\
         [http]\nlisten = '127.0.0.1:9464'\n\
         [[port]]\nname = 'left'\ntype = 'system'\ndevice = 'mf-a'\n\
         [[port]]\nname = 'right'\ntype = 'system'\ndevice = 'mf-b'\n",
        folder.socket()
    )
}

/// A configuration with the embedded card between the two hosts, and no client that answers
/// upcalls.
fn on_card(folder: &Folder) -> String {
    folder.example().replace("client = \"l2\"", "client = \"none\"")
}

/// Installs flows for all traffic from left to right and back, and makes the hosts know each
/// other.
fn forward(lan: &Lan, daemon: &Daemon, to_right: &str) {
    for (from, actions) in [("1", to_right), ("2", "1")] {
        let flow = format!("in_port({from}),eth(),eth_type(0x0800),ipv4(frag=no)");
        daemon.appctl(&["dpctl/add-flow", &flow, actions]);
    }
    lan.left.ip(&format!("neigh replace {RIGHT} lladdr 02:4d:46:00:00:02 dev eth0"));
    lan.right.ip(&format!("neigh replace {LEFT} lladdr 02:4d:46:00:00:01 dev eth0"));
    until("it is ready", || http(&lan.switch, "GET", "/readyz", "localhost").code == 200);
}

/// Sends datagrams of `bytes` bytes from the left host. Nobody listens for the datagrams.
fn send(lan: &Lan, datagrams: usize, bytes: usize) {
    lan.left.run(|| {
        let socket = UdpSocket::bind((LEFT, 0)).unwrap();
        for _ in 0..datagrams {
            // The other host answers that nobody listens, which may come as an error of a later
            // send.
            let _ = socket.send_to(&vec![0; bytes], (RIGHT, 9));
        }
    });
}

/// What the kernel has counted at both cables in one direction: packets and bytes.
fn kernel(lan: &Lan, way: &str) -> [u64; 2] {
    let links = ["mf-a", "mf-b"].map(|name| lan.link(name));
    ["packets", "bytes"]
        .map(|unit| links.iter().map(|link| link["stats64"][way][unit].as_u64().unwrap()).sum())
}

fn of(conservation: &Value, terms: &[&str]) -> [u64; 2] {
    ["packets", "bytes"]
        .map(|unit| terms.iter().map(|term| conservation[term][unit].as_u64().unwrap()).sum())
}

/// Checks that the kernel has counted what was offered and what was sent, and that the equation
/// holds.
#[track_caller]
fn agree(lan: &Lan, state: &Value) {
    let all = &state["conservation"];
    assert_eq!((&all["holds"], &all["state"]), (&true.into(), &"holds".into()), "{all}");
    assert_eq!(of(all, &["offered"]), kernel(lan, "rx"), "{all}");
    assert_eq!(of(all, &["sent_nic", "sent_host"]), kernel(lan, "tx"), "{all}");
}

fn stop(mut daemon: Daemon) {
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.wait().code(), Some(0), "{}", daemon.log());
}

#[test]
fn packets_for_a_peer_whose_link_is_down_are_lost() {
    let folder = Folder::new();
    for (config, side, actions) in [(on_host(&folder), "host", "2"), (on_card(&folder), "nic", "2")]
    {
        let lan = Lan::new(false);
        let daemon = Daemon::start(&lan.switch, &folder, &config);
        forward(&lan, &daemon, actions);
        lan.left.ping(RIGHT);
        daemon.at_rest();
        lan.right.ip("link set eth0 down");
        until("the port is down", || daemon.appctl(&["dpctl/show"]).contains(", down)"));
        send(&lan, 50, 100);
        let state = daemon.at_rest();
        agree(&lan, &state);
        let lost = &state["conservation"]["lost"][side];
        let reason = if side == "nic" { "tx-wire" } else { "port-down" };
        assert_eq!(lost[reason]["packets"], 50, "{lost}");
        let text = daemon.says("top", &["--once"]);
        let line = text.lines().find(|line| line.starts_with("packets offered ")).unwrap();
        assert!(line.contains(&format!(" + lost 50 ({side} {reason} 50) + ")), "{line}");
        stop(daemon);
    }
}

#[test]
fn copies_drops_and_rewritten_bytes_are_counted_as_what_they_are() {
    let folder = Folder::new();
    let twice = "2,push_vlan(vid=7,pcp=0),2";
    for (config, actions, side) in [
        (on_host(&folder), twice, "host"),
        (on_card(&folder), twice, "nic"),
        // No card can cut packets.
        (on_card(&folder), "2,trunc(60),2", "host"),
    ] {
        let lan = Lan::new(false);
        let daemon = Daemon::start(&lan.switch, &folder, &config);
        forward(&lan, &daemon, actions);
        let drop = "in_port(1),eth(),eth_type(0x0806)";
        daemon.appctl(&["dpctl/add-flow", drop, "drop"]);
        until("the megaflows are where they belong", || {
            let flows = daemon.flows();
            let forwards = flows.iter().find(|flow| flow["actions"] == actions).unwrap();
            (forwards["placement"] == "nic") == (side == "nic")
        });
        send(&lan, 40, 200);
        // No host has this address, and the ARP request for it is dropped.
        lan.left.run(|| {
            let socket = UdpSocket::bind((LEFT, 0)).unwrap();
            socket.send_to(&[0], "10.78.0.9:9").unwrap();
        });
        let state = daemon.at_rest();
        agree(&lan, &state);
        let all = &state["conservation"];
        assert_eq!(of(all, &["copies"]), [40, 40 * 242], "{all}");
        let rewritten = if actions == twice { 40 * 4 } else { 40 * (60 - 242) };
        assert_eq!(all["rewritten_bytes"], rewritten, "{all}");
        assert!(all["consumed"]["drop"]["packets"].as_u64().unwrap() > 0, "{all}");
        let sent = all[format!("sent_{side}")]["packets"].as_u64().unwrap();
        assert!(sent >= 80, "{all}");
        stop(daemon);
    }
}

/// The daemon is stopped for a moment, and more packets come than the sockets below its ports
/// hold.
#[test]
fn what_a_wire_loses_before_it_is_received_is_offered_and_lost_once() {
    let folder = Folder::new();
    for (config, side, reason) in
        [(on_host(&folder), "host", "rx-overrun"), (on_card(&folder), "nic", "rx-wire")]
    {
        let lan = Lan::new(false);
        let daemon = Daemon::start(&lan.switch, &folder, &config);
        forward(&lan, &daemon, "2");
        lan.left.ping(RIGHT);
        daemon.at_rest();
        daemon.signal(Signal::SIGSTOP);
        send(&lan, 60_000, 100);
        daemon.signal(Signal::SIGCONT);
        let state = daemon.at_rest();
        let all = &state["conservation"];
        let lost = all["lost"][side][reason]["packets"].as_u64().unwrap();
        assert!(lost > 1_000, "{all}");
        assert_eq!(of(all, &["offered"])[0], kernel(&lan, "rx")[0], "{all}");
        assert_eq!(of(all, &["sent_nic", "sent_host"]), kernel(&lan, "tx"), "{all}");
        assert_eq!(all["state"], "holds", "{all}");
        let metrics = samples(&http(&lan.switch, "GET", "/metrics", "localhost").body);
        let drops = |labels: &[&str]| sum(&metrics, "megaflow_port_drops_total", labels);
        let sides = all["lost"].as_object().unwrap().values();
        let every = sides.flat_map(|side| side.as_object().unwrap().values());
        let every: u64 = every.map(|what| what["packets"].as_u64().unwrap()).sum();
        assert_eq!(drops(&[]), every, "each loss is counted once: {all}");
        assert!(drops(&["direction=\"receive\""]) >= lost);
        stop(daemon);
    }
}
