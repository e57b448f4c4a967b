//! `megaflow run`: real traffic passes through the daemon, and nothing is left when the daemon is
//! gone.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod common;

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use common::daemon::{Daemon, Folder, http};
use common::metrics::samples;
use common::net::{LEFT, Lan, Namespace, RIGHT, connect, transfer};
use common::{MEGAFLOW, files, until};
use nix::sys::signal::Signal;
use serde_json::Value;

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap()
}

/// Packets that the flows which pass the filter hit in the NIC.
fn in_nic(flows: &[Value]) -> u64 {
    flows.iter().map(|flow| number(&flow["nic"]["packets"])).sum()
}

/// Checks that a daemon which ends at a signal leaves what was there before, and nothing else.
fn ends_clean_at(signal: Signal) {
    let lan = Lan::new(false);
    let folder = Folder::new();
    folder.write("megaflow.toml", "");
    folder.write("log", "");
    let before = (files(folder.path()), lan.switch.inventory());
    let mut daemon = Daemon::on_card(&lan, &folder);
    assert!(files(folder.path()).len() > before.0.len());
    lan.left.ping(RIGHT);
    daemon.signal(signal);
    assert_eq!(daemon.wait().code(), Some(0), "{}", daemon.log());
    assert_eq!((files(folder.path()), lan.switch.inventory()), before);
}

#[test]
fn sigterm_and_sigint_leave_nothing_behind() {
    std::thread::scope(|scope| {
        scope.spawn(|| ends_clean_at(Signal::SIGTERM));
        scope.spawn(|| ends_clean_at(Signal::SIGINT));
    });
}

#[test]
fn the_example_carries_traffic_in_the_card_and_stays_up() {
    let lan = Lan::new(false);
    let folder = Folder::new();
    let mut daemon = Daemon::on_card(&lan, &folder);
    until("it is ready", || http(&lan.switch, "GET", "/readyz", "localhost").code == 200);
    lan.left.ping(RIGHT);
    lan.right.ping(LEFT);
    let (mut near, mut far) = lan.connect();
    transfer(&mut near, &mut far, 1 << 20);
    // The flows move into the NIC, and then their first counters are read.
    until("the flows are in the NIC", || {
        daemon.flows().iter().all(|flow| flow["placement"] == "nic")
    });
    daemon.at_rest();
    let before = daemon.flows();
    transfer(&mut near, &mut far, 16 << 20);
    transfer(&mut far, &mut near, 16 << 20);
    daemon.at_rest();
    let after = daemon.flows();
    let bytes = |flows: &[Value], place: &str| -> u64 {
        let ip = |flow: &&Value| flow["match"].as_str().unwrap().contains("eth_type(0x0800)");
        flows.iter().filter(ip).map(|flow| number(&flow[place]["bytes"])).sum()
    };
    // The host does not see this traffic any more.
    assert_eq!(bytes(&after, "host"), bytes(&before, "host"));
    assert!(bytes(&after, "nic") > bytes(&before, "nic") + (32 << 20));
    drop((near, far));
    daemon.at_rest();
    // SIGHUP, which a closed terminal sends, does not end the daemon.
    daemon.signal(Signal::SIGHUP);
    until("the signal is heard", || daemon.log().contains("SIGHUP: "));
    assert!(daemon.is_running());
    assert_eq!(daemon.says("ctl", &["exit"]), "");
    assert_eq!(daemon.wait().code(), Some(0));
}

