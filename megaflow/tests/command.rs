//! The `megaflow` command as a user runs it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use flow::Clock;
use serde_json::Value;

const CAPTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/captures/mixed.pcap");

fn megaflow(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_megaflow")).args(args).output().unwrap()
}

/// Returns what the command prints.
fn says(args: &[&str]) -> String {
    let output = megaflow(args);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

/// Returns the one line on stderr with which the command fails.
fn fails(args: &[&str], code: i32) -> String {
    let output = megaflow(args);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{args:?}: {error}");
    assert_eq!(error.lines().count(), 1, "{args:?}: {error}");
    assert!(output.stdout.is_empty(), "{args:?}");
    error
}

fn with_stdin(args: &[&str], input: &str) -> String {
    let mut child = Command::new(env!("CARGO_BIN_EXE_megaflow"))
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn every_command_helps_with_an_example() {
    let help = says(&["--help"]);
    let commands: Vec<&str> = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert!(commands.len() >= 11, "{commands:?}");
    for command in commands {
        let help = says(&[command, "--help"]);
        assert!(help.contains("Example"), "{command}: {help}");
    }
}

#[test]
fn wrong_usage_and_input_is_one_line_and_exit_2() {
    for (args, want) in [
        (&[][..], "a command is missing"),
        (&["explian"], "unrecognized subcommand 'explian'"),
        (&["extract", "--pcap", "x"], "unexpected argument '--pcap' found; tip: to pass"),
        (&["run"], "required arguments were not provided: --config <F>; see --help"),
        (&["run", "--config", "/nonexistent"], "/nonexistent: can't be read"),
        (&["check-config", CAPTURE], "mixed.pcap: can't be read"),
        (&["demo", "--seconds", "0"], "0 is not in 1..=3600; see --help"),
        (&["extract", "/nonexistent"], "/nonexistent: No such file"),
        (&["extract", env!("CARGO_BIN_EXE_megaflow")], "not a pcap file"),
        (&["flows", "--where", "moon"], "invalid value 'moon'"),
        (&["explain", "--target", "tc", "in_port(x)"], "flow: column"),
        (
            &[
                "explain",
                "--target",
                "tc",
                "in_port(1),eth_type(0x0800)",
                "pop_mpls(eth_type=0x800)",
            ],
            "pop_mpls",
        ),
        (&["replay", "--flows", "/x", "--in", "x=y", "--out", "/z"], "'x' is not a port number"),
    ] {
        let error = fails(args, 2);
        assert!(error.starts_with("megaflow") && error.contains(want), "{args:?}: {error}");
    }
    let error = fails(&["flows", "--socket", "/nonexistent/x.ctl"], 1);
    assert!(error.contains("no daemon answers at /nonexistent/x.ctl"), "{error}");
}

#[test]
fn extract_prints_what_ovs_ofctl_prints() {
    let ours = says(&["extract", "--format", "ofctl", CAPTURE]);
    let ovs = Command::new("ovs-ofctl")
        .args(["parse-pcap", CAPTURE])
        .output()
        .expect("ovs-ofctl (Debian package openvswitch-common) is needed by this test");
    assert_eq!(ours, String::from_utf8(ovs.stdout).unwrap());
    let odp = says(&["extract", "--port", "7", CAPTURE]);
    assert_eq!(odp.lines().count(), ours.lines().count());
    assert!(odp.lines().all(|line| line.contains("in_port(7)")), "{odp}");
    // A key that the command prints can be read as a key.
    assert_eq!(with_stdin(&["odp", "keys"], &odp), odp);
    let json = says(&["extract", "--json", CAPTURE]);
    let first: Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
    assert_eq!(first["packet"], 1);
}

#[test]
fn odp_answers_each_line_with_a_line() {
    let actions = with_stdin(&["odp", "actions"], "push_vlan(vid=5,pcp=0),1\nfoo\n\ndrop\n");
    let lines: Vec<&str> = actions.lines().collect();
    assert_eq!(lines[0], "push_vlan(vid=5,pcp=0),1");
    assert!(lines[1].starts_with("error: column 1: "), "{actions}");
    assert_eq!(lines[2..], ["drop", "drop"]);
    let masks = with_stdin(&["odp", "masks"], "in_port(1),eth_type(0x0800),ipv4(ttl=1/1)\nx(1)\n");
    assert!(masks.starts_with("recirc_id(0),in_port(1),"), "{masks}");
    assert!(masks.lines().nth(1).unwrap().starts_with("error: "), "{masks}");
}

#[test]
fn explain_without_a_daemon_plans_or_refuses() {
    let flow = "in_port(1),eth_type(0x0800),ipv4(dst=10.0.0.1,frag=no)";
    let plan = says(&["explain", "--target", "tc", flow, "2"]);
    assert!(plan.starts_with("tc filter add dev port1 "), "{plan}");
    let refused =
        says(&["explain", "--target", "tc", "in_port(1),dp_hash(1),eth_type(0x0800)", "2"]);
    assert!(refused.starts_with("refused: match-field dp_hash"), "{refused}");
    let json = says(&["explain", "--json", "--target", "fpga", flow, "trunc(100),2"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["refusals"][0]["reason"], "action", "{json}");
    assert!(json["plan"].is_null());
}

#[test]
fn replay_accounts_for_every_packet() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let flows = "in_port(1),eth_type(0x0806) 2\n\
         in_port(1),eth_type(0x0800),ipv4(proto=6/0,frag=no) recirc(0x5),3 # chain\n\
         recirc_id(0x5),in_port(1),eth_type(0x0800) push_vlan(vid=9,pcp=0),2\n\
         in_port(1),eth_type(0x86dd),actions:drop\n";
    std::fs::write(file("flows"), flows).unwrap();
    let inputs = format!("1={CAPTURE}");
    let run = |flows: &str, out: &str| {
        let args = ["replay", "--flows", flows, "--in", &inputs, "--out", out];
        let summary: Value = serde_json::from_str(&says(&args)).unwrap();
        summary
    };
    let summary = run(&file("flows"), &file("out"));
    let number = |value: &Value| value.as_u64().unwrap();
    let packets: Vec<u64> =
        summary["flows"].as_array().unwrap().iter().map(|flow| number(&flow["packets"])).collect();
    assert!(packets.iter().all(|packets| *packets > 0), "{summary}");
    let received = number(&summary["received"]["packets"]);
    // All hits are first hits, except those of the chain's second half.
    let hits = packets[0] + packets[1] + packets[3];
    let dropped: u64 = summary["drops"].as_object().unwrap().values().map(number).sum();
    assert_eq!(received, hits + number(&summary["upcalls"]) + dropped, "{summary}");
    assert_eq!(number(&summary["recirculations"]), packets[1]);
    assert_eq!(packets[1], packets[2]);
    assert_eq!(number(&summary["explicit_drops"]), packets[3]);
    let lines = |name: &str| says(&["extract", &file(name)]).lines().count() as u64;
    assert_eq!(lines("out/2.pcap"), packets[0] + packets[2]);
    assert_eq!(lines("out/3.pcap"), packets[1]);
    assert_eq!(lines("out/upcall.pcap"), number(&summary["upcalls"]));
    assert_eq!(lines("out/1.pcap"), 0);
    let tagged = says(&["extract", &file("out/2.pcap")]);
    assert_eq!(tagged.matches("vlan(vid=9,pcp=0)").count() as u64, packets[2]);
    // A second run gives the same bytes.
    assert_eq!(run(&file("flows"), &file("again")), summary);
    for name in ["1.pcap", "2.pcap", "3.pcap", "upcall.pcap"] {
        let bytes = |folder: &str| std::fs::read(file(&format!("{folder}/{name}"))).unwrap();
        assert!(bytes("out") == bytes("again"), "{name}");
    }
    let wrong = format!("{flows}in_port(1),eth_type(0x0806) 3\n");
    std::fs::write(file("wrong"), wrong).unwrap();
    let args = ["replay", "--flows", &file("wrong"), "--in", &inputs, "--out", &file("x")];
    assert!(fails(&args, 2).contains("appears twice"));
    std::fs::write(file("wrong"), format!("{flows}in_port(8),eth() trunc(13),2\n")).unwrap();
    let said = fails(&args, 2);
    let place = format!("wrong:{}: ", flows.lines().count() + 1);
    assert!(said.contains(&place) && said.contains("trunc(13): shorter than"), "{said}");
    assert!(!Path::new(&file("x")).exists(), "it made the folder before it read the flows");
    // Whichever is the wider one, and whichever comes first.
    let narrow = "in_port(1),eth_type(0x0800),ipv4(dst=10.0.0.2,frag=no) 2\n";
    let wide = "in_port(1),eth_type(0x0800),ipv4(frag=no) drop\n";
    for flows in [[narrow, wide], [wide, narrow]] {
        std::fs::write(file("wrong"), flows.concat()).unwrap();
        let said = fails(&args, 2);
        assert!(said.contains(" overlaps ufid:") && said.contains("compares ipv4_dst"), "{said}");
    }
}

#[test]
fn bench_names_its_cases_and_measures_one() {
    let list = says(&["bench", "classifier", "--list"]);
    assert!(list.starts_with("d10k_1 ") && list.contains("\ninstall_1m "), "{list}");
    let args = ["bench", "host", "--case", "emc1", "--windows", "2"];
    let json = says(&[&args[..], &["--seconds", "0.05", "--json"]].concat());
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json[0]["unit"], &json[0]["windows"]), (&"packet".into(), &2.into()));
    for what in ["cpu_ns", "rate"] {
        let at = |name: &str| json[0][what][name].as_f64().unwrap();
        assert!(
            0.0 < at("min") && at("min") <= at("median") && at("median") <= at("max"),
            "{json}"
        );
    }
    assert!(fails(&["bench", "host", "--case", "x"], 2).contains("no case 'x' (there are io"));
}

