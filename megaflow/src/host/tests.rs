//! Hosts that lack one thing each, as trees of files.

use std::os::unix::fs::symlink;

use tc_flower::{NetDevice, PortReport};

use super::*;

const CARD: &str = "0000:03:00.0";
const MATE: &str = "0000:03:00.1";

/// Files under a root of the test's own.
struct Host(tempfile::TempDir);

impl Host {
    fn new(files: &[(&str, &str)]) -> Host {
        let host = Host(tempfile::tempdir().unwrap());
        files.iter().for_each(|(path, text)| host.write(path, text));
        host
    }

    /// A host on which a card can be opened: the card is bound to vfio-pci and alone in its
    /// group, its DMA is translated and its interrupts are remapped.
    fn with_card() -> Host {
        let host = Host::new(&[
            ("proc/sys/kernel/osrelease", "6.12\n"),
            ("proc/self/status", "Name: x\nUid:\t0\t0\t0\t0\n"),
            ("proc/interrupts", "  9:  0  IR-IO-APIC   9-fasteoi   acpi\n"),
            ("sys/module/vfio_pci/refcnt", "0"),
            ("sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts", "N\n"),
            ("dev/vfio/7", ""),
        ]);
        host.device(CARD, "7", Some("vfio-pci"));
        host
    }

    fn root(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn remove(&self, path: &str) {
        let path = self.root().join(path);
        if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.unwrap();
    }

    /// A PCI device as sysfs shows it.
    fn device(&self, address: &str, group: &str, driver: Option<&str>) {
        let device = format!("sys/bus/pci/devices/{address}");
        let folder = |path: String| fs::create_dir_all(self.root().join(path)).unwrap();
        folder(device.clone());
        folder(format!("sys/kernel/iommu_groups/{group}/devices/{address}"));
        let link = |to: String, name: &str| {
            symlink(to, self.root().join(format!("{device}/{name}"))).unwrap();
        };
        link(format!("../../../../kernel/iommu_groups/{group}"), "iommu_group");
        if let Some(driver) = driver {
            folder(format!("sys/bus/pci/drivers/{driver}/{address}"));
            link(format!("../../../../bus/pci/drivers/{driver}"), "driver");
        }
    }

    fn findings(&self) -> Vec<Finding> {
        look(self.root(), OsStr::new("/usr/bin"))
    }

    fn says(&self, what: &str) -> String {
        let findings = self.findings();
        let finding = findings.iter().find(|finding| finding.what == what).unwrap();
        format!("{} {} -> {}", finding.ok, finding.found, finding.fix.as_deref().unwrap_or("-"))
    }

    /// The things that are missing for a goal.
    fn misses(&self, goal: Goal) -> Vec<&'static str> {
        let findings = self.findings();
        let missing = findings.iter().filter(|f| !f.ok && f.needed_for.contains(&goal));
        missing.map(|finding| finding.what).collect()
    }

    /// The error of a start whose driver could not open the card.
    fn start_says(&self) -> String {
        card::explained(self.root(), CARD, &"the driver's words")
    }
}

#[test]
fn what_is_missing_comes_with_the_command() {
    let host = Host::new(&[
        ("proc/sys/kernel/osrelease", "6.1\n"),
        ("lib/modules/6.1/modules.dep", "kernel/net/sched/cls_flower.ko:\na/vfio-pci.ko.xz:"),
        ("lib/modules/6.1/modules.builtin", "kernel/net/sched/sch_ingress.ko\n"),
        ("boot/config-6.1", "CONFIG_NET_ACT_VLAN=y\nCONFIG_NET_ACT_PEDIT=m\n"),
        ("proc/kallsyms", "0000 t tun_chr_open\n"),
        ("sys/module/veth/refcnt", "0"),
        ("proc/self/status", "Name: x\nUid:\t1000\t1000\t1000\t1000\n"),
        ("proc/sys/user/max_user_namespaces", "0"),
        ("proc/meminfo", "HugePages_Total:       4\nHugepagesize:       2048 kB\n"),
        ("sys/class/net/eth0/phys_switch_id", "aa\n"),
        ("sys/class/net/eth0/phys_port_name", "pf0vf1\n"),
    ]);
    for (what, want) in [
        ("kernel", "true 6.1 -> -"),
        ("tc flower", "true the kernel loads it when it is used -> -"),
        ("vfio-pci", "false not loaded -> modprobe vfio_pci"),
        ("tc clsact", "true built in -> -"),
        ("tc vlan", "true built in -> -"),
        ("tc pedit", "false not in this kernel -> boot a kernel with CONFIG_NET_ACT_PEDIT"),
        ("tun/tap", "true built in -> -"),
        ("veth", "true loaded -> -"),
        ("hugepages", "true 4 of 2048 kB; Megaflow needs none -> -"),
        ("representors", "true eth0 = pf0vf1 of switch aa -> -"),
        ("privilege", "false not root -> start it with sudo"),
    ] {
        assert_eq!(host.says(what), want, "{what}");
    }
    assert!(host.says("namespaces").starts_with("false none: the demo replays captures"));
    // netdevsim is not a module of Debian's. The lab builds it, and nothing else uses it.
    assert!(host.findings().iter().all(|finding| !format!("{finding:?}").contains("netdevsim")));
}