#[test]
fn a_killed_daemon_is_followed_by_one_that_works() {
    let lan = Lan::new(false);
    let folder = Folder::new();
    let mut daemon = Daemon::on_card(&lan, &folder);
    let inventory = lan.switch.inventory();
    let (mut near, mut far) = lan.connect();
    transfer(&mut near, &mut far, 1 << 20);
    // The connection survives the death of the daemon.
    std::thread::scope(|scope| {
        let goes_on = scope.spawn(|| transfer(&mut near, &mut far, 64 << 20));
        std::thread::sleep(Duration::from_millis(100));
        daemon.signal(Signal::SIGKILL);
        assert_eq!(daemon.wait().code(), None);
        assert!(!goes_on.is_finished(), "the traffic was over before the kill");
        assert!(daemon.socket().exists(), "a killed process can't remove its socket");
        assert_eq!(lan.switch.inventory(), inventory);
        let next = Daemon::on_card(&lan, &folder);
        goes_on.join().unwrap();
        daemon = next;
    });
    let names = |folder: &Folder| files(&folder.path().join("run"));
    let stale = |name: &String| name.contains(".ctl") && !name.ends_with("mega.ctl");
    let own = format!("{}.ctl", daemon.pid());
    assert!(names(&folder).iter().filter(|name| stale(name)).all(|name| name.ends_with(&own)));
    lan.left.ping(RIGHT);
    until("flows are in the NIC", || in_nic(&daemon.flows()) > 0);
    daemon.at_rest();
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.wait().code(), Some(0));
    assert_eq!(names(&folder), [""; 0]);
    assert_eq!(lan.switch.inventory(), inventory);
}

/// However early a signal comes, nothing is left behind: either the daemon had not begun, or it
/// cleans up.
#[test]
fn a_signal_during_the_start_leaves_nothing_behind() {
    let lan = Lan::new(false);
    let folder = Folder::new();
    let config = folder.write("megaflow.toml", &folder.example());
    let before = (files(folder.path()), lan.switch.inventory());
    for delay in (0..40).step_by(2) {
        let mut command = Command::new(MEGAFLOW);
        command.args(["run", "--config", &config]).stderr(Stdio::null());
        let mut child = lan.switch.run(|| command.spawn().unwrap());
        std::thread::sleep(Duration::from_millis(delay));
        let pid = nix::unistd::Pid::from_raw(child.id().try_into().unwrap());
        nix::sys::signal::kill(pid, Signal::SIGTERM).unwrap();
        let status = child.wait().unwrap();
        let (code, signal) = (status.code(), status.signal());
        assert!(code == Some(0) || signal == Some(15), "after {delay} ms: {status:?}");
        assert_eq!((files(folder.path()), lan.switch.inventory()), before, "{delay} ms");
    }
}

/// Runs `megaflow run` in a namespace until it ends.
fn run(at: &Namespace, config: &str) -> common::Ended {
    let mut command = Command::new(MEGAFLOW);
    command.args(["run", "--config", config]).stdin(Stdio::null());
    at.run(|| command.output().unwrap()).into()
}

#[test]
fn a_second_daemon_on_the_socket_is_refused_and_touches_nothing() {
    let switch = Namespace::new(false);
    let folder = Folder::new();
    let out = folder.file("out.pcap");
    let config = format!(
        "[datapath]\nname = 'br0'\n[[port]]\nname = 'inside'\ntype = 'internal'\n\
         [[port]]\nname = 'file'\ntype = 'pcap'\nin = '{}'\nout = '{out}'\n\
         [control]\nsocket = '{}'\n",
        common::CAPTURE,
        folder.socket(),
    );
    let mut daemon = Daemon::start(&switch, &folder, &config);
    daemon.appctl(&["dpctl/add-flow", "in_port(1),eth(),eth_type(0x88b5)", "2"]);
    daemon.appctl(&["port/receive", "inside", &("02".repeat(12) + "88b5" + &"00".repeat(46))]);
    until("the packet is in the capture", || {
        std::fs::read(&out).is_ok_and(|bytes| common::pcap::frames(&bytes).len() == 1)
    });
    let before = (files(folder.path()), switch.inventory(), std::fs::read(&out).unwrap());
    let second = run(&switch, &folder.file("megaflow.toml"));
    assert_eq!((second.code, second.err.lines().count()), (Some(1), 1), "{second:?}");
    let pid = daemon.pid();
    assert!(second.err.contains(&format!("already running (pid {pid})")), "{second:?}");
    let after = (files(folder.path()), switch.inventory(), std::fs::read(&out).unwrap());
    assert!(after == before, "{:?}\n{:?}", (&before.0, &before.1), (&after.0, &after.1));
    // The first daemon is not disturbed.
    assert!(daemon.appctl(&["dpctl/dump-flows"]).contains("eth_type(0x88b5)"));
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.wait().code(), Some(0));
}

