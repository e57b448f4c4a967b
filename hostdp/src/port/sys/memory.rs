//! Memory from mmap that the kernel may share.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;

/// A mapping that can be read and written. It goes away with the value.
pub(super) struct KernelMapping {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: the mapping belongs to the process, not to a thread, and only the value's owner uses it.
unsafe impl Send for KernelMapping {}

impl KernelMapping {
    /// Zeroed memory of this process alone.
    pub(super) fn private(length: usize) -> io::Result<KernelMapping> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_POPULATE;
        KernelMapping::new(length, flags, -1, 0)
    }

    /// What a descriptor has at an offset, shared with the kernel.
    pub(super) fn shared(
        fd: BorrowedFd<'_>,
        length: usize,
        offset: libc::off_t,
    ) -> io::Result<KernelMapping> {
        KernelMapping::new(length, libc::MAP_SHARED | libc::MAP_POPULATE, fd.as_raw_fd(), offset)
    }

    fn new(length: usize, flags: i32, fd: i32, offset: libc::off_t) -> io::Result<KernelMapping> {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: without an address the kernel chooses a free one, so no memory in use changes.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), length, access, flags, fd, offset) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(KernelMapping { start, length })
    }

    pub(super) fn len(&self) -> usize {
        self.length
    }

    /// A place in the mapping where a number of values of a type fit; `None` if they do not.
    pub(super) fn at<T>(&self, offset: usize, count: usize) -> Option<*mut T> {
        let end = count.checked_mul(size_of::<T>())?.checked_add(offset)?;
        let is_fit = end <= self.length && offset.is_multiple_of(align_of::<T>());
        // SAFETY: the offset is within the mapping.
        is_fit.then(|| unsafe { self.start.as_ptr().add(offset) }.cast())
    }
}

impl Drop for KernelMapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's, and nobody has pointers into it that outlive it.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.length) };
    }
}
