//! The kernel's errno as the caller's next move.

use flow::{ProviderError, Reason, Refusal};

use crate::wire::Nack;

/// What the refusal of an install or replace means.
pub(super) fn of_install(nack: &Nack) -> ProviderError {
    let refusal = |reason, subject: &str| {
        let detail = if nack.text.is_empty() { nack.to_string() } else { nack.text.clone() };
        Refusal::new(reason, subject).detail(detail)
    };
    match nack.errno {
        libc::ENOSPC | libc::ENOMEM => ProviderError::Full(refusal(Reason::TableFull, "tc")),
        libc::EEXIST => ProviderError::Exists,
        libc::EAGAIN | libc::EBUSY | libc::EINTR | libc::ENOBUFS | libc::ETIMEDOUT => {
            ProviderError::Busy(nack.to_string())
        }
        libc::ENODEV => ProviderError::Unsupported(refusal(Reason::Port, "in_port")),
        // EOPNOTSUPP and EINVAL of the driver, EPERM of the kernel, and whatever else: asking
        // for the same thing again gives the same answer.
        _ => ProviderError::Unsupported(refusal(Reason::Device, "tc")),
    }
}

/// Does the refusal of a removal mean that the filter is not there?
pub(super) fn is_absent(nack: &Nack) -> bool {
    // EINVAL: the qdisc that the filter hung on is not there.
    matches!(nack.errno, libc::ENOENT | libc::ENODEV | libc::EINVAL)
}
