//! Ports and the interfaces below them: who owns an interface, what happens when it goes and
//! comes back, and frames that a port can't send.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod common;

use std::process::{Command, Stdio};

use common::daemon::{Daemon, Folder, http};
use common::metrics::{samples, sum};
use common::net::{Lan, Namespace, RIGHT};
use common::{MEGAFLOW, files, tool, until};
use nix::sys::signal::Signal;

/// A configuration with the two hosts on system ports and no hardware.
fn on_host(folder: &Folder) -> String {
    format!(
        "[datapath]\nname = 'br0'\nclient = 'l2'\n[control]\nsocket = '{}'\n\
         [http]\nlisten = '127.0.0.1:9464'\n\
         [[port]]\nname = 'left'\ntype = 'system'\ndevice = 'mf-a'\n\
         [[port]]\nname = 'right'\ntype = 'system'\ndevice = 'mf-b'\n",
        folder.socket()
    )
}

fn get(at: &Namespace, path: &str) -> common::daemon::Answer {
    http(at, "GET", path, "localhost")
}

/// An interface below the embedded card and an interface of a system port behave alike in every
/// step.
#[test]
fn an_interface_goes_and_comes_back() {
    let lan = Lan::new(false);
    let folder = Folder::new();
    for config in [folder.example(), on_host(&folder)] {
        let mut daemon = Daemon::start(&lan.switch, &folder, &config);
        let ready = || get(&lan.switch, "/readyz");
        until("it is ready", || ready().code == 200);
        lan.left.ping(RIGHT);
        lan.switch.ip("link del mf-b");
        // An interface that is deleted is seen as set down first.
        let why = "gone: there is no interface mf-b any more";
        until("it tells", || ready().body == format!("port right is {why}\n"));
        assert_eq!(ready().code, 503);
        assert!(daemon.appctl(&["dpctl/show"]).contains(", gone)"));
        assert!(get(&lan.switch, "/").body.contains(why));
        let metrics = samples(&get(&lan.switch, "/metrics").body);
        let of_right = |state: &str| sum(&metrics, "megaflow_port_state", &["right", state]);
        assert_eq!(["up", "down", "gone"].map(of_right), [0, 0, 1]);
        let state = &daemon.status()["ports"][1];
        assert_eq!((&state["up"], &state["state"]), (&false.into(), &"gone".into()), "{state}");
        let log = daemon.log();
        assert!(log.lines().any(|line| line.contains(" WARN ") && line.contains(why)), "{log}");
        lan.plug_right();
        until("it is ready again", || ready().code == 200);
        lan.left.ping(RIGHT);
        // Another interface of the same name and number replaces the first one. If it comes
        // quickly, the port is never seen without an interface.
        lan.replace_right();
        until("packets pass again", || lan.left.try_ping(RIGHT).status.success());
        until("it is ready again", || ready().code == 200);
        // The same interface gets another name.
        lan.switch.ip("link set mf-b down");
        lan.switch.ip("link set mf-b name mf-c");
        lan.switch.ip("link set mf-c up");
        let renamed = "port right is up: interface mf-b is called mf-c now";
        until("it is told", || daemon.log().contains(renamed));
        lan.left.ping(RIGHT);
        daemon.at_rest();
        daemon.signal(Signal::SIGTERM);
        assert_eq!(daemon.wait().code(), Some(0), "{}", daemon.log());
        lan.switch.ip("link del mf-c");
        lan.plug_right();
    }
}

/// Runs `megaflow run` in a namespace until it fails, and returns the one line of its error.
fn fails(at: &Namespace, config: &str) -> String {
    let mut command = Command::new(MEGAFLOW);
    command.args(["run", "--config", config]).stdin(Stdio::null());
    let ended: common::Ended = at.run(|| command.output().unwrap()).into();
    assert_eq!((ended.code, ended.err.lines().count()), (Some(1), 1), "{ended:?}");
    ended.err.trim_end().to_owned()
}

