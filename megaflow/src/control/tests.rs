use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use flow::Clock;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::testing::{context, fill};
use super::*;

const FLOW: &str = "in_port(1),eth_type(0x0800),ipv4(proto=6,frag=no),tcp(dst=80)";

fn serve(runtime: &Runtime, socket: &Path, context: Context) -> Result<ControlServer, StartError> {
    runtime.block_on(async { ControlServer::start(ControlSocket::take(socket)?, context) })
}

/// A server on a socket of its own. Dropping the value stops the server.
struct Lab {
    folder: TempDir,
    context: Context,
    server: Option<ControlServer>,
    runtime: Runtime,
}

impl Lab {
    fn new() -> Lab {
        let folder = tempfile::tempdir().unwrap();
        let runtime = Runtime::new().unwrap();
        let context = context();
        let socket = folder.path().join("run/mega.ctl");
        let server = serve(&runtime, &socket, context.clone()).unwrap();
        Lab { folder, context, server: Some(server), runtime }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("run/mega.ctl")
    }

    fn appctl(&self, params: &[&str]) -> Output {
        appctl(self.socket().to_str().unwrap(), params)
    }

    /// Returns the text that the method prints.
    fn says(&self, params: &[&str]) -> String {
        let output = self.appctl(params);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{params:?}: {error}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Returns the one line with which the method fails, after checking that no flow changed.
    fn fails(&self, params: &[&str]) -> String {
        let before = self.says(&["dpctl/dump-flows", "-m"]);
        let output = self.appctl(params);
        assert_eq!(output.status.code(), Some(2), "{params:?}");
        assert!(output.stdout.is_empty());
        let error = String::from_utf8(output.stderr).unwrap();
        // The second line is ovs-appctl's own: "server returned an error".
        assert_eq!(error.lines().count(), 2, "{error}");
        assert_eq!(self.says(&["dpctl/dump-flows", "-m"]), before, "{params:?}");
        error.lines().next().unwrap().to_owned()
    }

    fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(self.socket()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream
    }
}

fn appctl(target: &str, params: &[&str]) -> Output {
    Command::new("ovs-appctl")
        .args(["-T", "10", "-t", target])
        .args(params)
        .output()
        .expect("ovs-appctl (Debian package openvswitch-common) is needed by this test")
}

#[test]
fn flows_are_added_changed_shown_and_removed() {
    let lab = Lab::new();
    assert_eq!(lab.says(&["dpctl/dump-flows"]), "");
    assert_eq!(lab.says(&["dpctl/add-flow", FLOW, "2"]), "");
    let line = lab.says(&["dpctl/dump-flows", "-m", "--no-names"]);
    assert_eq!(line.lines().count(), 1);
    let (ufid, rest) = line.split_once(", ").unwrap();
    assert!(rest.starts_with("recirc_id(0),in_port(1),"), "{line}");
    let end = ", packets:8, bytes:760, used:1.500s, flags:S., offloaded:yes, dp:fpga, actions:2\n";
    assert!(line.ends_with(end), "{line}");
    assert_eq!(lab.says(&["dpctl/get-flow", ufid]), line);
    let named = line.replace("in_port(1)", "in_port(vf0)");
    assert_eq!(lab.says(&["dpctl/get-flow", "-m", ufid]), named);
    assert_eq!(lab.says(&["dpctl/dump-flows", "-m"]), named);
    lab.says(&["dpctl/mod-flow", "megaflow@br0", FLOW, "push_vlan(vid=5,pcp=0),2"]);
    let changed = lab.says(&["dpctl/get-flow", "br0", ufid]);
    assert!(changed.ends_with("actions:push_vlan(vid=5,pcp=0),2\n"), "{changed}");
    let removed = lab.says(&["dpctl/del-flow", "-s", FLOW]);
    assert_eq!(removed, "packets:8, bytes:760, used:1.500s, flags:S.\n");
    lab.says(&["dpctl/mod-flow", "--may-create", FLOW, "drop"]);
    assert!(lab.says(&["dpctl/dump-flows"]).ends_with("actions:drop\n"));
    lab.says(&["dpctl/del-flow", ufid]);
    assert_eq!(lab.says(&["dpctl/dump-flows"]), "");
}

#[test]
fn dumps_are_filtered_by_match_and_place() {
    let lab = Lab::new();
    lab.says(&["dpctl/add-flow", FLOW, "2"]);
    lab.says(&["dpctl/add-flow", "in_port(1),dp_hash(0x1),eth_type(0x0806)", "2"]);
    for (params, count) in [
        (&["type=offloaded"][..], 1),
        (&["type=fpga"], 1),
        (&["type=tc"], 0),
        (&["type=non-offloaded"], 1),
        (&["type=ovs,fpga", "-m", "br0"], 2),
        (&["filter=tcp,tp_dst=80"], 1),
        (&["filter=in_port=vf0"], 2),
        (&["filter=in_port(1),eth_type(0x0806)", "type=offloaded"], 0),
    ] {
        let all = [&["dpctl/dump-flows"], params].concat();
        assert_eq!(lab.says(&all).lines().count(), count, "{params:?}");
    }
}

#[test]
fn explanations_name_what_is_at_fault() {
    let lab = Lab::new();
    let refused = "in_port(1),dp_hash(0x1),eth_type(0x0806)";
    lab.says(&["dpctl/add-flow", refused, "2"]);
    let text = lab.says(&["offload/explain", refused]);
    assert!(text.contains("placement: refused for 3.0 s\n"), "{text}");
    assert!(
        text.ends_with("fpga: refused: match-field dp_hash: the card has no such key\n"),
        "{text}"
    );
    let why = ["match-field dp_hash: the card has no such key", "action trunc", "action hash"];
    let actions = "trunc(99),hash(l4(0)),2";
    lab.says(&["dpctl/add-flow", "in_port(2),dp_hash(0x1)", actions]);
    let text = lab.says(&["offload/explain", "in_port(2),dp_hash(0x1)"]);
    assert!(why.iter().all(|why| text.contains(why)), "{text}");
    let dump = lab.says(&["offload/flows", "refused", "in_port=2"]);
    let flows: Vec<crate::control::view::Flow> = serde_json::from_str(&dump).unwrap();
    let told: Vec<_> = flows[0].refusals.iter().map(ToString::to_string).collect();
    assert_eq!(told, why);
    lab.says(&["dpctl/del-flow", "in_port(2),dp_hash(0x1)"]);
    let maybe = lab.says(&["offload/explain", FLOW, "2"]);
    assert!(maybe.contains("placement: not installed\nfpga: can hold it\n  exact slot"), "{maybe}");
    assert_eq!(lab.says(&["offload/reasons"]), "match-field: 1 (dp_hash 1)\n");
    let show = lab.says(&["offload/show"]);
    assert!(show.contains("fpga: up\n  table exact-match: 1 of 8\n"), "{show}");
    assert!(lab.fails(&["offload/explain", FLOW]).contains("add its actions"));
}

#[test]
fn everything_that_is_listed_answers() {
    let lab = Lab::new();
    let list = lab.says(&["list-commands"]);
    let names: Vec<&str> =
        list.lines().skip(1).filter_map(|line| line.split_whitespace().next()).collect();
    assert!(names.is_sorted() && names.len() > 20, "{names:?}");
    for name in names.iter().filter(|name| **name != "exit") {
        let output = lab.appctl(&[name]);
        let error = String::from_utf8_lossy(&output.stderr);
        let wants = error.contains("requires at least");
        assert!(output.status.success() || wants, "{name}: {error}");
    }
    assert!(lab.says(&["version"]).starts_with("megaflow "));
    assert_eq!(lab.says(&["dpctl/dump-dps"]), "megaflow@br0\n");
    assert!(lab.says(&["dpctl/show", "-s"]).contains("  port 1: vf0 (fpga)\n    RX packets:0"));
    assert!(lab.says(&["metrics/show"]).contains("\nmegaflow_provider_up{provider=\"fpga\"} 1\n"));
    assert!(lab.says(&["coverage/show"]).contains("install_full/fpga"));
    assert_eq!(lab.says(&["port/receive", "vf0", &"00".repeat(60)]), "");
    let shown = lab.says(&["dpctl/show"]);
    let head = "megaflow@br0:\n  lookups: hit:3 missed:1 lost:0\n  flows: 0\n  \
                masks: hit:9 total:2 hit/pkt:2.25\n  port 1: ";
    assert!(shown.starts_with(head), "{shown}");
    let queues = lab.says(&["dpif-netdev/pmd-rxq-show"]);
    let of_second = lab.says(&["dpif-netdev/pmd-rxq-show", "-pmd", "3"]);
    assert!(queues.starts_with("pmd thread numa_id 0 core_id 2:\n  isolated : false\n  port: "));
    let last = "  port: vf0               queue-id:  1 (enabled)   pmd usage: NOT AVAIL\n  \
                overhead: NOT AVAIL\n";
    assert!(of_second.ends_with(last) && queues.ends_with(&of_second), "{queues}");
    assert_eq!((queues.lines().count(), of_second.lines().count()), (10, 5));
    assert_eq!(lab.says(&["vlog/set", "engine:dbg"]), "");
}

#[test]
fn the_reference_lists_every_method() {
    let page = include_str!("../../../docs/reference/control.md");
    let table = page.split("\n## ").next().unwrap();
    let rows = table.lines().filter_map(|line| line.strip_prefix("| `"));
    let listed: Vec<&str> = rows.filter_map(|row| row.split(['`', ' ']).next()).collect();
    let list = Lab::new().says(&["list-commands"]);
    let names: Vec<&str> =
        list.lines().skip(1).filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(listed, names);
}

/// Sends byte by byte what `ovs-appctl --format json` of OVS 3.4 sends, since Debian's is older.
#[test]
fn a_client_that_wants_json_gets_it_on_its_connection_alone() {
    let lab = Lab::new();
    let mut stream = lab.connect();
    let mut ask = |method: &str, params: &str| {
        let request = format!("{{\"id\":7,\"method\":\"{method}\",\"params\":[{params}]}}");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answers = serde_json::Deserializer::from_reader(&stream).into_iter();
        let answer: serde_json::Value = answers.next().unwrap().unwrap();
        assert_eq!(answer["id"], 7);
        answer
    };
    let plain = |text: &str| serde_json::json!({"reply-format": "plain", "reply": text});
    let version = lab.says(&["version"]);
    assert_eq!(ask("version", "")["result"], version);
    let refused = ask("set-options", "\"--format\",\"xml\"");
    assert_eq!(refused["error"], "option format has invalid value xml\n");
    assert_eq!(ask("version", "")["result"], version);
    assert_eq!(ask("set-options", "\"--format\",\"json\"")["result"], plain(""));
    assert_eq!(ask("version", "")["result"], plain(&version));
    assert_eq!(ask("nonsense", "")["result"], serde_json::Value::Null);
    assert!(ask("nonsense", "")["error"].is_string(), "errors are strings in every form");
    let commands = &ask("list-commands", "")["result"];
    assert_eq!(commands["set-options"], "[--format text|json]");
    let shown = &ask("dpif/show", "")["result"]["megaflow@br0"];
    assert_eq!(shown["stats"], serde_json::json!({"hit": "3", "missed": "0"}));
    let port = serde_json::json!({"ofport": "1", "port_no": "1", "type": "fpga"});
    assert_eq!(shown["bridges"]["br0"]["vf0"], port);
    assert_eq!(lab.says(&["version"]), version, "others get text");
    assert_eq!(ask("set-options", "\"--format=text\"")["result"], "");
    assert_eq!(ask("version", "")["result"], version);
}

#[test]
fn wrong_input_exits_2_with_a_line_and_changes_nothing() {
    let lab = Lab::new();
    lab.says(&["dpctl/add-flow", FLOW, "2"]);
    let missing = "ufid:00000000-0000-0000-0000-000000000000";
    for (params, want) in [
        (&["nonsense"][..], "\"nonsense\" is not a valid command"),
        (&["dpctl/add-flow"], "requires at least 1 argument"),
        (&["dpctl/add-flow", FLOW], "takes 2 arguments"),
        (&["dpctl/add-flow", FLOW, "2"], "is installed already"),
        (&["dpctl/add-flow", "in_port(1),foo(2)", "2"], "flow: column 12: "),
        (&["dpctl/add-flow", "in_port(1)\nx", "2"], "flow: column"),
        (&["dpctl/add-flow", FLOW, "output"], "actions: column"),
        (&["dpctl/add-flow", "other", FLOW, "3"], "no datapath 'other'; there is megaflow@br0"),
        (&["dpctl/add-flow", "--fast", FLOW, "3"], "unknown option '--fast'"),
        (&["dpctl/add-flow", &format!("{missing},{FLOW}"), "3"], "is not the ufid of this match"),
        (&["dpctl/add-flow", "in_port(3),eth_type(0x0806)", "set(tcp(src=1))"], "set(tcp"),
        (&["dpctl/mod-flow", FLOW, "pop_mpls(eth_type=0x800)"], "pop_mpls"),
        (&["dpctl/mod-flow", "in_port(9),eth_type(0x0800)", "3"], "no flow ufid:"),
        (&["dpctl/del-flow", missing], "no flow ufid:0000"),
        (&["dpctl/get-flow", missing], "no flow ufid:0000"),
        (&["dpctl/get-flow", "ufid:zz"], "'ufid:zz' is not a ufid"),
        (&["dpctl/dump-flows", "type=foo"], "unknown type 'foo': expected"),
        (&["coverage/read-counter", "foo"], "No such counter"),
        (&["fdb/stats-show", "br9"], "no such bridge 'br9'; there is 'br0'"),
        (&["set-options", "--format"], "option '--format' requires an argument"),
        (&["dpctl/dump-flows", "filter=foo"], "filter 'foo': 'foo' is neither a protocol"),
        (&["dpctl/add-flows", "/nonexistent"], "/nonexistent: No such file"),
        (&["dpctl/add-flows", "relative"], "relative: give an absolute path"),
        (&["port/receive", "vf9", "00"], "no port 'vf9'"),
        (&["port/receive", "vf0", "0g"], "'0g' is not pairs of hex digits"),
        (&["fdb/show", "br9"], "no such bridge 'br9'; there is 'br0'"),
        (&["vlog/set", "loud"], "no level, destination or module \"loud\""),
        (&["exit", "now"], "exit: unknown argument 'now'"),
    ] {
        let line = lab.fails(params);
        assert!(line.contains(want), "{params:?} said: {line}");
    }
}

#[test]
fn files_of_flows_go_in_whole_or_not_at_all() {
    let lab = Lab::new();
    let file = lab.folder.path().join("flows");
    let path = file.to_str().unwrap();
    std::fs::write(&file, format!("# two\n{FLOW} 2\nadd in_port(2),eth_type(0x0806) drop\n"))
        .unwrap();
    lab.says(&["dpctl/add-flows", path]);
    let dump = lab.says(&["dpctl/dump-flows", "-m"]);
    assert_eq!(dump.lines().count(), 2);
    let error = lab.fails(&["dpctl/add-flows", path]);
    assert!(error.contains("flows:2: ") && error.contains("installed already"), "{error}");
    // A dump is a file of flows too.
    lab.says(&["dpctl/del-flows"]);
    std::fs::write(&file, &dump).unwrap();
    lab.says(&["dpctl/add-flows", path]);
    assert_eq!(lab.says(&["dpctl/dump-flows", "-m"]), dump);
    lab.says(&["dpctl/del-flows"]);
    std::fs::write(&file, format!("{dump}nonsense\n")).unwrap();
    assert!(lab.fails(&["dpctl/add-flows", path]).contains("flows:3: "));
}

#[test]
fn hostile_clients_stall_nobody() {
    let lab = Lab::new();
    fill(&lab.context, 5000);
    let silent: Vec<UnixStream> = (0..200).map(|_| lab.connect()).collect();
    let half: Vec<UnixStream> = (0..50)
        .map(|_| {
            let mut stream = lab.connect();
            stream.write_all(b"{\"id\":0,\"method\":\"ver").unwrap();
            stream
        })
        .collect();
    // The client asks for megabytes again and again, and reads nothing.
    let mut deaf = lab.connect();
    let dump = br#"{"id":0,"method":"dpctl/dump-flows","params":["-m"]}"#;
    for _ in 0..20 {
        deaf.write_all(dump).unwrap();
    }
    let start = Clock::start();
    assert_eq!(lab.says(&["dpctl/dump-flows"]).lines().count(), 5000);
    assert!(lab.says(&["version"]).starts_with("megaflow"));
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert!(lab.server.as_ref().unwrap().clients.lock().len() <= CLIENTS);
    drop((silent, half, deaf));
}

#[test]
fn garbage_gets_an_error_and_the_door() {
    let lab = Lab::new();
    let deep = format!("{{\"id\":{}1{}}}", "[".repeat(5000), "]".repeat(5000));
    for garbage in [
        "GET / HTTP/1.1\r\n\r\n",
        "\0\u{1}\u{2}",
        "{}",
        "{\"id\":0,\"method\":7,\"params\":[]}",
        "{\"id\":0,\"method\":\"version\"}",
        "{\"id\":0,\"method\":\"version\",\"params\":[],\"more\":1}",
        "{]",
        &deep,
    ] {
        let mut stream = lab.connect();
        stream.write_all(garbage.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let answer: serde_json::Value = serde_json::from_str(&answer).expect(garbage);
        assert!(answer["result"].is_null() && answer["error"].is_string(), "{garbage}");
    }
    let mut stream = lab.connect();
    let endless = vec![b'x'; 1 << 16];
    stream.write_all(b"{\"").unwrap();
    let sent = (0..64).take_while(|_| stream.write_all(&endless).is_ok()).count();
    assert!(sent < 64, "the server took 4 MiB of one request");
}

#[test]
fn requests_behind_each_other_are_answered_in_order() {
    let lab = Lab::new();
    let mut stream = lab.connect();
    let one = |id: u32| format!("{{\"id\":{id},\"method\":\"version\",\"params\":[]}} ");
    let all: String = (0..10).map(one).collect();
    for part in all.as_bytes().chunks(7) {
        stream.write_all(part).unwrap();
    }
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answers = String::new();
    stream.read_to_string(&mut answers).unwrap();
    let ids: Vec<u64> = serde_json::Deserializer::from_str(&answers)
        .into_iter::<serde_json::Value>()
        .map(|answer| answer.unwrap()["id"].as_u64().unwrap())
        .collect();
    assert_eq!(ids, (0..10).collect::<Vec<_>>());
}

#[test]
fn the_files_are_private_found_by_name_and_gone_at_the_end() {
    let mut lab = Lab::new();
    let run = lab.folder.path().join("run");
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode(&lab.socket()) & 0o777, 0o600);
    assert_eq!(mode(lab.server.as_ref().unwrap().path()) & 0o777, 0o600);
    let by_name = Command::new("ovs-appctl")
        .env("OVS_RUNDIR", &run)
        .args(["-t", "mega", "version"])
        .output()
        .unwrap();
    assert!(by_name.status.success(), "{}", String::from_utf8_lossy(&by_name.stderr));
    // The answer to exit arrives, though everything ends with it.
    assert_eq!(lab.says(&["exit"]), "");
    let server = lab.server.take().unwrap();
    lab.runtime.block_on(server.stop());
    assert!(!run.exists(), "{:?}", std::fs::read_dir(run).unwrap().collect::<Vec<_>>());
}

#[test]
fn a_live_one_is_refused_and_a_killed_one_is_cleared_away() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("mega.ctl");
    let runtime = Runtime::new().unwrap();
    let start = || serve(&runtime, &socket, context());
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "control::tests::holds_the_socket_of_its_environment", "--nocapture"])
        .env(HOLD, &socket)
        .stdout(Stdio::piped())
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let clock = Clock::start();
    while !socket.exists() && clock.elapsed() < Duration::from_secs(10) {
        std::thread::sleep(Duration::from_millis(10));
    }
    let error = start().err().expect("a second one was let in").to_string();
    assert!(error.contains(&format!("already running (pid {})", child.id())), "{error}");
    child.kill().unwrap();
    child.wait().unwrap();
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(left.len(), 3, "{left:?}");
    let server = start().unwrap();
    assert!(appctl(socket.to_str().unwrap(), &["version"]).status.success());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3);
    drop(server);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

const HOLD: &str = "MEGAFLOW_TEST_HOLD_SOCKET";

/// The other process of the test above. It does nothing when it runs by itself.
#[test]
fn holds_the_socket_of_its_environment() {
    let Some(socket) = std::env::var_os(HOLD) else { return };
    let runtime = Runtime::new().unwrap();
    let _server = serve(&runtime, socket.as_ref(), context()).unwrap();
    // The process waits until the test kills it, or ends and closes the pipe.
    let _ = std::io::stdin().read(&mut [0]);
}

#[test]
fn what_is_no_socket_is_not_touched() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("mega.ctl");
    std::fs::write(&socket, "precious").unwrap();
    let error = ControlSocket::take(&socket).err().unwrap().to_string();
    assert!(error.contains("is no socket"), "{error}");
    assert_eq!(std::fs::read_to_string(&socket).unwrap(), "precious");
}
