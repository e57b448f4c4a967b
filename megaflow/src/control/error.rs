//! Why the control socket can't be had.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Why the control socket can't be had; one line with the path.
#[derive(Debug, thiserror::Error)]
pub struct StartError {
    path: PathBuf,
    what: String,
    cause: Option<io::Error>,
}

impl StartError {
    pub(super) fn new(path: &Path, what: impl Into<String>, cause: io::Error) -> StartError {
        StartError { path: path.to_owned(), what: what.into(), cause: Some(cause) }
    }

    pub(super) fn plain(path: &Path, what: impl Into<String>) -> StartError {
        StartError { path: path.to_owned(), what: what.into(), cause: None }
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.what)?;
        self.cause.as_ref().map_or(Ok(()), |cause| write!(f, ": {cause}"))
    }
}
