//! What the system calls have in common: results, sizes and options.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Reads an option into a value of a type for which all bytes are valid.
pub(super) fn option<T: Plain>(
    socket: BorrowedFd<'_>,
    level: i32,
    option: i32,
    value: &mut T,
) -> io::Result<()> {
    let mut length = size_u32::<T>();
    // SAFETY: both pointers are to values that live through the call; the kernel writes at most
    // `length` bytes, the size of the value, and any bytes are a value of it.
    let result = unsafe {
        let value = (value as *mut T).cast();
        libc::getsockopt(socket.as_raw_fd(), level, option, value, &raw mut length)
    };
    check(result)
}

/// C structures of integers alone.
pub(super) trait Plain {}
impl Plain for libc::tpacket_stats {}
impl Plain for libc::ucred {}
impl Plain for libc::xdp_mmap_offsets {}
impl Plain for libc::xdp_options {}
impl Plain for libc::xdp_statistics {}
impl Plain for u32 {}
impl Plain for u64 {}

/// The error of a call that returned -1.
pub(super) fn check(result: i32) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The size of a small C structure, as the calls take it.
pub(super) fn size_u32<T>() -> u32 {
    u32::try_from(size_of::<T>()).unwrap_or(0)
}
