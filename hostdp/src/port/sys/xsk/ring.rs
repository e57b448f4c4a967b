//! The rings between this process and an AF_XDP socket: one writes entries and moves the producer
//! index, the other reads them and moves the consumer index. Both indexes count on and wrap.
//!
//! An index is stored with release and loaded with acquire ordering, so that who sees an index
//! also sees what was done to the entries before it: the reader sees them written, and the writer
//! overwrites none that is still being read.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU32, Ordering, fence};

use crate::port::sys::memory::KernelMapping;

/// A ring's mapping, and its parts in it. They live as long as the mapping.
struct SharedRing<T> {
    _mapping: KernelMapping,
    producer: *const AtomicU32,
    consumer: *const AtomicU32,
    flags: *const AtomicU32,
    entries: *mut T,
    size: u32,
}

// SAFETY: the pointers are into the mapping, which is any thread's; the kernel's side uses the
// indexes atomically.
unsafe impl<T: Send> Send for SharedRing<T> {}

impl<T: Copy> SharedRing<T> {
    fn map(
        socket: BorrowedFd<'_>,
        place: u64,
        offsets: &libc::xdp_ring_offset,
        size: u32,
    ) -> io::Result<SharedRing<T>> {
        let bad = || io::Error::from(io::ErrorKind::InvalidData);
        let offset = |value: u64| usize::try_from(value).map_err(|_| bad());
        let count = size as usize;
        let length = offset(offsets.desc)? + count * size_of::<T>();
        let place = libc::off_t::try_from(place).map_err(|_| bad())?;
        let mapping = KernelMapping::shared(socket, length, place)?;
        Ok(SharedRing {
            producer: mapping.at(offset(offsets.producer)?, 1).ok_or_else(bad)?,
            consumer: mapping.at(offset(offsets.consumer)?, 1).ok_or_else(bad)?,
            flags: mapping.at(offset(offsets.flags)?, 1).ok_or_else(bad)?,
            entries: mapping.at(offset(offsets.desc)?, count).ok_or_else(bad)?,
            _mapping: mapping,
            size,
        })
    }

    fn producer(&self) -> &AtomicU32 {
        // SAFETY: it points to an aligned word of the mapping, which both sides use atomically.
        unsafe { &*self.producer }
    }

    fn consumer(&self) -> &AtomicU32 {
        // SAFETY: it points to an aligned word of the mapping, which both sides use atomically.
        unsafe { &*self.consumer }
    }

    fn flags(&self) -> &AtomicU32 {
        // SAFETY: it points to an aligned word of the mapping, which both sides use atomically.
        unsafe { &*self.flags }
    }

    /// The place of an entry by its index.
    fn entry(&self, index: u32) -> *mut T {
        // SAFETY: the size is a power of two, so the place is below the size, and the mapping has
        // that many entries.
        unsafe { self.entries.add((index & (self.size - 1)) as usize) }
    }
}

/// A ring that this process writes.
pub(super) struct ProducerRing<T> {
    ring: SharedRing<T>,
    /// Index of the next entry to write. Those before it may not be published yet.
    next: u32,
    /// The consumer index, as last loaded.
    consumed: u32,
}

impl<T: Copy> ProducerRing<T> {
    /// Maps the ring of a socket at a place of it. The size is a power of two, as the socket has
    /// been told.
    pub(super) fn map(
        socket: BorrowedFd<'_>,
        place: u64,
        offsets: &libc::xdp_ring_offset,
        size: u32,
    ) -> io::Result<ProducerRing<T>> {
        let ring = SharedRing::map(socket, place, offsets, size)?;
        Ok(ProducerRing { ring, next: 0, consumed: 0 })
    }

    /// Index of the next entry.
    pub(super) fn next(&self) -> u32 {
        self.next
    }

    /// The consumer index: entries before it are the kernel's no more.
    pub(super) fn consumed(&mut self) -> u32 {
        self.consumed = self.ring.consumer().load(Ordering::Acquire);
        self.consumed
    }

    /// Writes an entry; false if the ring is full.
    pub(super) fn put(&mut self, entry: T) -> bool {
        let size = self.ring.size;
        if self.next.wrapping_sub(self.consumed) >= size
            && self.next.wrapping_sub(self.consumed()) >= size
        {
            return false;
        }
        // SAFETY: the kernel is done with this entry: the acquire load of the consumer index says
        // so. It reads the entry again only after the index is published.
        unsafe { self.ring.entry(self.next).write(entry) };
        self.next = self.next.wrapping_add(1);
        true
    }

    /// An entry that this process wrote, until another one is written in its place.
    pub(super) fn written(&self, index: u32) -> T {
        // SAFETY: only this process writes to the entries of the ring, and the kernel's mapping
        // began zeroed, which is an entry too.
        unsafe { self.ring.entry(index).read() }
    }

    /// Hands over what was written.
    pub(super) fn publish(&mut self) {
        // Release: the kernel sees the entries before it sees the index.
        self.ring.producer().store(self.next, Ordering::Release);
    }

    /// True if the kernel sleeps and wants a call before it looks at the ring.
    pub(super) fn needs_wakeup(&self) -> bool {
        // The kernel sets the flag and then looks at the index once more; this side moves the
        // index and then looks at the flag. Without the fence both could miss the other's store.
        fence(Ordering::SeqCst);
        self.ring.flags().load(Ordering::Relaxed) & libc::XDP_RING_NEED_WAKEUP != 0
    }
}

/// A ring that the kernel writes.
pub(super) struct ConsumerRing<T> {
    ring: SharedRing<T>,
    /// Index of the next entry to read. Those before it may not be released yet.
    next: u32,
    /// The producer index, as last loaded.
    produced: u32,
}

impl<T: Copy> ConsumerRing<T> {
    /// Like [`ProducerRing::map`].
    pub(super) fn map(
        socket: BorrowedFd<'_>,
        place: u64,
        offsets: &libc::xdp_ring_offset,
        size: u32,
    ) -> io::Result<ConsumerRing<T>> {
        let ring = SharedRing::map(socket, place, offsets, size)?;
        Ok(ConsumerRing { ring, next: 0, produced: 0 })
    }

    /// Number of entries that can be read.
    pub(super) fn waiting(&mut self) -> u32 {
        self.produced = self.ring.producer().load(Ordering::Acquire);
        self.produced.wrapping_sub(self.next)
    }

    /// Reads the next entry.
    pub(super) fn take(&mut self) -> Option<T> {
        if self.next == self.produced && self.waiting() == 0 {
            return None;
        }
        // SAFETY: the kernel has written this entry: the acquire load of the producer index says
        // so. It writes to the entry again only after the index is released.
        let entry = unsafe { self.ring.entry(self.next).read() };
        self.next = self.next.wrapping_add(1);
        Some(entry)
    }

    /// Gives back the entries that were read.
    pub(super) fn release(&mut self) {
        // Release: the entries have been read before the kernel sees the index.
        self.ring.consumer().store(self.next, Ordering::Release);
    }
}
