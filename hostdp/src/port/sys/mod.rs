//! The system calls of the ports, each behind a safe function. Nothing else in this crate is
//! unsafe.
#![allow(unsafe_code)]

mod bpf;
mod call;
mod ethtool;
mod fanout;
mod interface;
mod memory;
mod messages;
mod namespace;
mod xsk;

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use call::{check, option, size_u32};

pub(super) use bpf::{ProgramKind, bpf_attach, bpf_detach, bpf_load, xsk_map, xsk_map_set};
pub(super) use ethtool::{driver_of, merges_frames, strips_tags};
pub(super) use fanout::{join_fanout, receive_incoming, receive_nothing};
pub(super) use interface::{
    flags, index_of, is_interface_name, mtu, name_of, set_up, tun_attach, tun_name, tun_offloads,
};
pub(super) use messages::{FrameBuffers, send};
pub(super) use namespace::{in_namespace_of, peer_pid, unix_socket_beside};
pub(super) use xsk::{XSK_FRAME, XskFate, XskQueue};

/// A raw packet socket that receives nothing yet: protocol 0.
pub(super) fn packet_socket() -> io::Result<OwnedFd> {
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: takes three integers and returns a descriptor or -1.
    let fd = unsafe { libc::socket(libc::AF_PACKET, kind, 0) };
    check(fd)?;
    // SAFETY: the descriptor is new and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Binds the socket to one interface: from now on it receives everything from there, or nothing.
pub(super) fn bind_interface(socket: BorrowedFd<'_>, index: i32, receives: bool) -> io::Result<()> {
    let protocol = if receives { u16::try_from(libc::ETH_P_ALL).unwrap_or(0).to_be() } else { 0 };
    let address = libc::sockaddr_ll {
        sll_family: u16::try_from(libc::AF_PACKET).unwrap_or(0),
        sll_protocol: protocol,
        sll_ifindex: index,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let length = size_u32::<libc::sockaddr_ll>();
    // SAFETY: the pointer is to a sockaddr_ll that lives through the call, with its length.
    let result = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) };
    check(result)
}

/// The number of the interface that a bound socket still has. `None` after that interface was
/// deleted or moved to another namespace, even if another interface has its number or name now.
pub(super) fn bound_interface(socket: BorrowedFd<'_>) -> io::Result<Option<i32>> {
    // SAFETY: sockaddr_ll is integers and an array of them: all zeroes is a value of it.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    let mut length = size_u32::<libc::sockaddr_ll>();
    // SAFETY: both pointers are to values that live through the call; the kernel writes at most
    // `length` bytes, the size of the value.
    let result = unsafe {
        libc::getsockname(socket.as_raw_fd(), (&raw mut address).cast(), &raw mut length)
    };
    check(result).map(|()| (address.sll_ifindex > 0).then_some(address.sll_ifindex))
}

/// Sets an option whose value is an int.
pub(super) fn set_int(
    socket: BorrowedFd<'_>,
    level: i32,
    option: i32,
    value: i32,
) -> io::Result<()> {
    let length = size_u32::<i32>();
    // SAFETY: the pointer is to an int that lives through the call, with its length.
    let result = unsafe {
        libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const value).cast(), length)
    };
    check(result)
}

/// Makes the interface promiscuous, so that it receives frames to any address, as long as the
/// socket is open.
pub(super) fn set_promiscuous(socket: BorrowedFd<'_>, index: i32) -> io::Result<()> {
    let kind = u16::try_from(libc::PACKET_MR_PROMISC).unwrap_or(0);
    let request =
        libc::packet_mreq { mr_ifindex: index, mr_type: kind, mr_alen: 0, mr_address: [0; 8] };
    let length = size_u32::<libc::packet_mreq>();
    // SAFETY: the pointer is to a packet_mreq that lives through the call, with its length.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_ADD_MEMBERSHIP,
            (&raw const request).cast(),
            length,
        )
    };
    check(result)
}

/// Returns true if the descriptor takes a write now.
pub(super) fn is_writable(fd: BorrowedFd<'_>) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::OUT)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut fds, Some(&now)).is_ok() && fds[0].revents().contains(PollFlags::OUT)
}

/// Number of packets lost since the last call because the socket's buffer was full.
pub(super) fn packet_drops(socket: BorrowedFd<'_>) -> io::Result<u32> {
    let mut stats = libc::tpacket_stats { tp_packets: 0, tp_drops: 0 };
    option(socket, libc::SOL_PACKET, libc::PACKET_STATISTICS, &mut stats)?;
    Ok(stats.tp_drops)
}
