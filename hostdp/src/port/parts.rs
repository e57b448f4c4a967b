//! What the parts of a port have in common, one part for each worker.

use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::claim::Claim;
use super::{PortError, sys};

/// A part's share in a port. Clones are shares of other parts.
#[derive(Clone)]
pub(super) struct Share(Arc<Parts>);

struct Parts {
    count: usize,
    left: AtomicUsize,
    interface: Mutex<Interface>,
}

/// The interface that the parts which have one have, and what they hold together.
#[derive(Default)]
struct Interface {
    /// Its number in its network namespace.
    index: i32,
    claim: Weak<Claim>,
    /// The group of their packet sockets.
    fanout: Option<u16>,
}

impl Share {
    /// The shares of all parts of a port with that many.
    pub(super) fn of(count: usize) -> Vec<Share> {
        let interface = Mutex::default();
        let parts = Arc::new(Parts { count, left: AtomicUsize::new(count), interface });
        vec![Share(parts); count]
    }

    /// The share of a port's only part.
    pub(super) fn alone() -> Share {
        Share(Arc::new(Parts { count: 1, left: AtomicUsize::new(1), interface: Mutex::default() }))
    }

    /// Returns true if the port has several parts.
    pub(super) fn is_one_of_several(&self) -> bool {
        self.0.count > 1
    }

    /// Gives the share back. Returns true if it was the last one.
    pub(super) fn give_back(&self) -> bool {
        self.0.left.fetch_sub(1, Ordering::AcqRel) == 1
    }

    /// The claim on the interface of that number, for this part: the one that another part has, or
    /// a new one.
    pub(super) fn claim(
        &self,
        port: &str,
        interface: &str,
        socket: BorrowedFd<'_>,
        index: i32,
    ) -> Result<Arc<Claim>, PortError> {
        let mut known = self.0.interface.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(claim) = known.claim.upgrade().filter(|_| known.index == index) {
            return Ok(claim);
        }
        let claim = Arc::new(Claim::of(port, interface, socket, index)?);
        *known = Interface { index, claim: Arc::downgrade(&claim), fanout: None };
        Ok(claim)
    }

    /// Lets a packet socket, which is bound to nothing yet, receive its part of what comes in at an
    /// interface that is up.
    pub(super) fn join(&self, socket: BorrowedFd<'_>, index: i32) -> std::io::Result<()> {
        let mut known = self.0.interface.lock().unwrap_or_else(PoisonError::into_inner);
        let fanout = known.fanout.filter(|_| known.index == index);
        // Only a bound socket can join, and until then it gets what others get, too.
        sys::receive_nothing(socket)?;
        sys::bind_interface(socket, index, true)?;
        known.fanout = Some(sys::join_fanout(socket, fanout)?);
        sys::receive_incoming(socket)
    }
}
