//! What can go wrong between the driver and the card.

use std::io;

/// An error of the driver; each variant is the caller's next move.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A register read all-ones: surprise removal. Never touch the card again.
    #[error("the card is gone: its registers read all-ones")]
    Gone,
    /// The card halted after an error of its own: only a reset helps.
    #[error("the card halted (error code {code})")]
    Halted {
        /// FIRST_CODE of the ERR block.
        code: u32,
    },
    /// It did not answer in time.
    #[error("the card did not {0} in time")]
    Timeout(&'static str),
    /// Not a card that this driver can drive.
    #[error("not a usable card: {0}")]
    Unusable(String),
    /// What the host could not give: memory, a file, a mapping.
    #[error("{what}: {source}")]
    Host {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
}

impl Error {
    /// An error of the host's own, with what was tried.
    pub(crate) fn host(what: impl Into<String>, source: impl Into<io::Error>) -> Error {
        Error::Host { what: what.into(), source: source.into() }
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> io::Error {
        let kind = match &error {
            Error::Gone | Error::Halted { .. } => io::ErrorKind::NotConnected,
            Error::Timeout(_) => io::ErrorKind::TimedOut,
            Error::Unusable(_) => io::ErrorKind::InvalidData,
            Error::Host { source, .. } => source.kind(),
        };
        io::Error::new(kind, error)
    }
}
