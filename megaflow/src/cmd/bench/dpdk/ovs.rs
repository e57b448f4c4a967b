//! An Open vSwitch of our own on DPDK, with one thread that forwards. Its frames come from a
//! capture that a port replays for ever, and go to a port that forgets them.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use flow::odp::format_match;
use flow::{Clock, Key, Match};
use hostdp::port::pcap;
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

/// A process that ends with its owner, unless that is killed.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const SWITCH: &str = "/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk";
const SCHEMA: &str = "/usr/share/openvswitch/vswitch.ovsschema";
const PACKAGES: &str = "openvswitch-switch-dpdk, librte-net-null23, librte-net-pcap23 and \
                        librte-mempool-ring23";
/// MiB of memory for DPDK.
const MEMORY: u64 = 1200;
/// Longest wait for it to start.
const PATIENCE: Duration = Duration::from_secs(60);
/// Time from the moment in which either goes on to the beginning of its window.
pub(super) const WARM: Duration = Duration::from_millis(100);
/// Longest time until it forwards as it goes on to: once a second at most it sorts its masks by
/// their hits.
const SETTLED: Duration = Duration::from_secs(20);
/// How far two windows may be apart then.
const APART: f64 = 0.1;

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
        let memory = if pages.are_there {
            format!("--in-memory --socket-mem {MEMORY}")
        } else {
            format!("--no-huge --iova-mode=va -m {MEMORY}")
        };
        let has_cache = scene.flows().len() == 1;
        let mask = u32::try_from(core).ok().and_then(|core| 1_u128.checked_shl(core));
        let mask = mask.ok_or_else(|| format!("no mask for core {core}"))?;
        for (key, value) in [
            ("dpdk-init", "true"),
            ("dpdk-lcore-mask", "0x1"),
            ("dpdk-extra", &format!("--no-pci {memory}")),
            ("pmd-cpu-mask", &format!("{mask:#x}")),
            ("emc-insert-inv-prob", if has_cache { "1" } else { "0" }),
        ] {
            let setting = format!("other_config:{key}=\"{value}\"");
            vsctl(&folder, &["--no-wait", "set", "Open_vSwitch", ".", &setting])?;
        }
        let arguments =
            ["unix:db.sock", "--unixctl=switch.ctl", "--log-file=switch.log", "--no-chdir"];
        let mut switch = process(&folder, Command::new(SWITCH), &arguments)?;
        wait(|| match switch.0.try_wait() {
            Ok(None) => appctl(&folder, &["version"]).map(Ok),
            _ => Ok(Err(last_words(&folder))),
        })??;
        configure(&folder, scene)?;
        let worker = worker(switch.0.id())?;
        let ovs = OvsDpdk { switch, worker, _database: database, folder, _pages: pages };
        ovs.signal(Signal::SIGSTOP)?;
        Ok(ovs)
    }

    /// Lets it forward until two windows in a row are about the same.
    pub(super) fn settle(&mut self, length: Duration) -> Result<(), String> {
        let (clock, mut last) = (Clock::start(), self.window(length)?);
        loop {
            let now = self.window(length)?;
            let is_settled = (now / last - 1.0).abs() < APART && clock.elapsed() > SETTLED / 10;
            if is_settled || clock.elapsed() > SETTLED {
                return Ok(());
            }
            last = now;
        }
    }

    /// Lets it forward for that time; CPU nanoseconds of its thread per packet. An error if not
    /// every packet hits a megaflow and is sent.
    #[allow(clippy::cast_precision_loss, reason = "a ratio")]
    pub(super) fn window(&mut self, length: Duration) -> Result<f64, String> {
        self.signal(Signal::SIGCONT)?;
        std::thread::sleep(WARM);
        let before = self.counters()?;
        std::thread::sleep(length);
        let after = self.counters()?;
        self.signal(Signal::SIGSTOP)?;
        let grown = |of: fn(&PmdCounters) -> u64| of(&after).saturating_sub(of(&before));
        let (packets, missed) = (grown(|counters| counters.packets), grown(|c| c.missed));
        // The counters of the port are read a little later than those of the thread.
        if packets == 0 || missed > 0 || grown(|counters| counters.sent) < packets / 2 {
            return Err(format!("Open vSwitch does not send what it gets: {before:?}, {after:?}"));
        }
        Ok(grown(|counters| counters.cpu) as f64 / packets as f64)
    }

    fn counters(&self) -> Result<PmdCounters, String> {
        let before = self.cpu()?;
        let stats = appctl(&self.folder, &["dpif-netdev/pmd-stats-show"])?;
        // The answer was made somewhere in between.
        let cpu = u64::midpoint(before, self.cpu()?);
        let ports = appctl(&self.folder, &["dpctl/show", "-s"])?;
        let all = PmdCounters::read(&stats, &ports, cpu);
        all.ok_or_else(|| format!("its counters are not as expected: {stats}{ports}"))
    }

    /// Nanoseconds that its thread has run.
    fn cpu(&self) -> Result<u64, String> {
        let path = format!("/proc/{}/task/{}/schedstat", self.switch.0.id(), self.worker);
        let stat = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
        let cpu = stat.split_whitespace().next().and_then(|word| word.parse().ok());
        cpu.ok_or_else(|| format!("{path}: not as expected"))
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

/// What the thread that forwards has done so far.
#[derive(PartialEq, Eq, Debug)]
struct PmdCounters {
    /// Packets received.
    packets: u64,
    /// Packets that hit nothing.
    missed: u64,
    /// Packets sent by the port that forgets them.
    sent: u64,
    /// Nanoseconds that it has run.
    cpu: u64,
}

impl PmdCounters {
    /// From what `pmd-stats-show` and `dpctl/show -s` say.
    fn read(stats: &str, ports: &str, cpu: u64) -> Option<PmdCounters> {
        let number = |text: &str| {
            let text = text.trim_start();
            let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
            text[..end].parse::<u64>().ok()
        };
        let of_thread = |name: &str| {
            let mut lines = stats.lines().skip_while(|line| !line.starts_with("pmd thread"));
            lines.find_map(|line| number(line.trim().strip_prefix(name)?))
        };
        let (_, out) = ports.split_once(": out (")?;
        Some(PmdCounters {
            packets: of_thread("packets received:")?,
            missed: of_thread("miss with success upcall:")?
                + of_thread("miss with failed upcall:")?,
            sent: number(out.split_once("TX packets:")?.1)?,
            cpu,
        })
    }
}

/// The last thing that it has said before it ended.
fn last_words(folder: &Folder) -> String {
    let log = fs::read_to_string(folder.file("switch.log")).unwrap_or_default();
    log.lines().last().unwrap_or("it ended without a word").to_owned()
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

/// The system's number of huge pages, which is put back at the end, unless the process is killed.
struct HugePages {
    before: Option<String>,
    /// There are enough of them for DPDK.
    are_there: bool,
}

impl HugePages {
    const NUMBER: &str = "/proc/sys/vm/nr_hugepages";
    const FREE: &str = "HugePages_Free:";
    /// Pages of 2 MiB, with some to spare.
    const WANTED: u64 = MEMORY / 2 + 100;

    /// Asks for them; without them Open vSwitch has ordinary memory, which is slower.
    fn take() -> HugePages {
        let are_free = || {
            let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
            let line = text.lines().find_map(|line| line.strip_prefix(HugePages::FREE));
            let free = line.and_then(|line| line.trim().parse::<u64>().ok());
            free.is_some_and(|free| free >= HugePages::WANTED)
        };
        let before = fs::read_to_string(HugePages::NUMBER).ok();
        if !are_free() {
            // Fewer than wanted, or none, if the memory is in pieces.
            let _ = fs::write(HugePages::NUMBER, HugePages::WANTED.to_string());
        }
        let are_there = are_free();
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
        let main = "main thread:\n  packets received: 7\n";
        let stats = "pmd thread numa_id 0 core_id 1:\n  packets received: 123456\n  \
                     packet recirculations: 0\n  miss with success upcall: 2\n  \
                     miss with failed upcall: 1\n  avg. packets per output batch: 32.00\n";
        let ports = "  port 1: br0 (tap)\n    RX packets:1\n    TX packets:9 errors:0\n  \
                     port 2: out (dpdk: x)\n    RX packets:0\n    TX packets:120000 errors:0\n";
        let all = PmdCounters { packets: 123_456, missed: 3, sent: 120_000, cpu: 5 };
        assert_eq!(PmdCounters::read(&format!("{stats}{main}"), ports, 5), Some(all));
        assert_eq!(PmdCounters::read(main, ports, 5), None);
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
