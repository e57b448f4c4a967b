//! A running daemon and its clients.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use flow::Clock;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::net::{Lan, Namespace};
use super::{Ended, MEGAFLOW, PATIENCE, tool, until};

/// The example that `docs/how-to/run.md` runs.
const EXAMPLE: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/examples/model.toml"));
/// The HTTP address of the example. It is free in a new namespace.
pub(crate) const HTTP: &str = "127.0.0.1:9464";

/// A folder for all files of a daemon.
pub(crate) struct Folder(tempfile::TempDir);

impl Folder {
    pub(crate) fn new() -> Folder {
        Folder(tempfile::Builder::new().prefix("megaflow-test-").tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// The path of a file in the folder, as text.
    pub(crate) fn file(&self, name: &str) -> String {
        self.path().join(name).to_str().unwrap().to_owned()
    }

    /// The path of the socket, in a folder that the daemon makes.
    pub(crate) fn socket(&self) -> String {
        self.file("run/mega.ctl")
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> String {
        std::fs::write(self.path().join(name), text).unwrap();
        self.file(name)
    }

    /// The example of the embedded card between `mf-a` and `mf-b`, with its socket in this
    /// folder.
    pub(crate) fn example(&self) -> String {
        assert!(EXAMPLE.contains("/run/megaflow/megaflow.ctl"));
        EXAMPLE.replace("/run/megaflow/megaflow.ctl", &self.socket())
    }
}

/// A daemon; killed with this value.
pub(crate) struct Daemon {
    child: Child,
    socket: PathBuf,
    log: PathBuf,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("the daemon's log:\n{}", self.log());
        }
    }
}

impl Daemon {
    /// Starts a daemon in a namespace and waits until the daemon answers on its control socket.
    pub(crate) fn start(at: &Namespace, folder: &Folder, config: &str) -> Daemon {
        let config = folder.write("megaflow.toml", config);
        let log = folder.path().join("log");
        let stderr = std::fs::File::create(&log).unwrap();
        let child = at.run(|| {
            let mut command = Command::new(MEGAFLOW);
            command.args(["run", "--config", &config]).stdin(Stdio::null()).stderr(stderr);
            command.spawn().unwrap()
        });
        let mut daemon = Daemon { child, socket: folder.socket().into(), log };
        until("the daemon answers", || {
            let ended = daemon.child.try_wait().unwrap();
            assert!(ended.is_none(), "the daemon ended with {ended:?}: {}", daemon.log());
            daemon.try_appctl(&["version"]).code == Some(0)
        });
        daemon
    }

    /// Starts a daemon with the embedded card between the two hosts, as in the example.
    pub(crate) fn on_card(lan: &Lan, folder: &Folder) -> Daemon {
        Daemon::start(&lan.switch, folder, &folder.example())
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    /// What the daemon has written to stderr.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Kilobytes of memory that the daemon uses.
    pub(crate) fn resident_kb(&self) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse().unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid().try_into().unwrap()), signal).unwrap();
    }

    /// Waits for the daemon's end.
    #[track_caller]
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let clock = Clock::start();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(clock.elapsed() < PATIENCE, "the daemon does not end: {}", self.log());
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }

    /// Runs Debian's `ovs-appctl` against the daemon's socket; it may fail.
    pub(crate) fn try_appctl(&self, args: &[&str]) -> Ended {
        let mut command = Command::new("ovs-appctl");
        command.arg("-T").arg("30").arg("-t").arg(&self.socket).args(args);
        tool(&mut command, "openvswitch-common").into()
    }

    /// What `ovs-appctl` prints; its status has to be 0.
    #[track_caller]
    pub(crate) fn appctl(&self, args: &[&str]) -> String {
        let ended = self.try_appctl(args);
        assert!(ended.code == Some(0) && ended.err.is_empty(), "{args:?}: {ended:?}");
        ended.out
    }

    /// What `megaflow COMMAND` prints when it asks this daemon.
    #[track_caller]
    pub(crate) fn says(&self, command: &str, args: &[&str]) -> String {
        let socket = self.socket.to_str().unwrap();
        super::says(&[&[command, "--socket", socket], args].concat())
    }

    /// The megaflows as `megaflow flows --json` prints them.
    #[track_caller]
    pub(crate) fn flows(&self) -> Vec<Value> {
        serde_json::from_str(&self.says("flows", &["--json"])).unwrap()
    }

    /// The state as `offload/status` prints it.
    #[track_caller]
    pub(crate) fn status(&self) -> Value {
        serde_json::from_str(&self.appctl(&["offload/status"])).unwrap()
    }

    /// Waits until all statistics are read and nothing has moved since. From then on the daemon's
    /// answers include every packet. Returns the state.
    #[track_caller]
    pub(crate) fn at_rest(&self) -> Value {
        let passes = |state: &Value| -> Vec<Value> {
            let providers = state["providers"].as_array().unwrap().iter();
            providers.map(|provider| provider["last_reconcile_seconds"].clone()).collect()
        };
        let mut state = self.status();
        until("the daemon is at rest", || {
            let before = std::mem::replace(&mut state, self.status());
            let (read, reread) = (passes(&before), passes(&state));
            let all_new = read.iter().zip(&reread).all(|(then, now)| then != now);
            if !all_new {
                // No new pass has ended yet: compare the next state with the old one.
                state = before;
                return false;
            }
            let same = |what: &str| before[what] == state[what];
            same("conservation") && same("flows") && state["conservation"]["holds"] == true
        });
        state
    }
}

/// An answer of the HTTP listener.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

/// Asks the HTTP listener of the example, in its namespace.
#[track_caller]
pub(crate) fn http(at: &Namespace, method: &str, path: &str, host: &str) -> Answer {
    at.run(|| ask(HTTP, method, path, host))
}

/// Asks an HTTP listener.
pub(crate) fn ask(address: &str, method: &str, path: &str, host: &str) -> Answer {
    let mut stream = TcpStream::connect(address).expect("the HTTP listener listens");
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").expect("an HTTP answer");
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
    Answer { code, head: head.to_ascii_lowercase(), body: body.to_owned() }
}
