//! What the house rules share.

#![allow(dead_code, reason = "each rule uses its part")]

pub(crate) mod imports;
pub(crate) mod names;
pub(crate) mod shell;

use std::path::{Path, PathBuf};
use std::process::Command;

/// The repository's root.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// The files that git tracks or would track whose names end so, with their text.
pub(crate) fn files(ends: &[&str]) -> Vec<(String, String)> {
    let mut git = Command::new("git");
    git.args(["ls-files", "--cached", "--others", "--exclude-standard"]).current_dir(root());
    let output = git.output().expect("git runs");
    assert!(output.status.success(), "git ls-files failed: is this a checkout?");
    let names = String::from_utf8(output.stdout).unwrap();
    let wanted = names.lines().filter(|name| ends.iter().any(|end| name.ends_with(end)));
    wanted
        .filter_map(|name| {
            Some((name.to_owned(), std::fs::read_to_string(root().join(name)).ok()?))
        })
        .collect()
}

/// The scripts, whatever they are called: name, interpreter, text.
pub(crate) fn scripts() -> Vec<(String, String, String)> {
    let script = |(name, text): (String, String)| {
        let first = text.strip_prefix("#!")?.lines().next()?;
        let interpreter = first.rsplit(['/', ' ']).next()?.to_owned();
        Some((name, interpreter, text))
    };
    files(&[""]).into_iter().filter_map(script).collect()
}
