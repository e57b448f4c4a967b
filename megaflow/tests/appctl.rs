//! Debian's `ovs-appctl` against the running daemon: methods that work, requests that are
//! refused, and hostile clients.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod common;

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::Duration;

use flow::Clock;

use common::daemon::{Daemon, Folder};
use common::net::{Lan, Namespace, RIGHT};
use common::{files, tool, until};

/// A flow that the card takes.
const FLOW: &str = "in_port(1),eth(),eth_type(0x0800),ipv4(proto=17,frag=no),udp(dst=4789)";
/// A flow that is not installed.
const WIDER: &str = "in_port(1),eth(),eth_type(0x0800),ipv4(proto=17,frag=no)";
/// A flow whose packets would all hit `FLOW`.
const NARROWER: &str =
    "in_port(1),eth(),eth_type(0x0800),ipv4(proto=17,ttl=64,frag=no),udp(dst=4789)";
/// A packet that hits `FLOW`: UDP to port 4789, 60 bytes.
const PACKET: &str = "020000000002 020000000001 0800 4500 002e 0000 4000 40 11 0000 0a000001 \
                      0a000002 1111 12b5 001a 0000 000000000000000000000000000000000000";

/// The first line that contains `with`.
#[track_caller]
fn line<'a>(text: &'a str, with: &str) -> &'a str {
    let found = text.lines().find(|line| line.contains(with));
    found.unwrap_or_else(|| panic!("no line has '{with}':\n{text}"))
}

/// `ufid:…` of a line.
fn ufid(line: &str) -> &str {
    line.split(", ").next().filter(|ufid| ufid.starts_with("ufid:")).expect("a ufid")
}

#[test]
fn every_method_of_the_contract_answers() {
    let lan = Lan::new(false);
    let folder = Folder::new();
    let mut daemon = Daemon::on_card(&lan, &folder);
    let commands = daemon.appctl(&["list-commands"]);
    assert!(commands.starts_with("The available commands are:\n"), "{commands}");
    for method in [
        "coverage/read-counter",
        "coverage/show",
        "dpctl/add-flow",
        "dpctl/add-flows",
        "dpctl/del-flow",
        "dpctl/del-flows",
        "dpctl/dump-dps",
        "dpctl/dump-flows",
        "dpctl/get-flow",
        "dpctl/mod-flow",
        "dpctl/offload-stats-show",
        "dpctl/show",
        "dpif/show",
        "exit",
        "fdb/flush",
        "fdb/show",
        "fdb/stats-show",
        "memory/show",
        "metrics/show",
        "offload/explain",
        "offload/reasons",
        "offload/show",
        "port/receive",
        "set-options",
        "upcall/show",
        "version",
        "vlog/list",
        "vlog/set",
    ] {
        line(&commands, &format!("  {method}"));
    }
    assert_eq!(daemon.appctl(&["version"]), concat!("megaflow ", env!("CARGO_PKG_VERSION"), "\n"));
    assert_eq!(daemon.appctl(&["dpctl/dump-dps"]), "megaflow@br0\n");
    let shown = daemon.appctl(&["dpctl/show"]);
    let head = "megaflow@br0:\n  lookups: hit:0 missed:0 lost:0\n  flows: 0\n";
    let ports = "  port 1: left (fpga)\n  port 2: right (fpga)\n";
    let masks = "  masks: hit:0 total:0 hit/pkt:0.00\n";
    assert_eq!(shown, format!("{head}{masks}{ports}"));
    assert!(daemon.appctl(&["dpctl/show", "-s", "br0"]).contains("RX packets:0 errors:0 "));
    assert_eq!(daemon.appctl(&["dpctl/dump-flows"]), "");
    assert_eq!(daemon.appctl(&["offload/reasons"]), "no flow is refused\n");
    assert!(daemon.appctl(&["memory/show"]).starts_with("flows:0 "));
    assert!(daemon.appctl(&["upcall/show"]).contains("  flows           : (current 0)\n"));
    assert!(daemon.appctl(&["metrics/show"]).contains("\nmegaflow_flows{placement=\"nic\"} 0\n"));
    assert!(daemon.appctl(&["coverage/show"]).ends_with(" events never hit\n"));
    assert!(daemon.appctl(&["dpctl/offload-stats-show"]).contains("install done:"));
    assert_eq!(daemon.appctl(&["vlog/set", "DBG"]), "");
    // The hosts' addresses are learnt from their traffic, shown and forgotten.
    lan.left.ping(RIGHT);
    let fdb = daemon.appctl(&["fdb/show"]);
    line(&fdb, "    1     0  02:4d:46:00:00:01");
    line(&fdb, "    2     0  02:4d:46:00:00:02");
    // (If hits are read late, their address counts as heard just now, as in OVS.)
    daemon.at_rest();
    assert_eq!(daemon.appctl(&["fdb/flush", "br0"]), "table successfully flushed\n");
    assert_eq!(daemon.appctl(&["fdb/show"]).lines().count(), 1);
    // `exit` is answered too, when the daemon has stopped.
    assert_eq!(daemon.appctl(&["exit"]), "");
    assert_eq!(daemon.wait().code(), Some(0));
    assert!(!daemon.socket().exists());
}

