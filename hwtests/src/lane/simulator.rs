//! The simulated switchdev NIC itself: what other lanes rely on, byte by byte.

mod actions;
mod frames;
mod matches;
mod table;

use std::fmt::Write as _;
use std::time::Duration;

use super::Lane;
use crate::check::{Checks, Failure, Outcome};
use crate::guest::{self, RawSocket};

pub(super) const LANE: Lane = Lane {
    name: "simulator",
    about: "the simulated switchdev NIC: matches, actions, refusals, limits, counters",
    machine: "plain",
    needs: &[],
    limit: Duration::from_secs(120),
    evidence,
    run,
};

const DEBUG: &str = "/sys/kernel/debug/swsim";

fn run(checks: &mut Checks) {
    checks.check("the driver loads", || {
        guest::no_ipv6()?;
        guest::load_module("swsim nvf=2")?;
        for dev in ["swp0", "wire0", "swrep0", "swrep1", "swvf0", "swvf1"] {
            guest::run(&format!("ip link set {dev} up"))?;
        }
        guest::run("tc qdisc add dev swrep0 clsact").map(drop)
    });
    table::identity(checks);
    matches::run(checks);
    actions::run(checks);
    table::run(checks);
    checks.check("the driver unloads with rules in place", || {
        let rule = "protocol ip flower skip_sw action drop";
        guest::run(&format!("tc filter add dev swrep0 ingress {rule}"))?;
        guest::run("rmmod swsim").map(drop)
    });
    checks.check("the kernel has no complaint", || {
        let log = guest::run("dmesg")?;
        let bad = ["WARNING:", "BUG:", "Oops", "RIP:", "Call Trace"];
        match log.lines().find(|line| bad.iter().any(|word| line.contains(word))) {
            Some(line) => Err(Failure::new(line)),
            None => Ok(()),
        }
    });
}

/// The kernel's view and the card's own.
fn evidence() -> String {
    let mut text = String::new();
    for dev in ["swrep0", "swrep1", "swp0"] {
        let filters = guest::run(&format!("tc -s filter show dev {dev} ingress"));
        let filters = filters.unwrap_or_else(|failure| failure.to_string());
        let _ = writeln!(text, "filters of {dev}:\n{filters}");
    }
    let rules = guest::read(&format!("{DEBUG}/rules"));
    let rules = rules.unwrap_or_else(|failure| failure.to_string());
    let _ = writeln!(text, "rules in the card:\n{rules}");
    text
}

/// A frame and the netdev that the card handed it to.
type Output = (String, Vec<u8>);

fn output(dev: &str, frame: &[u8]) -> Output {
    (dev.to_owned(), frame.to_vec())
}

/// Sends a frame from VF 0 with these rules on its representor, and returns what came out where. A
/// rule is what follows `tc filter add dev swrep0 ingress`.
fn through(rules: &[&str], frame: &[u8]) -> Outcome<Vec<Output>> {
    install(rules)?;
    send(frame)
}

/// Replaces all rules on VF 0's representor, in all chains.
fn install(rules: &[&str]) -> Outcome {
    let mut batch =
        vec!["qdisc del dev swrep0 clsact".to_owned(), "qdisc add dev swrep0 clsact".to_owned()];
    batch.extend(rules.iter().map(|rule| format!("filter add dev swrep0 ingress {rule}")));
    guest::tc_batch(&batch)
}

fn send(frame: &[u8]) -> Outcome<Vec<Output>> {
    guest::write(&format!("{DEBUG}/frames"), "clear")?;
    // The device has no queue: when this returns, the card has done its work.
    RawSocket::open("swvf0")?.send(frame)?;
    captured()
}

/// What the card handed out since its capture was cleared.
fn captured() -> Outcome<Vec<Output>> {
    guest::read(&format!("{DEBUG}/frames"))?.lines().map(parse).collect()
}

/// Reads a line of the card's capture: netdev, length, bytes in hex.
fn parse(line: &str) -> Outcome<Output> {
    let bad = || Failure::new(format!("not a line of a capture: {line:?}"));
    let mut words = line.split(' ');
    let (Some(dev), Some(length), Some(hex)) = (words.next(), words.next(), words.next()) else {
        return Err(bad());
    };
    let bytes = hex
        .as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect::<Option<Vec<u8>>>()
        .ok_or_else(bad)?;
    crate::check::equal("the captured length", &bytes.len().to_string(), &length.to_owned())?;
    Ok((dev.to_owned(), bytes))
}

fn expect(got: &[Output], want: &[Output]) -> Outcome {
    if got == want {
        return Ok(());
    }
    let mut text = String::new();
    for (word, frames) in [("got", got), ("want", want)] {
        let _ = writeln!(text, "{word} {} frames", frames.len());
        for (dev, bytes) in frames {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            let _ = writeln!(text, "  {dev} {hex}");
        }
    }
    Err(Failure::new(text))
}
