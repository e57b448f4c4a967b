//! Packet sockets that share what comes in at an interface.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use super::call::{check, option, size_u32};
use super::set_int;

/// The kernel finds a number that nobody has.
const UNIQUE_ID: i32 = 0x2000;

/// Makes a bound socket a member of a group, or of a new one; returns the group's number. Each
/// frame goes to one member, those of a conversation to the same, both ways.
pub(in crate::port) fn join_fanout(socket: BorrowedFd<'_>, group: Option<u16>) -> io::Result<u16> {
    let kind = i32::try_from(libc::PACKET_FANOUT_HASH).unwrap_or(0);
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

/// Has the socket drop whatever comes in.
pub(in crate::port) fn receive_nothing(socket: BorrowedFd<'_>) -> io::Result<()> {
    filter(socket, &mut [RETURN_NOTHING])
}

/// Has the socket receive what comes in at its interface and not what the system itself sends
/// there: that its members ignore this says nothing about a group.
pub(in crate::port) fn receive_incoming(socket: BorrowedFd<'_>) -> io::Result<()> {
    // The kind of a packet is at this offset, which no packet has.
    let load = libc::sock_filter { code: LOAD_BYTE, jt: 0, jf: 0, k: 0xffff_f004 };
    let is_outgoing = libc::sock_filter { code: JUMP_IF_EQUAL, jt: 0, jf: 1, k: OUTGOING };
    let whole = libc::sock_filter { k: u32::MAX, ..RETURN_NOTHING };
    filter(socket, &mut [load, is_outgoing, RETURN_NOTHING, whole])
}

/// `BPF_LD | BPF_B | BPF_ABS`.
const LOAD_BYTE: u16 = 0x30;
/// `BPF_JMP | BPF_JEQ | BPF_K`.
const JUMP_IF_EQUAL: u16 = 0x15;
/// `PACKET_OUTGOING`.
const OUTGOING: u32 = 4;
/// `BPF_RET | BPF_K` with the number of bytes to keep.
const RETURN_NOTHING: libc::sock_filter = libc::sock_filter { code: 0x06, jt: 0, jf: 0, k: 0 };

/// Puts a program of the classic packet filter in the place of the one that the socket has.
fn filter(socket: BorrowedFd<'_>, code: &mut [libc::sock_filter]) -> io::Result<()> {
    let len = u16::try_from(code.len()).unwrap_or(0);
    let program = libc::sock_fprog { len, filter: code.as_mut_ptr() };
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