/// A running daemon with two pcap ports; killed with the value.
struct Daemon {
    child: Child,
    folder: tempfile::TempDir,
    http: u16,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A TCP port of this machine on which nobody listens now.
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn spawn(config: &Path) -> Child {
    let command = env!("CARGO_BIN_EXE_megaflow");
    let mut command = Command::new(command);
    command.args(["run", "--config"]).arg(config).stderr(Stdio::null()).spawn().unwrap()
}

fn wait_for(what: impl Fn() -> bool) {
    let clock = Clock::start();
    while !what() {
        assert!(clock.elapsed() < Duration::from_secs(20), "it did not happen within 20 s");
        std::thread::sleep(Duration::from_millis(20));
    }
}

impl Daemon {
    fn start() -> Daemon {
        let folder = tempfile::tempdir().unwrap();
        let http = free_port();
        let at = folder.path().display();
        let config = format!(
            "[datapath]\nname = 'br0'\n[[port]]\nname = 'a'\ntype = 'pcap'\nin = '{CAPTURE}'\n\
             [[port]]\nname = 'b'\ntype = 'pcap'\nout = '{at}/b.pcap'\n\
             [control]\nsocket = '{at}/run/mega.ctl'\n[http]\nlisten = '127.0.0.1:{http}'\n"
        );
        let file = folder.path().join("m.toml");
        std::fs::write(&file, config).unwrap();
        let daemon = Daemon { child: spawn(&file), folder, http };
        wait_for(|| TcpStream::connect(("127.0.0.1", http)).is_ok());
        daemon
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("run/mega.ctl")
    }

