//! Why an operation on a provider failed.

use serde::{Deserialize, Serialize};

use crate::id::Ufid;
use crate::refusal::{Reason, Refusal, Subject};
use crate::validate::Invalid;

/// Why an operation failed: each variant is the caller's next move.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error, Serialize, Deserialize)]
pub enum ProviderError {
    /// No place could give the megaflow a meaning: tell whoever asked for it, and don't retry.
    #[error("{0}")]
    Invalid(Invalid),
    /// The device can't do this: keep the megaflow on the host, and don't retry unless the megaflow
    /// changes.
    #[error("{0}")]
    Unsupported(Refusal),
    /// No room: evict something or wait.
    #[error("{0}")]
    Full(Refusal),
    /// Not now (busy, interrupted, out of time): the same op may be tried again later.
    #[error("busy: {0}")]
    Busy(String),
    /// A megaflow of this ufid is there already.
    #[error("the megaflow is installed already")]
    Exists,
    /// No megaflow of this ufid is installed: it was lost, or somebody else removed it.
    #[error("the megaflow is not installed")]
    NotFound,
    /// The install would overlap another megaflow: the contract forbids it.
    #[error("overlaps {0}")]
    Overlap(Ufid),
    /// The device is gone: stop using it.
    #[error("the device is gone: {0}")]
    Gone(String),
}

impl ProviderError {
    /// The refusal that a megaflow gets from this error.
    #[must_use]
    pub fn refusal(&self) -> Refusal {
        match self {
            ProviderError::Unsupported(refusal) | ProviderError::Full(refusal) => refusal.clone(),
            ProviderError::Gone(why) => {
                Refusal::new(Reason::DeviceGone, Subject::Device).said(why.as_str())
            }
            ProviderError::Busy(why) => {
                Refusal::new(Reason::Device, Subject::Busy).said(why.as_str())
            }
            ProviderError::Invalid(_)
            | ProviderError::Exists
            | ProviderError::NotFound
            | ProviderError::Overlap(_) => {
                Refusal::new(Reason::Device, Subject::DeviceTable).said(self.to_string())
            }
        }
    }

    /// A short word for metrics.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            ProviderError::Invalid(_) => "invalid",
            ProviderError::Unsupported(_) => "unsupported",
            ProviderError::Full(_) => "full",
            ProviderError::Busy(_) => "busy",
            ProviderError::Exists => "exists",
            ProviderError::NotFound => "not-found",
            ProviderError::Overlap(_) => "overlap",
            ProviderError::Gone(_) => "gone",
        }
    }
}
