//! An Open vSwitch of our own on DPDK, with one thread that forwards. Its frames come from a
//! capture that a port replays for ever, and go to a port that forgets them.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use flow::odp::format_match;
use flow::{Clock, Key, Match};
use hostdp::port::pcap;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::cmd::bench::child::Folder;
use crate::cmd::bench::host::Scene;

/// A running Open vSwitch, stopped between two windows.
pub(super) struct OvsDpdk {
    switch: Process,
    /// The thread that forwards.
    worker: u64,
    _database: Process,
    folder: Folder,
    _pages: HugePages,
}

/// A process that ends with its owner.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const SWITCH: &str = "/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk";
const SCHEMA: &str = "/usr/share/openvswitch/vswitch.ovsschema";
const PACKAGES: &str = "openvswitch-switch-dpdk, librte-net-null23 and librte-net-pcap23";
/// MiB of memory for DPDK.
const MEMORY: u64 = 1200;
/// Longest wait for it to start.
const PATIENCE: Duration = Duration::from_secs(60);
/// Time from the moment in which it goes on to the beginning of a window.
const WARM: Duration = Duration::from_millis(100);

/// Keeps this thread on the core that both forward on, the last one; returns its number.
pub(super) fn pin() -> Result<usize, String> {
    let count = std::thread::available_parallelism().map_err(|error| error.to_string())?.get();
    let (core, mut set) = (count - 1, CpuSet::new());
    let pinned = set.set(core).and_then(|()| sched_setaffinity(Pid::from_raw(0), &set));
    pinned.map_err(|error| format!("can't stay on core {core}: {error}"))?;
    Ok(core)
}

impl OvsDpdk {
    /// Starts it with the megaflows of a scene and the frames of its traffic. Its cache is on where
    /// there is one megaflow, as the peers' cases have it.
    pub(super) fn start(scene: &Scene, core: usize) -> Result<OvsDpdk, String> {
        if !Path::new(SWITCH).exists() {
            return Err(format!("there is no {SWITCH}: install {PACKAGES}"));
        }
        let folder = Folder::new("dpdk").map_err(|error| error.to_string())?;
        let pages = HugePages::take();
        tool(&folder, "ovsdb-tool", &["create", "db", SCHEMA])?;
        let server = Command::new("ovsdb-server");
        let database = process(&folder, server, &["db", "--remote=punix:db.sock", "--no-chdir"])?;
        wait(|| vsctl(&folder, &["--no-wait", "init"]))?;
        let memory = if pages.are_there { "--in-memory" } else { "--no-huge --iova-mode=va" };
        let has_cache = scene.flows().len() == 1;
        for (key, value) in [
            ("dpdk-init", "true"),
            ("dpdk-lcore-mask", "0x1"),
            ("dpdk-socket-mem", &MEMORY.to_string()),
            ("dpdk-extra", &format!("--no-pci {memory}")),
            ("pmd-cpu-mask", &format!("{:#x}", 1_u64 << core)),
            ("emc-insert-inv-prob", if has_cache { "1" } else { "0" }),
        ] {
            let setting = format!("other_config:{key}=\"{value}\"");
            vsctl(&folder, &["--no-wait", "set", "Open_vSwitch", ".", &setting])?;
        }
        let arguments = ["unix:db.sock", "--unixctl=switch.ctl", "--no-chdir"];
        let switch = process(&folder, Command::new(SWITCH), &arguments)?;
        wait(|| appctl(&folder, &["version"]))?;
        configure(&folder, scene)?;
        let worker = worker(switch.0.id())?;
        let ovs = OvsDpdk { switch, worker, _database: database, folder, _pages: pages };
        ovs.signal(Signal::SIGSTOP)?;
        Ok(ovs)
    }

    /// Lets it forward for that time; CPU nanoseconds of its thread per packet.
    #[allow(clippy::cast_precision_loss, reason = "a ratio")]
    pub(super) fn window(&mut self, length: Duration) -> Result<f64, String> {
        self.signal(Signal::SIGCONT)?;
        std::thread::sleep(WARM);
        let (packets, cpu) = self.counters()?;
        std::thread::sleep(length);
        let (packets_then, cpu_then) = self.counters()?;
        self.signal(Signal::SIGSTOP)?;
        match packets_then.saturating_sub(packets) {
            0 => Err("Open vSwitch forwards no packets".to_owned()),
            packets => Ok(cpu_then.saturating_sub(cpu) as f64 / packets as f64),
        }
    }

    /// Packets that its thread has received, and nanoseconds that it has run.
    fn counters(&self) -> Result<(u64, u64), String> {
        let path = format!("/proc/{}/task/{}/schedstat", self.switch.0.id(), self.worker);
        let stat = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
        let cpu = stat.split_whitespace().next().and_then(|word| word.parse().ok());
        let stats = appctl(&self.folder, &["dpif-netdev/pmd-stats-show"])?;
        match (received(&stats), cpu) {
            (Some(packets), Some(cpu)) => Ok((packets, cpu)),
            _ => Err(format!("its counters are not as expected: {stats}")),
        }
    }