    fn says(&self, command: &str, args: &[&str]) -> String {
        let socket = self.socket();
        let all = [&[command, "--socket", socket.to_str().unwrap()], args].concat();
        says(&all)
    }

    fn flows(&self) -> Vec<Value> {
        serde_json::from_str(&self.says("flows", &["--json"])).unwrap()
    }

    fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.http)).unwrap();
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.split_once("\r\n\r\n").unwrap().1.to_owned()
    }
}

#[test]
fn the_clients_of_a_daemon_say_the_same() {
    let daemon = Daemon::start();
    let offered = says(&["extract", CAPTURE]).lines().count() as u64;
    // Packets wait while their flow is not installed yet, and if too many wait, some are dropped.
    // The number of hits differs from run to run, but all packets are accounted for in every run.
    let status = || -> Value { serde_json::from_str(&daemon.get("/api/v1/status")).unwrap() };
    wait_for(|| {
        let balance = &status()["conservation"];
        balance["offered"]["packets"] == offered && balance["in_flight"]["packets"] == 0
    });
    wait_for(|| status()["conservation"]["holds"] == true);
    let flows = daemon.flows();
    let table = daemon.says("flows", &["--where", "host"]);
    assert_eq!(table.lines().count(), 1 + flows.len(), "{table}");
    let arp = daemon.says("flows", &["arp"]);
    assert!(arp.contains("eth_type(0x0806)") && !arp.contains("eth_type(0x0800)"), "{arp}");
    let ufid = flows[0]["ufid"].as_str().unwrap();
    assert!(daemon.says("explain", &[ufid]).contains("placement: host"));
    let explained = daemon.says("explain", &["--json", ufid]);
    let explained: Value = serde_json::from_str(&explained).unwrap();
    assert_eq!(explained["installed"]["ufid"], flows[0]["ufid"]);
    let top = daemon.says("top", &["--once"]);
    assert!(
        top.contains(&format!("packets offered {offered} + copies 0 = sent nic 0 + sent host ")),
        "{top}"
    );
    assert_eq!(top.matches(": holds\n").count(), 2, "{top}");
    let dump = daemon.says("ctl", &["dpctl/dump-flows", "-m"]);
    assert_eq!(dump.lines().count(), flows.len());
    for flow in &flows {
        let (ufid, total) = (flow["ufid"].as_str().unwrap(), &flow["total"]);
        let line = dump.lines().find(|line| line.starts_with(ufid)).unwrap();
        let counts = format!("packets:{}, bytes:{},", total["packets"], total["bytes"]);
        assert!(line.contains(&counts), "{line} {counts}");
    }
    // At rest the metrics have the same counts as the dump.
    let metrics = daemon.get("/metrics");
    assert!(metrics.contains(&format!("megaflow_flows{{placement=\"host\"}} {}\n", flows.len())));
    let series = "megaflow_port_receive_packets_total{port=\"a\",path=\"host\"}";
    assert!(metrics.contains(&format!("{series} {offered}\n")), "{metrics}");
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("promtool (Debian package prometheus) is needed by this test");
    promtool.stdin.take().unwrap().write_all(metrics.as_bytes()).unwrap();
    assert!(promtool.wait().unwrap().success());
}