#[test]
fn a_broken_configuration_is_one_line_and_changes_nothing() {
    let lan = Lan::new(false);
    let folder = Folder::new();
    let good = folder.example();
    let file = folder.write("broken.toml", "");
    let before = (files(folder.path()), lan.switch.inventory());
    for (what, instead, line, want) in [
        ("client = \"l2\"", "cleint = \"l2\"", 5, "did you mean 'client'?"),
        ("client = \"l2\"", "client = \"l3\"", 5, "unknown client 'l3': expected l2 or none"),
        ("type = \"fpga\"", "type = \"fgpa\"", 9, "did you mean 'fpga'?"),
        ("wire = 0", "wire = -1", 10, "-1 is not within 0..=65535"),
        ("device = \"mf-a\"", "device = \"\"", 11, "must not be empty"),
        ("[control]", "[contorl]", 23, "did you mean 'control'?"),
        ("listen = \"127.0.0.1:9464\"", "listen = \"9464\"", 27, "'9464': expected ADDRESS:PORT"),
        ("name = \"br0\"", "name = \"br0", 4, ""),
    ] {
        assert!(good.contains(what), "{what}");
        std::fs::write(&file, good.replacen(what, instead, 1)).unwrap();
        for ended in [run(&lan.switch, &file), common::megaflow(&["check-config", &file])] {
            assert_eq!((ended.code, ended.err.lines().count()), (Some(2), 1), "{ended:?}");
            let place = format!("{file}:{line}: ");
            assert!(ended.err.contains(&place) && ended.err.contains(want), "{ended:?}");
        }
        assert_eq!((files(folder.path()), lan.switch.inventory()), before);
    }
}

#[test]
fn what_can_not_be_started_is_one_line_and_leaves_nothing() {
    let switch = Namespace::new(false);
    let folder = Folder::new();
    let socket = folder.socket();
    let file = folder.write("start.toml", "");
    let taken = switch.run(|| std::net::TcpListener::bind("127.0.0.1:9464").unwrap());
    let before = (files(folder.path()), switch.inventory());
    let inside = "[[port]]\nname = 'inside'\ntype = 'internal'\n";
    for (more, want) in [
        ("[[port]]\nname = 'x'\ntype = 'system'\ndevice = 'absent0'\n", "absent0"),
        ("[[port]]\nname = 'x'\ntype = 'pcap'\nin = '/nonexistent.pcap'\n", "/nonexistent.pcap"),
        (
            "[[port]]\nname = 'w'\ntype = 'fpga'\nwire = 0\ndevice = 'absent1'\n\
             [[provider]]\nkind = 'fpga'\ndevice = 'model'\n",
            "absent1",
        ),
        ("[[provider]]\nkind = 'fpga'\ndevice = '0000:7f:1f.7'\n", "0000:7f:1f.7"),
        ("[http]\nlisten = '127.0.0.1:9464'\n", "[http] listen = \"127.0.0.1:9464\""),
    ] {
        let text =
            format!("[datapath]\nname = 'br0'\n{inside}{more}[control]\nsocket = '{socket}'");
        std::fs::write(&file, text).unwrap();
        let ended = run(&switch, &file);
        assert_eq!(ended.code, Some(1), "{ended:?}");
        let errors: Vec<&str> = ended.err.lines().filter(|line| !line.contains(" INFO ")).collect();
        assert!(matches!(errors[..], [line] if line.contains(want)), "{want}: {ended:?}");
        assert_eq!((files(folder.path()), switch.inventory()), before, "{want}");
    }
    drop(taken);
}

