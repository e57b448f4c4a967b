//! The guest's initramfs: the lab's cached base, and behind it a small archive with what changes
//! from build to build. Linux unpacks concatenated cpio archives one after the other.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::check::{Failure, Outcome, WithContext};

/// Where init looks for what it runs.
const FOLDER: &str = "t";

/// Writes base + archive to `out`. The archive has the binaries without debug information in `/t`,
/// the libraries that they load at their own paths, and `script` as `/t/run`.
pub(super) fn write(base: &Path, out: &Path, binaries: &[PathBuf], script: &str) -> Outcome {
    let mut bytes = fs::read(base).context(base.display())?;
    // An archive begins at a multiple of four bytes.
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    let mut archive = Archive { bytes, folders: BTreeSet::new(), inode: 0 };
    for binary in binaries {
        let name = binary.file_name().unwrap_or_default().to_string_lossy();
        archive.file(&format!("{FOLDER}/{name}"), 0o755, &stripped(binary)?)?;
    }
    for library in libraries(binaries)? {
        let bytes = fs::read(&library).context(library.display())?;
        archive.file(library.to_string_lossy().trim_start_matches('/'), 0o755, &bytes)?;
    }
    archive.file(&format!("{FOLDER}/run"), 0o755, script.as_bytes())?;
    archive.entry("TRAILER!!!", 0, 1, &[])?;
    fs::write(out, archive.bytes).context(out.display())
}

/// The binary without debug information: less to copy and to unpack under emulation.
fn stripped(binary: &Path) -> Outcome<Vec<u8>> {
    let output = Command::new("strip")
        .args(["--strip-debug", "-o", "/dev/stdout"])
        .arg(binary)
        .output()
        .context("running strip")?;
    if output.status.success() && !output.stdout.is_empty() {
        return Ok(output.stdout);
    }
    // Not every strip can write to a pipe; size is all that it is for.
    fs::read(binary).context(binary.display())
}

/// The shared libraries of all binaries, as `ldd` finds them.
fn libraries(binaries: &[PathBuf]) -> Outcome<BTreeSet<PathBuf>> {
    let output = Command::new("ldd").args(binaries).output().context("running ldd")?;
    if !output.status.success() {
        return Err(Failure::new(format!("ldd: {}", String::from_utf8_lossy(&output.stderr))));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text
        .lines()
        .flat_map(str::split_whitespace)
        .filter(|word| word.starts_with('/') && word.contains(".so"))
        .map(PathBuf::from)
        .collect())
}

/// A cpio archive in the "newc" format while it grows.
struct Archive {
    bytes: Vec<u8>,
    folders: BTreeSet<String>,
    inode: u32,
}

impl Archive {
    /// Adds a file, and before it the folders on its path.
    fn file(&mut self, path: &str, permissions: u32, content: &[u8]) -> Outcome {
        for (slash, _) in path.match_indices('/') {
            let folder = &path[..slash];
            if self.folders.insert(folder.to_owned()) {
                self.entry(folder, 0o040_755, 2, &[])?;
            }
        }
        self.entry(path, 0o100_000 | permissions, 1, content)
    }

    fn entry(&mut self, name: &str, mode: u32, links: u32, content: &[u8]) -> Outcome {
        self.inode += 1;
        let too_large = |_| Failure::new(format!("{name} is too large for a cpio archive"));
        let size = u32::try_from(content.len()).map_err(too_large)?;
        let name_size = u32::try_from(name.len() + 1).map_err(too_large)?;
        // inode, mode, uid, gid, links, mtime, size, four device numbers, name size, sum
        let fields = [self.inode, mode, 0, 0, links, 0, size, 0, 0, 0, 0, name_size, 0];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
        Ok(())
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads the archive with the cpio program, behind an empty base.
    #[test]
    fn cpio_unpacks_what_was_packed() {
        let dir = tempfile::tempdir().unwrap();
        let (base, out) = (dir.path().join("base"), dir.path().join("out"));
        fs::write(&base, []).unwrap();
        let binary = PathBuf::from("/bin/dash");
        write(&base, &out, std::slice::from_ref(&binary), "#!/bin/sh\nexit 7\n").unwrap();
        let status = Command::new("cpio")
            .args(["-id", "--quiet", "--no-absolute-filenames", "-F"])
            .arg(&out)
            .current_dir(dir.path())
            .status()
            .unwrap();
        assert!(status.success());
        assert_eq!(fs::read_to_string(dir.path().join("t/run")).unwrap(), "#!/bin/sh\nexit 7\n");
        let run = Command::new(dir.path().join("t/dash")).args(["-c", "exit 5"]).status().unwrap();
        assert_eq!(run.code(), Some(5));
        let run = Command::new(dir.path().join("t/run")).status().unwrap();
        assert_eq!(run.code(), Some(7));
        for library in libraries(&[binary]).unwrap() {
            let copy = dir.path().join(library.strip_prefix("/").unwrap());
            assert_eq!(fs::read(copy).unwrap(), fs::read(library).unwrap());
        }
    }
}