#[test]
fn an_interface_belongs_to_one_daemon() {
    let lan = Lan::new(false);
    let (one, other) = (Folder::new(), Folder::new());
    let file = other.write("megaflow.toml", "");
    let out = other.write("out.pcap", "kept");
    let with = |port: &str| {
        format!(
            "[datapath]\nname = 'br1'\n[control]\nsocket = '{}'\n\
             [[port]]\nname = 'inside'\ntype = 'internal'\n\
             [[port]]\nname = 'file'\ntype = 'pcap'\nout = '{out}'\n\
             [[port]]\nname = 'again'\ndevice = 'mf-b'\n{port}",
            other.socket()
        )
    };
    let system = with("type = 'system'\n");
    let card = with("type = 'fpga'\nwire = 0\n[[provider]]\nkind = 'fpga'\ndevice = 'model'\n");
    let tc = with("type = 'system'\n[[provider]]\nkind = 'tc'\n");
    for config in [one.example(), on_host(&one)] {
        let mut daemon = Daemon::start(&lan.switch, &one, &config);
        let before = (files(other.path()), lan.switch.inventory());
        for second in [&system, &card, &tc] {
            std::fs::write(&file, second).unwrap();
            assert_eq!(
                fails(&lan.switch, &file),
                format!(
                    "megaflow run: port again: interface mf-b belongs to the datapath of process \
                     {}: stop that process first",
                    daemon.pid()
                )
            );
            assert_eq!((files(other.path()), lan.switch.inventory()), before);
            assert_eq!(std::fs::read_to_string(&out).unwrap(), "kept");
        }
        lan.left.ping(RIGHT);
        // The interfaces of a dead process are free.
        daemon.signal(Signal::SIGKILL);
        daemon.wait();
        let mut next = Daemon::start(&lan.switch, &other, &system);
        next.signal(Signal::SIGTERM);
        assert_eq!(next.wait().code(), Some(0), "{}", next.log());
        std::fs::write(&out, "kept").unwrap();
    }
}

/// If another process has the HTTP address, the start fails before any port was touched.
#[test]
fn the_http_address_is_taken_before_any_port() {
    let switch = Namespace::new(false);
    let folder = Folder::new();
    let out = folder.write("out.pcap", "kept");
    let file = folder.write(
        "megaflow.toml",
        &format!(
            "[datapath]\nname = 'br0'\n[control]\nsocket = '{}'\n\
             [http]\nlisten = '127.0.0.1:9464'\n\
             [[port]]\nname = 'file'\ntype = 'pcap'\nout = '{out}'\n\
             [[port]]\nname = 'absent'\ntype = 'system'\ndevice = 'absent0'\n",
            folder.socket()
        ),
    );
    let absent = "megaflow run: port absent: there is no interface absent0: make it, or correct \
                  the port's device";
    assert_eq!(fails(&switch, &file), absent);
    let taken = switch.run(|| std::net::TcpListener::bind("127.0.0.1:9464").unwrap());
    assert!(fails(&switch, &file).contains("[http] listen = \"127.0.0.1:9464\": "));
    assert_eq!(std::fs::read_to_string(&out).unwrap(), "kept");
    drop(taken);
}

/// A host with large frames sends to a host that can't take large frames. On each path, the
/// daemon's count of sent packets is the kernel's count.
#[test]
fn a_frame_that_is_too_long_is_dropped_and_not_sent() {
    let folder = Folder::new();
    let none = folder.example().replace("client = \"l2\"", "client = \"none\"");
    for (config, path) in [(folder.example(), "nic"), (none, "host"), (on_host(&folder), "host")] {
        let lan = Lan::new(false);
        lan.switch.ip("link set mf-a mtu 9000");
        lan.left.ip("link set eth0 mtu 9000");
        let mut daemon = Daemon::start(&lan.switch, &folder, &config);
        if config.contains("\"none\"") {
            // No card can cut packets.
            for (from, to) in [(1, 2), (2, 1)] {
                for kind in ["eth_type(0x0806)", "eth_type(0x0800),ipv4(frag=no)"] {
                    let flow = format!("in_port({from}),eth(),{kind}");
                    daemon.appctl(&["dpctl/add-flow", &flow, &format!("trunc(9000),{to}")]);
                }
            }
        }
        until("it is ready", || get(&lan.switch, "/readyz").code == 200);
        lan.left.ping(RIGHT);
        until("the flows are where they belong", || {
            let flows = daemon.flows();
            flows.iter().all(|flow| (flow["placement"] == "nic") == (path == "nic"))
        });
        let mut ping = Command::new("ping");
        ping.args(["-n", "-q", "-c", "5", "-i", "0.1", "-W", "1", "-M", "do", "-s", "3000", RIGHT]);
        let said = lan.left.run(|| tool(&mut ping, "iputils-ping"));
        assert!(String::from_utf8_lossy(&said.stdout).contains("100% packet loss"), "{said:?}");
        let told = daemon.at_rest();
        let metrics = samples(&get(&lan.switch, "/metrics").body);
        let lost = ["port=\"right\"", "direction=\"transmit\"", "reason=\"tx-too-long\""];
        assert_eq!(sum(&metrics, "megaflow_port_drops_total", &lost), 5, "{path}: {told}");
        let sent = sum(&metrics, "megaflow_port_transmit_packets_total", &["port=\"right\""]);
        assert_eq!(lan.link("mf-b")["stats64"]["tx"]["packets"], sent, "{path}: {told}");
        daemon.signal(Signal::SIGTERM);
        assert_eq!(daemon.wait().code(), Some(0), "{}", daemon.log());
    }
}
