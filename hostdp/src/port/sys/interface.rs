//! Requests about network interfaces, by ioctl in the namespace of a socket.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::call::check;

/// Bytes of the offload header before each frame of a TAP interface.
const VNET_HEADER: libc::c_int = 10;
/// Longest name of an interface, its final zero included.
const NAME: usize = libc::IFNAMSIZ;

/// Returns true if an interface can have this name, by the kernel's rule.
pub(in crate::port) fn is_interface_name(name: &str) -> bool {
    let is_bad = |b: u8| b == b'/' || b == b':' || b == 0 || b.is_ascii_whitespace();
    !name.is_empty()
        && name.len() < NAME
        && name != "."
        && name != ".."
        && !name.bytes().any(is_bad)
}

/// The number of the interface of that name.
pub(in crate::port) fn index_of(socket: BorrowedFd<'_>, name: &str) -> io::Result<i32> {
    let mut request = request(name)?;
    call(socket, libc::SIOCGIFINDEX, &mut request)?;
    // SAFETY: after SIOCGIFINDEX the kernel has set this member of the union.
    Ok(unsafe { request.ifr_ifru.ifru_ifindex })
}

/// The name that the interface of that number has now.
pub(in crate::port) fn name_of(socket: BorrowedFd<'_>, index: i32) -> io::Result<String> {
    let mut request = request("")?;
    request.ifr_ifru.ifru_ifindex = index;
    call(socket, libc::SIOCGIFNAME, &mut request)?;
    Ok(name(&request))
}

/// `IFF_UP`, `IFF_RUNNING` and so on.
pub(in crate::port) fn flags(socket: BorrowedFd<'_>, name: &str) -> io::Result<i32> {
    let mut request = request(name)?;
    call(socket, libc::SIOCGIFFLAGS, &mut request)?;
    // SAFETY: after SIOCGIFFLAGS the kernel has set this member of the union.
    Ok(i32::from(unsafe { request.ifr_ifru.ifru_flags }))
}

/// Sets the interface up.
pub(in crate::port) fn set_up(socket: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    let flags = flags(socket, name)? | libc::IFF_UP;
    let mut request = request(name)?;
    request.ifr_ifru.ifru_flags = i16::try_from(flags & 0x7fff).unwrap_or(0);
    call(socket, libc::SIOCSIFFLAGS, &mut request)
}

/// Longest payload that the interface sends.
pub(in crate::port) fn mtu(socket: BorrowedFd<'_>, name: &str) -> io::Result<u32> {
    let mut request = request(name)?;
    call(socket, libc::SIOCGIFMTU, &mut request)?;
    // SAFETY: after SIOCGIFMTU the kernel has set this member of the union.
    let mtu = unsafe { request.ifr_ifru.ifru_mtu };
    Ok(u32::try_from(mtu).unwrap_or(0))
}

/// Makes an opened `/dev/net/tun` the other end of the TAP interface with the given name, with an
/// offload header (`virtio_net_hdr`) before each frame. If there is no such interface, it is made.
/// Returns its name. With queues it is one of several other ends.
pub(in crate::port) fn tun_attach(
    device: BorrowedFd<'_>,
    name_wanted: &str,
    has_queues: bool,
) -> io::Result<String> {
    let mut request = request(name_wanted)?;
    let queues = if has_queues { libc::IFF_MULTI_QUEUE } else { 0 };
    let flags = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR | queues;
    request.ifr_ifru.ifru_flags = i16::try_from(flags).unwrap_or(0);
    call(device, libc::TUNSETIFF, &mut request)?;
    // An interface that was there before may have another length from its last owner.
    let length = VNET_HEADER;
    // SAFETY: this ioctl reads one int, which lives through the call.
    let set = unsafe { libc::ioctl(device.as_raw_fd(), libc::TUNSETVNETHDRSZ, &raw const length) };
    check(set)?;
    Ok(name(&request))
}

/// Lets the kernel hand frames over whose checksums and segments are unfinished: as many kinds as
/// it knows, or none. An interface that outlives its descriptor keeps what was set.
pub(in crate::port) fn tun_offloads(device: BorrowedFd<'_>, are_on: bool) -> io::Result<()> {
    let tcp = libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6 | libc::TUN_F_TSO_ECN;
    let udp = libc::TUN_F_USO4 | libc::TUN_F_USO6;
    let set = |offloads: libc::c_uint| {
        let offloads = libc::c_ulong::from(offloads);
        // SAFETY: this ioctl takes an integer.
        check(unsafe { libc::ioctl(device.as_raw_fd(), libc::TUNSETOFFLOAD, offloads) })
    };
    if !are_on {
        return set(0);
    }
    // Kernels before 6.2 don't know the segments of UDP.
    set(tcp | udp).or_else(|_| set(tcp))
}

/// The name that the interface behind an attached `/dev/net/tun` has now, in any namespace. An
/// error if the interface was deleted.
pub(in crate::port) fn tun_name(device: BorrowedFd<'_>) -> io::Result<String> {
    let mut request = request("")?;
    call(device, libc::TUNGETIFF, &mut request)?;
    Ok(name(&request))
}

/// An ethtool request that reads: the command and room for its whole answer, in words.
pub(super) fn ethtool<const WORDS: usize>(
    socket: BorrowedFd<'_>,
    name: &str,
    value: &mut [u32; WORDS],
) -> io::Result<()> {
    let mut request = request(name)?;
    request.ifr_ifru.ifru_data = value.as_mut_ptr().cast();
    call(socket, libc::SIOCETHTOOL, &mut request)
}

fn request(name: &str) -> io::Result<libc::ifreq> {
    // SAFETY: ifreq is a name and a union of plain data: all zeroes is a value of it.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if !name.is_empty() && !is_interface_name(name) {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    for (place, byte) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *place = libc::c_char::from_ne_bytes([byte]);
    }
    Ok(request)
}

fn name(request: &libc::ifreq) -> String {
    let bytes = request.ifr_name.iter().map(|c| c.to_ne_bytes()[0]);
    String::from_utf8_lossy(&bytes.take_while(|b| *b != 0).collect::<Vec<u8>>()).into_owned()
}

fn call(fd: BorrowedFd<'_>, what: libc::Ioctl, request: &mut libc::ifreq) -> io::Result<()> {
    // SAFETY: every ioctl that is called here reads and writes one ifreq, which lives through
    // the call; that of ethtool also the words behind it, of which the callers give as many as
    // the command has.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), what, request as *mut libc::ifreq) })
}
