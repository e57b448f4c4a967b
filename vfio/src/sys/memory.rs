//! A mapping that another thread, a device or another process writes too.

use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering, fence};

use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};

/// An access was outside the mapping, or misaligned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OutOfRange;

/// Mapped memory that is accessed by relaxed atomics only: when the other side writes at the same
/// time, a reader gets some bytes but no undefined behaviour. [`Mapping::load`] (acquire) and
/// [`Mapping::store`] (release) define the order.
pub struct Mapping {
    start: *mut u8,
    length: usize,
    writable: bool,
}

// SAFETY: the mapping is plain memory that stays where it is until drop, and every access to it
// is atomic, so any thread may use it at any time.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps fresh zeroed memory that may be shared with a device. The length is rounded up to
    /// pages.
    pub fn anonymous(length: usize) -> rustix::io::Result<Mapping> {
        let length = length.next_multiple_of(4096).max(4096);
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a null hint lets the kernel choose a free range; nothing else is replaced.
        let start =
            unsafe { mmap_anonymous(std::ptr::null_mut(), length, access, MapFlags::SHARED)? };
        Ok(Mapping { start: start.cast(), length, writable: true })
    }

    /// Maps a part of a file, shared with every other mapping of it.
    pub fn of_file(
        file: BorrowedFd<'_>,
        offset: u64,
        length: usize,
        writable: bool,
    ) -> rustix::io::Result<Mapping> {
        let access = if writable { ProtFlags::READ | ProtFlags::WRITE } else { ProtFlags::READ };
        // SAFETY: a null hint lets the kernel choose a free range; nothing else is replaced.
        let start =
            unsafe { mmap(std::ptr::null_mut(), length, access, MapFlags::SHARED, file, offset)? };
        Ok(Mapping { start: start.cast(), length, writable })
    }

    /// Returns the length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.length
    }

    /// Returns true if the length is zero.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Returns the address, for the IOMMU.
    pub(super) fn start(&self) -> *mut u8 {
        self.start
    }

    fn at(&self, offset: usize, length: usize) -> Result<*mut u8, OutOfRange> {
        let end = offset.checked_add(length).ok_or(OutOfRange)?;
        if end > self.length {
            return Err(OutOfRange);
        }
        // SAFETY: offset ≤ length of the mapping, so the result is inside or one past its end.
        Ok(unsafe { self.start.add(offset) })
    }

    /// Copies bytes out.
    pub fn read(&self, offset: usize, out: &mut [u8]) -> Result<(), OutOfRange> {
        let mut from = self.at(offset, out.len())?;
        let head = from.align_offset(8).min(out.len());
        let (head, rest) = out.split_at_mut(head);
        let bytes = |from: &mut *mut u8, out: &mut [u8]| {
            for byte in out {
                // SAFETY: `at` checked that `out.len()` bytes from `from` on are mapped.
                *byte = unsafe { AtomicU8::from_ptr(*from) }.load(Ordering::Relaxed);
                // SAFETY: stays within the checked range, at most one past its end.
                *from = unsafe { from.add(1) };
            }
        };
        bytes(&mut from, head);
        let mut words = rest.chunks_exact_mut(8);
        for word in &mut words {
            // SAFETY: mapped as checked, and 8-aligned because the head was consumed.
            let value = unsafe { AtomicU64::from_ptr(from.cast()) }.load(Ordering::Relaxed);
            word.copy_from_slice(&value.to_ne_bytes());
            // SAFETY: stays within the checked range, at most one past its end.
            from = unsafe { from.add(8) };
        }
        bytes(&mut from, words.into_remainder());
        Ok(())
    }

    /// Copies bytes in.
    pub fn write(&self, offset: usize, data: &[u8]) -> Result<(), OutOfRange> {
        let mut to = self.at(offset, data.len())?;
        if !self.writable {
            return Err(OutOfRange);
        }
        let head = to.align_offset(8).min(data.len());
        let (head, rest) = data.split_at(head);
        let bytes = |to: &mut *mut u8, data: &[u8]| {
            for byte in data {
                // SAFETY: `at` checked that `data.len()` bytes from `to` on are mapped; the
                // mapping is writable.
                unsafe { AtomicU8::from_ptr(*to) }.store(*byte, Ordering::Relaxed);
                // SAFETY: stays within the checked range, at most one past its end.
                *to = unsafe { to.add(1) };
            }
        };
        bytes(&mut to, head);
        let words = rest.chunks_exact(8);
        let tail = words.remainder();
        for word in words {
            let mut value = [0; 8];
            value.copy_from_slice(word);
            // SAFETY: mapped and writable as checked, and 8-aligned: the head was consumed.
            unsafe { AtomicU64::from_ptr(to.cast()) }
                .store(u64::from_ne_bytes(value), Ordering::Relaxed);
            // SAFETY: stays within the checked range, at most one past its end.
            to = unsafe { to.add(8) };
        }
        bytes(&mut to, tail);
        Ok(())
    }

    /// Reads a word; everything that was written before its [`Mapping::store`] is visible
    /// afterwards.
    pub fn load(&self, offset: usize) -> Result<u32, OutOfRange> {
        let from = self.at(offset, 4)?;
        if from.align_offset(4) != 0 {
            return Err(OutOfRange);
        }
        // SAFETY: mapped and aligned as checked.
        let value = unsafe { AtomicU32::from_ptr(from.cast()) }.load(Ordering::Acquire);
        Ok(u32::from_le(value))
    }

    /// Writes a word; everything written before it is visible to a reader that gets it by `load`.
    pub fn store(&self, offset: usize, value: u32) -> Result<(), OutOfRange> {
        let to = self.at(offset, 4)?;
        if to.align_offset(4) != 0 || !self.writable {
            return Err(OutOfRange);
        }
        // A device on a real bus is outside the memory model of the language: the full fence
        // also keeps the compiler and the processor from moving plain stores past this one.
        fence(Ordering::SeqCst);
        // SAFETY: mapped, aligned and writable as checked.
        unsafe { AtomicU32::from_ptr(to.cast()) }.store(value.to_le(), Ordering::Release);
        Ok(())
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range is the one that mmap returned, mapped until now, and nobody keeps a
        // pointer into it: accesses borrow `self`. A failure could only leave it mapped.
        let _ = unsafe { munmap(self.start.cast(), self.length) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_at_any_alignment_and_refuses_the_outside() {
        let memory = Mapping::anonymous(4096).unwrap();
        let data: Vec<u8> = (0..100).collect();
        for start in 0..9 {
            for length in [0, 1, 7, 8, 9, 23, 64, 99] {
                memory.write(start, &data[..length]).unwrap();
                let mut out = vec![0xee; length];
                memory.read(start, &mut out).unwrap();
                assert_eq!(out, data[..length], "{length} at {start}");
            }
        }
        assert_eq!(memory.write(4090, &data[..7]), Err(OutOfRange));
        assert_eq!(memory.read(usize::MAX, &mut [0]), Err(OutOfRange));
        assert_eq!(memory.store(2, 1), Err(OutOfRange));
        assert_eq!(memory.load(4094), Err(OutOfRange));
        memory.store(4092, 0x0102_0304).unwrap();
        let mut bytes = [0; 4];
        memory.read(4092, &mut bytes).unwrap();
        assert_eq!(bytes, [4, 3, 2, 1]);
    }
}
