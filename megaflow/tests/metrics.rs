//! Compares the metrics of a running daemon with its other answers, and tests how the HTTP
//! listener treats its clients.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod common;

use std::collections::BTreeSet;
use std::io::Write;
use std::net::TcpStream;

use common::daemon::{Answer, Daemon, Folder, HTTP, http};
use common::metrics::{Samples, lint, samples, sum};
use common::net::{LEFT, Lan, RIGHT, transfer};
use common::until;
use serde_json::Value;

fn get(lan: &Lan, path: &str) -> Answer {
    http(&lan.switch, "GET", path, "localhost:9464")
}

/// Returns true for a time, which can differ even if nothing has happened: the threads take steps
/// at any time.
fn is_a_time(series: &str) -> bool {
    ["_timestamp_seconds", "start_time_seconds", "step_seconds"].iter().any(|t| series.contains(t))
}

#[test]
fn every_series_is_there_from_the_start_and_at_zero() {
    let lan = Lan::new(false);
    let folder = Folder::new();
    let daemon = Daemon::on_card(&lan, &folder);
    let at_start = get(&lan, "/metrics");
    assert!(at_start.head.contains("content-type: text/plain; version=0.0.4"), "{at_start:?}");
    assert_eq!(lint(&at_start.body), "");
    let at_start = samples(&at_start.body);
    let not_zero = [
        "_info",
        "_up",
        "_limit",
        "_capacity_entries",
        "_reload_successful",
        "_port_state",
        "_conservation_state",
        "_provider_ports",
    ];
    for (series, value) in at_start.iter().filter(|(series, _)| !is_a_time(series)) {
        let name = series.split('{').next().unwrap();
        let is_one = not_zero.iter().any(|end| name.ends_with(end));
        assert!(is_one || *value == 0.0, "{series} {value}");
    }
    // Neither traffic nor any operation on flows adds a new series.
    lan.left.ping(RIGHT);
    daemon.appctl(&["dpctl/add-flow", "in_port(1),eth_type(0x88b5)", "2"]);
    until("the flow is in the card", || {
        daemon.appctl(&["dpctl/dump-flows", "-m", "type=fpga"]).contains("(0x88b5)")
    });
    daemon.appctl(&["dpctl/mod-flow", "in_port(1),eth_type(0x88b5)", "trunc(60),2"]);
    daemon.appctl(&["dpctl/del-flow", "in_port(1),eth_type(0x88b5)"]);
    daemon.at_rest();
    let later = get(&lan, "/metrics").body;
    assert_eq!(lint(&later), "");
    let later = samples(&later);
    let names = |samples: &Samples| samples.keys().cloned().collect::<BTreeSet<String>>();
    let new: Vec<String> = names(&later).difference(&names(&at_start)).cloned().collect();
    // The card reports the fill of its tables with its first statistics.
    let late = |series: &&String| !series.starts_with("megaflow_hw_table_");
    assert_eq!(new.iter().filter(late).collect::<Vec<_>>(), Vec::<&String>::new());
    let counts = |series: &str| !series.contains("_bucket") && !series.contains("_sum");
    let counter = |series: &&String| series.contains("_total") && counts(series);
    for series in at_start.keys().filter(counter) {
        assert!(later.get(series).is_some_and(|now| *now >= at_start[series]), "{series}");
    }
}

#[test]
fn at_rest_the_metrics_say_what_the_dump_says() {
    let lan = Lan::new(false);
    let folder = Folder::new();
    let daemon = Daemon::on_card(&lan, &folder);
    lan.left.ping(RIGHT);
    lan.right.ping(LEFT);
    let (mut near, mut far) = lan.connect();
    transfer(&mut near, &mut far, 4 << 20);
    // One flow that the card refuses and one that the card takes are added by hand, and both get
    // packets.
    for (flow, actions) in [("0x88b5", "trunc(60),2"), ("0x88b6", "2")] {
        daemon.appctl(&["dpctl/add-flow", &format!("in_port(1),eth(),eth_type({flow})"), actions]);
        let frame = "02".repeat(12) + &flow[2..] + &"00".repeat(86);
        daemon.appctl(&["port/receive", "left", &frame, &frame]);
    }
    let state = daemon.at_rest();
    let metrics = get(&lan, "/metrics").body;
    let samples = samples(&metrics);
    let flows = daemon.flows();
    let dump = daemon.appctl(&["dpctl/dump-flows", "-m", "--no-names"]);
    agree_on_flows(&samples, &flows, &dump);
    agree_on_packets(&samples, &flows, &state);
    agree_on_operations(&samples, &flows, &state, &daemon);
    // The control socket gives the same text, except for the times.
    let still = |text: &str| {
        let lines = text.lines().filter(|line| !is_a_time(line));
        lines.map(|line| line.to_owned() + "\n").collect::<String>()
    };
    assert_eq!(still(&daemon.appctl(&["metrics/show"])), still(&metrics));
}

