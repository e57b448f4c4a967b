//! No packet matches two megaflows, and an operator's rule counts whatever megaflows the client
//! had there before. The tests run end to end, with traffic.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod common;

use std::io::{Read, Write};
use std::time::Duration;

use common::daemon::{Daemon, Folder};
use common::net::{LEFT, Lan, RIGHT, transfer};
use common::until;

/// Runs the audit: no megaflows overlap, and every place holds what the engine believes.
#[track_caller]
fn audited(daemon: &Daemon) {
    let text = daemon.appctl(&["offload/audit"]);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert!(lines[0].starts_with("fpga: ") && lines[0].ends_with(", as believed"), "{text}");
    assert!(lines[1].starts_with("host: ") && lines[1].ends_with(", as believed"), "{text}");
    assert_eq!(lines[2], "overlaps: none");
}

/// Match and actions of each megaflow, without its counters.
fn table(daemon: &Daemon) -> Vec<String> {
    let dump = daemon.appctl(&["dpctl/dump-flows"]);
    let line = |line: &str| {
        let (flow, rest) = line.split_once(", packets:").unwrap();
        format!("{flow} {}", rest.split_once("actions:").unwrap().1)
    };
    let mut lines: Vec<String> = dump.lines().map(line).collect();
    lines.sort();
    lines
}

#[test]
fn an_operators_rule_counts_although_the_clients_wider_megaflow_was_there() {
    let lan = Lan::new(false);
    let folder = Folder::new();
    let daemon = Daemon::on_card(&lan, &folder);
    lan.left.ping(RIGHT);
    let (mut near, mut far) = lan.connect();
    transfer(&mut near, &mut far, 1 << 20);
    until("the client's megaflows are in the NIC", || {
        daemon.flows().iter().filter(|flow| flow["placement"] == "nic").count() >= 2
    });
    let port = far.local_addr().unwrap().port();
    let rule =
        format!("in_port(1),eth(),eth_type(0x0800),ipv4(dst={RIGHT},proto=6),tcp(dst={port})");
    assert_eq!(daemon.appctl(&["dpctl/add-flow", &rule, "drop"]), "");
    until("the rule is in the NIC", || {
        daemon.appctl(&["offload/explain", &rule]).contains("placement: nic (fpga)")
    });
    // The rule stops this connection. All other traffic goes on.
    near.write_all(&[7; 1000]).unwrap();
    far.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    assert!(far.read(&mut [0; 1]).is_err(), "a dropped segment arrived");
    lan.left.ping(RIGHT);
    lan.right.ping(LEFT);
    let (mut other_near, mut other_far) = lan.connect();
    transfer(&mut other_near, &mut other_far, 1 << 20);
    audited(&daemon);
    daemon.at_rest();
    let hit = daemon.appctl(&["offload/explain", &rule]);
    assert!(!hit.contains("nic: packets:0,"), "{hit}");

    let told = daemon.appctl(&["dpctl/del-flow", &rule]);
    assert_eq!(told, "");
    far.set_read_timeout(Some(common::PATIENCE)).unwrap();
    let mut arrived = [0; 1000];
    far.read_exact(&mut arrived).expect("the connection goes on");
    until("what was narrowed is wide again", || {
        lan.left.ping(RIGHT);
        !daemon.appctl(&["dpctl/dump-flows"]).contains("tcp(")
    });
    audited(&daemon);
}

const NARROW: &str = "in_port(1),eth(),eth_type(0x0800),ipv4(dst=10.0.0.2,frag=no)";
const WIDE: &str = "in_port(1),eth(),eth_type(0x0800),ipv4(frag=no)";
const NETWORK: &str = "in_port(2),eth(),eth_type(0x0800),ipv4(dst=10.0.0.0/24)";
const SOURCE: &str = "in_port(2),eth(),eth_type(0x0800),ipv4(src=10.0.0.1)";

#[test]
fn of_an_operators_megaflows_the_first_stays_and_the_refusal_names_it() {
    let lan = Lan::new(false);
    let folder = Folder::new();
    let daemon = Daemon::on_card(&lan, &folder);
    let pairs = [(NARROW, WIDE, "ipv4_dst"), (NETWORK, SOURCE, "ipv4_src, ipv4_dst/0xffffff00")];
    for (one, other, bits) in pairs {
        for (first, second) in [(one, other), (other, one)] {
            assert_eq!(daemon.appctl(&["dpctl/add-flow", first, "2"]), "");
            let before = table(&daemon);
            let refused = daemon.try_appctl(&["dpctl/add-flow", second, "drop"]);
            assert_eq!(refused.code, Some(2), "{refused:?}");
            let line = daemon.appctl(&["dpctl/dump-flows", "-m"]);
            let ufid = line.split(',').next().unwrap();
            for word in ["overlaps", ufid, &format!("only one of them compares {bits}")] {
                assert!(refused.err.contains(word), "{word}: {refused:?}");
            }
            assert_eq!(table(&daemon), before, "nothing has changed");
            audited(&daemon);
            assert_eq!(daemon.appctl(&["dpctl/del-flow", first]), "");
        }
    }
}

#[test]
fn a_dump_put_back_gives_the_same_table() {
    let lan = Lan::new(false);
    let folder = Folder::new();
    let daemon = Daemon::on_card(&lan, &folder);
    lan.left.ping(RIGHT);
    for (flow, actions) in
        [(NARROW, "2"), (SOURCE, "drop"), ("in_port(1),eth(),eth_type(0x0806)", "2")]
    {
        assert_eq!(daemon.appctl(&["dpctl/add-flow", flow, actions]), "");
    }
    lan.left.ping(RIGHT);
    lan.right.ping(LEFT);
    let before = table(&daemon);
    assert!(before.len() > 5, "an operator's and narrowed ones of the client: {before:#?}");
    let file = folder.write("flows", &daemon.appctl(&["dpctl/dump-flows"]));
    assert_eq!(daemon.appctl(&["dpctl/del-flows"]), "");
    assert_eq!(table(&daemon), [""; 0]);
    assert_eq!(daemon.appctl(&["dpctl/add-flows", &file]), "");
    assert_eq!(table(&daemon), before);
    audited(&daemon);
}
