//! The daemon on the simulated switchdev NIC: real traffic between its functions, in hostdp and in
//! hardware, with every packet accounted for.

mod books;
mod hands;
mod hit;
mod refuse;
mod repair;
mod restart;
mod rewrite;
mod rig;
mod traffic;

use std::time::Duration;

use super::{Binary, Lane};
use crate::check::{Checks, Failure, Outcome};
use crate::daemon;
use crate::guest;
use rig::{DEBUG, FUNCTIONS, REPRESENTORS, keep_neighbours};

pub(crate) const LANE: Lane = Lane {
    name: "switchdev",
    about: "the daemon on the simulated switchdev NIC: into hardware, repaired, refused, adopted",
    machine: "plain",
    needs: &[Binary { name: "megaflow", package: "megaflow" }],
    limit: Duration::from_secs(180),
    evidence,
    run,
};

fn run(checks: &mut Checks) {
    checks.check("the card and two hosts at its functions", set_up);
    hit::run(checks);
    repair::run(checks);
    hands::run(checks);
    restart::run(checks);
    rewrite::run(checks);
    refuse::run(checks);
    checks.check("the driver unloads, and the kernel has no complaint", || {
        for (namespace, dev) in FUNCTIONS {
            guest::remove_namespace(namespace, dev)?;
        }
        guest::run("rmmod swsim")?;
        let log = guest::run("dmesg")?;
        let bad = ["WARNING:", "BUG:", "Oops", "RIP:", "Call Trace"];
        match log.lines().find(|line| bad.iter().any(|word| line.contains(word))) {
            Some(line) => Err(Failure::new(line)),
            None => Ok(()),
        }
    });
}

fn set_up() -> Outcome {
    guest::no_ipv6()?;
    guest::load_module("swsim nvf=2")?;
    for dev in ["swp0", "wire0", "swrep0", "swrep1"] {
        guest::run(&format!("ip link set {dev} up"))?;
    }
    for (number, (namespace, dev)) in (1..).zip(FUNCTIONS) {
        guest::run(&format!("ip link set {dev} address 02:00:00:00:00:0{number}"))?;
        guest::namespace(namespace, dev, &format!("10.0.0.{number}/24"))?;
        keep_neighbours(namespace, dev)?;
    }
    Ok(())
}

/// The kernel's view, the card's own, and the daemon's.
fn evidence() -> String {
    let mut text = String::new();
    for dev in REPRESENTORS {
        let filters = guest::run(&format!("tc -s filter show dev {dev} ingress"));
        text += &format!("filters of {dev}:\n{}\n", filters.unwrap_or_else(|f| f.to_string()));
    }
    let rules = guest::read(&format!("{DEBUG}/rules")).unwrap_or_else(|f| f.to_string());
    text + &format!("rules in the card:\n{rules}\n") + &daemon::evidence()
}