    fn signal(&self, signal: Signal) -> Result<(), String> {
        let pid = i32::try_from(self.switch.0.id()).map_err(|error| error.to_string())?;
        kill(Pid::from_raw(pid), signal).map_err(|error| error.to_string())
    }
}

/// Adds the ports, and between them the megaflows: they are there before the first frame comes.
fn configure(folder: &Folder, scene: &Scene) -> Result<(), String> {
    let bridge = "add-br br0 -- set bridge br0 datapath_type=netdev fail-mode=secure";
    vsctl(folder, &bridge.split(' ').collect::<Vec<_>>())?;
    let out = "add-port br0 out -- set Interface out type=dpdk \
               options:dpdk-devargs=net_null1,no-rx=1";
    vsctl(folder, &out.split_whitespace().collect::<Vec<_>>())?;
    let to = wait(|| port_number(&appctl(folder, &["dpif/show"])?, "out"))?;
    // The next port has the next number.
    let from = to + 1;
    appctl(folder, &["revalidator/pause"])?;
    let mut text = String::new();
    for flow in scene.flows() {
        text += &format!("{} {}\n", arrived(flow, from), to_port(scene.actions(), to));
    }
    if let Some(behind) = scene.behind()? {
        text += &format!("{} {to}\n", arrived(&behind, from));
    }
    let flows = folder.file("flows");
    fs::write(&flows, text).map_err(|error| error.to_string())?;
    let said = appctl(folder, &["dpctl/add-flows", &flows.to_string_lossy()])?;
    if !said.trim().is_empty() {
        return Err(format!("add-flows: {}", said.trim()));
    }
    let frames = folder.file("frames.pcap");
    let mut capture = pcap::create(&frames).map_err(|error| error.to_string())?;
    let written = scene.frames().iter().try_for_each(|frame| capture.write(0, frame));
    written.and_then(|()| capture.flush()).map_err(|error| error.to_string())?;
    let device = format!("net_pcap0,rx_pcap={},infinite_rx=1", frames.display());
    let device = format!("options:dpdk-devargs={device}");
    let port = "add-port br0 in -- set Interface in type=dpdk";
    vsctl(folder, &port.split(' ').chain([device.as_str()]).collect::<Vec<_>>())?;
    let number = wait(|| port_number(&appctl(folder, &["dpif/show"])?, "in"))?;
    if number != from {
        return Err(format!("the port got the number {number} instead of {from}"));
    }
    Ok(())
}

/// The match of the packets that come in by a port of that number, as Open vSwitch wants it: with
/// the type of the packet and its Ethernet header, even if both addresses are wild.
fn arrived(flow: &Match, port: u32) -> String {
    let flow = Match::new(&Key { in_port: port, ..flow.key() }, flow.mask());
    let (text, port) = (format_match(&flow), format!("in_port({port})"));
    let header = if text.contains(",eth(") { "" } else { ",eth()" };
    text.replace(&port, &format!("{port},packet_type(ns=0,id=0){header}"))
}

/// The actions with another number of the port that sends: it is the last word of each list that
/// does not recirculate.
fn to_port(actions: &str, port: u32) -> String {
    match actions.strip_suffix('2').filter(|before| before.is_empty() || before.ends_with(',')) {
        Some(before) => format!("{before}{port}"),
        None => actions.to_owned(),
    }
}

/// The datapath's number of a port, in what `dpif/show` says.
fn port_number(text: &str, name: &str) -> Result<u32, String> {
    let line = text.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(' '));
    let number = line.and_then(|line| line.split_once('/')?.1.split_once(':')?.0.parse().ok());
    number.ok_or_else(|| format!("no port {name} in: {text}"))
}

/// The packets received by the thread that forwards, in what `pmd-stats-show` says.
fn received(text: &str) -> Option<u64> {
    let mut lines = text.lines().skip_while(|line| !line.starts_with("pmd thread"));
    lines.find_map(|line| line.trim().strip_prefix("packets received:")?.trim().parse().ok())
}

/// The thread of a process that forwards.
fn worker(process: u32) -> Result<u64, String> {
    let folder = format!("/proc/{process}/task");
    wait(|| {
        let tasks = fs::read_dir(&folder).map_err(|error| format!("{folder}: {error}"))?;
        let found = tasks.flatten().find_map(|task| {
            let name = fs::read_to_string(task.path().join("comm")).ok()?;
            let is_worker = name.starts_with("pmd-c");
            is_worker.then(|| task.file_name().to_str()?.parse().ok()).flatten()
        });
        found.ok_or_else(|| "it has no thread that forwards".to_owned())
    })
}

/// Tries until it works.
fn wait<T>(mut what: impl FnMut() -> Result<T, String>) -> Result<T, String> {
    let clock = Clock::start();
    loop {
        match what() {
            Err(_) if clock.elapsed() < PATIENCE => {
                std::thread::sleep(Duration::from_millis(100));
            }
            result => return result,
        }
    }
}

