//! `megaflow doctor`

use std::fs;
use std::path::Path;

use flow::PortId;
use serde::Serialize;
use tc_flower::{Device, DeviceSelector, PortReport};

use super::{Outcome, print, print_json};
use crate::control::render::table;

/// What this host can do for Megaflow, and the command for each step that is missing.
#[derive(clap::Args)]
#[command(after_help = "Example: sudo megaflow doctor")]
pub(super) struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// One thing that was looked at.
#[derive(Serialize)]
struct Finding {
    what: &'static str,
    /// Is it there?
    ok: bool,
    /// What was found.
    found: String,
    /// What it is good for, and the command that would change it.
    fix: Option<String>,
}

impl Finding {
    fn new(what: &'static str, ok: bool, found: impl Into<String>, fix: impl Into<String>) -> Self {
        let fix: String = fix.into();
        Finding { what, ok, found: found.into(), fix: (!ok && !fix.is_empty()).then_some(fix) }
    }
}

pub(super) fn run(args: &Args) -> Outcome {
    let mut findings = look(Path::new("/"));
    findings.extend(tc_offload());
    if args.json {
        return print_json(&findings);
    }
    let mut rows = Vec::new();
    for finding in &findings {
        let found = match &finding.fix {
            Some(fix) => format!("{}\n-> {fix}", finding.found),
            None => finding.found.clone(),
        };
        let mark = if finding.ok { "ok" } else { "missing" };
        rows.push([mark.to_owned(), finding.what.to_owned(), found]);
    }
    print(&table(&rows, &[]))
}

/// Everything, as files under `root` tell it.
fn look(root: &Path) -> Vec<Finding> {
    let modules = Modules::read(root);
    let mut findings = vec![kernel(root), privilege(root)];
    findings.extend(FEATURES.iter().map(|feature| modules.finding(feature)));
    findings.extend([iommu(root), vfio_devices(root), hugepages(root), representors(root)]);
    findings
}

fn read(root: &Path, path: &str) -> Option<String> {
    fs::read_to_string(root.join(path)).ok().map(|text| text.trim().to_owned())
}

