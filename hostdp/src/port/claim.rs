//! The claim on an interface: it belongs to one datapath, since two on one interface would
//! forward every frame twice.
//!
//! Whoever opens an interface first listens at an abstract Unix address with the interface's
//! number. Such an address belongs to a network namespace, as the number does, and is free again
//! when its process is gone, however it ended. Who finds it taken connects and learns from the
//! kernel whose it is.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{SocketAddrUnix, accept, bind, connect, listen};

use super::sys;

/// An interface that is this process's; free again when dropped.
pub(super) struct Claim {
    listener: OwnedFd,
}

/// An interface that could not be claimed.
pub(super) enum Refused {
    /// It belongs to a process, where the kernel says which.
    Taken(Option<u32>),
    /// The system refused.
    System(io::Error),
}

impl<E: Into<io::Error>> From<E> for Refused {
    fn from(error: E) -> Refused {
        Refused::System(error.into())
    }
}

/// How many may ask at one moment whose an interface is.
const BACKLOG: i32 = 64;

impl Claim {
    /// Claims the interface of that number in the network namespace of a socket.
    pub(super) fn take(socket: BorrowedFd<'_>, index: i32) -> Result<Claim, Refused> {
        let name = format!("megaflow/interface/{index}");
        let address = SocketAddrUnix::new_abstract_name(name.as_bytes())?;
        let listener = sys::unix_socket_beside(socket)?;
        match bind(&listener, &address) {
            Ok(()) => {
                listen(&listener, BACKLOG)?;
                Ok(Claim { listener })
            }
            // Not bound, so it can still ask.
            Err(Errno::ADDRINUSE) => {
                let owner = connect(&listener, &address).ok();
                let owner = owner.and_then(|()| sys::peer_pid(listener.as_fd()).ok().flatten());
                Err(Refused::Taken(owner))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Hangs up on those who have asked: else nobody could ask when enough have.
    pub(super) fn hang_up(&self) {
        while accept(&self.listener).is_ok() {}
    }
}
