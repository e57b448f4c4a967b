//! Turns the kernel's errno into the error that tells the caller what to do next.

use flow::{Field, ProviderError, Reason, Refusal, Subject};

use crate::netlink::Nack;

/// The cause of a refused install, which decides whether the install is tried again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum NackCause {
    /// The place: the interface, the qdisc or the chain does not exist, or the priority is now
    /// used by filters of another kind. Drivers also answer EINVAL for filters that they do not
    /// support.
    Place,
    /// Another filter has the same key at the same priority.
    Taken,
    /// The kernel or the driver does not support the filter or has no room for it.
    Lasting,
}

/// Returns the cause that the errno stands for.
pub(super) fn cause_of(nack: &Nack) -> NackCause {
    match nack.errno {
        libc::EINVAL | libc::ENOENT | libc::ENODEV => NackCause::Place,
        libc::EEXIST => NackCause::Taken,
        _ => NackCause::Lasting,
    }
}

/// Returns the provider error for a refused install or replace.
pub(super) fn of_install(nack: &Nack) -> ProviderError {
    let refusal = |reason, subject: Subject| {
        let said = if nack.text.is_empty() { nack.to_string() } else { nack.text.clone() };
        Refusal::new(reason, subject).said(said)
    };
    match nack.errno {
        libc::ENOSPC | libc::ENOMEM => ProviderError::Full(refusal(Reason::TableFull, Subject::Tc)),
        libc::EAGAIN
        | libc::EBUSY
        | libc::EEXIST
        | libc::EINTR
        | libc::ENOBUFS
        | libc::ETIMEDOUT => ProviderError::Busy(nack.to_string()),
        libc::ENODEV => ProviderError::Unsupported(refusal(Reason::Port, Field::InPort.into())),
        // EOPNOTSUPP and EINVAL from the driver, EPERM from the kernel and every other errno: the
        // same request would get the same answer.
        _ => ProviderError::Unsupported(refusal(Reason::Device, Subject::Tc)),
    }
}

/// Returns true if the refusal of a removal means that the filter does not exist.
pub(super) fn is_absent(nack: &Nack) -> bool {
    // EINVAL: the qdisc that held the filter does not exist.
    matches!(nack.errno, libc::ENOENT | libc::ENODEV | libc::EINVAL)
}
