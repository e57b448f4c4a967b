//! The card, served over vfio-user and bound to vfio-pci: real VFIO ioctls, a real IOMMU, real
//! MSI-X. First the driver alone, then the daemon on it.

mod bench;
mod daemon;
mod driver;
mod frames;

use std::fmt::Write as _;
use std::time::Duration;

use super::{Binary, Lane};
use crate::card::{DEVICE_ID, VENDOR_ID};
use crate::check::{Checks, Failure, Outcome};
use crate::guest;
use crate::host::CARD_MACHINE;

pub(super) const LANE: Lane = Lane {
    name: "fpga",
    about: "the card over vfio-user and vfio-pci: DMA, MSI-X, tables, rings, its end",
    machine: CARD_MACHINE,
    needs: &[Binary { name: "megaflow", package: "megaflow" }],
    limit: Duration::from_secs(120),
    evidence,
    run,
};

const PCI: &str = "/sys/bus/pci";

fn run(checks: &mut Checks) {
    checks.check("the card binds to vfio-pci, behind an IOMMU", || {
        guest::no_ipv6()?;
        guest::load_module("vfio-pci")?;
        guest::load_module("vfio_iommu_type1")?;
        bind(&card()?)
    });
    driver::run(checks);
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

/// The card's PCI address.
fn card() -> Outcome<String> {
    let devices = format!("{PCI}/devices");
    let listed = crate::check::Context::context(std::fs::read_dir(&devices), &devices)?;
    for entry in listed.flatten() {
        let path = entry.path();
        let id = |file: &str| guest::read(&path.join(file).to_string_lossy());
        let wanted = (format!("{VENDOR_ID:#06x}"), format!("{DEVICE_ID:#06x}"));
        if (id("vendor")?, id("device")?) == wanted {
            return Ok(entry.file_name().to_string_lossy().into_owned());
        }
    }
    Err(Failure::new("the card is not on the bus"))
}

fn bind(address: &str) -> Outcome {
    let device = format!("{PCI}/devices/{address}");
    guest::write(&format!("{device}/driver_override"), "vfio-pci")?;
    guest::write(&format!("{PCI}/drivers_probe"), address)?;
    for (link, end) in [("driver", "/vfio-pci"), ("iommu_group", "/")] {
        let path = format!("{device}/{link}");
        let target = crate::check::Context::context(std::fs::read_link(&path), &path)?;
        crate::check::contains(&target.to_string_lossy(), end)?;
    }
    Ok(())
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
