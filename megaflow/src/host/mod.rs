//! Checks whether this host has what Megaflow needs, by the kernel's files under a root (`/`, or
//! a tree of a test). `doctor` makes these checks before a start, and the start itself uses the
//! same ones.

pub mod card;
pub mod kernel;
pub mod nic;
mod programs;
#[cfg(test)]
mod tests;

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use serde::Serialize;

use kernel::Kernel;

/// What this host is to be used for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Goal {
    /// A provider of kind tc on a switchdev NIC
    Tc,
    /// A provider of kind fpga on a real card
    Fpga,
    /// megaflow demo
    Demo,
    /// ./test.sh of the source tree
    Tests,
}

impl Goal {
    /// All goals.
    pub const ALL: [Goal; 4] = [Goal::Tc, Goal::Fpga, Goal::Demo, Goal::Tests];

    /// The goal's name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Goal::Tc => "tc",
            Goal::Fpga => "fpga",
            Goal::Demo => "demo",
            Goal::Tests => "tests",
        }
    }
}

/// The result of one check.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Finding {
    /// The thing that was checked.
    pub what: &'static str,
    /// True if the thing is there.
    pub ok: bool,
    /// What was found.
    pub found: String,
    /// The command or the step that provides the thing; `None` if nothing has to change.
    pub fix: Option<String>,
    /// Goals that can't work without the thing.
    pub needed_for: &'static [Goal],
    /// Goals that work without the thing, but not completely.
    pub used_for: &'static [Goal],
}

impl Finding {
    fn there(what: &'static str, found: impl Into<String>) -> Finding {
        let (ok, found, fix) = (true, found.into(), None);
        Finding { what, ok, found, fix, needed_for: &[], used_for: &[] }
    }

    fn missing(what: &'static str, found: impl Into<String>, fix: impl Into<String>) -> Finding {
        let fix = Some(fix.into());
        Finding { ok: false, fix, ..Finding::there(what, found) }
    }

    fn needed_for(self, needed_for: &'static [Goal]) -> Finding {
        Finding { needed_for, ..self }
    }

    fn used_for(self, used_for: &'static [Goal]) -> Finding {
        Finding { used_for, ..self }
    }

    /// Returns true if the goal needs or uses the thing.
    #[must_use]
    pub fn concerns(&self, goal: Goal) -> bool {
        self.needed_for.contains(&goal) || self.used_for.contains(&goal)
    }
}

/// Makes all checks by files under `root`. `path` lists the folders to look for programs in, as
/// `$PATH` does.
#[must_use]
pub fn look(root: &Path, path: &OsStr) -> Vec<Finding> {
    let kernel = Kernel::read(root);
    let mut findings = vec![kernel.release(), privilege(root), namespaces(root)];
    findings.extend(kernel.features());
    findings.extend([card::iommu(root), card::interrupt_remapping(root)]);
    findings.extend(card::bound(root));
    findings.extend([hugepages(root), nic::representors(root), programs::of_tests(root, path)]);
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

/// The last part of a symbolic link's target. In sysfs it is the name of a device's driver or
/// group.
fn link(root: &Path, path: &str) -> Option<String> {
    let target = fs::read_link(root.join(path)).ok()?;
    Some(target.file_name()?.to_str()?.to_owned())
}

fn is_root(root: &Path) -> bool {
    let status = read(root, "proc/self/status").unwrap_or_default();
    let uids = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    // The line has the real, the effective, the saved and the file system uid.
    uids.and_then(|uids| uids.split_whitespace().nth(1)) == Some("0")
}

fn privilege(root: &Path) -> Finding {
    let finding = if is_root(root) {
        Finding::there("privilege", "root")
    } else {
        Finding::missing("privilege", "not root", "start it with sudo")
    };
    finding.needed_for(&[Goal::Tc, Goal::Fpga])
}

/// Checks whether network namespaces can be made: by root, or by other users in a user namespace.
fn namespaces(root: &Path) -> Finding {
    let number = |path| read(root, path).and_then(|text| text.parse::<u64>().ok());
    let some = number("proc/sys/user/max_user_namespaces").is_some_and(|most| most > 0);
    let allowed = number("proc/sys/kernel/unprivileged_userns_clone").unwrap_or(1) == 1;
    let what = "namespaces";
    let finding = if is_root(root) {
        Finding::there(what, "as root")
    } else if some && allowed {
        Finding::there(what, "in a user namespace")
    } else {
        let fix = "sysctl -w user.max_user_namespaces=10000 kernel.unprivileged_userns_clone=1";
        Finding::missing(what, "none: the demo replays captures instead", fix)
    };
    finding.needed_for(&[Goal::Tests]).used_for(&[Goal::Demo])
}

/// Checks by trying whether system ports can use AF_XDP.
#[must_use]
pub fn af_xdp() -> Finding {
    let what = "AF_XDP";
    match hostdp::port::system::probe_xdp() {
        Ok(()) => Finding::there(what, "works"),
        Err((why, true)) => Finding::there(what, format!("works, but not on veth: {why}")),
        Err((why, false)) => {
            let fix =
                "start it as root, on a kernel with CONFIG_XDP_SOCKETS and CONFIG_BPF_SYSCALL";
            Finding::missing(what, format!("{why}; ports use AF_PACKET"), fix)
        }
    }
}

fn hugepages(root: &Path) -> Finding {
    let memory = read(root, "proc/meminfo").unwrap_or_default();
    let number = |name: &str| {
        let line = memory.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0)
    };
    let (total, size) = (number("HugePages_Total:"), number("Hugepagesize:"));
    Finding::there("hugepages", format!("{total} of {size} kB; Megaflow needs none"))
}