#[test]
fn a_daemon_leaves_nothing_and_comes_back_after_kill_9() {
    let mut daemon = Daemon::start();
    let config = daemon.folder.path().join("m.toml");
    let second = megaflow(&["run", "--config", config.to_str().unwrap()]);
    assert_eq!(second.status.code(), Some(1));
    let error = String::from_utf8(second.stderr).unwrap();
    assert!(error.contains("already running"), "{error}");
    daemon.child.kill().unwrap();
    daemon.child.wait().unwrap();
    assert!(daemon.socket().exists());
    daemon.child = spawn(&config);
    wait_for(|| {
        let socket = daemon.socket();
        let socket = socket.to_str().unwrap();
        megaflow(&["ctl", "--socket", socket, "version"]).status.success()
    });
    assert_eq!(daemon.says("ctl", &["exit"]), "");
    assert!(daemon.child.wait().unwrap().success());
    // The folder stays, because the daemon that made it was killed.
    assert_eq!(std::fs::read_dir(daemon.folder.path().join("run")).unwrap().count(), 0);
}

#[test]
fn doctor_ends_with_a_verdict_and_its_status() {
    for goal in ["tc", "fpga", "demo", "tests"] {
        let output = megaflow(&["doctor", "--for", goal]);
        let text = String::from_utf8(output.stdout).unwrap();
        let last = text.lines().last().unwrap();
        let can = last == format!("verdict for {goal}: can work on this host");
        let cannot = format!("verdict for {goal}: can't work on this host: ");
        assert!(can || last.starts_with(&cannot), "{text}");
        assert_eq!(output.status.code(), Some(i32::from(!can)), "{text}");
        let json = megaflow(&["doctor", "--json", "--for", goal]);
        let findings: Vec<Value> = serde_json::from_slice(&json.stdout).unwrap();
        assert_eq!(findings.last().unwrap()["ok"], can, "{findings:?}");
    }
    // The demo always works: if it can't make hosts, it replays captures only.
    assert_eq!(megaflow(&["doctor", "--for", "demo"]).status.code(), Some(0));
    assert!(says(&["doctor"]).contains("verdict for tests: "));
}
