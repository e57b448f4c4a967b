//! The files of the process's sockets.

use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixListener;
use std::path::Path;

use crate::check::{Failure, Outcome, WithContext};

/// Listens at a path; a socket that an earlier process left there is removed.
pub(super) fn listen(path: &Path) -> Outcome<UnixListener> {
    remove_socket(path)?;
    UnixListener::bind(path).context(path.display())
}

pub(super) fn remove_socket(path: &Path) -> Outcome {
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => {
            std::fs::remove_file(path).context(path.display())
        }
        Ok(_) => Err(Failure::new(format!("{} is there and is no socket", path.display()))),
        Err(_) => Ok(()),
    }
}