fn count(flows: &[Value], place: &str) -> u64 {
    flows.iter().filter(|flow| flow["placement"] == place).count().try_into().unwrap()
}

fn total(flows: &[Value], place: &str, what: &str) -> u64 {
    flows.iter().map(|flow| flow[place][what].as_u64().unwrap()).sum()
}

/// Checks that the metrics, `flows --json` and `dump-flows -m` agree on the number of flows in
/// each place and on each flow's counts.
fn agree_on_flows(samples: &Samples, flows: &[Value], dump: &str) {
    for place in ["nic", "host", "refused"] {
        let label = format!("placement=\"{place}\"");
        assert_eq!(sum(samples, "megaflow_flows", &[&label]), count(flows, place), "{place}");
    }
    let lines = |what: &str| dump.lines().filter(|line| line.contains(what)).count() as u64;
    assert_eq!(lines(", offloaded:yes, dp:fpga, "), count(flows, "nic"));
    assert_eq!(lines(", dp:ovs, "), count(flows, "host") + count(flows, "refused"));
    assert!(count(flows, "nic") > 2 && count(flows, "refused") == 1, "{dump}");
    assert_eq!(dump.lines().count(), flows.len());
    // The dump is in no particular order; the list is by ufid.
    let mut by_ufid: Vec<&str> = dump.lines().collect();
    by_ufid.sort_unstable();
    for (line, flow) in by_ufid.into_iter().zip(flows) {
        let [packets, bytes] = ["packets", "bytes"].map(|what| flow["total"][what].to_string());
        let start = format!("{}, {}, ", flow["ufid"], flow["match"]).replace('"', "");
        let counts = format!("packets:{packets}, bytes:{bytes}, used:");
        assert!(line.starts_with(&(start + &counts)), "{line}\n{flow}");
        for what in ["packets", "bytes"] {
            let [nic, host, total] =
                ["nic", "host", "total"].map(|place| flow[place][what].as_u64().unwrap());
            assert_eq!(nic + host, total, "{flow}");
        }
    }
}

/// Clients connect and say nothing, or begin a request and stop. There are more clients than are
/// let in.
#[test]
fn who_says_nothing_keeps_nobody_out() {
    let lan = Lan::new(false);
    let folder = Folder::new();
    let _daemon = Daemon::on_card(&lan, &folder);
    let mut held = Vec::new();
    for number in 0..300 {
        let mut stream = lan.switch.run(|| TcpStream::connect(HTTP).unwrap());
        if number % 2 == 0 {
            stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: loc").unwrap();
        }
        held.push(stream);
    }
    assert_eq!(get(&lan, "/healthz").body, "ok\n");
    assert_eq!(lint(&get(&lan, "/metrics").body), "");
}

/// No flow has expired and no flow recirculates, so the packets that came in are the hits of the
/// flows and the packets that were dropped before a hit.
fn agree_on_packets(samples: &Samples, flows: &[Value], state: &Value) {
    let conservation = &state["conservation"];
    for what in ["packets", "bytes"] {
        let metric = format!("megaflow_port_receive_{what}_total");
        let [nic, host] = ["path=\"nic\"", "path=\"host\""].map(|p| sum(samples, &metric, &[p]));
        assert_eq!(nic + host, conservation["offered"][what].as_u64().unwrap(), "{what} offered");
        let dropped = conservation["unmatched"][what].as_u64().unwrap();
        let hits = total(flows, "nic", what) + total(flows, "host", what);
        assert_eq!(nic + host, hits + dropped, "{what}");
        assert_eq!(conservation["nic"][what].as_u64().unwrap(), total(flows, "nic", what));
        assert_eq!(conservation["host"][what].as_u64().unwrap(), total(flows, "host", what));
        assert!(total(flows, "nic", what) > 0 && total(flows, "host", what) > 0);
    }
    let tiers = ["classifier", "miss"]
        .map(|tier| sum(samples, "megaflow_cache_lookups_total", &[&format!("tier=\"{tier}\"")]));
    // A packet that missed is counted once in the lookups, as a miss. The flow that it waited for
    // counts it too.
    assert_eq!(tiers.iter().sum::<u64>(), total(flows, "host", "packets"));
    let answered = sum(samples, "megaflow_upcall_duration_seconds_count", &[]);
    assert_eq!(answered, sum(samples, "megaflow_upcalls_total", &[]));
    // A packet that misses while its flow is being asked for makes no upcall of its own.
    assert!(tiers[1] >= answered && answered > 0, "{tiers:?}");
}

