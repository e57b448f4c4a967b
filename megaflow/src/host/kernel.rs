//! The features that the kernel has built in, has loaded, or could load.

use std::path::Path;

use super::{Finding, Goal, names, read};

/// A feature that a kernel may have.
struct Feature {
    what: &'static str,
    module: &'static str,
    option: &'static str,
    /// A function that is in the kernel's list of symbols if the feature is in the kernel.
    symbol: &'static str,
    /// True if the kernel loads the module by itself when the feature is used.
    loads_itself: bool,
    needed_for: &'static [Goal],
    used_for: &'static [Goal],
}

const fn feature(
    what: &'static str,
    module: &'static str,
    option: &'static str,
    symbol: &'static str,
    needed_for: &'static [Goal],
    used_for: &'static [Goal],
) -> Feature {
    Feature { what, module, option, symbol, loads_itself: true, needed_for, used_for }
}

const FLOWER: Feature =
    feature("tc flower", "cls_flower", "NET_CLS_FLOWER", "fl_classify", &[Goal::Tc], &[]);
const VFIO_PCI: Feature = Feature {
    loads_itself: false,
    ..feature("vfio-pci", "vfio_pci", "VFIO_PCI", "vfio_pci_probe", &[Goal::Fpga], &[])
};
const TYPE1: Feature = Feature {
    what: "vfio type1",
    module: "vfio_iommu_type1",
    option: "VFIO_IOMMU_TYPE1",
    symbol: "vfio_iommu_type1_ioctl",
    ..VFIO_PCI
};

const FEATURES: [Feature; 12] = [
    FLOWER,
    feature("tc clsact", "sch_ingress", "NET_SCH_INGRESS", "clsact_init", &[Goal::Tc], &[]),
    feature("tc mirred", "act_mirred", "NET_ACT_MIRRED", "tcf_mirred_act", &[Goal::Tc], &[]),
    feature("tc gact", "act_gact", "NET_ACT_GACT", "tcf_gact_act", &[], &[Goal::Tc]),
    feature("tc vlan", "act_vlan", "NET_ACT_VLAN", "tcf_vlan_act", &[], &[Goal::Tc]),
    feature("tc pedit", "act_pedit", "NET_ACT_PEDIT", "tcf_pedit_act", &[], &[Goal::Tc]),
    feature("tc csum", "act_csum", "NET_ACT_CSUM", "tcf_csum_act", &[], &[Goal::Tc]),
    feature("tc mpls", "act_mpls", "NET_ACT_MPLS", "tcf_mpls_act", &[], &[Goal::Tc]),
    feature("tun/tap", "tun", "TUN", "tun_chr_open", &[Goal::Tests], &[]),
    feature("veth", "veth", "VETH", "veth_newlink", &[Goal::Tests], &[Goal::Demo]),
    VFIO_PCI,
    TYPE1,
];

/// The running kernel.
pub struct Kernel {
    release: Option<String>,
    loaded: Vec<String>,
    builtin: String,
    loadable: String,
    symbols: String,
}

impl Kernel {
    /// Reads what the files under `root` tell about the kernel.
    #[must_use]
    pub fn read(root: &Path) -> Kernel {
        let known = read(root, "proc/sys/kernel/osrelease");
        let release = known.clone().unwrap_or_default();
        let list = |file: &str| {
            let text = read(root, &format!("lib/modules/{release}/{file}")).unwrap_or_default();
            text.replace('-', "_")
        };
        let config = read(root, &format!("boot/config-{release}")).unwrap_or_default();
        Kernel {
            release: known,
            loaded: names(root, "sys/module"),
            builtin: list("modules.builtin") + &config,
            loadable: list("modules.dep"),
            symbols: read(root, "proc/kallsyms").unwrap_or_default(),
        }
    }

    pub(super) fn release(&self) -> Finding {
        let finding = match &self.release {
            Some(release) => Finding::there("kernel", release),
            None => Finding::missing("kernel", "unknown", "mount -t proc proc /proc"),
        };
        finding.needed_for(&Goal::ALL)
    }

    pub(super) fn features(&self) -> Vec<Finding> {
        FEATURES.iter().map(|feature| self.finding(feature)).collect()
    }

    /// Checks for the classifier that tc filters are made of.
    #[must_use]
    pub fn flower(&self) -> Finding {
        self.finding(&FLOWER)
    }

    /// The two parts of VFIO that a card needs.
    pub(super) fn vfio(&self) -> [Finding; 2] {
        [self.finding(&VFIO_PCI), self.finding(&TYPE1)]
    }

    fn finding(&self, feature: &Feature) -> Finding {
        let Feature { what, module, option, symbol, .. } = feature;
        let file = format!("/{module}.ko");
        let is_builtin = self.builtin.contains(&file)
            || self.builtin.contains(&format!("CONFIG_{option}=y"))
            || self.symbols.contains(&format!(" {symbol}"));
        let finding = if self.loaded.iter().any(|name| name == module) {
            Finding::there(what, "loaded")
        } else if is_builtin {
            Finding::there(what, "built in")
        } else if !self.loadable.contains(&file) {
            Finding::missing(what, "not in this kernel", self.other_kernel(option))
        } else if feature.loads_itself {
            Finding::there(what, "the kernel loads it when it is used")
        } else {
            Finding::missing(what, "not loaded", format!("modprobe {module}"))
        };
        finding.needed_for(feature.needed_for).used_for(feature.used_for)
    }

    /// Says how to get a kernel that has an option.
    fn other_kernel(&self, option: &str) -> String {
        // Debian's kernel for virtual machines leaves out drivers, and features that only drivers
        // need.
        let is_cloud = self.release.as_ref().is_some_and(|name| name.contains("-cloud-"));
        if is_cloud {
            return "apt-get install linux-image-amd64, and boot it instead of the cloud kernel"
                .to_owned();
        }
        format!("boot a kernel with CONFIG_{option}")
    }
}