fn vsctl(folder: &Folder, arguments: &[&str]) -> Result<String, String> {
    let database = ["--db=unix:db.sock", "--timeout=30"];
    tool(folder, "ovs-vsctl", &[&database[..], arguments].concat())
}

fn appctl(folder: &Folder, arguments: &[&str]) -> Result<String, String> {
    let control = folder.file("switch.ctl");
    let target = format!("--target={}", control.display());
    tool(folder, "ovs-appctl", &[&[target.as_str()][..], arguments].concat())
}

/// Runs a tool in the folder to its end; returns what it prints.
fn tool(folder: &Folder, program: &str, arguments: &[&str]) -> Result<String, String> {
    let mut command = match program {
        "ovs-vsctl" => Command::new("ovs-vsctl"),
        "ovs-appctl" => Command::new("ovs-appctl"),
        _ => Command::new("ovsdb-tool"),
    };
    let out = in_folder(folder, &mut command).args(arguments).output();
    let out = out.map_err(|error| format!("{program}: {error}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if out.status.success() {
        return Ok(text(&out.stdout));
    }
    Err(format!("{program} {}: {}", arguments.join(" "), text(&out.stderr).trim()))
}

/// Starts a program in the folder.
fn process(folder: &Folder, mut command: Command, arguments: &[&str]) -> Result<Process, String> {
    let quiet = in_folder(folder, &mut command).stdin(Stdio::null()).stdout(Stdio::null());
    let child = quiet.stderr(Stdio::null()).args(arguments).spawn();
    child.map(Process).map_err(|error| format!("{}: {error}", command.get_program().display()))
}

/// All files of Open vSwitch are in the folder, beside those of another one.
fn in_folder<'a>(folder: &Folder, command: &'a mut Command) -> &'a mut Command {
    let path = folder.path();
    command.current_dir(path);
    for name in ["OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR", "OVS_SYSCONFDIR"] {
        command.env(name, path);
    }
    command
}

/// The system's number of huge pages, which is put back at the end.
struct HugePages {
    before: Option<String>,
    /// There are enough of them for DPDK.
    are_there: bool,
}

impl HugePages {
    const NUMBER: &str = "/proc/sys/vm/nr_hugepages";
    /// Pages of 2 MiB, with some to spare.
    const WANTED: u64 = MEMORY / 2 + 100;

    /// Asks for them; without them Open vSwitch has ordinary memory, which is slower.
    fn take() -> HugePages {
        let number = || fs::read_to_string(HugePages::NUMBER).ok();
        let enough = |text: String| text.trim().parse::<u64>().is_ok_and(|n| n >= Self::WANTED);
        let before = number();
        if !before.clone().is_some_and(enough) {
            // Fewer than wanted, or none, if the memory is in pieces.
            let _ = fs::write(HugePages::NUMBER, HugePages::WANTED.to_string());
        }
        let are_there = number().is_some_and(enough);
        if !are_there {
            eprintln!("there are not enough huge pages: Open vSwitch has ordinary memory");
        }
        HugePages { before, are_there }
    }
}

impl Drop for HugePages {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            let _ = fs::write(HugePages::NUMBER, before.trim());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_says_is_read() {
        let show = "netdev@ovs-netdev: hit:0 missed:0\n  br0:\n    br0 65534/1: (tap)\n    \
                    out 1/2: (dpdk: dpdk-devargs=net_null1,no-rx=1)\n";
        assert_eq!(port_number(show, "out"), Ok(2));
        assert!(port_number(show, "in").is_err());
        let stats = "pmd thread numa_id 0 core_id 1:\n  packets received: 123456\n  \
                     packet recirculations: 0\nmain thread:\n  packets received: 7\n";
        assert_eq!(received(stats), Some(123_456));
        assert_eq!(received("main thread:\n  packets received: 7\n"), None);
    }

    #[test]
    fn a_match_names_the_other_port() {
        let flow = |text: &str| flow::odp::parse_match(text).unwrap();
        let of = |text: &str| arrived(&flow(text), 3);
        let packet = "recirc_id(0),in_port(3),packet_type(ns=0,id=0)";
        assert_eq!(of("in_port(1),eth_type(0x0806)"), format!("{packet},eth(),eth_type(0x0806)"));
        let eth = "eth(src=02:00:00:00:00:01),eth_type(0x0806)";
        assert_eq!(of(&format!("in_port(1),{eth}")), format!("{packet},{eth}"));
    }

    #[test]
    fn actions_send_by_the_other_port() {
        for (actions, want) in [
            ("2", "5"),
            ("set(ipv4(ttl=62)),2", "set(ipv4(ttl=62)),5"),
            ("recirc(0x2)", "recirc(0x2)"),
        ] {
            assert_eq!(to_port(actions, 5), want);
        }
    }
}