fn names(root: &Path, path: &str) -> Vec<String> {
    let entries = fs::read_dir(root.join(path)).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

fn kernel(root: &Path) -> Finding {
    let release = read(root, "proc/sys/kernel/osrelease");
    Finding::new("kernel", release.is_some(), release.unwrap_or("unknown".into()), "")
}

/// Root, or namespaces of one's own, which is enough for the demo.
fn privilege(root: &Path) -> Finding {
    let uid = read(root, "proc/self/status")
        .and_then(|text| text.lines().find_map(|line| line.strip_prefix("Uid:").map(str::to_owned)))
        .and_then(|line| line.split_whitespace().nth(1)?.parse::<u32>().ok());
    if uid == Some(0) {
        return Finding::new("privilege", true, "root", "");
    }
    let number = |path| read(root, path).and_then(|text| text.parse::<u64>().ok());
    let some = number("proc/sys/user/max_user_namespaces").is_some_and(|most| most > 0);
    let allowed = number("proc/sys/kernel/unprivileged_userns_clone").unwrap_or(1) == 1;
    if some && allowed {
        return Finding::new("privilege", true, "user namespaces (enough for the demo)", "");
    }
    let fix = "sysctl -w user.max_user_namespaces=10000 kernel.unprivileged_userns_clone=1";
    Finding::new("privilege", false, "neither root nor user namespaces", fix)
}

/// Something that a kernel has or has not.
struct Feature {
    what: &'static str,
    module: &'static str,
    option: &'static str,
    /// A function that is in the kernel's list of symbols if the feature is in the kernel.
    symbol: &'static str,
    needed_for: &'static str,
}

const fn feature(
    what: &'static str,
    module: &'static str,
    option: &'static str,
    symbol: &'static str,
    needed_for: &'static str,
) -> Feature {
    Feature { what, module, option, symbol, needed_for }
}

const FEATURES: [Feature; 9] = [
    feature("tc flower", "cls_flower", "NET_CLS_FLOWER", "fl_classify", "megaflows through tc"),
    feature("tc clsact", "sch_ingress", "NET_SCH_INGRESS", "clsact_init", "megaflows through tc"),
    feature("tc mirred", "act_mirred", "NET_ACT_MIRRED", "tcf_mirred_act", "output through tc"),
    feature("tc vlan", "act_vlan", "NET_ACT_VLAN", "tcf_vlan_act", "VLAN tags through tc"),
    feature("tc pedit", "act_pedit", "NET_ACT_PEDIT", "tcf_pedit_act", "rewrites through tc"),
    feature("tc mpls", "act_mpls", "NET_ACT_MPLS", "tcf_mpls_act", "MPLS through tc"),
    feature("tun/tap", "tun", "TUN", "tun_chr_open", "ports of type tap and internal"),
    feature("netdevsim", "netdevsim", "NETDEVSIM", "nsim_drv_probe", "tests without a NIC"),
    feature("vfio-pci", "vfio_pci", "VFIO_PCI", "vfio_pci_probe", "the FPGA card"),
];

/// What the kernel has built in, has loaded, or could load.
struct Modules {
    loaded: Vec<String>,
    builtin: String,
    loadable: String,
    symbols: String,
}

impl Modules {
    fn read(root: &Path) -> Modules {
        let release = read(root, "proc/sys/kernel/osrelease").unwrap_or_default();
        let list = |file: &str| {
            let text = read(root, &format!("lib/modules/{release}/{file}")).unwrap_or_default();
            text.replace('-', "_")
        };
        let config = read(root, &format!("boot/config-{release}")).unwrap_or_default();
        Modules {
            loaded: names(root, "sys/module"),
            builtin: list("modules.builtin") + &config,
            loadable: list("modules.dep"),
            symbols: read(root, "proc/kallsyms").unwrap_or_default(),
        }
    }

    fn finding(&self, feature: &Feature) -> Finding {
        let Feature { what, module, option, symbol, needed_for } = feature;
        let file = format!("/{module}.ko");
        let option = format!("CONFIG_{option}");
        let is_builtin = self.builtin.contains(&file)
            || self.builtin.contains(&format!("{option}=y"))
            || self.symbols.contains(&format!(" {symbol}"));
        if self.loaded.iter().any(|name| name == module) {
            Finding::new(what, true, "loaded", "")
        } else if is_builtin {
            Finding::new(what, true, "built in", "")
        } else if self.loadable.contains(&file) {
            let fix = format!("modprobe {module}  (for {needed_for})");
            Finding::new(what, false, "not loaded", fix)
        } else {
            let fix = format!("a kernel with {option}  (for {needed_for})");
            Finding::new(what, false, "not found in this kernel", fix)
        }
    }
}

fn iommu(root: &Path) -> Finding {
    let groups = names(root, "sys/kernel/iommu_groups").len();
    let fix = "add intel_iommu=on or amd_iommu=on to the kernel's command line, and reboot  \
               (for the FPGA card)";
    Finding::new("IOMMU", groups > 0, format!("{groups} groups"), fix)
}

/// PCI functions that are bound to vfio-pci, with their groups.
fn vfio_devices(root: &Path) -> Finding {
    let bound: Vec<String> = names(root, "sys/bus/pci/drivers/vfio-pci")
        .into_iter()
        .filter(|name| name.contains(':'))
        .map(|address| {
            let link = root.join(format!("sys/bus/pci/devices/{address}/iommu_group"));
            let group = fs::read_link(link).ok();
            let group = group.as_deref().and_then(Path::file_name).and_then(|name| name.to_str());
            format!("{address} (group {})", group.unwrap_or("none"))
        })
        .collect();
    let found = if bound.is_empty() { "none bound".to_owned() } else { bound.join(", ") };
    let fix = "driverctl set-override 0000:BB:DD.F vfio-pci  (with the card's address)";
    Finding::new("VFIO devices", !bound.is_empty(), found, fix)
}

fn hugepages(root: &Path) -> Finding {
    let memory = read(root, "proc/meminfo").unwrap_or_default();
    let number = |name: &str| {
        let line = memory.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0)
    };
    let (total, size) = (number("HugePages_Total:"), number("Hugepagesize:"));
    let found = format!("{total} of {size} kB");
    Finding::new("hugepages", total > 0, found, "sysctl -w vm.nr_hugepages=64  (for large rings)")
}

