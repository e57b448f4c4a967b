//! What a host needs so that the card can be opened through VFIO.

use std::fmt::Display;
use std::path::Path;

use super::kernel::Kernel;
use super::{Finding, Goal, link, names, read};

const NEEDED: &[Goal] = &[Goal::Fpga];
/// Drivers that do not touch a device's memory. Other devices in the card's group may be bound to
/// them.
const HARMLESS: [&str; 3] = ["vfio-pci", "pci-stub", "pcieport"];

/// Checks that the DMA of devices is translated.
pub(super) fn iommu(root: &Path) -> Finding {
    let groups = names(root, "sys/kernel/iommu_groups").len();
    if groups > 0 {
        return Finding::there("IOMMU", format!("{groups} groups")).needed_for(NEEDED);
    }
    let line = read(root, "proc/cmdline").unwrap_or_default();
    let off = |word: &&str| ["iommu=off", "intel_iommu=off", "amd_iommu=off"].contains(word);
    let fix = if let Some(word) = line.split_whitespace().find(off) {
        format!("take {word} off the kernel's command line, and reboot")
    } else if names(root, "sys/firmware/acpi/tables").iter().any(|table| table == "DMAR") {
        // Unlike AMD's IOMMU, Intel's is off unless it is asked for.
        "add intel_iommu=on to the kernel's command line, and reboot".to_owned()
    } else {
        "turn it on in the firmware's setup (VT-d, AMD-Vi), or give the virtual machine one"
            .to_owned()
    };
    Finding::missing("IOMMU", "off: there are no IOMMU groups", fix).needed_for(NEEDED)
}

/// Checks that the interrupts of devices are translated. Without that, a device that a
/// program drives could raise any interrupt, so the kernel gives no device to a program.
pub(super) fn interrupt_remapping(root: &Path) -> Finding {
    let what = "interrupt remapping";
    let interrupts = read(root, "proc/interrupts").unwrap_or_default();
    let controllers = || interrupts.split_whitespace();
    let allowed = "sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts";
    let finding = if controllers().any(|word| word.starts_with("IR-")) {
        Finding::there(what, "on")
    } else if !controllers().any(|word| word == "IO-APIC" || word.starts_with("PCI-MSI")) {
        // This is not x86. On other architectures the interrupt controller remaps, or the start
        // fails.
        Finding::there(what, "not told by this kernel")
    } else if read(root, allowed).as_deref() == Some("Y") {
        Finding::there(what, "off, and allow_unsafe_interrupts is set")
    } else {
        let fix = format!(
            "turn it on (in the firmware's setup with the IOMMU; no intremap=off on the kernel's \
             command line), or, if you trust every program with a device: echo Y > /{allowed}"
        );
        Finding::missing(what, "off: the kernel gives no program a device", fix)
    };
    finding.needed_for(NEEDED)
}

/// The PCI functions that are bound to vfio-pci.
pub(super) fn bound(root: &Path) -> Vec<Finding> {
    let devices = names(root, "sys/bus/pci/drivers/vfio-pci");
    let cards = devices.iter().filter(|name| name.contains(':'));
    let mut findings: Vec<Finding> = cards.map(|address| card(root, address)).collect();
    if findings.is_empty() {
        let found = "no PCI device is bound to vfio-pci";
        findings.push(Finding::missing("card", found, bind("$CARD")).needed_for(NEEDED));
    }
    findings
}

/// The commands of `docs/how-to/run.md` that bind a card, in one line.
fn bind(address: &str) -> String {
    let device = format!("/sys/bus/pci/devices/{address}");
    format!(
        "echo {address} > {device}/driver/unbind (where it has a driver); echo vfio-pci > \
         {device}/driver_override; echo {address} > /sys/bus/pci/drivers_probe"
    )
}

/// Checks one card: it is bound to vfio-pci, it is alone in its group, and the group's file
/// exists.
fn card(root: &Path, address: &str) -> Finding {
    let missing = |found: String, fix: String| {
        Finding::missing("card", format!("{address} {found}"), fix).needed_for(NEEDED)
    };
    let device = format!("sys/bus/pci/devices/{address}");
    if !root.join(&device).exists() {
        return missing("is no PCI device".to_owned(), "ls /sys/bus/pci/devices".to_owned());
    }
    let driver = link(root, &format!("{device}/driver"));
    if driver.as_deref() != Some("vfio-pci") {
        let driver = driver.map_or("no driver".to_owned(), |name| format!("the driver {name}"));
        return missing(format!("has {driver}, not vfio-pci"), bind(address));
    }
    let Some(group) = link(root, &format!("{device}/iommu_group")) else {
        return missing("has no IOMMU group".to_owned(), "turn the IOMMU on".to_owned());
    };
    for other in names(root, &format!("sys/kernel/iommu_groups/{group}/devices")) {
        let driver = link(root, &format!("sys/bus/pci/devices/{other}/driver"));
        if let Some(driver) = driver.filter(|driver| !HARMLESS.contains(&driver.as_str())) {
            let found =
                format!("shares IOMMU group {group} with {other}, whose driver is {driver}");
            let fix = format!("echo {other} > /sys/bus/pci/drivers/{driver}/unbind");
            return missing(found, fix);
        }
    }
    if !root.join(format!("dev/vfio/{group}")).exists() {
        let fix = format!("give the container /dev/vfio/vfio and /dev/vfio/{group}");
        return missing(format!("is in group {group}, but there is no /dev/vfio/{group}"), fix);
    }
    Finding::there("card", format!("{address} (group {group})")).needed_for(NEEDED)
}

/// Says why the card at this address can't be opened: the first thing that `doctor` would show as
/// missing, with its fix, and then what the driver said.
pub fn explained(root: &Path, address: &str, error: &dyn Display) -> String {
    let this = card(root, address);
    let mut findings = Vec::new();
    if !root.join("sys/bus/pci/devices").join(address).exists() {
        findings.push(this.clone());
    }
    findings.push(iommu(root));
    findings.extend(Kernel::read(root).vfio());
    findings.extend([this, interrupt_remapping(root)]);
    match findings.iter().find(|finding| !finding.ok) {
        Some(Finding { what, found, fix: Some(fix), .. }) => {
            format!("card {address}: {what}: {found}; to change that: {fix} ({error})")
        }
        _ => format!("card {address}: {error}"),
    }
}