#[test]
fn tc_without_a_switchdev_nic_says_at_start_that_it_offloads_nothing() {
    let lan = Lan::new(false);
    let folder = Folder::new();
    let config = format!(
        "[datapath]\nname = 'br0'\n\
         [[port]]\nname = 'left'\ntype = 'system'\ndevice = 'mf-a'\n\
         [[provider]]\nkind = 'tc'\n\
         [control]\nsocket = '{}'\n",
        folder.socket(),
    );
    let daemon = Daemon::start(&lan.switch, &folder, &config);
    let log = daemon.log();
    let told: Vec<&str> = log.lines().filter(|line| line.contains("tc offloads nothing")).collect();
    let why = "mf-a is not a port of a switchdev NIC";
    assert!(matches!(told[..], [line] if line.contains("WARN") && line.contains(why)), "{log}");
    let ports = samples(&daemon.appctl(&["metrics/show"]));
    assert_eq!(ports["megaflow_provider_ports{provider=\"tc\"}"], 0.0);
}

/// The ports are of every kind that needs no card, and there is no hardware provider.
#[test]
fn hostdp_alone_forwards_between_ports_of_every_kind() {
    let lan = Lan::new(true);
    let folder = Folder::new();
    let out = folder.file("out.pcap");
    let config = format!(
        "[datapath]\nname = 'br0'\n\
         [[port]]\nname = 'left'\ntype = 'system'\ndevice = 'mf-a'\n\
         [[port]]\nname = 'right'\ntype = 'system'\ndevice = 'mf-b'\n\
         [[port]]\nname = 'inside'\ntype = 'internal'\n\
         [[port]]\nname = 'vm'\ntype = 'tap'\ndevice = 'mf-tap'\n\
         [[port]]\nname = 'file'\ntype = 'pcap'\nin = '{}'\nout = '{out}'\n\
         [control]\nsocket = '{}'\n",
        common::CAPTURE,
        folder.socket(),
    );
    let links = lan.switch.inventory();
    let mut daemon = Daemon::start(&lan.switch, &folder, &config);
    let shown = daemon.appctl(&["dpctl/show"]);
    // The kernel reports a moment later that an interface is up.
    for port in ["1: left (system", "3: inside (internal", "4: vm (tap, down", "5: file (pcap)"] {
        assert!(shown.contains(&format!("port {port}")), "{shown}");
    }
    lan.left.ping(RIGHT);
    let (mut near, mut far) = lan.connect();
    transfer(&mut near, &mut far, 4 << 20);
    // The host itself takes part through the internal port.
    lan.switch.ip("addr add 10.78.0.3/24 dev inside");
    lan.left.ping("10.78.0.3");
    let (mut near, mut far) = connect(&lan.switch, &lan.right, RIGHT);
    transfer(&mut near, &mut far, 1 << 20);
    // A tap is set up by its user. Here the kernel stands for a VM.
    lan.switch.ip("addr del 10.78.0.3/24 dev inside");
    lan.switch.ip("addr add 10.78.0.4/24 dev mf-tap");
    lan.switch.ip("link set mf-tap up");
    until("the tap port is up", || !daemon.appctl(&["dpctl/show"]).contains("(tap, down)"));
    lan.right.ping("10.78.0.4");
    // Flooded frames leave through the capture's port, and the frames of the capture come in
    // through it.
    until("frames are in the capture", || {
        std::fs::read(&out).is_ok_and(|bytes| common::pcap::frames(&bytes).len() > 3)
    });
    let flows = daemon.flows();
    assert!(flows.iter().all(|flow| flow["placement"] == "host"), "{flows:?}");
    assert!(flows.iter().any(|flow| flow["match"].as_str().unwrap().contains("in_port(5)")));
    daemon.at_rest();
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.wait().code(), Some(0));
    assert_eq!(lan.switch.inventory(), links);
}

