//! `megaflow demo`: the command that a newcomer types first.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod common;

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use common::daemon::{Folder, ask};
use common::metrics::{lint, samples, sum};
use common::{CAPTURE, Ended, MEGAFLOW, fails, megaflow, says, tool};
use serde_json::Value;

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("no number: {value}"))
}

/// Packets of a flow in the NIC and on the host.
fn hits(flow: &Value) -> (u64, u64) {
    (number(&flow["nic"]["packets"]), number(&flow["host"]["packets"]))
}

/// The only flow whose match has all of these.
#[track_caller]
fn the_flow<'a>(flows: &'a [Value], with: &[&str]) -> &'a Value {
    let has = |flow: &&Value| with.iter().all(|w| flow["match"].as_str().unwrap().contains(w));
    let found: Vec<&Value> = flows.iter().filter(has).collect();
    assert_eq!(found.len(), 1, "{with:?}: {found:?}");
    found[0]
}

/// Checks everything that has to hold if the demo passed.
fn check(demo: &Value) {
    assert_eq!((&demo["passed"], &demo["complaints"]), (&true.into(), &Value::Array(vec![])));
    let conservation = &demo["conservation"];
    assert_eq!(
        (&conservation["holds"], &conservation["state"]),
        (&true.into(), &"holds".into()),
        "{conservation}"
    );
    adds_up(conservation);
    let flows = demo["flows"].as_array().unwrap();
    assert!(flows.iter().any(|flow| flow["placement"] == "nic" && hits(flow).0 > 0));
    for flow in flows {
        // A refused megaflow has a reason, and no other megaflow has one.
        assert_eq!(flow["placement"] == "refused", flow["refusal"].is_string(), "{flow}");
        assert!(flow["placement"] == "nic" || hits(flow).0 == 0, "{flow}");
    }
    let refused = flows.iter().filter(|flow| flow["placement"] == "refused");
    let reasons: Vec<&str> = refused.map(|flow| flow["refusal"].as_str().unwrap()).collect();
    // If only one port is on the card, the flow's other reason is the port.
    assert!(reasons.iter().any(|why| why.starts_with("action trunc")), "{reasons:?}");
    check_chains(flows);
    check_metrics(demo, flows);
}

/// Checks the two equations with the numbers that are shown.
fn adds_up(conservation: &Value) {
    for what in ["packets", "bytes"] {
        let of = |term: &str| conservation[term][what].as_i64().unwrap();
        let sum = |parts: &Value| -> i64 {
            parts.as_object().unwrap().values().map(|count| count[what].as_i64().unwrap()).sum()
        };
        let lost: i64 = conservation["lost"].as_object().unwrap().values().map(sum).sum();
        let hits = of("nic") + of("host");
        let found = hits + of("unmatched") + of("went_on");
        assert_eq!(of("offered") + of("recirculated"), found, "{what}: {conservation}");
        let rewritten =
            if what == "bytes" { conservation["rewritten_bytes"].as_i64().unwrap() } else { 0 };
        let ended = of("sent_nic") + of("sent_host") + sum(&conservation["consumed"]) + lost;
        let began = of("offered") + of("copies") + rewritten;
        assert_eq!(began, ended + of("in_flight"), "{what}: {conservation}");
        for term in ["nic", "host", "sent_nic", "sent_host", "copies"] {
            assert!(of(term) > 0, "{term}: {conservation}");
        }
    }
}

