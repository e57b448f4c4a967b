//! Compares the output of Debian's Open vSwitch with the daemon's, line by line. The same words
//! are in the same places, so that a program which reads one output can read the other.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod common;

use common::daemon::{Daemon, Folder};
use common::net::Lan;
use common::ovs::Ovs;
use common::until;

const FLOW: &str = "in_port(1),eth(),eth_type(0x0800),ipv4(proto=17,frag=no),udp(dst=4789)";
/// A packet of 60 bytes.
const PACKET: &str = "020000000002 020000000001 0800 4500 002e 0000 4000 40 11 0000 0a000001 \
                      0a000002 1111 12b5 001a 0000 000000000000000000000000000000000000";

/// The line, with `#` for every number and for the `?` that stands for a number.
fn shape(line: &str) -> String {
    let mut shape = String::new();
    for letter in line.chars() {
        let number = letter.is_ascii_digit() || letter == '?';
        if !number {
            shape.push(letter);
        } else if !shape.ends_with('#') {
            shape.push('#');
        }
    }
    shape
}

/// The lines from the first one that begins with `start`.
#[track_caller]
fn from<'a>(text: &'a str, start: &str) -> Vec<&'a str> {
    let lines: Vec<&str> = text.lines().skip_while(|line| !line.starts_with(start)).collect();
    assert!(!lines.is_empty(), "no line begins with '{start}':\n{text}");
    lines
}

/// A daemon and an Open vSwitch with the same ports.
fn pair() -> (Lan, Folder, Daemon, Ovs) {
    let lan = Lan::new(false);
    let folder = Folder::new();
    let daemon = Daemon::on_card(&lan, &folder);
    (lan, folder, daemon, Ovs::new())
}

#[test]
fn the_datapath_its_ports_and_its_addresses_are_shown_as_ovs_shows_them() {
    let (_lan, _folder, daemon, ovs) = pair();
    let [theirs, ours] = [ovs.appctl(&["dpctl/show", "-s"]), daemon.appctl(&["dpctl/show", "-s"])];
    let [their_head, our_head] = [&theirs, &ours].map(|text| from(text, "  lookups:"));
    assert_eq!(our_head[..2].join("\n"), their_head[..2].join("\n"));
    // Debian's dummy datapath has no masks. The form of this line is that of OVS's lib/dpctl.c.
    assert_eq!(our_head[2], "  masks: hit:0 total:0 hit/pkt:0.00");
    for (number, name) in [(1, "left"), (2, "right")] {
        let start = format!("  port {number}: {name} (");
        let [their_port, our_port] = [&theirs, &ours].map(|text| from(text, &start)[1..5].to_vec());
        let [their_shape, our_shape] =
            [their_port, our_port].map(|lines| lines.into_iter().map(shape).collect::<Vec<_>>());
        assert_eq!(our_shape, their_shape);
    }
    let [theirs, ours] = [ovs.appctl(&["dpif/show"]), daemon.appctl(&["dpif/show"])];
    let ours = ours.replace("(fpga)", "(dummy)").replace("megaflow@br0", "dummy@ovs-dummy");
    let theirs = theirs.replace("    br0 65534/100: (dummy-internal)\n", "");
    let [theirs, ours] = [theirs, ours].map(|text| text.lines().map(shape).collect::<Vec<_>>());
    assert_eq!(ours, theirs);
    let stats = ["fdb/stats-show", "br0"];
    assert_eq!(daemon.appctl(&stats), ovs.appctl(&stats));
    daemon.appctl(&["port/receive", "left", PACKET]);
    let learnt = daemon.appctl(&stats);
    let want = ovs.appctl(&stats).replace(" 0/8192", " 1/8192");
    assert_eq!(
        learnt,
        want.replacen("learned MAC entries     : 0", "learned MAC entries     : 1", 1)
    );
}

#[test]
fn flows_name_their_ports_when_ovs_names_them() {
    let (_lan, folder, daemon, ovs) = pair();
    ovs.appctl(&["dpctl/add-flow", FLOW, "2"]);
    daemon.appctl(&["dpctl/add-flow", FLOW, "2"]);
    let named = |dump: String| {
        let line = dump.lines().find(|line| line.contains("actions:")).unwrap().to_owned();
        let of = |name: &str, number: &str| {
            assert!(line.contains(name) != line.contains(number), "{line}");
            line.contains(name)
        };
        let ports = of("in_port(left)", "in_port(1)");
        assert_eq!(of("actions:right", "actions:2"), ports, "{line}");
        // An option that OVS has too changes nothing else in the output.
        (ports, line.starts_with("ufid:"), line.contains(", dp:"))
    };
    for options in [
        &[][..],
        &["-m"],
        &["--more"],
        &["--names"],
        &["--no-names"],
        &["-m", "--no-names"],
        &["--no-names", "-m"],
        &["-m", "--names"],
        &["-ms"],
        &["--names", "--no-names"],
    ] {
        let ask = [&["dpctl/dump-flows"], options].concat();
        assert_eq!(named(daemon.appctl(&ask)), named(ovs.appctl(&ask)), "{options:?}");
    }
    // A dump with names can also be used as a file of flows.
    let before = daemon.appctl(&["dpctl/dump-flows"]);
    let file = folder.write("flows", &daemon.appctl(&["dpctl/dump-flows", "-m"]));
    daemon.appctl(&["dpctl/del-flows"]);
    daemon.appctl(&["dpctl/add-flows", &file]);
    assert_eq!(daemon.appctl(&["dpctl/dump-flows"]), before);
}

