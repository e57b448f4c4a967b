//! All lanes: found by name, and run in the guest.

use std::process::ExitCode;

use crate::check::Checks;
use crate::lane::{Lane, fpga, netdevsim, simulator, switchdev, tc_flower};

/// What the guest's init hands to QEMU when every check passed. A value of its own: QEMU ends with
/// 0 after a guest's panic and with 1 after a usage error.
pub(crate) const PASS: u8 = 42;

/// Every lane, in the order in which they run within a boot.
pub(crate) const ALL: &[Lane] =
    &[simulator::LANE, netdevsim::LANE, tc_flower::LANE, switchdev::LANE, fpga::LANE];

/// The lanes with these names, all for none. `Err` names the unknown one and the known.
pub(crate) fn select(names: &[String]) -> Result<Vec<&'static Lane>, String> {
    if names.is_empty() {
        return Ok(ALL.iter().collect());
    }
    names
        .iter()
        .map(|name| {
            ALL.iter().find(|lane| lane.name == name).ok_or_else(|| {
                let known: Vec<&str> = ALL.iter().map(|lane| lane.name).collect();
                format!("there is no lane {name:?}; there are: {}", known.join(", "))
            })
        })
        .collect()
}

/// In the guest: runs the lanes one after the other.
pub(crate) fn run_here(lanes: &[&'static Lane]) -> ExitCode {
    let mut passed = true;
    for lane in lanes {
        let mut checks = Checks::new(lane.name, lane.evidence);
        (lane.run)(&mut checks);
        passed &= checks.finish();
    }
    if passed { ExitCode::from(PASS) } else { ExitCode::FAILURE }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_are_found_by_name_and_unknown_ones_name_the_known() {
        assert_eq!(select(&[]).unwrap().len(), ALL.len());
        assert_eq!(select(&["simulator".into()]).unwrap()[0].name, "simulator");
        let error = select(&["simulater".into()]).err().unwrap();
        assert!(error.contains("simulater") && error.contains("simulator"), "{error}");
    }
}
