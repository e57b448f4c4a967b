//! Wakes a sleeping worker.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{EventfdFlags, eventfd};

/// A descriptor that the worker sleeps on and that other threads make readable.
pub(super) struct Wake {
    fd: OwnedFd,
    is_asleep: AtomicBool,
}

impl Wake {
    pub(super) fn new() -> io::Result<Wake> {
        let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Wake { fd, is_asleep: AtomicBool::new(false) })
    }

    /// Wakes the worker. Callers send their command first, so that the worker sees it.
    pub(super) fn wake(&self) {
        if self.is_asleep.swap(false, Ordering::SeqCst) {
            // The write fails only by overflow, and then the descriptor is readable anyway.
            let _ = rustix::io::write(&self.fd, &1_u64.to_ne_bytes());
        }
    }

    /// The worker is about to sleep. It looks for commands after this call: of those that come
    /// later, each wakes it.
    pub(super) fn fall_asleep(&self) {
        self.is_asleep.store(true, Ordering::SeqCst);
    }

    /// The worker sleeps no longer.
    pub(super) fn wake_up(&self) {
        let was_woken = !self.is_asleep.swap(false, Ordering::SeqCst);
        if was_woken {
            // Fails if the write is still to come; the next sleep is then a short one.
            let _ = rustix::io::read(&self.fd, &mut [0; 8]);
        }
    }
}

impl AsFd for Wake {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