#[test]
fn events_have_ovs_columns_and_rates_that_follow_the_counters() {
    let (_lan, _folder, daemon, ovs) = pair();
    daemon.appctl(&["dpctl/add-flow", FLOW, "2"]);
    daemon.appctl(&["port/receive", "left", PACKET, PACKET, PACKET, PACKET]);
    until("the packets are counted", || {
        daemon.appctl(&["coverage/read-counter", "lookup_classifier"]) == "4\n"
    });
    // Open vSwitch adds up the counters of its threads once a second.
    until("Open vSwitch counts", || ovs.appctl(&["coverage/show"]).contains("\nhmap_expand "));
    let [theirs, ours] = [ovs.appctl(&["coverage/show"]), daemon.appctl(&["coverage/show"])];
    let [their_head, our_head] = [&theirs, &ours].map(|text| text.lines().next().unwrap());
    let head = |line: &str| line.split("hash=").next().unwrap().to_owned();
    assert_eq!(head(our_head), head(their_head));
    let hash = our_head.split("hash=").nth(1).unwrap().strip_suffix(':').unwrap();
    assert!(hash.len() == 8 && hash.bytes().all(|b| b.is_ascii_hexdigit()), "{our_head}");
    let [their_last, our_last] = [&theirs, &ours].map(|text| text.lines().last().unwrap());
    assert_eq!(shape(our_last), shape(their_last));
    // The columns stand in the same places.
    let columns = |text: &str, name: &str| {
        let row = text.lines().find(|line| line.starts_with(name)).unwrap();
        let places: Vec<usize> = row.match_indices("/sec").map(|(place, _)| place).collect();
        (places, row.find("total: "))
    };
    assert_eq!(columns(&ours, "lookup_classifier "), columns(&theirs, "hmap_expand "));
    // Four packets in one slot of five seconds, and none in the next.
    let row = || {
        let text = daemon.appctl(&["coverage/show"]);
        let row = text.lines().find(|line| line.starts_with("lookup_classifier ")).unwrap();
        row.split_whitespace().skip(1).map(str::to_owned).collect::<Vec<_>>().join(" ")
    };
    until("the rates follow", || row() == "0.8/sec 0.067/sec 0.0011/sec total: 4");
    until("the first rate falls", || row() == "0.0/sec 0.067/sec 0.0011/sec total: 4");
    let [theirs, ours] = [ovs.try_appctl(&["coverage/read-counter", "nope"]), {
        daemon.try_appctl(&["coverage/read-counter", "nope"])
    }];
    assert_eq!((ours.code, ours.err.lines().next()), (theirs.code, theirs.err.lines().next()));
    // Each packet visited the one place that there is.
    let shown = daemon.appctl(&["dpctl/show"]);
    assert!(shown.contains("  masks: hit:4 total:1 hit/pkt:1.00\n"), "{shown}");
}

#[test]
fn the_levels_of_the_log_are_listed_as_ovs_lists_them() {
    let (_lan, _folder, daemon, ovs) = pair();
    for spec in ["ANY:syslog:off", "ANY:file:off"] {
        ovs.appctl(&["vlog/set", spec]);
    }
    for level in ["off", "err", "warn", "info", "dbg"] {
        ovs.appctl(&["vlog/set", &format!("dpif:console:{level}")]);
        daemon.appctl(&["vlog/set", &format!("vfio:console:{level}")]);
        let [theirs, ours] = [ovs.appctl(&["vlog/list"]), daemon.appctl(&["vlog/list"])];
        assert_eq!(from(&ours, "")[..2], from(&theirs, "")[..2]);
        assert_eq!(from(&ours, "vfio ")[0], from(&theirs, "dpif ")[0].replace("dpif", "vfio"));
        assert_eq!(from(&ours, "http ")[0], from(&theirs, "flow ")[0].replace("flow", "http"));
    }
    let ours = daemon.appctl(&["vlog/list"]);
    assert!(ours.lines().skip(2).is_sorted() && ours.lines().count() > 10, "{ours}");
}
