//! The daemon on the simulated switchdev NIC: real traffic between its functions, in hostdp and in
//! hardware, with every packet accounted for.

mod books;
mod hands;
mod hit;
mod refuse;
mod repair;
mod restart;
mod rewrite;
mod traffic;

use std::time::Duration;

use super::{Binary, Lane};
use crate::check::{Checks, Failure, Outcome};
use crate::daemon::{self, Daemon};
use crate::guest;

pub(super) const LANE: Lane = Lane {
    name: "switchdev",
    about: "the daemon on the simulated switchdev NIC: into hardware, repaired, refused, adopted",
    machine: "plain",
    needs: &[Binary { name: "megaflow", package: "megaflow" }],
    limit: Duration::from_secs(180),
    evidence,
    run,
};

const DEBUG: &str = "/sys/kernel/debug/swsim";
const MAX_RULES: &str = "/sys/module/swsim/parameters/max_rules";
/// The functions, each in the namespace of its host. Its address is 10.0.0.1, the other's is
/// 10.0.0.2; their MACs end likewise.
const FUNCTIONS: [(&str, &str); 2] = [("f0", "swvf0"), ("f1", "swvf1")];
const REPRESENTORS: [&str; 3] = ["swrep0", "swrep1", "swp0"];
/// How long a megaflow may take into hardware: one that found the table full is tried again
/// after two seconds.
const SOON: Duration = Duration::from_secs(8);

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

/// An address that was resolved stays so: a request in between would be a miss, right where a
/// check wants none.
fn keep_neighbours(namespace: &str, dev: &str) -> Outcome {
    for time in ["base_reachable_time_ms=3600000", "delay_first_probe_time=3600"] {
        guest::run_in(namespace, &format!("sysctl -qw net.ipv4.neigh.{dev}.{time}"))?;
    }
    Ok(())
}

/// The hosts resolve each other's addresses anew: a switch that hears the request and the answer
/// knows both before the first unicast packet, which it otherwise would flood.
fn forget_neighbours() -> Outcome {
    for (namespace, dev) in FUNCTIONS {
        guest::run(&format!("ip -n {namespace} neigh flush dev {dev}"))?;
    }
    Ok(())
}

/// A daemon that several checks use.
#[derive(Default)]
struct Running(Option<Daemon>);

impl Running {
    fn get(&self) -> Outcome<&Daemon> {
        self.0.as_ref().ok_or_else(|| Failure::new("the daemon did not start, see above"))
    }

    fn take(&mut self) -> Outcome<Daemon> {
        self.0.take().ok_or_else(|| Failure::new("the daemon did not start, see above"))
    }
}

/// A configuration with all representors as ports: vf0 is 1, vf1 is 2, the uplink is 3.
fn config(client: &str) -> String {
    let mut text = format!("[datapath]\nname = \"br0\"\nclient = \"{client}\"\n");
    for (name, port) in [("vf0", "pf0vf0"), ("vf1", "pf0vf1"), ("uplink", "p0")] {
        text += &format!("[[port]]\nname = \"{name}\"\ntype = \"system\"\n");
        text += &format!(
            "device = {{ switch_id = \"737773696d2d3000\", phys_port_name = \"{port}\" }}\n"
        );
    }
    text + "[[provider]]\nkind = \"tc\"\n"
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

/// Nothing of the daemon's is on the representors.
fn nothing_left() -> Outcome {
    let rules = guest::read(&format!("{DEBUG}/rules"))?;
    crate::check::equal("rules in the card", &rules.as_str(), &"")?;
    let qdiscs = guest::run("tc qdisc show")?;
    match qdiscs.lines().find(|line| line.contains("clsact")) {
        Some(line) => Err(Failure::new(format!("left behind: {line}"))),
        None => Ok(()),
    }
}

/// A line of the card's capture: the netdev, and the frame that it was handed.
fn captured(line: &str) -> Outcome<(String, Vec<u8>)> {
    let bad = || Failure::new(format!("not a line of a capture: {line}"));
    let mut words = line.split(' ');
    let (Some(dev), Some(_), Some(hex)) = (words.next(), words.next(), words.next()) else {
        return Err(bad());
    };
    let pairs = hex.as_bytes().chunks(2).map(|pair| {
        let text = std::str::from_utf8(pair).unwrap_or_default();
        u8::from_str_radix(text, 16).map_err(|_| bad())
    });
    Ok((dev.to_owned(), pairs.collect::<Outcome<Vec<u8>>>()?))
}
