//! The programs that the tests start.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::Path;

use super::{Finding, Goal};

/// Each line names when a program is needed, its package and the program. A house rule compares
/// the list with the programs that are started.
const PROGRAMS: &str = include_str!("../../../hwtests/programs.txt");
/// Folders of Debian's programs that are not on every user's path.
const MORE: [&str; 2] = ["/usr/sbin", "/sbin"];

/// Looks for the programs that `./test.sh` needs, including those that it installs itself.
pub(super) fn of_tests(root: &Path, path: &OsStr) -> Finding {
    let mut folders: Vec<_> = std::env::split_paths(path).collect();
    folders.extend(MORE.map(Into::into));
    let under = |path: &Path| root.join(path.strip_prefix("/").unwrap_or(path));
    let is_there = |program: &str| match program.strip_prefix('/') {
        Some(path) => root.join(path).exists(),
        None => folders.iter().any(|folder| under(&folder.join(program)).exists()),
    };
    let rows = PROGRAMS.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let when = words.next().filter(|when| ["readme", "tests"].contains(when))?;
        Some((when, words.next()?, words.next()?))
    });
    let (there, missing): (Vec<_>, Vec<_>) = rows.partition(|(_, _, program)| is_there(program));
    let finding = if missing.is_empty() {
        Finding::there("programs", format!("all {} that tests start", there.len()))
    } else {
        let programs: Vec<&str> = missing.iter().map(|(_, _, program)| *program).collect();
        let packages: BTreeSet<&str> = missing.iter().map(|(_, package, _)| *package).collect();
        let packages = Vec::from_iter(packages).join(" ");
        let fix = format!("apt-get install --no-install-recommends {packages}");
        Finding::missing("programs", format!("missing: {}", programs.join(", ")), fix)
    };
    finding.needed_for(&[Goal::Tests])
}
