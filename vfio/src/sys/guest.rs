//! The memory of a guest, as a card that is served over vfio-user sees it: windows that come
//! and go at run time, each a file of the guest's memory.

use std::os::fd::AsFd;
use std::os::fd::OwnedFd;
use std::sync::{PoisonError, RwLock};

use super::memory::{Mapping, OutOfRange};
use crate::error::Error;
use crate::int::to_usize;
use crate::model::memory::{DmaFault, HostMemory};

struct Window {
    iova: u64,
    mapping: Mapping,
}

/// What `dma_map` and `dma_unmap` of a vfio-user server feed; give it to the model as its host
/// memory. An access that no single window covers is a fault.
#[derive(Default)]
pub struct GuestMemory {
    windows: RwLock<Vec<Window>>,
}

impl GuestMemory {
    /// A window appears: `length` bytes at `iova` are those of the file from `offset` on.
    pub fn map(
        &self,
        iova: u64,
        length: u64,
        file: &OwnedFd,
        offset: u64,
        writable: bool,
    ) -> Result<(), Error> {
        let mapping = Mapping::of_file(file.as_fd(), offset, to_usize(length), writable)
            .map_err(|e| Error::host(format!("mapping guest memory at {iova:#x}"), e))?;
        let mut windows = self.windows.write().unwrap_or_else(PoisonError::into_inner);
        windows.push(Window { iova, mapping });
        Ok(())
    }

    /// Every window inside the range disappears; accesses to it fault from now on.
    pub fn unmap(&self, iova: u64, length: u64) {
        let end = iova.saturating_add(length);
        let mut windows = self.windows.write().unwrap_or_else(PoisonError::into_inner);
        windows.retain(|w| w.iova < iova || w.iova + w.mapping.len() as u64 > end);
    }

    fn with<T>(
        &self,
        iova: u64,
        length: usize,
        f: impl FnOnce(&Mapping, usize) -> Result<T, OutOfRange>,
    ) -> Result<T, DmaFault> {
        let windows = self.windows.read().unwrap_or_else(PoisonError::into_inner);
        let window = windows.iter().find(|w| {
            iova.checked_sub(w.iova)
                .and_then(|at| at.checked_add(length as u64))
                .is_some_and(|end| end <= w.mapping.len() as u64)
        });
        let window = window.ok_or(DmaFault)?;
        f(&window.mapping, to_usize(iova - window.iova)).map_err(|OutOfRange| DmaFault)
    }
}

impl HostMemory for GuestMemory {
    fn read(&self, iova: u64, out: &mut [u8]) -> Result<(), DmaFault> {
        self.with(iova, out.len(), |mapping, at| mapping.read(at, out))
    }

    fn write(&self, iova: u64, data: &[u8]) -> Result<(), DmaFault> {
        self.with(iova, data.len(), |mapping, at| mapping.write(at, data))
    }

    fn store(&self, iova: u64, value: u32) -> Result<(), DmaFault> {
        self.with(iova, 4, |mapping, at| mapping.store(at, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_come_and_go() {
        let flags = rustix::fs::MemfdFlags::empty();
        let file = rustix::fs::memfd_create("guest", flags).unwrap();
        rustix::fs::ftruncate(&file, 8192).unwrap();
        let memory = GuestMemory::default();
        memory.map(0x10000, 4096, &file, 4096, true).unwrap();
        memory.map(0x20000, 4096, &file, 4096, false).unwrap();
        memory.write(0x10010, b"hello").unwrap();
        let mut out = [0; 5];
        memory.read(0x20010, &mut out).unwrap();
        assert_eq!(&out, b"hello");
        assert_eq!(memory.write(0x20010, b"x"), Err(DmaFault), "mapped for reading only");
        assert_eq!(memory.read(0x10fff, &mut out), Err(DmaFault), "leaves the window");
        memory.unmap(0x10000, 4096);
        assert_eq!(memory.read(0x10010, &mut out), Err(DmaFault));
        assert_eq!(memory.read(0x20010, &mut out), Ok(()));
    }
}
