//! The card on the PCI bus, and its driver.

use crate::card::{DEVICE_ID, VENDOR_ID};
use crate::check::{Failure, Outcome, WithContext, contains};
use crate::guest;

const PCI: &str = "/sys/bus/pci";

/// The card's PCI address.
pub(super) fn card() -> Outcome<String> {
    let devices = format!("{PCI}/devices");
    let listed = std::fs::read_dir(&devices).context(&devices)?;
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

pub(super) fn bind(address: &str) -> Outcome {
    let device = format!("{PCI}/devices/{address}");
    guest::write(&format!("{device}/driver_override"), "vfio-pci")?;
    guest::write(&format!("{PCI}/drivers_probe"), address)?;
    for (link, end) in [("driver", "/vfio-pci"), ("iommu_group", "/")] {
        let path = format!("{device}/{link}");
        let target = std::fs::read_link(&path).context(&path)?;
        contains(&target.to_string_lossy(), end)?;
    }
    Ok(())
}
