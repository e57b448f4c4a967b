//! Errors that do not belong to a single megaflow.

use std::io;

use flow::ProviderError;

use crate::device::DeviceSelector;
use crate::wire::WireError;

/// The error of a provider that could not be opened or could not clean up.
#[derive(Debug, thiserror::Error)]
pub enum TcError {
    /// A netlink socket could not be opened or used.
    #[error("netlink socket: {0}")]
    Socket(#[from] io::Error),
    /// A port's interface does not exist.
    #[error("there is no interface {0}")]
    NoDevice(DeviceSelector),
    /// The exchange with the kernel failed.
    #[error("{0}")]
    Kernel(String),
}

impl From<WireError> for TcError {
    fn from(error: WireError) -> TcError {
        match error {
            WireError::Socket(error) => TcError::Socket(error),
            WireError::Refused(_)
            | WireError::Interrupted
            | WireError::Malformed(_)
            | WireError::TooLong => TcError::Kernel(error.to_string()),
        }
    }
}

impl From<WireError> for ProviderError {
    /// Converts the error of an exchange that was not about a single megaflow.
    fn from(error: WireError) -> ProviderError {
        ProviderError::Busy(error.to_string())
    }
}
