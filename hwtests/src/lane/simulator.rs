//! The simulated switchdev NIC itself: what other lanes rely on, byte by byte.

mod actions;
mod frames;
mod matches;
mod rig;
mod table;

use std::fmt::Write as _;
use std::time::Duration;

use super::Lane;
use crate::check::{Checks, Failure};
use crate::guest;
use rig::DEBUG;

pub(crate) const LANE: Lane = Lane {
    name: "simulator",
    about: "the simulated switchdev NIC: matches, actions, refusals, limits, counters",
    machine: "plain",
    needs: &[],
    limit: Duration::from_secs(120),
    evidence,
    run,
};

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