#[test]
fn debians_cloud_kernel_is_named() {
    let host = Host::new(&[("proc/sys/kernel/osrelease", "6.12.9+bpo-cloud-amd64\n")]);
    assert!(host.says("tc flower").contains("apt-get install linux-image-amd64"));
}

#[test]
fn each_goal_has_its_own_needs() {
    let host = Host::with_card();
    assert_eq!(host.misses(Goal::Fpga), [""; 0]);
    assert_eq!(host.misses(Goal::Tc), ["tc flower", "tc clsact", "tc mirred", "representors"]);
    assert_eq!(host.misses(Goal::Tests), ["tun/tap", "veth", "programs"]);
    assert_eq!(host.misses(Goal::Demo), [""; 0]);
    // The modules of single actions are optional: tc takes rules without them.
    let optional = host.findings().into_iter().find(|f| f.what == "tc mpls").unwrap();
    assert!(!optional.ok && optional.concerns(Goal::Tc));
}

#[test]
fn programs_of_tests_are_looked_for_where_debian_has_them() {
    let host = Host::new(&[]);
    assert!(host.says("programs").contains("promtool"));
    for line in include_str!("../../../hwtests/programs.txt").lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["tests" | "readme", _, path] if path.starts_with('/') => host.write(&path[1..], ""),
            ["tests" | "readme", _, "tc"] => host.write("sbin/tc", ""),
            ["tests" | "readme", _, program] => host.write(&format!("usr/bin/{program}"), ""),
            _ => {}
        }
    }
    assert!(host.says("programs").starts_with("true all "), "{}", host.says("programs"));
    host.remove("sbin/tc");
    let fix = "false missing: tc -> apt-get install --no-install-recommends iproute2";
    assert_eq!(host.says("programs"), fix);
}

/// A failed start names what `doctor` shows as missing, with the same fix.
#[test]
fn a_start_and_doctor_say_the_same_about_a_card() {
    let agree = |host: &Host, what: &'static str, found: &str, fix: &str| {
        assert_eq!(host.misses(Goal::Fpga), [what], "{found}");
        let says = host.says(what);
        assert!(says.contains(found) && says.contains(fix), "{says}");
        let start = host.start_says();
        assert!(start.starts_with(&format!("card {CARD}: {what}: ")), "{start}");
        assert!(start.contains(found) && start.contains(fix), "{start}");
        assert!(start.ends_with("(the driver's words)") && !start.contains('\n'), "{start}");
    };

    let host = Host::with_card();
    assert_eq!(host.says("card"), format!("true {CARD} (group 7) -> -"));
    assert_eq!(host.start_says(), format!("card {CARD}: the driver's words"));

    host.write("proc/interrupts", "  9:  0  IO-APIC   9-fasteoi   acpi\n");
    agree(&host, "interrupt remapping", "off", "allow_unsafe_interrupts");
    let allow = "sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts";
    host.write(allow, "Y\n");
    assert_eq!(host.misses(Goal::Fpga), [""; 0]);

    host.device(MATE, "7", Some("nvme"));
    agree(&host, "card", "shares IOMMU group 7 with 0000:03:00.1, whose driver is nvme", "unbind");
    host.remove(&format!("sys/bus/pci/devices/{MATE}/driver"));
    assert_eq!(host.misses(Goal::Fpga), [""; 0]);

    host.remove("dev/vfio/7");
    agree(&host, "card", "there is no /dev/vfio/7", "give the container");
    host.write("dev/vfio/7", "");

    host.remove("sys/module/vfio_iommu_type1");
    host.write("lib/modules/6.12/modules.dep", "kernel/vfio_iommu_type1.ko:");
    host.write("proc/interrupts", "  9:  0  IR-IO-APIC   9-fasteoi   acpi\n");
    agree(&host, "vfio type1", "not loaded", "modprobe vfio_iommu_type1");
}