/// Interfaces of a switchdev NIC.
fn representors(root: &Path) -> Finding {
    let mut found = Vec::new();
    for name in names(root, "sys/class/net") {
        let file = |what: &str| read(root, &format!("sys/class/net/{name}/{what}"));
        if let Some(switch) = file("phys_switch_id").filter(|id| !id.is_empty()) {
            let port = file("phys_port_name").unwrap_or_default();
            found.push(format!("{name} = {port} of switch {switch}"));
        }
    }
    let ok = !found.is_empty();
    let list = if ok { found.join(", ") } else { "none".to_owned() };
    let fix = "devlink dev eswitch set pci/0000:BB:DD.F mode switchdev  (on a NIC that can)";
    Finding::new("representors", ok, list, fix)
}

/// What the drivers of the representors say to a rule; nothing where there are none.
fn tc_offload() -> Option<Finding> {
    const WHAT: &str = "tc offload";
    let devices: Vec<Device> = match tc_flower::list() {
        Ok(devices) => devices.into_iter().filter(|d| d.switch_id.is_some()).collect(),
        Err(error) => return Some(Finding::new(WHAT, false, error.to_string(), "")),
    };
    if devices.is_empty() {
        return None;
    }
    let selector = |device: &Device| DeviceSelector::Name(device.name.clone());
    let ports: Vec<_> = (1..).map(PortId).zip(devices.iter().map(selector)).collect();
    let reports = match tc_flower::survey(&ports) {
        Ok(reports) => reports,
        Err(error) => {
            let found = format!("{error} (asking needs root)");
            return Some(Finding::new(WHAT, false, found, "sudo megaflow doctor"));
        }
    };
    let refusals = || reports.iter().filter_map(|report| report.unusable.as_ref());
    let line = |report: &PortReport| match &report.unusable {
        None => format!("{}: takes rules", report.device.name),
        Some(refusal) => format!("{}: refused: {refusal}", report.device.name),
    };
    let found: Vec<String> = reports.iter().map(line).collect();
    let fix = "ethtool -K INTERFACE hw-tc-offload on  (on a NIC that can)";
    Some(Finding::new(WHAT, refusals().next().is_none(), found.join("\n"), fix))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Files under a root of the test's own.
    fn host(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    fn says(root: &Path, what: &str) -> String {
        let findings = look(root);
        let finding = findings.iter().find(|finding| finding.what == what).unwrap();
        format!("{} {} {}", finding.ok, finding.found, finding.fix.as_deref().unwrap_or("-"))
    }

    #[test]
    fn what_is_missing_comes_with_the_command() {
        let root = host(&[
            ("proc/sys/kernel/osrelease", "6.1\n"),
            ("lib/modules/6.1/modules.dep", "kernel/net/sched/cls_flower.ko:\na/vfio-pci.ko.xz:"),
            ("lib/modules/6.1/modules.builtin", "kernel/net/sched/sch_ingress.ko\n"),
            ("proc/kallsyms", "0000 t tun_chr_open\n"),
            ("sys/module/netdevsim/refcnt", "0"),
            ("proc/self/status", "Name: x\nUid:\t1000\t1000\t1000\t1000\n"),
            ("proc/sys/user/max_user_namespaces", "0"),
            ("proc/meminfo", "HugePages_Total:       4\nHugepagesize:       2048 kB\n"),
            ("sys/class/net/eth0/phys_switch_id", "aa\n"),
            ("sys/class/net/eth0/phys_port_name", "pf0vf1\n"),
        ]);
        for (what, want) in [
            ("kernel", "true 6.1 -"),
            ("tc flower", "false not loaded modprobe cls_flower  (for megaflows through tc)"),
            ("vfio-pci", "false not loaded modprobe vfio_pci  (for the FPGA card)"),
            ("tc clsact", "true built in -"),
            ("tun/tap", "true built in -"),
            ("netdevsim", "true loaded -"),
            ("hugepages", "true 4 of 2048 kB -"),
            ("representors", "true eth0 = pf0vf1 of switch aa -"),
        ] {
            assert_eq!(says(root.path(), what), want);
        }
        assert!(
            says(root.path(), "tc mpls").starts_with("false not found in this kernel a kernel")
        );
        assert!(says(root.path(), "privilege").starts_with("false neither root"));
        assert!(says(root.path(), "IOMMU").starts_with("false 0 groups add intel_iommu=on"));
    }
}