/// A cable is pulled at the other end. The embedded card and a system port behave alike.
#[test]
fn a_port_that_loses_its_link_loses_its_addresses() {
    let lan = Lan::new(false);
    let folder = Folder::new();
    let on_host = format!(
        "[datapath]\nname = \"br0\"\n[control]\nsocket = \"{}\"\n\
         [[port]]\nname = \"left\"\ntype = \"system\"\ndevice = \"mf-a\"\n\
         [[port]]\nname = \"right\"\ntype = \"system\"\ndevice = \"mf-b\"\n",
        folder.socket()
    );
    for config in [folder.example(), on_host] {
        let mut daemon = Daemon::start(&lan.switch, &folder, &config);
        let knows = |mac: &str| daemon.appctl(&["fdb/show"]).contains(mac);
        lan.left.ping(RIGHT);
        assert!(knows("02:4d:46:00:00:01") && knows("02:4d:46:00:00:02"));
        lan.right.ip("link set eth0 down");
        until("its address is forgotten", || !knows("02:4d:46:00:00:02"));
        assert!(knows("02:4d:46:00:00:01"), "the other port keeps its own");
        let to_right = "eth(src=02:4d:46:00:00:01,dst=02:4d:46:00:00:02)";
        let from_right = "eth(src=02:4d:46:00:00:02";
        let flows = daemon.appctl(&["dpctl/dump-flows", "-m"]);
        assert!(flows.contains(to_right) && !flows.contains(from_right), "{flows}");
        lan.right.ip("link set eth0 up");
        let is_up = "port right is up";
        until("the link is seen", || daemon.log().matches(is_up).count() == 2);
        lan.left.ping(RIGHT);
        assert!(knows("02:4d:46:00:00:02"), "learnt again");
        daemon.signal(Signal::SIGTERM);
        assert_eq!(daemon.wait().code(), Some(0), "{}", daemon.log());
    }
}

#[test]
fn a_flood_of_source_addresses_is_counted_and_told() {
    let lan = Lan::new(false);
    let folder = Folder::new();
    let config = folder.example() + "\n[l2]\nmac_table_size = 20\n";
    let daemon = Daemon::start(&lan.switch, &folder, &config);
    lan.left.ping(RIGHT);
    for n in 0..40 {
        let frame = format!("ffffffffffff02ff000000{n:02x}88b5{}", "00".repeat(46));
        daemon.appctl(&["port/receive", "left", &frame]);
    }
    // A new host at the quiet port sends a frame. The host that was there before must still be
    // known.
    daemon.appctl(&[
        "port/receive",
        "right",
        &format!("ffffffffffff02000000009988b5{}", "00".repeat(46)),
    ]);
    until("all upcalls are answered", || {
        daemon.appctl(&["fdb/show"]).contains("02:00:00:00:00:99")
    });
    let known = daemon.appctl(&["fdb/show"]);
    assert!(known.contains("02:4d:46:00:00:02"), "{known}");
    assert_eq!(known.lines().count(), 21, "{known}");
    let metrics = samples(&http(&lan.switch, "GET", "/metrics", "localhost").body);
    let fdb = |what: &str| metrics[&format!("megaflow_fdb_{what}")];
    assert_eq!((fdb("entries"), fdb("capacity_entries")), (20.0, 20.0));
    let evicted = fdb("evicted_total{port=\"left\"}");
    assert!(evicted >= 23.0, "{evicted}");
    assert_eq!(evicted, fdb("learned_total") - 20.0);
    assert_eq!(fdb("evicted_total{port=\"right\"}"), 0.0);
    until("the log tells", || daemon.log().contains("the table of learnt addresses is full"));
    let log = daemon.log();
    let warnings: Vec<&str> = log.lines().filter(|line| line.contains("is full")).collect();
    assert!(warnings.len() == 1 && warnings[0].contains("left"), "{log}");
}

