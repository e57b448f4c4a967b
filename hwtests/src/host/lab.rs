//! The lab's folder: QEMU, kernel, modules, base initramfs. `lab/setup.sh` makes it.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::check::{Failure, Outcome, WithContext};

/// A lab that is ready.
pub(super) struct Lab {
    dir: PathBuf,
}

impl Lab {
    /// Runs `lab/setup.sh`, which does nothing where all is up to date. The folder is
    /// `$MEGAFLOW_LAB`, else `.lab` at the repository's root.
    pub(super) fn prepare() -> Outcome<Self> {
        let source = Path::new(env!("CARGO_MANIFEST_DIR"));
        let dir = match std::env::var_os("MEGAFLOW_LAB") {
            Some(dir) => PathBuf::from(dir),
            None => source.parent().unwrap_or(source).join(".lab"),
        };
        let script = source.join("lab/setup.sh");
        let status = Command::new("bash")
            .arg(&script)
            .arg(&dir)
            .status()
            .context(format_args!("running {}", script.display()))?;
        if !status.success() {
            return Err(Failure::new(format!("the lab is not ready: setup.sh: {status}")));
        }
        Ok(Self { dir })
    }

    /// A folder as it is, for tests of what uses it.
    #[cfg(test)]
    pub(super) fn at(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn qemu(&self) -> PathBuf {
        self.dir.join("qemu-system-x86_64")
    }

    pub(super) fn kernel(&self) -> PathBuf {
        self.dir.join("vmlinux")
    }

    pub(super) fn base_initramfs(&self) -> PathBuf {
        self.dir.join("base.cpio")
    }
}
