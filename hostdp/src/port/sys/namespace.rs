//! Sockets in the network namespace of another socket, and the process at their other end.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::call::{check, option};

/// Opens a Unix socket in the network namespace of another socket.
pub(in crate::port) fn unix_socket_beside(other: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    in_namespace_of(other, unix_socket)
}

/// Does something in the network namespace of a socket. If the calling thread is in a different
/// namespace, this needs `CAP_NET_ADMIN` and `CAP_SYS_ADMIN`.
pub(in crate::port) fn in_namespace_of<T: Send, E: From<io::Error> + Send>(
    socket: BorrowedFd<'_>,
    work: impl FnOnce() -> Result<T, E> + Send,
) -> Result<T, E> {
    if cookie(unix_socket()?.as_fd())? == cookie(socket)? {
        return work();
    }
    let namespace = namespace_of(socket)?;
    // A new thread enters the namespace, so that the calling thread stays in its own.
    let done = std::thread::scope(|scope| {
        let there = || {
            let kind = Some(LinkNameSpaceType::Network);
            move_into_link_name_space(namespace.as_fd(), kind).map_err(io::Error::from)?;
            work()
        };
        scope.spawn(there).join()
    });
    let died = "the thread in the other namespace died";
    done.unwrap_or_else(|_| Err(io::Error::other(died).into()))
}

fn unix_socket() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?)
}

/// A number that identifies the socket's network namespace among all since boot.
fn cookie(socket: BorrowedFd<'_>) -> io::Result<u64> {
    let mut cookie = 0_u64;
    option(socket, libc::SOL_SOCKET, libc::SO_NETNS_COOKIE, &mut cookie)?;
    Ok(cookie)
}

fn namespace_of(socket: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    // SAFETY: the request takes no argument and returns a descriptor or -1.
    let fd = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCGSKNS) };
    check(fd)?;
    // SAFETY: the descriptor is new and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Opens a socket's network namespace.
const SIOCGSKNS: libc::Ioctl = 0x894c;

/// The process that listens at the other end of a connected Unix socket; `None` if this process
/// can't see that process.
pub(in crate::port) fn peer_pid(socket: BorrowedFd<'_>) -> io::Result<Option<u32>> {
    let mut peer = libc::ucred { pid: 0, uid: 0, gid: 0 };
    option(socket, libc::SOL_SOCKET, libc::SO_PEERCRED, &mut peer)?;
    Ok(u32::try_from(peer.pid).ok().filter(|pid| *pid > 0))
}
