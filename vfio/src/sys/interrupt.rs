//! An interrupt as an eventfd: the form of MSI-X vectors, doorbells and wake-ups here.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use crate::error::Error;

/// An interrupt that one side raises and the other waits for; raising it twice before a wait
/// counts once.
#[derive(Debug)]
pub struct Interrupt {
    fd: OwnedFd,
}

impl Interrupt {
    /// Creates an interrupt that is not raised.
    pub fn new() -> Result<Interrupt, Error> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let fd = eventfd(0, flags).map_err(|e| Error::host("eventfd", e))?;
        Ok(Interrupt { fd })
    }

    /// Takes over an eventfd that was made elsewhere.
    #[must_use]
    pub fn from_fd(fd: OwnedFd) -> Interrupt {
        Interrupt { fd }
    }

    /// Returns the same interrupt with another descriptor.
    pub fn try_clone(&self) -> Result<Interrupt, Error> {
        let fd = self.fd.try_clone().map_err(|e| Error::host("eventfd", e))?;
        Ok(Interrupt { fd })
    }

    /// Raises the interrupt. It can fail only if the counter is full, and then the interrupt is
    /// raised already.
    pub fn raise(&self) {
        let _ = rustix::io::write(&self.fd, &1u64.to_ne_bytes());
    }

    /// Clears the interrupt; returns true if it was raised.
    pub fn clear(&self) -> bool {
        rustix::io::read(&self.fd, &mut [0u8; 8]).is_ok()
    }

    /// Waits until the interrupt is raised, then clears it; returns false if the time is over
    /// first.
    pub fn wait(&self, timeout: Duration) -> bool {
        let mut fds = [PollFd::new(&self.fd, PollFlags::IN)];
        // A signal ends the wait early; callers look again anyway.
        let _ = poll(&mut fds, Timespec::try_from(timeout).ok().as_ref());
        self.clear()
    }
}

impl AsFd for Interrupt {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