/// Checks that the page's last metrics agree with the table.
fn check_metrics(demo: &Value, flows: &[Value]) {
    let text = demo["metrics"].as_str().unwrap();
    assert_eq!(lint(text), "");
    let samples = samples(text);
    for place in ["nic", "host", "refused"] {
        let there = flows.iter().filter(|flow| flow["placement"] == place).count() as u64;
        let label = format!("placement=\"{place}\"");
        assert_eq!(sum(&samples, "megaflow_flows", &[&label]), there, "{place}");
    }
    // No flow has expired: every flow that was installed and not removed is in the table.
    let done = |provider: &str, operation: &str| {
        let labels = [("provider", provider), ("operation", operation), ("result", "ok")];
        let labels = labels.map(|(name, value)| format!("{name}=\"{value}\""));
        sum(&samples, "megaflow_flow_operations_total", &labels.each_ref().map(String::as_str))
    };
    let in_nic = flows.iter().filter(|flow| flow["placement"] == "nic").count() as u64;
    assert_eq!(done("fpga", "install") - done("fpga", "remove"), in_nic);
    assert_eq!(done("host", "install") - done("host", "remove"), flows.len() as u64);
    for what in ["packets", "bytes"] {
        let conservation = &demo["conservation"];
        let metric = format!("megaflow_port_receive_{what}_total");
        assert_eq!(sum(&samples, &metric, &[]), number(&conservation["offered"][what]), "{what}");
        // Sums the first hits, and what the client did to single packets.
        let first = |flow: &&Value| flow["match"].as_str().unwrap().starts_with("recirc_id(0),");
        let hits = |place: &str| -> u64 {
            flows.iter().filter(first).map(|flow| number(&flow[place][what])).sum()
        };
        assert_eq!(hits("nic"), number(&conservation["nic"][what]), "{what}");
        assert!(hits("host") <= number(&conservation["host"][what]), "{what}");
    }
}

/// Checks two chains, each of which pops a label, looks up again and rewrites the TTL. The card
/// follows the first one.
fn check_chains(flows: &[Value]) {
    let in_nic = [["label=100", "recirc_id(0)"], ["recirc_id(0x1)", "ttl=64"]];
    for part in in_nic {
        let flow = the_flow(flows, &part);
        assert_eq!(flow["placement"], "nic", "{flow}");
        assert!(hits(flow).0 > 0, "{flow}");
    }
    // The other chain ends with a copy for the host, so both of its halves stay on the host.
    let parent = the_flow(flows, &["label=300", "recirc_id(0)"]);
    let child = the_flow(flows, &["recirc_id(0x2)", "ttl=64"]);
    assert_eq!(
        (&child["placement"], &child["refusal"]),
        (&"refused".into(), &"action userspace".into())
    );
    assert_ne!(parent["placement"], "nic");
    for flow in [parent, child] {
        assert!(hits(flow).0 == 0 && hits(flow).1 > 0, "{flow}");
    }
    // The recirculation id scopes the second lookup: both halves of a chain see the same packets,
    // and no packets of the other chain.
    assert_eq!(hits(parent), hits(child));
    let halves = in_nic.map(|part| hits(the_flow(flows, &part)));
    assert_eq!(halves[0].0 + halves[0].1, halves[1].0 + halves[1].1);
}

/// Checks what else has to hold if the hosts talk.
fn check_hosts(demo: &Value) {
    let bulk = &demo["bulk_tcp"];
    let (nic, host) = (number(&bulk["nic_bytes"]), number(&bulk["host_bytes"]));
    assert!(nic * 100 >= (nic + host) * 95 && nic > 1_000_000, "{bulk}");
    let facts: Vec<&str> =
        demo["facts"].as_array().unwrap().iter().map(|fact| fact.as_str().unwrap()).collect();
    for net in ["IPv4", "IPv6", "VLAN 10"] {
        // There are six pairs of hosts with five requests each.
        assert!(facts.contains(&&*format!("ping {net}: 30 answers between 3 hosts")), "{facts:?}");
        assert!(facts.contains(&&*format!("UDP {net}: 500 echoes")), "{facts:?}");
        assert!(facts.iter().any(|fact| fact.starts_with(&format!("TCP {net}: "))), "{facts:?}");
    }
    let flows = demo["flows"].as_array().unwrap();
    for eth_type in ["0x0800", "0x86dd", "0x0806", "0x8100", "0x8847"] {
        let has = format!("eth_type({eth_type})");
        assert!(flows.iter().any(|flow| flow["match"].as_str().unwrap().contains(&has)), "{has}");
    }
}

#[test]
fn it_passes_with_every_packet_accounted_for() {
    let demo: Value = serde_json::from_str(&says(&["demo", "--seconds", "2", "--json"])).unwrap();
    check(&demo);
    check_hosts(&demo);
}

