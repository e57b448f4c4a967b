//! Helpers for the tests of the `megaflow` command: the command, a running daemon, network
//! namespaces with hosts, and Debian's tools.
//!
//! Everything that a test makes in the kernel lives in network namespaces without a name, which
//! disappear with their last descriptor. So nothing is left behind, however a test ends, and
//! tests that run side by side can't disturb each other.

#![allow(dead_code, reason = "each test uses a part of it")]

pub(crate) mod daemon;
pub(crate) mod metrics;
pub(crate) mod net;
pub(crate) mod ovs;
pub(crate) mod pcap;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use flow::Clock;

/// The binary under test.
pub(crate) const MEGAFLOW: &str = env!("CARGO_BIN_EXE_megaflow");
/// The capture that the demo replays.
pub(crate) const CAPTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/captures/mixed.pcap");
/// Longest wait for anything. It is far longer than anything takes, so that a wait fails only if
/// the event never comes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Runs a tool of Debian's. If the tool is missing, the failure names the package to install.
pub(crate) fn tool(command: &mut Command, package: &str) -> Output {
    let name = command.get_program().to_string_lossy().into_owned();
    command.output().unwrap_or_else(|error| {
        panic!("{name}: {error}; install it: apt-get install --no-install-recommends {package}")
    })
}

/// How a command ended and what it printed.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl From<Output> for Ended {
    fn from(output: Output) -> Ended {
        Ended {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// Runs `megaflow` to its end.
pub(crate) fn megaflow(args: &[&str]) -> Ended {
    Command::new(MEGAFLOW).args(args).stdin(Stdio::null()).output().unwrap().into()
}

/// What `megaflow` prints; its status has to be 0 and its stderr empty.
#[track_caller]
pub(crate) fn says(args: &[&str]) -> String {
    let ended = megaflow(args);
    assert!(ended.code == Some(0) && ended.err.is_empty(), "{args:?}: {ended:?}");
    ended.out
}

/// The one line on stderr with which `megaflow` fails; its stdout has to be empty.
#[track_caller]
pub(crate) fn fails(args: &[&str], code: i32) -> String {
    let ended = megaflow(args);
    assert_eq!(ended.code, Some(code), "{args:?}: {ended:?}");
    assert!(ended.err.lines().count() == 1 && ended.out.is_empty(), "{args:?}: {ended:?}");
    ended.err.trim_end().to_owned()
}

/// What a command prints when it reads `input`; its status has to be 0.
#[track_caller]
pub(crate) fn answers(command: &mut Command, input: &[u8]) -> String {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        // The test writes and reads at the same time. Otherwise two full pipes would block both
        // processes.
        scope.spawn(move || stdin.write_all(input).unwrap());
        child.wait_with_output().unwrap()
    });
    let ended = Ended::from(output);
    assert_eq!(ended.code, Some(0), "{command:?}: {ended:?}");
    ended.out
}

/// Waits until a condition holds.
#[track_caller]
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let clock = Clock::start();
    while !is_so() {
        assert!(clock.elapsed() < PATIENCE, "within {} s: {what}", PATIENCE.as_secs());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Every file and folder below a folder, sorted.
pub(crate) fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        found.push(path.display().to_string());
        if path.is_dir() && !path.is_symlink() {
            found.extend(files(&path));
        }
    }
    found.sort();
    found
}
