//! The claim on an interface. An interface belongs to one datapath, since two datapaths on one
//! interface would forward every frame twice.
//!
//! The first process that opens an interface listens at an abstract Unix address with the
//! interface's number. Such an address belongs to a network namespace, as the number does, and is
//! free again when its process has ended in any way. A process that finds the address taken
//! connects to it and learns the owner's pid from the kernel.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{SocketAddrUnix, accept, bind, connect, listen};

use super::{InterfaceOwner, PortError, sys};

/// This process's claim on an interface. The interface is free again when the claim is dropped.
pub(super) struct Claim {
    listener: OwnedFd,
}

/// Why an interface could not be claimed.
enum Refused {
    /// The interface belongs to the process with this pid; `None` if the kernel does not tell it.
    Taken(Option<u32>),
    /// The system refused a call.
    System(io::Error),
}

impl<E: Into<io::Error>> From<E> for Refused {
    fn from(error: E) -> Refused {
        Refused::System(error.into())
    }
}

/// Number of processes that can ask for an interface's owner at one moment.
const BACKLOG: i32 = 64;

impl Claim {
    /// Claims the interface of that number in the network namespace of a socket.
    fn take(socket: BorrowedFd<'_>, index: i32) -> Result<Claim, Refused> {
        let name = format!("megaflow/interface/{index}");
        let address = SocketAddrUnix::new_abstract_name(name.as_bytes())?;
        let listener = sys::unix_socket_beside(socket)?;
        match bind(&listener, &address) {
            Ok(()) => {
                listen(&listener, BACKLOG)?;
                Ok(Claim { listener })
            }
            // The socket was not bound, so it can still connect to the owner's.
            Err(Errno::ADDRINUSE) => {
                let owner = connect(&listener, &address).ok();
                let owner = owner.and_then(|()| sys::peer_pid(listener.as_fd()).ok().flatten());
                Err(Refused::Taken(owner))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Like [`Claim::take`], for a port: a refusal is the port's error.
    pub(super) fn of(
        port: &str,
        interface: &str,
        socket: BorrowedFd<'_>,
        index: i32,
    ) -> Result<Claim, PortError> {
        Claim::take(socket, index).map_err(|refused| match refused {
            Refused::Taken(pid) => PortError::Claimed {
                port: port.into(),
                interface: interface.into(),
                owner: InterfaceOwner(pid),
            },
            Refused::System(source) => {
                PortError::System { port: port.into(), what: "can't claim the interface", source }
            }
        })
    }

    /// Closes the connections of processes that have asked. Otherwise the backlog would fill up,
    /// and nobody else could ask.
    pub(super) fn hang_up(&self) {
        while accept(&self.listener).is_ok() {}
    }
}
