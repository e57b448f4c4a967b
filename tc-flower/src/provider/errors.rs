//! The kernel's errno as the caller's next move.

use flow::{ProviderError, Reason, Refusal};

use crate::wire::Nack;

/// What a refused install failed at, and so whether it may pass by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Cause {
    /// At its place: the interface, the qdisc or the chain is not there, or its priority belongs
    /// to filters of another kind by now. Drivers say EINVAL too, for what they can't do.
    Place,
    /// At a filter that has its key at its priority.
    Taken,
    /// At what kernel and driver can do, or have room for.
    Lasting,
}

/// Tells them apart.
pub(super) fn cause_of(nack: &Nack) -> Cause {
    match nack.errno {
        libc::EINVAL | libc::ENOENT | libc::ENODEV => Cause::Place,
        libc::EEXIST => Cause::Taken,
        _ => Cause::Lasting,
    }
}

/// What the refusal of an install or replace means.
pub(super) fn of_install(nack: &Nack) -> ProviderError {
    let refusal = |reason, subject: &str| {
        let detail = if nack.text.is_empty() { nack.to_string() } else { nack.text.clone() };
        Refusal::new(reason, subject).detail(detail)
    };
    match nack.errno {
        libc::ENOSPC | libc::ENOMEM => ProviderError::Full(refusal(Reason::TableFull, "tc")),
        libc::EAGAIN
        | libc::EBUSY
        | libc::EEXIST
        | libc::EINTR
        | libc::ENOBUFS
        | libc::ETIMEDOUT => ProviderError::Busy(nack.to_string()),
        libc::ENODEV => ProviderError::Unsupported(refusal(Reason::Port, "in_port")),
        // EOPNOTSUPP and EINVAL of the driver, EPERM of the kernel, and whatever else: asking
        // for the same thing again gives the same answer.
        _ => ProviderError::Unsupported(refusal(Reason::Device, "tc")),
    }
}

/// Returns true if the refusal of a removal means that the filter does not exist.
pub(super) fn is_absent(nack: &Nack) -> bool {
    // EINVAL: the qdisc that the filter hung on is not there.
    matches!(nack.errno, libc::ENOENT | libc::ENODEV | libc::EINVAL)
}