/// A daemon is stopped while it reads a long file. However far it has come, the client gets the
/// reason at once.
#[test]
fn stopping_during_add_flows_is_told_at_once() {
    let here = Namespace::new(false);
    let folder = Folder::new();
    let line = |n: u32| {
        let [_, a, b, c] = n.to_be_bytes();
        format!("in_port(1),eth(src=02:00:00:{a:02x}:{b:02x}:{c:02x}),eth_type(0x88b5) drop\n")
    };
    let file = folder.write("flows", &(0..199_000).map(line).collect::<String>());
    let config = format!(
        "[datapath]\nname='x'\n[[port]]\nname='inside'\ntype='internal'\n\
         [control]\nsocket='{}'\n",
        folder.socket()
    );
    for delay in [100, 400, 800, 1100, 1400, 1800, 2500] {
        let mut daemon = Daemon::start(&here, &folder, &config);
        let ended = std::thread::scope(|scope| {
            let client = scope.spawn(|| daemon.try_appctl(&["dpctl/add-flows", &file]));
            std::thread::sleep(Duration::from_millis(delay));
            daemon.signal(Signal::SIGTERM);
            client.join().unwrap()
        });
        let begin = flow::Clock::start();
        assert_eq!(daemon.wait().code(), Some(0), "{}", daemon.log());
        let took = begin.elapsed();
        assert!(took < Duration::from_secs(5), "after {delay} ms: ended {took:?} after its answer");
        // On a slow machine the signal may come before the request.
        let is_told = ended.err.contains("the daemon is stopping");
        // A fast machine may have read the whole file.
        assert!(is_told || delay > 400 && ended.code == Some(0), "after {delay} ms: {ended:?}");
    }
}

/// If the last line of a file is wrong, the client gets the error of that line.
#[test]
fn the_error_of_a_file_is_the_one_that_ended_it() {
    let folder = Folder::new();
    let config = format!(
        "[datapath]\nname='x'\n[[port]]\nname='inside'\ntype='internal'\n\
         [control]\nsocket='{}'\n",
        folder.socket()
    );
    let daemon = Daemon::start(&Namespace::new(false), &folder, &config);
    let flow = |n: u32| format!("in_port({n}),eth(),eth_type(0x88b5) drop\n");
    let file = folder.write("flows", &[flow(1), flow(2), flow(1)].concat());
    let ended = daemon.try_appctl(&["dpctl/add-flows", &file]);
    assert!(ended.err.contains(&format!("{file}:3: ufid:")), "{ended:?}");
    assert!(ended.err.contains("exists already"), "{ended:?}");
    assert_eq!(daemon.appctl(&["dpctl/dump-flows"]), "");
}

/// Two forwarding threads between the hosts: traffic passes, and all counters add up.
#[test]
fn two_workers_carry_traffic_and_count_it_once() {
    if std::thread::available_parallelism().unwrap().get() < 2 {
        println!("skipped: there is one core");
        return;
    }
    let lan = Lan::new(false);
    let folder = Folder::new();
    let config = format!(
        "[datapath]\nname = \"br0\"\nworkers = [0, 1]\n\
         [[port]]\nname = \"left\"\ntype = \"system\"\ndevice = \"mf-a\"\n\
         [[port]]\nname = \"right\"\ntype = \"system\"\ndevice = \"mf-b\"\n\
         [[port]]\nname = \"inside\"\ntype = \"internal\"\n\
         [control]\nsocket = \"{}\"\n[http]\nlisten = \"127.0.0.1:9464\"\n",
        folder.socket(),
    );
    let mut daemon = Daemon::start(&lan.switch, &folder, &config);
    lan.left.ping(RIGHT);
    lan.right.ping(LEFT);
    for _ in 0..8 {
        let (mut near, mut far) = lan.connect();
        transfer(&mut near, &mut far, 1 << 20);
        transfer(&mut far, &mut near, 1 << 20);
    }
    daemon.at_rest();
    let queues = daemon.appctl(&["dpif-netdev/pmd-rxq-show"]);
    for (core, queue) in [(0, 0), (1, 1)] {
        let head = format!("core_id {core}:\n  isolated : false\n  port: inside ");
        assert!(queues.contains(&head), "{queues}");
        let line = format!("  port: left              queue-id: {queue:>2} (enabled)");
        assert_eq!(queues.matches(&line).count(), 1, "{queues}");
    }
    assert!(daemon.appctl(&["offload/audit"]).contains(", as believed"));
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.wait().code(), Some(0), "{}", daemon.log());
}
