//! The errors between the driver and the card.

use std::io;

/// An error of the driver; each variant tells the caller what to do next.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A register read all-ones: surprise removal. Never touch the card again.
    #[error("the card is gone: its registers read all-ones")]
    Gone,
    /// The card halted after an internal error: only a reset helps.
    #[error("the card halted (error code {code})")]
    Halted {
        /// FIRST_CODE of the ERR block.
        code: u32,
    },
    /// The card did not answer in time.
    #[error("the card did not {0} in time")]
    Timeout(&'static str),
    /// The card is not one that this driver can use.
    #[error("not a usable card: {0}")]
    Unusable(String),
    /// The host could not provide memory, a file or a mapping.
    #[error("{what}: {source}")]
    Host {
        /// The operation that failed.
        what: String,
        /// The cause.
        source: io::Error,
    },
}

impl Error {
    /// Returns an error of the host, with the operation that failed.
    pub(crate) fn host(what: impl Into<String>, source: impl Into<io::Error>) -> Error {
        Error::Host { what: what.into(), source: source.into() }
    }
}

impl Error {
    /// Returns a copy of the error if it is one after which the card, which still answers, is not
    /// to be trusted any more.
    pub(crate) fn of_broken_card(&self) -> Option<Error> {
        match self {
            Error::Unusable(why) => Some(Error::Unusable(why.clone())),
            Error::Timeout(what) => Some(Error::Timeout(what)),
            Error::Gone | Error::Halted { .. } | Error::Host { .. } => None,
        }
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
