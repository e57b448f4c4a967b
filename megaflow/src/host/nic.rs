//! Switchdev NICs: what tc can put rules into.

use std::path::Path;

use flow::{Detail, PortId};
use tc_flower::{DeviceSelector, NetDevice, PortReport};

use super::kernel::Kernel;
use super::{Finding, Goal, names, read};

const NEEDED: &[Goal] = &[Goal::Tc];
/// Largest number of reasons in one line.
const REASONS: usize = 3;

/// Looks for the interfaces of a switchdev NIC.
pub(super) fn representors(root: &Path) -> Finding {
    let mut found = Vec::new();
    for name in names(root, "sys/class/net") {
        let file = |what: &str| read(root, &format!("sys/class/net/{name}/{what}"));
        if let Some(switch) = file("phys_switch_id").filter(|id| !id.is_empty()) {
            let port = file("phys_port_name").unwrap_or_default();
            found.push(format!("{name} = {port} of switch {switch}"));
        }
    }
    let finding = if found.is_empty() {
        let fix = "devlink dev eswitch set pci/0000:BB:DD.F mode switchdev (on a NIC that can)";
        Finding::missing("representors", "no interface is a port of a switchdev NIC", fix)
    } else {
        Finding::there("representors", found.join(", "))
    };
    finding.needed_for(NEEDED)
}

/// Finds out whether the drivers of the representors take rules; `None` if there are no
/// representors.
#[must_use]
pub fn tc_offload() -> Option<Finding> {
    const WHAT: &str = "tc offload";
    let missing = |found: String, fix: &str| Finding::missing(WHAT, found, fix).needed_for(NEEDED);
    let devices: Vec<NetDevice> = match tc_flower::list() {
        Ok(devices) => devices.into_iter().filter(|d| d.switch_id.is_some()).collect(),
        Err(error) => return Some(missing(error.to_string(), "run it where netlink is allowed")),
    };
    if devices.is_empty() {
        return None;
    }
    let selector = |device: &NetDevice| DeviceSelector::Name(device.name.clone());
    let ports: Vec<_> = (1..).map(PortId).zip(devices.iter().map(selector)).collect();
    let reports = match tc_flower::survey(&ports) {
        Ok(reports) => reports,
        Err(error) => {
            return Some(missing(format!("{error} (asking needs root)"), "sudo megaflow doctor"));
        }
    };
    let line = |report: &PortReport| match &report.unusable {
        None => format!("{}: takes rules", report.device.name),
        Some(refusal) => format!("{}: refused: {refusal}", report.device.name),
    };
    let found = reports.iter().map(line).collect::<Vec<_>>().join("\n");
    if reports.iter().any(|report| report.unusable.is_none()) {
        return Some(Finding::there(WHAT, found).needed_for(NEEDED));
    }
    Some(missing(found, "ethtool -K INTERFACE hw-tc-offload on (on a NIC that can)"))
}

/// Says in one line why tc will offload no megaflow, or on which ports it will offload none.
/// `None` if every port can be used.
#[must_use]
pub fn without_offload(reports: &[PortReport], kernel: &Kernel) -> Option<String> {
    let mut reasons: Vec<String> = reports.iter().filter_map(reason).collect();
    let all = reasons.len() == reports.len();
    let flower = kernel.flower();
    if all && !flower.ok {
        reasons.insert(0, format!("{} is {}", flower.what, flower.found));
    }
    if reports.is_empty() {
        reasons.insert(0, "there is no port of type system".to_owned());
    }
    let more = reasons.len().saturating_sub(REASONS);
    reasons.truncate(REASONS);
    let why = reasons.join("; ");
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    match (all, why.is_empty()) {
        (true, _) => Some(format!("tc offloads nothing: {why}{more}")),
        (false, false) => Some(format!("tc offloads nothing on some ports: {why}{more}")),
        (false, true) => None,
    }
}

/// Why a port can't be used, with its interface; `None` if the port can be used.
fn reason(report: &PortReport) -> Option<String> {
    let (name, refusal) = (&report.device.name, report.unusable.as_ref()?);
    // The refusal's own subject is the same for every port.
    let detail = match &refusal.detail {
        Detail::None => refusal.to_string(),
        detail => detail.to_string(),
    };
    Some(if detail.starts_with(name) { detail } else { format!("{name}: {detail}") })
}