#[test]
fn flows_are_added_read_changed_explained_and_removed() {
    let lan = Lan::new(false);
    let folder = Folder::new();
    let daemon = Daemon::on_card(&lan, &folder);
    assert_eq!(daemon.appctl(&["dpctl/add-flow", FLOW, "2"]), "");
    let dump = daemon.appctl(&["dpctl/dump-flows", "-m"]);
    assert_eq!(dump.lines().count(), 1, "{dump}");
    let first = ufid(&dump).to_owned();
    let offloaded = ", packets:0, bytes:0, used:never, offloaded:yes, dp:fpga, actions:2\n";
    assert!(dump.ends_with(" actions:right\n"), "{dump}");
    until("the flow is in the card", || {
        daemon.appctl(&["dpctl/get-flow", &first]).ends_with(offloaded)
    });
    let line = daemon.appctl(&["dpctl/get-flow", "megaflow@br0", &first]);
    assert_eq!(line, daemon.appctl(&["dpctl/dump-flows", "-m", "--no-names"]));
    let named = daemon.appctl(&["dpctl/get-flow", "-m", &first]);
    assert_eq!(named, daemon.appctl(&["dpctl/dump-flows", "-m"]));
    // Without -m a flow is printed as OVS prints it, without its ufid and its placement.
    let brief = line.split_once(", ").unwrap().1.replace(", offloaded:yes, dp:fpga", "");
    assert_eq!(daemon.appctl(&["dpctl/dump-flows"]), brief);
    // A printed flow can be given back as a flow to explain.
    let explained = daemon.appctl(&["offload/explain", &first]);
    assert!(explained.contains("\nplacement: nic (fpga)\n"), "{explained}");
    assert!(explained.contains("\nfpga: holds it\n  ENTRY_WRITE "), "{explained}");
    assert_eq!(daemon.appctl(&["offload/explain", FLOW]), explained);
    // The flow is replaced in place: it has the same ufid and other actions. Then it gets actions
    // that the card does not have.
    assert_eq!(daemon.appctl(&["dpctl/mod-flow", FLOW, "drop"]), "");
    let dump = daemon.appctl(&["dpctl/dump-flows", "-m"]);
    assert!(dump.starts_with(&first) && dump.ends_with(" actions:drop\n"), "{dump}");
    assert_eq!(daemon.appctl(&["dpctl/mod-flow", "br0", FLOW, "trunc(64),2"]), "");
    until("it is back on the host", || {
        daemon.appctl(&["dpctl/get-flow", &first]).ends_with(", dp:ovs, actions:trunc(64),2\n")
    });
    let explained = daemon.appctl(&["offload/explain", &first]);
    assert!(explained.contains("\nplacement: refused for "), "{explained}");
    assert!(explained.ends_with("\nfpga: refused: action trunc\n"), "{explained}");
    assert_eq!(daemon.appctl(&["offload/reasons"]), "action: 1 (trunc 1)\n");
    let shown = daemon.appctl(&["offload/show"]);
    assert!(shown.starts_with("flows: host:0 nic:0 refused:1\nfpga: up\n"), "{shown}");
    // A packet put in by hand is counted on the host with all its bytes. The deletion prints the
    // last statistics.
    daemon.appctl(&["port/receive", "left", PACKET]);
    until("the packet is counted", || {
        daemon.appctl(&["dpctl/dump-flows"]).contains(", packets:1, bytes:60, used:")
    });
    assert_eq!(daemon.appctl(&["dpctl/dump-flows", "filter=udp,tp_dst=4789"]).lines().count(), 1);
    assert_eq!(daemon.appctl(&["dpctl/dump-flows", "filter=in_port=right"]), "");
    assert_eq!(daemon.appctl(&["dpctl/dump-flows", "type=offloaded"]), "");
    let last = daemon.appctl(&["dpctl/del-flow", "-s", &first]);
    assert!(last.starts_with("packets:1, bytes:60, used:"), "{last}");
    assert_eq!(daemon.appctl(&["dpctl/dump-flows"]), "");
    // Flows are added in bulk and all deleted at once, and then can be added again at once.
    let file = folder.write("flows", &many_flows());
    for _ in 0..2 {
        assert_eq!(daemon.appctl(&["dpctl/add-flows", &file]), "");
        assert_eq!(daemon.appctl(&["dpctl/dump-flows"]).lines().count(), FLOWS);
        assert_eq!(daemon.appctl(&["dpctl/del-flows"]), "");
        assert_eq!(daemon.appctl(&["dpctl/dump-flows"]), "");
    }
}

