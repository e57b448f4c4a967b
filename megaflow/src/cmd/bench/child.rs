//! A daemon of its own for each measurement: the same program, or another build of it.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use flow::Clock;
use nix::time::{ClockId, clock_getcpuclockid};
use nix::unistd::Pid;

use super::measure::cpu_of;
use crate::cmd::client::DaemonSocket;
use crate::namespace::Namespace;

/// Longest wait for a daemon that starts.
const START: Duration = Duration::from_secs(20);
/// Longest wait for an answer: a million flows on a busy machine.
const PATIENCE: Duration = Duration::from_secs(300);

/// A running daemon without a client, with its files in a folder of its own. Dropping it ends the
/// daemon and removes the folder.
pub(super) struct BenchDaemon {
    child: Child,
    folder: Folder,
    client: DaemonSocket,
    /// Where the card's wires are; dropped last.
    _net: Option<Namespace>,
}

/// A folder for temporary files that is removed with its content.
pub(super) struct Folder(PathBuf);

impl Folder {
    /// A new one for this process.
    pub(super) fn new(name: &str) -> io::Result<Folder> {
        let name = format!("megaflow-{name}-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).map_err(|error| {
            io::Error::new(error.kind(), format!("{}: {error}", folder.display()))
        })?;
        Ok(Folder(folder))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// The path of a file in it.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What can't be removed stays in the folder for temporary files.
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl BenchDaemon {
    /// Starts a daemon with room for this number of megaflows, and with the embedded card of this
    /// number of entries unless that is 0. An error says what the build lacks.
    pub(super) fn start(binary: &Path, flows: u64, entries: u64) -> Result<BenchDaemon, String> {
        let folder = Folder::new("bench").map_err(|error| error.to_string())?;
        let net = (entries > 0).then(wires).transpose().map_err(|e| format!("the card: {e}"))?;
        let config = folder.file("megaflow.toml");
        let socket = folder.file("bench.ctl");
        fs::write(&config, text(&socket, flows, entries)).map_err(|error| error.to_string())?;
        let log = fs::File::create(folder.file("log")).map_err(|error| error.to_string())?;
        let mut command = Command::new(binary);
        command.args(["run", "--config"]).arg(&config);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = match &net {
            Some(net) => net.run(move || command.spawn()),
            None => command.spawn(),
        };
        let child = child.map_err(|error| format!("{}: {error}", binary.display()))?;
        let client = DaemonSocket::at(socket, PATIENCE);
        let mut daemon = BenchDaemon { child, folder, client, _net: net };
        let clock = Clock::start();
        while let Err(error) = daemon.call("version", &[]) {
            if let Ok(Some(_)) = daemon.child.try_wait() {
                return Err(daemon.log());
            }
            if clock.now() > flow::Moment::default() + START {
                return Err(error);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(daemon)
    }

    /// The last line that the daemon has said.
    fn log(&self) -> String {
        let log = fs::read_to_string(self.folder.file("log")).unwrap_or_default();
        log.lines().last().unwrap_or("the daemon ended without a word").to_owned()
    }

    /// Calls a method of the daemon.
    pub(super) fn call(&self, method: &str, params: &[&str]) -> Result<String, String> {
        self.client.call(method, params).map_err(|failure| failure.text().trim_end().to_owned())
    }

    /// Returns the path of a file in the daemon's folder.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.folder.file(name)
    }

    /// Nanoseconds that all threads of the daemon have run.
    pub(super) fn cpu(&self) -> Result<u64, String> {
        let pid = i32::try_from(self.child.id()).map_err(|error| error.to_string())?;
        cpu_of(clock_getcpuclockid(Pid::from_raw(pid)).map_err(|error| error.to_string())?)
    }

    /// Bytes of memory that the daemon uses.
    pub(super) fn resident(&self) -> Result<u64, String> {
        let path = format!("/proc/{}/status", self.child.id());
        let text = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kb = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        kb.map(|kb| kb << 10).ok_or_else(|| format!("{path}: not as expected"))
    }
}

impl Drop for BenchDaemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Nanoseconds that all threads of this process have run.
pub(super) fn own_cpu() -> Result<u64, String> {
    cpu_of(ClockId::CLOCK_PROCESS_CPUTIME_ID)
}

/// The interfaces that the card's wires are plugged into.
const WIRES: [&str; 2] = ["wire0", "wire1"];

/// Makes the interfaces, in a namespace of their own, so that nothing comes in by them.
fn wires() -> io::Result<Namespace> {
    let namespace = Namespace::new("bench-wires", false)?;
    for (wire, name) in (0..).zip(WIRES) {
        let end = format!("{name}-end");
        namespace.cable(name, &namespace, &end, flow::MacAddr([2, 0, 0, 0, 0, wire]))?;
        namespace.address(&end, &[])?;
    }
    Ok(namespace)
}

fn text(socket: &Path, flows: u64, entries: u64) -> String {
    let mut text = "[datapath]\nname = \"bench\"\nclient = \"none\"\n".to_owned();
    // This is the limit without the key, which older builds don't have.
    if flows > 200_000 {
        let _ = writeln!(text, "flow_limit = {flows}");
    }
    let _ = writeln!(text, "[control]\nsocket = \"{}\"", socket.display());
    if entries > 0 {
        let _ = writeln!(text, "[[provider]]\nkind = \"fpga\"\ndevice = \"model\"");
        if entries > 8192 {
            let _ = writeln!(text, "entries = {entries}");
        }
        for (wire, device) in WIRES.iter().enumerate() {
            let _ = writeln!(
                text,
                "[[port]]\nname = \"{device}\"\ntype = \"fpga\"\nwire = {wire}\n\
                 device = \"{device}\""
            );
        }
    }
    text
}
