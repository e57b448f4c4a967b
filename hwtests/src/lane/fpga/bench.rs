//! The tester's side of the card: its process outside obeys commands that come by the second
//! serial port.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use flow::{Clock, Counters};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_json::Value;

use crate::check::{Failure, Outcome, WithContext};
use crate::guest;

const PORT: &str = "/dev/ttyS1";
/// Longer than any traffic that a check waits for.
const PATIENCE: Duration = Duration::from_secs(40);

/// A connection to the card's process.
pub(super) struct BenchClient {
    port: File,
    received: Vec<u8>,
}

impl BenchClient {
    pub(super) fn open() -> Outcome<BenchClient> {
        guest::run(&format!("stty -F {PORT} raw -echo"))?;
        let port = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(nix::libc::O_NONBLOCK | nix::libc::O_NOCTTY)
            .open(PORT)
            .context(PORT)?;
        let mut bench = BenchClient { port, received: Vec::new() };
        bench.ask("help")?;
        Ok(bench)
    }

    /// Tells the card's process what to do; returns its answer, or a failure with what it says.
    pub(super) fn ask(&mut self, line: &str) -> Outcome<String> {
        self.tell(line)?;
        let answer = self.line().context(format_args!("bench: {line}"))?;
        match answer.split_once(' ').unwrap_or((&answer, "")) {
            ("ok", text) => Ok(text.to_owned()),
            (_, text) => Err(Failure::new(format!("bench: {line}: {text}"))),
        }
    }

    /// Without waiting for an answer: for the command that ends the process.
    pub(super) fn tell(&mut self, line: &str) -> Outcome {
        let text = format!("{line}\n");
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            match self.port.write(rest) {
                Ok(count) => rest = &rest[count..],
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    ready(self.port.as_fd(), PollFlags::POLLOUT, PATIENCE)?;
                }
                Err(error) => return Err(Failure::new(format!("{PORT}: {error}"))),
            }
        }
        Ok(())
    }

    fn line(&mut self) -> Outcome<String> {
        let begin = Clock::start();
        loop {
            if let Some(end) = self.received.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.received.drain(..=end).collect();
                return Ok(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
            let left = PATIENCE.saturating_sub(begin.elapsed());
            if !ready(self.port.as_fd(), PollFlags::POLLIN, left)? {
                return Err(Failure::new("no answer"));
            }
            let mut buffer = [0; 4096];
            match self.port.read(&mut buffer) {
                Ok(count) => self.received.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(Failure::new(error.to_string())),
            }
        }
    }

    /// The same, for an answer in JSON.
    pub(super) fn ask_json(&mut self, line: &str) -> Outcome<Value> {
        let text = self.ask(line)?;
        serde_json::from_str(&text).context(format_args!("bench: {line}: {text}"))
    }

    /// What the card itself says that it did.
    pub(super) fn ledger(&mut self) -> Outcome<LedgerJson> {
        Ok(LedgerJson(self.ask_json("ledger")?))
    }

    /// Sends a frame from the host at a wire.
    pub(super) fn send(&mut self, wire: u8, frame: &[u8]) -> Outcome {
        self.ask(&format!("send {wire} {}", hex(frame))).map(drop)
    }

    /// The `count` frames that the host at a wire received since the last call. Waits for them, and
    /// fails with fewer at the end of the wait, or with more. ARP frames, which the hosts' own
    /// kernels send at any time, are not counted.
    pub(super) fn frames(&mut self, wire: u8, count: usize) -> Outcome<Vec<String>> {
        let mut frames = Vec::new();
        let begin = Clock::start();
        loop {
            let more = self.ask_json(&format!("frames {wire}"))?;
            let more = more.as_array().cloned().unwrap_or_default();
            let sent = more.iter().filter_map(Value::as_str).filter(|frame| !is_arp(frame));
            frames.extend(sent.map(str::to_owned));
            if frames.len() >= count || begin.elapsed() > Duration::from_secs(3) {
                crate::check::equal(&format!("frames at wire {wire}"), &frames.len(), &count)?;
                return Ok(frames);
            }
        }
    }

    /// Waits until the running traffic has made that much progress from now on.
    pub(super) fn progress(&mut self, more: u64) -> Outcome {
        let now = |bench: &mut BenchClient| -> Outcome<u64> {
            bench.ask("progress")?.parse().context("progress")
        };
        let begin = now(self)?;
        guest::wait_for(&format!("{more} more through the card"), PATIENCE, || {
            Ok(now(self)? >= begin + more)
        })
    }
}

/// Waits until a descriptor is ready; false after the time is over.
pub(super) fn ready(fd: BorrowedFd<'_>, what: PollFlags, time: Duration) -> Outcome<bool> {
    let limit = PollTimeout::try_from(time).unwrap_or(PollTimeout::MAX);
    match poll(&mut [PollFd::new(fd, what)], limit) {
        Ok(count) => Ok(count > 0),
        Err(nix::errno::Errno::EINTR) => Ok(false),
        Err(error) => Err(Failure::new(format!("poll: {error}"))),
    }
}

/// Returns true if the frame, in hex, is an ARP frame.
fn is_arp(frame: &str) -> bool {
    frame.get(24..28) == Some("0806")
}

/// Bytes as hex digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The card's ledger at one moment.
pub(super) struct LedgerJson(Value);

impl LedgerJson {
    /// Hits of a megaflow over all its lives.
    pub(super) fn flow(&self, ufid: flow::Ufid) -> Counters {
        let cookie = format!("{:032x}", ufid.0);
        let flows = self.0["flows"].as_array().map(Vec::as_slice).unwrap_or_default();
        flows.iter().filter(|flow| flow["cookie"] == *cookie).map(hits).sum()
    }

    /// One of a port's counters: `rx`, `nic`, `host`, `tx` or `from_host`.
    pub(super) fn port(&self, wire: usize, what: &str) -> Counters {
        let counters = &self.0["ports"][wire][what];
        Counters {
            packets: counters[0].as_u64().unwrap_or_default(),
            bytes: counters[1].as_u64().unwrap_or_default(),
        }
    }

    /// Hits of all megaflows.
    pub(super) fn total(&self) -> Counters {
        let flows = self.0["flows"].as_array().map(Vec::as_slice).unwrap_or_default();
        flows.iter().map(hits).sum()
    }
}

fn hits(flow: &Value) -> Counters {
    Counters {
        packets: flow["packets"].as_u64().unwrap_or_default(),
        bytes: flow["bytes"].as_u64().unwrap_or_default(),
    }
}