#[test]
fn without_an_iommu_the_way_to_one_is_named() {
    let host = Host::with_card();
    host.remove("sys/kernel/iommu_groups");
    for (path, text, fix) in [
        ("proc/cmdline", "quiet", "in the firmware's setup"),
        ("sys/firmware/acpi/tables/DMAR", "", "add intel_iommu=on"),
        ("proc/cmdline", "quiet amd_iommu=off\n", "take amd_iommu=off off"),
    ] {
        host.write(path, text);
        assert!(host.says("IOMMU").contains(fix), "{}", host.says("IOMMU"));
        let start = host.start_says();
        assert!(start.contains("IOMMU: off") && start.contains(fix), "{start}");
    }
}

#[test]
fn a_card_that_is_not_bound_or_not_there_is_told_so() {
    let host = Host::with_card();
    host.remove(&format!("sys/bus/pci/devices/{CARD}/driver"));
    let start = host.start_says();
    assert!(start.contains("has no driver, not vfio-pci; to change that: echo"), "{start}");
    host.remove("sys/bus/pci/drivers/vfio-pci");
    assert!(host.says("card").starts_with("false no PCI device is bound to vfio-pci"));
    host.remove("sys/bus/pci/devices");
    assert!(host.start_says().contains(&format!("{CARD} is no PCI device")));
}

#[test]
fn another_architecture_is_not_judged_by_x86s_names() {
    let host = Host::with_card();
    host.write("proc/interrupts", " 12:  0  GICv3  27 Level  arch_timer\n 40: 0 ITS-MSI 0 x\n");
    assert_eq!(host.misses(Goal::Fpga), [""; 0]);
}

#[test]
fn a_start_says_in_one_line_why_tc_offloads_nothing() {
    let report = |port: u32, name: &str, why: Option<&str>| PortReport {
        port: flow::PortId(port),
        device: NetDevice { ifindex: port, name: name.to_owned(), ..NetDevice::default() },
        unusable: why
            .map(|why| flow::Refusal::new(flow::Reason::Device, flow::Subject::Tc).said(why)),
    };
    let with = Host::new(&[("sys/module/cls_flower/refcnt", "0")]);
    let without = Host::new(&[]);
    let says = |host: &Host, reports: &[PortReport]| {
        nic::without_offload(reports, &Kernel::read(host.root()))
    };
    let no_port = report(1, "eth0", Some("eth0 is not a port of a switchdev NIC"));
    let off = report(2, "eth1", Some("Operation not supported"));
    let good = report(3, "eth2", None);
    for (host, reports, want) in [
        (&with, vec![good.clone()], None),
        (&with, vec![], Some("tc offloads nothing: there is no port of type system")),
        (
            &with,
            vec![no_port.clone(), off.clone()],
            Some(
                "tc offloads nothing: eth0 is not a port of a switchdev NIC; eth1: Operation not \
                 supported",
            ),
        ),
        (
            &without,
            vec![no_port.clone()],
            Some(
                "tc offloads nothing: tc flower is not in this kernel; eth0 is not a port of a \
                 switchdev NIC",
            ),
        ),
        (
            &with,
            vec![good.clone(), off.clone()],
            Some("tc offloads nothing on some ports: eth1: Operation not supported"),
        ),
        (
            &with,
            vec![off.clone(), off.clone(), off.clone(), off.clone(), off],
            Some(
                "tc offloads nothing: eth1: Operation not supported; eth1: Operation not \
                 supported; eth1: Operation not supported; and 2 more",
            ),
        ),
    ] {
        assert_eq!(says(host, &reports).as_deref(), want);
    }
}