fn agree_on_operations(samples: &Samples, flows: &[Value], state: &Value, daemon: &Daemon) {
    let operations = |provider: &str, operation: &str, result: &str| {
        let labels = [("provider", provider), ("operation", operation), ("result", result)];
        let labels = labels.map(|(name, value)| format!("{name}=\"{value}\""));
        sum(samples, "megaflow_flow_operations_total", &labels.each_ref().map(String::as_str))
    };
    let net = |provider: &str| {
        operations(provider, "install", "ok") - operations(provider, "remove", "ok")
    };
    assert_eq!(net("fpga"), count(flows, "nic"));
    assert_eq!(net("host"), flows.len() as u64);
    let shown = daemon.appctl(&["dpctl/offload-stats-show"]);
    for provider in state["providers"].as_array().unwrap() {
        let name = provider["name"].as_str().unwrap();
        for kind in ["install", "replace", "remove"] {
            let done = operations(name, kind, "ok");
            assert_eq!(provider["operations"][kind].as_u64().unwrap_or(0), done, "{name} {kind}");
            assert_eq!(operations(name, kind, "error"), 0, "{name} {kind}");
            let line = shown.lines().find(|line| {
                let words: Vec<&str> = line.split_whitespace().collect();
                words[..3.min(words.len())] == [name, kind, "done:"]
            });
            let line = line.unwrap_or_else(|| panic!("{name} {kind}: {shown}"));
            assert!(line.ends_with(&format!(" {done}")), "{line}");
            let labels = [format!("provider=\"{name}\""), format!("operation=\"{kind}\"")];
            let durations = "megaflow_flow_operation_duration_seconds_count";
            assert_eq!(sum(samples, durations, &labels.each_ref().map(String::as_str)), done);
        }
    }
    let decisions = |reason: &str| {
        let labels = ["provider=\"fpga\"", &format!("reason=\"{reason}\"")];
        sum(samples, "megaflow_offload_decisions_total", &labels)
    };
    assert_eq!(decisions("admitted"), count(flows, "nic"));
    assert_eq!(decisions("action"), count(flows, "refused"));
    // Nothing was evicted or lost, so the card's tables have as entries all flows that are said
    // to be in the NIC.
    let tables = ["table=\"exact-match\"", "table=\"masked-rows\""];
    let entries = tables.map(|table| sum(samples, "megaflow_hw_table_entries", &[table]));
    assert_eq!(entries.iter().sum::<u64>(), count(flows, "nic"));
}

#[test]
fn the_listener_reads_only_and_for_us_only() {
    let lan = Lan::new(false);
    let folder = Folder::new();
    let config = format!(
        "[datapath]\nname = 'br0'\n[[port]]\nname = 'a'\ntype = 'system'\ndevice = 'mf-a'\n\
         [control]\nsocket = '{}'\n[http]\nlisten = '127.0.0.1:9464'\nhosts = ['sw1.example']\n",
        folder.socket()
    );
    let daemon = Daemon::start(&lan.switch, &folder, &config);
    until("the interface is up", || get(&lan, "/readyz").code == 200);
    for (path, begin) in [
        ("/healthz", "ok\n"),
        ("/readyz", "ready\n"),
        ("/metrics", "# HELP megaflow_"),
        ("/api/v1/status", "{\"name\":\"br0\""),
        ("/api/v1/flows", "{\"total\":0,"),
        ("/", "<!"),
    ] {
        let answer = get(&lan, path);
        assert_eq!(answer.code, 200, "{path}: {answer:?}");
        assert!(answer.body.starts_with(begin), "{path}: {answer:?}");
        for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
            let answer = http(&lan.switch, method, path, "localhost");
            assert_eq!(answer.code, 405, "{method} {path}");
            assert!(answer.head.contains("\r\nallow: get, head"), "{answer:?}");
        }
        // If a page of another site sends a browser here, the browser gives that site's name.
        for host in ["evil.example", "evil.example:9464", "localhost.evil.example"] {
            assert_eq!(http(&lan.switch, "GET", path, host).code, 421, "{host} {path}");
        }
        // A scraper gives the name from its configuration.
        assert_eq!(http(&lan.switch, "GET", path, "sw1.example:9464").code, 200, "{path}");
    }
    assert_eq!(get(&lan, "/nonexistent").code, 404);
    assert_eq!(get(&lan, "/api/v1/flows?where=moon").code, 400);
    assert_eq!(get(&lan, "/api/v1/flows?filter=nonsense").code, 400);
    // If a port can't carry packets, the daemon is alive but not ready.
    lan.switch.ip("link set mf-a down");
    until("it is not ready", || get(&lan, "/readyz").code == 503);
    assert_eq!(get(&lan, "/readyz").body, "port a is down: interface mf-a is set down\n");
    assert_eq!(get(&lan, "/healthz").code, 200);
    lan.switch.ip("link set mf-a up");
    until("it is ready again", || get(&lan, "/readyz").code == 200);
    assert!(daemon.appctl(&["version"]).starts_with("megaflow "));
}
