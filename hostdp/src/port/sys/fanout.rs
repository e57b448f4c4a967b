//! Packet sockets that share what comes in at an interface.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use super::call::{check, option, size_u32};
use super::set_int;

/// The kernel finds a number that nobody has.
const UNIQUE_ID: i32 = 0x2000;
/// Nobody gets what the interface sends, whatever the members' sockets say.
const IGNORE_OUTGOING: i32 = 0x4000;

/// Makes a bound socket a member of a group, or of a new one; returns the group's number. Each
/// frame goes to one member, those of a conversation to the same, both ways.
pub(in crate::port) fn join_fanout(socket: BorrowedFd<'_>, group: Option<u16>) -> io::Result<u16> {
    let kind = i32::try_from(libc::PACKET_FANOUT_HASH).unwrap_or(0) | IGNORE_OUTGOING;
    let value = match group {
        Some(group) => kind << 16 | i32::from(group),
        None => (kind | UNIQUE_ID) << 16,
    };
    set_int(socket, libc::SOL_PACKET, libc::PACKET_FANOUT, value)?;
    let mut joined = 0_u32;
    option(socket, libc::SOL_PACKET, libc::PACKET_FANOUT, &mut joined)?;
    // The number is in the lower half.
    Ok(u16::try_from(joined & 0xffff).unwrap_or(0))
}

/// Has the socket drop whatever comes in, or no more.
pub(in crate::port) fn receive_nothing(socket: BorrowedFd<'_>, nothing: bool) -> io::Result<()> {
    if !nothing {
        return set_int(socket, libc::SOL_SOCKET, libc::SO_DETACH_FILTER, 0);
    }
    // BPF_RET with the number of bytes to keep.
    let mut code = [libc::sock_filter { code: 0x06, jt: 0, jf: 0, k: 0 }];
    let program = libc::sock_fprog { len: 1, filter: code.as_mut_ptr() };
    let length = size_u32::<libc::sock_fprog>();
    // SAFETY: the pointer is to a sock_fprog that lives through the call, with its length; it
    // points to as many instructions as it says, which the kernel copies.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const program).cast(),
            length,
        )
    };
    check(result)
}