#[test]
fn people_read_where_each_flow_lives_and_that_it_adds_up() {
    let text = says(&["demo", "--seconds", "1", "--pcap", CAPTURE]);
    assert!(text.starts_with("page and metrics: http://127.0.0.1:"), "{text}");
    assert!(text.ends_with("\nit all adds up\n"), "{text}");
    for unit in ["packets", "bytes"] {
        let line = text.lines().find(|line| line.starts_with(&format!("{unit:<8}offered ")));
        let line = line.unwrap_or_else(|| panic!("no line of {unit}: {text}"));
        assert!(line.contains(" = sent nic ") && line.contains(" + sent host "), "{line}");
        assert!(line.contains(" + lost ") && line.ends_with(": holds"), "{line}");
    }
    assert!(text.contains("\nrefused ") && text.contains(" refused: action trunc\n"), "{text}");
    assert!(text.contains("\nnic "), "{text}");
    // The replay has the bundled capture and the one that was asked for.
    let packets = says(&["extract", CAPTURE]).lines().count();
    assert!(text.contains(&format!("\nreplayed: {} frames of captures\n", 2 * packets)), "{text}");
}

/// While the demo runs, it serves a page at the address that it prints.
#[test]
fn the_page_is_served_meanwhile() {
    let mut command = Command::new(MEGAFLOW);
    command.args(["demo", "--seconds", "1"]).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let line = lines.find(|line| line.starts_with("page and metrics: ")).expect("an address");
    let address = line.strip_prefix("page and metrics: http://").unwrap().trim_end_matches('/');
    let page = ask(address, "GET", "/", "localhost");
    assert!(page.code == 200 && page.body.contains("</html>"), "{page:?}");
    assert_eq!(lint(&ask(address, "GET", "/metrics", "localhost").body), "");
    // Nobody reads on, as with `| head`. The demo goes on to its end all the same.
    drop(lines);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

/// The engine does the same again with what was recorded, and a changed recording is found out.
#[test]
fn a_recorded_run_gives_the_same_commands_again() {
    let folder = Folder::new();
    let (file, limited) = (folder.file("steps"), folder.file("limited"));
    says(&["demo", "--seconds", "1", "--json", "--record", &file]);
    let text = std::fs::read_to_string(&file).unwrap();
    let same = format!(
        "{} steps, the same commands; the recording ends: the daemon stopped\n",
        text.lines().count() - 2
    );
    assert_eq!(says(&["rerun", &file]), same);
    for what in ["Upcalls", "Completed", "Stats", "Opened", "Install", "Flows", "Close"] {
        assert!(text.contains(&format!("\"{what}\"")), "{what}");
    }
    // One packet came from another station.
    let number = text.lines().position(|line| line.contains(r#""Reinject""#)).unwrap();
    let line = text.lines().nth(number).unwrap();
    let (before, behind) = line.split_once(r#""eth_src":"0x"#).unwrap();
    let other = format!(r#"{before}"eth_src":"0x2{}"#, &behind[behind.find('"').unwrap()..]);
    std::fs::write(&limited, text.replacen(line, &other, 1)).unwrap();
    let error = fails(&["rerun", &limited], 1);
    let starts = format!("megaflow rerun: {limited}: step {number}: other ");
    assert!(error.starts_with(&starts), "{error}");
    // A recording is never written over.
    let error = fails(&["demo", "--record", &file], 2);
    assert!(error.ends_with("exists: name a new file for the recording"), "{error}");
    assert!(fails(&["rerun", CAPTURE], 2).starts_with(&format!("megaflow rerun: {CAPTURE}: ")));
}

#[test]
fn a_result_that_can_not_be_printed_is_a_failure() {
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let mut command = Command::new(MEGAFLOW);
    command.args(["demo", "--seconds", "1"]).stdout(full);
    let ended = Ended::from(command.output().unwrap());
    assert_eq!((ended.code, ended.err.lines().count()), (Some(1), 1), "{ended:?}");
    assert!(ended.err.starts_with("megaflow demo: stdout: No space left"), "{ended:?}");
}

#[test]
fn a_fault_in_the_accounting_is_found_and_named() {
    let ended = megaflow(&["demo", "--seconds", "1", "--json", "--fault", "drop-counter-update"]);
    assert_eq!((ended.code, ended.err.as_str()), (Some(1), ""), "{ended:?}");
    let demo: Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!(demo["passed"], false);
    let complaints: Vec<&str> =
        demo["complaints"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
    // The flow that the demo says is off is one of its own, and the difference is the missing
    // number.
    let named = complaints.iter().filter(|line| line.contains(" is off: ")).collect::<Vec<_>>();
    assert_eq!(named.len(), 1, "{complaints:?}");
    let ufid = named[0].split_whitespace().find(|word| word.starts_with("ufid:")).unwrap();
    let flows = demo["flows"].as_array().unwrap();
    let flow = flows.iter().find(|flow| flow["ufid"] == ufid).expect("the flow is in the table");
    assert!(named[0].ends_with(flow["match"].as_str().unwrap()), "{named:?}");
    let truth: u64 =
        named[0].split("hit it with ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    let conservation = &demo["conservation"];
    let missing = number(&conservation["packets"]["lookups"]);
    let off = truth - number(&flow["nic"]["packets"]);
    assert!(off > 0 && missing == off, "{missing} {named:?}");
    assert_eq!(conservation["state"], "does-not-hold", "{conservation}");
}

#[test]
fn a_capture_that_is_none_is_wrong_input() {
    let folder = Folder::new();
    let bytes = std::fs::read(CAPTURE).unwrap();
    let cut = folder.file("cut.pcap");
    std::fs::write(&cut, &bytes[..bytes.len() - 7]).unwrap();
    let text = folder.write("text.pcap", "no capture\n");
    for file in [&cut, &text, &folder.file("absent.pcap"), &folder.path().display().to_string()] {
        let error = fails(&["demo", "--pcap", file], 2);
        assert!(error.starts_with(&format!("megaflow demo: {file}: ")), "{error}");
    }
}

/// A copy of the command that every user may run.
fn public_copy(folder: &Folder) -> String {
    let copy = folder.file("megaflow");
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    // This process must not copy the file itself: a child that another test starts at that moment
    // would hold the copy open for writing, and a file that is open for writing can't be
    // executed.
    let install = Command::new("install").args(["-m", "755", MEGAFLOW, &copy]).status();
    assert!(install.unwrap().success());
    copy
}

fn as_nobody(command: &[&str]) -> Ended {
    let mut runuser = Command::new("runuser");
    let runuser = runuser.args(["-u", "nobody", "--"]).args(command).stdin(Stdio::null());
    tool(runuser, "util-linux").into()
}

#[test]
fn it_passes_without_root() {
    let folder = Folder::new();
    let copy = public_copy(&folder);
    let allowed = as_nobody(&["unshare", "--user", "--net", "true"]);
    let ended = as_nobody(&[&copy, "demo", "--seconds", "1", "--json"]);
    assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""), "{ended:?}");
    let demo: Value = serde_json::from_str(&ended.out).unwrap();
    check(&demo);
    if allowed.code == Some(0) {
        check_hosts(&demo);
    } else {
        println!("user namespaces are not allowed here ({}): captures only", allowed.err.trim());
        assert!(demo["bulk_tcp"].is_null());
    }
}

/// Runs the demo in a user namespace that allows no network namespaces.
#[test]
fn where_namespaces_are_not_allowed_the_captures_are_replayed() {
    let run = "echo 0 > /proc/sys/user/max_net_namespaces && exec \"$0\" demo --seconds 1 \"$@\"";
    let demo = |args: &[&str]| -> Ended {
        let mut unshare = Command::new("unshare");
        unshare.args(["--user", "--map-root-user", "--net", "sh", "-c", run, MEGAFLOW]).args(args);
        tool(unshare.stdin(Stdio::null()), "util-linux").into()
    };
    let ended = demo(&[]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.out.starts_with("no network namespaces here ("), "{ended:?}");
    assert!(ended.out.ends_with("\nit all adds up\n"), "{ended:?}");
    let ended = demo(&["--json"]);
    let demo: Value = serde_json::from_str(&ended.out).unwrap();
    check(&demo);
    assert!(demo["bulk_tcp"].is_null());
}
