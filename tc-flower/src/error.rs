//! Errors that do not belong to a single megaflow.

use std::io;

use flow::ProviderError;

use crate::device::DeviceSelector;
use crate::netlink::NetlinkError;

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

impl From<NetlinkError> for TcError {
    fn from(error: NetlinkError) -> TcError {
        match error {
            NetlinkError::Socket(error) => TcError::Socket(error),
            NetlinkError::Refused(_)
            | NetlinkError::Interrupted
            | NetlinkError::Malformed(_)
            | NetlinkError::TooLong => TcError::Kernel(error.to_string()),
        }
    }
}

impl From<NetlinkError> for ProviderError {
    /// Converts the error of an exchange that was not about a single megaflow.
    fn from(error: NetlinkError) -> ProviderError {
        ProviderError::Busy(error.to_string())
    }
}
