//! The packet sockets of `system` ports.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::{PortError, sys};

/// Room in the kernel for bursts that come while the worker is busy.
const SOCKET_BUFFER: i32 = 8 << 20;

/// Number of frames that a socket has received and nobody has read. They are gone afterwards.
pub(super) fn discard_waiting(socket: BorrowedFd<'_>) -> u64 {
    use rustix::io::Errno;
    use rustix::net::{RecvFlags, recv};
    let (mut frames, mut errors) = (0, 0);
    // An interface that went has left an error to be read, too.
    while errors < 2 {
        match recv(socket, &mut [0; 1], RecvFlags::DONTWAIT) {
            Ok(_) => frames += 1,
            Err(Errno::AGAIN) => break,
            Err(_) => errors += 1,
        }
    }
    frames
}

/// Opens a packet socket in the calling thread's network namespace, for a port of that name.
pub(super) fn open_socket(port: &str) -> Result<OwnedFd, PortError> {
    let system = |what: &'static str| {
        move |source: io::Error| PortError::System { port: port.into(), what, source }
    };
    let socket = sys::packet_socket().map_err(system("packet socket (needs CAP_NET_RAW)"))?;
    let options = [
        (libc::PACKET_VNET_HDR, "offload headers"),
        (libc::PACKET_AUXDATA, "auxiliary data"),
        (libc::PACKET_IGNORE_OUTGOING, "ignoring what is sent"),
    ];
    for (option, what) in options {
        let set = sys::set_int(socket.as_fd(), libc::SOL_PACKET, option, 1);
        set.map_err(system(what))?;
    }
    for option in [libc::SO_RCVBUFFORCE, libc::SO_SNDBUFFORCE] {
        // Without the privilege the system's default has to do.
        let _ = sys::set_int(socket.as_fd(), libc::SOL_SOCKET, option, SOCKET_BUFFER);
    }
    Ok(socket)
}