/// Everything that shows flows, without times and without counts of waiting operations.
fn state(daemon: &Daemon) -> String {
    let flows = daemon.appctl(&["dpctl/dump-flows", "-m"]);
    let status = daemon.status();
    format!("{flows}{}{}{}", status["flows"], status["ports"], daemon.appctl(&["fdb/show"]))
}

/// A ufid that no flow has.
const UNKNOWN: &str = "ufid:00000000-0000-0000-0000-000000000001";
/// A match with a ufid that is not its own.
const OTHER_UFID: &str = "ufid:00000000-0000-0000-0000-000000000001,in_port(2)";
/// Stands for 40,000 actions with this word behind them.
const HUGE: &str = "huge";

/// Requests and their errors; `@` stands for the test's folder.
const WRONG: &[(&[&str], &str)] = &[
    (&["nonsense"], "\"nonsense\" is not a valid command"),
    (&["version", "1"], "takes at most 0 arguments"),
    (&["exit", "now"], "unknown argument 'now'"),
    (&["dpctl/add-flow"], "requires at least 1 argument"),
    (&["dpctl/add-flow", FLOW], "takes 2 arguments"),
    (&["dpctl/add-flow", FLOW, "1"], "exists already"),
    (&["dpctl/add-flow", NARROWER, "2"], "overlap"),
    (&["dpctl/add-flow", "in_port(1", "2"], "flow: column "),
    (&["dpctl/add-flow", "in_port(nowhere)", "2"], "nowhere"),
    (&["dpctl/add-flow", "in_port(2)", "nowhere"], "actions: column 1: "),
    (&["dpctl/add-flow", "in_port(2)", "2,set(eth(src=1)"], "actions: column "),
    (&["dpctl/add-flow", "in_port(2)", "trunc(3),1"], "trunc(3)"),
    (&["dpctl/add-flow", "in_port(2)", "pop_mpls(eth_type=0x800)"], "pop_mpls"),
    (&["dpctl/add-flow", "in_port(2)", HUGE], "huge"),
    (&["dpctl/add-flow", "in_port(2)\nin_port(1)", "2"], "flow: column "),
    (&["dpctl/add-flow", OTHER_UFID, "2"], "is not the ufid of this match"),
    (&["dpctl/add-flow", "other", "in_port(2)", "1"], "no datapath 'other'"),
    (&["dpctl/add-flow", "--nonsense", "in_port(2)", "1"], "unknown option '--nonsense'"),
    (&["dpctl/add-flows", "@/flows"], "flows:2: "),
    (&["dpctl/add-flows", "@/broken"], "broken:2: "),
    (&["dpctl/add-flows", "/nonexistent"], "/nonexistent: No such file"),
    (&["dpctl/add-flows", "/dev/zero"], "/dev/zero: "),
    (&["dpctl/mod-flow", WIDER, "2"], "no such flow"),
    (&["dpctl/mod-flow", FLOW, "set(ipv4(proto=6))"], "proto"),
    (&["dpctl/del-flow", UNKNOWN], "no such flow"),
    (&["dpctl/del-flow", WIDER], "no such flow"),
    (&["dpctl/del-flow", "ufid:nonsense"], "flow: "),
    (&["dpctl/get-flow", UNKNOWN], "no flow "),
    (&["dpctl/get-flow", "ufid:12"], "ufid"),
    (&["dpctl/dump-flows", "filter=nonsense"], "filter 'nonsense': "),
    (&["dpctl/dump-flows", "type=nonsense"], "type 'nonsense'"),
    (&["dpctl/dump-flows", "elsewhere"], "no datapath 'elsewhere'"),
    (&["dpctl/show", "elsewhere"], "no datapath 'elsewhere'"),
    (&["fdb/show", "elsewhere"], "no such bridge 'elsewhere'"),
    (&["fdb/flush", "elsewhere"], "no such bridge 'elsewhere'"),
    (&["offload/explain"], "requires at least 1 argument"),
    (&["offload/explain", UNKNOWN], "no flow "),
    (&["offload/explain", WIDER], "is not installed: add its actions"),
    (&["offload/explain", "in_port(1),", "nonsense"], "actions: column 1: "),
    (&["offload/flows", "moon", ""], "unknown place 'moon': expected all"),
    (&["port/receive", "nowhere", PACKET], "no port 'nowhere'"),
    (&["port/receive", "left", "0200"], "a packet has 14 to 9216 bytes"),
    (&["port/receive", "left", "xyz"], "'xyz' is not pairs of hex digits"),
    (&["vlog/set", "nonsense"], "nonsense"),
];

