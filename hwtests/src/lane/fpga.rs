//! The card, served over vfio-user and bound to vfio-pci: real VFIO ioctls, a real IOMMU, real
//! MSI-X. First the driver alone, then the conformance suite, then the daemon.

mod bench;
mod conformance;
mod daemon;
mod driver;
mod frames;
mod pci;

use std::fmt::Write as _;
use std::time::Duration;

use super::{Binary, CARD_MACHINE, Lane};
use crate::check::{Checks, Failure};
use crate::guest;

pub(crate) const LANE: Lane = Lane {
    name: "fpga",
    about: "the card over vfio-user and vfio-pci: DMA, MSI-X, tables, rings, its end",
    machine: CARD_MACHINE,
    needs: &[Binary { name: "megaflow", package: "megaflow" }],
    limit: Duration::from_secs(240),
    evidence,
    run,
};

fn run(checks: &mut Checks) {
    checks.check("the card binds to vfio-pci, behind an IOMMU", || {
        guest::no_ipv6()?;
        guest::load_module("vfio-pci")?;
        guest::load_module("vfio_iommu_type1")?;
        pci::bind(&pci::card()?)
    });
    driver::run(checks);
    conformance::run(checks);
    daemon::run(checks);
    checks.check("the kernel has no complaint", || {
        let log = guest::run("dmesg")?;
        let bad = ["WARNING:", "BUG:", "Oops", "RIP:", "Call Trace", "DMAR: [DMA"];
        match log.lines().find(|line| bad.iter().any(|word| line.contains(word))) {
            Some(line) => Err(Failure::new(line)),
            None => Ok(()),
        }
    });
}

fn evidence() -> String {
    let mut text = format!("the daemon's log:\n{}\n", crate::daemon::log_text());
    let log = guest::run("dmesg").unwrap_or_else(|failure| failure.to_string());
    let lines: Vec<&str> = log.lines().collect();
    let _ = writeln!(text, "the kernel's last words:");
    for line in &lines[lines.len().saturating_sub(8)..] {
        let _ = writeln!(text, "{line}");
    }
    text
}
