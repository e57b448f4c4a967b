//! What the checks work with: the card, the hosts at its functions, the daemon.

use std::time::Duration;

use crate::check::{Failure, Outcome, equal};
use crate::daemon::Daemon;
use crate::guest;

pub(super) const DEBUG: &str = "/sys/kernel/debug/swsim";
pub(super) const MAX_RULES: &str = "/sys/module/swsim/parameters/max_rules";
/// The functions, each in the namespace of its host. Its address is 10.0.0.1, the other's is
/// 10.0.0.2; their MACs end likewise.
pub(super) const FUNCTIONS: [(&str, &str); 2] = [("f0", "swvf0"), ("f1", "swvf1")];
pub(super) const REPRESENTORS: [&str; 3] = ["swrep0", "swrep1", "swp0"];
/// How long a megaflow may take into hardware: one that found the table full is tried again
/// after two seconds.
pub(super) const SOON: Duration = Duration::from_secs(8);

/// An address that was resolved stays so: a request in between would be a miss, right where a
/// check wants none.
pub(super) fn keep_neighbours(namespace: &str, dev: &str) -> Outcome {
    for time in ["base_reachable_time_ms=3600000", "delay_first_probe_time=3600"] {
        guest::run_in(namespace, &format!("sysctl -qw net.ipv4.neigh.{dev}.{time}"))?;
    }
    Ok(())
}

/// The hosts resolve each other's addresses anew: a switch that hears the request and the answer
/// knows both before the first unicast packet, which it otherwise would flood.
pub(super) fn forget_neighbours() -> Outcome {
    for (namespace, dev) in FUNCTIONS {
        guest::run(&format!("ip -n {namespace} neigh flush dev {dev}"))?;
    }
    Ok(())
}

/// A daemon that several checks use.
#[derive(Default)]
pub(super) struct RunningDaemon(pub(super) Option<Daemon>);

impl RunningDaemon {
    pub(super) fn get(&self) -> Outcome<&Daemon> {
        self.0.as_ref().ok_or_else(|| Failure::new("the daemon did not start, see above"))
    }

    pub(super) fn take(&mut self) -> Outcome<Daemon> {
        self.0.take().ok_or_else(|| Failure::new("the daemon did not start, see above"))
    }
}

/// A configuration with all representors as ports: vf0 is 1, vf1 is 2, the uplink is 3.
pub(super) fn config(client: &str) -> String {
    let mut text = format!("[datapath]\nname = \"br0\"\nclient = \"{client}\"\n");
    for (name, port) in [("vf0", "pf0vf0"), ("vf1", "pf0vf1"), ("uplink", "p0")] {
        text += &format!("[[port]]\nname = \"{name}\"\ntype = \"system\"\n");
        text += &format!(
            "device = {{ switch_id = \"737773696d2d3000\", phys_port_name = \"{port}\" }}\n"
        );
    }
    text + "[[provider]]\nkind = \"tc\"\n"
}

/// Nothing of the daemon's is on the representors.
pub(super) fn nothing_left() -> Outcome {
    let rules = guest::read(&format!("{DEBUG}/rules"))?;
    equal("rules in the card", &rules.as_str(), &"")?;
    let qdiscs = guest::run("tc qdisc show")?;
    match qdiscs.lines().find(|line| line.contains("clsact")) {
        Some(line) => Err(Failure::new(format!("left behind: {line}"))),
        None => Ok(()),
    }
}

/// A line of the card's capture: the netdev, and the frame that it was handed.
pub(super) fn captured(line: &str) -> Outcome<(String, Vec<u8>)> {
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