#[test]
fn wrong_input_is_one_line_and_exit_2_and_changes_nothing() {
    let lan = Lan::new(false);
    let folder = Folder::new();
    let daemon = Daemon::on_card(&lan, &folder);
    daemon.appctl(&["dpctl/add-flow", FLOW, "2"]);
    until("the flow is in the card", || daemon.status()["flows"]["nic"] == 1);
    folder.write("flows", &format!("in_port(2) 1\n{FLOW} 1\n"));
    folder.write("broken", "in_port(2) 1\nin_port(2),eth_type(1 2\n");
    let mut before = state(&daemon);
    let socket = daemon.socket().to_str().unwrap();
    let mut wrong = Vec::new();
    for (args, want) in WRONG {
        let args: Vec<String> = args
            .iter()
            .map(|arg| arg.replace('@', folder.path().to_str().unwrap()))
            .map(|arg| if arg == HUGE { "1,".repeat(40_000) + HUGE } else { arg })
            .collect();
        let args: &[&str] = &args.iter().map(String::as_str).collect::<Vec<_>>();
        // ovs-appctl adds a line of its own to ours.
        let ended = daemon.try_appctl(args);
        let ours = match &ended.err.lines().collect::<Vec<_>>()[..] {
            [line, own] if own.ends_with(": server returned an error") => (*line).to_owned(),
            _ => String::new(),
        };
        if ended.code != Some(2) || !ended.out.is_empty() || !ours.contains(want) {
            wrong.push(format!("{args:.60?}: {want}: {ended:.600?}"));
        }
        // `megaflow ctl` prints the error in one line, with the same status.
        let other = common::megaflow(&[&["ctl", "--socket", socket], args].concat());
        if other.code != Some(2) || other.err != format!("megaflow ctl: {ours}\n") {
            wrong.push(format!("{args:.60?}: {other:.600?}"));
        }
        let after = state(&daemon);
        if after != before {
            wrong.push(format!("{args:.60?}: changed the state: {after}"));
            before = after;
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_daemon_is_found_by_its_name_and_by_its_owner_only() {
    let folder = Folder::new();
    let here = Namespace::new(false);
    let config = format!("[datapath]\nname='x'\n[control]\nsocket='{}'\n", folder.socket());
    let mut daemon = Daemon::start(&here, &folder, &config);
    let run = folder.file("run");
    let by_name = |rundir: &str| {
        let mut appctl = Command::new("ovs-appctl");
        let appctl = appctl.env("OVS_RUNDIR", rundir).args(["-t", "mega", "dpctl/dump-dps"]);
        common::Ended::from(tool(appctl, "openvswitch-common"))
    };
    assert_eq!(by_name(&run).out, "megaflow@x\n");
    let pid = std::fs::read_to_string(folder.file("run/mega.pid")).unwrap();
    assert_eq!(pid, format!("{}\n", daemon.pid()));
    for socket in ["mega.ctl".to_owned(), format!("mega.{}.ctl", daemon.pid())] {
        let mode = std::fs::metadata(folder.path().join("run").join(&socket)).unwrap();
        assert_eq!(mode.permissions().mode() & 0o777, 0o600, "{socket}");
    }
    // Another user is kept out, although the folder's mode lets the user in.
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(folder.path(), open).unwrap();
    let mut other = Command::new("runuser");
    let other = other.args(["-u", "nobody", "--", "ovs-appctl", "-t", &folder.socket(), "version"]);
    let ended = common::Ended::from(tool(other, "util-linux"));
    assert!(ended.err.contains("Permission denied"), "{ended:?}");
    daemon.appctl(&["exit"]);
    assert_eq!(daemon.wait().code(), Some(0));
    assert!(by_name(&run).err.contains("cannot read pidfile"), "{:?}", by_name(&run));
}

/// Clients that stay connected and do what no client should; kept open until dropped.
struct Hostile<'a> {
    daemon: &'a Daemon,
    held: Vec<UnixStream>,
}

impl Hostile<'_> {
    fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(self.daemon.socket()).expect("a client gets in");
        stream.set_write_timeout(Some(Duration::from_secs(2))).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream
    }

    /// Sends as many of the bytes as the daemon takes, and stays connected.
    fn send(&mut self, bytes: &[u8]) {
        let mut stream = self.connect();
        // The daemon may refuse, hang up or stop reading: all are right.
        let _ = stream.write_all(bytes);
        self.held.push(stream);
    }

    /// Checks that a normal client is served meanwhile.
    #[track_caller]
    fn check(&self, what: &str) {
        let begin = Clock::start();
        assert!(self.daemon.appctl(&["dpctl/show"]).starts_with("megaflow@br0:\n"), "{what}");
        assert_eq!(self.daemon.appctl(&["dpctl/dump-flows"]).lines().count(), FLOWS, "{what}");
        let took = begin.elapsed();
        assert!(took < Duration::from_secs(10), "{what}: answered after {took:?}");
    }
}

