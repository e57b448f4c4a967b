//! The memory of a guest, as seen by a card that is served over vfio-user: windows that are mapped
//! and unmapped at run time, each onto a file of the guest's memory.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::os::fd::OwnedFd;
use std::sync::{PoisonError, RwLock};

use super::dma::{DmaFault, HostMemory};
use super::memory::{Mapping, OutOfRange};
use crate::error::Error;
use crate::int::to_usize;

/// The guest memory that `dma_map` and `dma_unmap` of a vfio-user server maintain, to be given to
/// the model as its host memory. A guest's IOMMU maps page by page, so an access may run over
/// several windows; it is a fault unless the windows cover all of it.
#[derive(Default)]
pub struct GuestMemory {
    /// The windows by their first address; no two overlap.
    windows: RwLock<BTreeMap<u64, Mapping>>,
}

impl GuestMemory {
    /// Adds a window: `length` bytes at `iova` are those of the file from `offset` on.
    pub fn map(
        &self,
        iova: u64,
        length: u64,
        file: &OwnedFd,
        offset: u64,
        writable: bool,
    ) -> Result<(), Error> {
        let refused = |source: std::io::Error| {
            Error::host(format!("mapping guest memory at {iova:#x}"), source)
        };
        let end = iova.checked_add(length).filter(|_| length > 0);
        let end = end.ok_or_else(|| refused(std::io::ErrorKind::InvalidInput.into()))?;
        let mapping = Mapping::of_file(file.as_fd(), offset, to_usize(length), writable)
            .map_err(|e| refused(e.into()))?;
        let mut windows = self.windows.write().unwrap_or_else(PoisonError::into_inner);
        let below = windows.range(..end).next_back();
        if below.is_some_and(|(start, other)| start + other.len() as u64 > iova) {
            return Err(refused(std::io::ErrorKind::AlreadyExists.into()));
        }
        windows.insert(iova, mapping);
        Ok(())
    }

    /// Removes every window inside the range; accesses to it fault from now on.
    pub fn unmap(&self, iova: u64, length: u64) {
        let end = iova.saturating_add(length);
        let mut windows = self.windows.write().unwrap_or_else(PoisonError::into_inner);
        windows.retain(|start, window| *start < iova || *start + window.len() as u64 > end);
    }

    /// Returns the number of windows.
    #[must_use]
    pub fn windows(&self) -> usize {
        self.windows.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Calls `f` with each window that the range touches, the offset in the window and the part of
    /// the range that the window covers. Calls nothing unless windows cover the whole range.
    fn pieces(
        &self,
        iova: u64,
        length: usize,
        mut f: impl FnMut(&Mapping, usize, std::ops::Range<usize>) -> Result<(), OutOfRange>,
    ) -> Result<(), DmaFault> {
        let windows = self.windows.read().unwrap_or_else(PoisonError::into_inner);
        let piece = |done: usize| {
            let at = iova.checked_add(done as u64)?;
            let (start, window) = windows.range(..=at).next_back()?;
            let inside = to_usize(at - start);
            let room = window.len().checked_sub(inside).filter(|room| *room > 0)?;
            Some((window, inside, done..length.min(done + room)))
        };
        let mut done = 0;
        while done < length {
            done = piece(done).ok_or(DmaFault)?.2.end;
        }
        done = 0;
        while done < length {
            let (window, inside, part) = piece(done).ok_or(DmaFault)?;
            done = part.end;
            f(window, inside, part).map_err(|OutOfRange| DmaFault)?;
        }
        Ok(())
    }
}

impl HostMemory for GuestMemory {
    fn read(&self, iova: u64, out: &mut [u8]) -> Result<(), DmaFault> {
        self.pieces(iova, out.len(), |window, at, part| window.read(at, &mut out[part]))
    }

    fn write(&self, iova: u64, data: &[u8]) -> Result<(), DmaFault> {
        self.pieces(iova, data.len(), |window, at, part| window.write(at, &data[part]))
    }

    fn store(&self, iova: u64, value: u32) -> Result<(), DmaFault> {
        // Windows begin and end at pages, so an aligned word is inside one window.
        self.pieces(iova, 4, |window, at, _| window.store(at, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> OwnedFd {
        let flags = rustix::fs::MemfdFlags::empty();
        let file = rustix::fs::memfd_create("guest", flags).unwrap();
        rustix::fs::ftruncate(&file, 8192).unwrap();
        file
    }

    #[test]
    fn windows_come_and_go() {
        let (file, memory) = (file(), GuestMemory::default());
        memory.map(0x10000, 4096, &file, 4096, true).unwrap();
        memory.map(0x20000, 4096, &file, 4096, false).unwrap();
        memory.write(0x10010, b"hello").unwrap();
        let mut out = [0; 5];
        memory.read(0x20010, &mut out).unwrap();
        assert_eq!(&out, b"hello");
        assert_eq!(memory.write(0x20010, b"x"), Err(DmaFault), "mapped for reading only");
        assert_eq!(memory.read(0x10fff, &mut out), Err(DmaFault), "leaves the window");
        assert_eq!(memory.read(0xffff, &mut out), Err(DmaFault), "begins before the window");
        memory.unmap(0x10000, 4096);
        assert_eq!(memory.read(0x10010, &mut out), Err(DmaFault));
        assert_eq!(memory.read(0x20010, &mut out), Ok(()));
        memory.unmap(0, u64::MAX);
        assert_eq!(memory.windows(), 0);
    }

    #[test]
    fn an_access_runs_over_windows_that_touch_and_over_no_gap() {
        let (file, memory) = (file(), GuestMemory::default());
        // The second page of the file comes first on the bus.
        memory.map(0x10000, 4096, &file, 4096, true).unwrap();
        memory.map(0x11000, 4096, &file, 0, true).unwrap();
        let data: Vec<u8> = (0..100).collect();
        memory.write(0x10fce, &data).unwrap();
        let mut out = vec![0; 100];
        memory.read(0x10fce, &mut out).unwrap();
        assert_eq!(out, data);
        memory.unmap(0x11000, 4096);
        let before = out.clone();
        assert_eq!(memory.read(0x10fce, &mut out), Err(DmaFault));
        assert_eq!(memory.write(0x10fce, &[0xff; 100]), Err(DmaFault));
        assert_eq!(out, before);
        memory.read(0x10fce, &mut out[..50]).unwrap();
        assert_eq!(out, data, "a refused write leaves everything as it was");
        let twice = memory.map(0x10000, 8192, &file, 0, true);
        assert!(twice.is_err(), "overlaps a window");
    }
}