/// Number of flows whose dump does not fit into a socket's buffers.
const FLOWS: usize = 4000;

/// The text of a file with `FLOWS` flows.
fn many_flows() -> String {
    let mac = |n: usize| format!("02:00:00:00:{:02x}:{:02x}", n >> 8, n & 255);
    (0..FLOWS).map(|n| format!("in_port(1),eth(src={}) 2\n", mac(n))).collect()
}

#[test]
fn hostile_clients_stall_nobody() {
    let lan = Lan::new(false);
    let folder = Folder::new();
    let mut daemon = Daemon::on_card(&lan, &folder);
    daemon.appctl(&["dpctl/add-flows", &folder.write("flows", &many_flows())]);
    let begin = daemon.resident_kb();
    let mut hostile = Hostile { daemon: &daemon, held: Vec::new() };
    hostile.check("nobody yet");
    hostile.send(&[0x7f, 0, 0xff, 0xfe, b'\n', 0x80]);
    hostile.send(b"GET / HTTP/1.1\r\n\r\n");
    hostile.send(b"[[[[[[[[");
    hostile.check("garbage");
    hostile.send(b"{\"id\":0,\"method\":\"ver");
    hostile.send(b"{\"id\":0,\"method\":\"version\",\"params\":[\"\xc3");
    hostile.send(b"{\"id\":0,\"method\":\"\xff\xfe\",\"params\":[]}");
    hostile.send(b"{\"id\":0,\"method\":\"version\",\"params\":[]}{\"id\":");
    hostile.send(b"{}{}{}");
    hostile.send(&[&b"{\"a\":"[..], &b"[".repeat(100_000), &b"]".repeat(100_000), b"}"].concat());
    hostile.check("halves and what is no request");
    let dump = b"{\"id\":0,\"method\":\"dpctl/dump-flows\",\"params\":[\"-m\"]}";
    for _ in 0..8 {
        hostile.send(&dump.repeat(1000));
    }
    hostile.check("clients that ask and never read");
    let large = vec![b'x'; 100 << 20];
    hostile.send(&large);
    hostile.send(&[b"{\"id\":\"", &large[..]].concat());
    hostile.send(&[b"{\"id\":", &b"{\"x\":".repeat(20 << 20)[..]].concat());
    hostile.check("100 MB at once");
    let text = &[b"{\"id\":\"", &large[..1000]].concat();
    for _ in 0..200 {
        hostile.send(text);
    }
    hostile.check("200 connections");
    let grown = daemon.resident_kb().saturating_sub(begin) >> 10;
    assert!(grown < 200, "{grown} MB more in memory");
    drop(hostile);
    // The daemon ends as usual while a hostile client is still connected.
    let mut late = UnixStream::connect(daemon.socket()).unwrap();
    late.write_all(&dump.repeat(100)).unwrap();
    daemon.appctl(&["exit"]);
    assert_eq!(daemon.wait().code(), Some(0));
    let _ = late.read(&mut [0]);
    assert!(files(folder.path()).iter().all(|file| !file.ends_with(".ctl")));
}
