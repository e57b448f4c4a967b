//! DMA memory: allocated once, mapped through the IOMMU once, handed out in regions.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::dma::{DmaFault, HostMemory};
use super::memory::{Mapping, OutOfRange};
use crate::error::Error;

/// The bus address of a local arena; it is far from 0, so that a missing translation shows.
const LOCAL_IOVA: u64 = 0x1000_0000;

/// A source of memory that the card can reach.
pub trait DmaSource: Send + Sync {
    /// Returns an arena of at least the given number of bytes, mapped for the card.
    fn arena(&self, bytes: usize) -> Result<Arc<Arena>, Error>;
}

/// Memory that the card reaches by DMA. Regions are never given back one by one: an arena lives
/// as long as the bring-up of a card that it was made for.
pub struct Arena {
    mapping: Mapping,
    iova: u64,
    used: AtomicUsize,
    /// Takes the memory out of the IOMMU when dropped; declared last, but dropped by `Drop`.
    unmap: Option<Box<dyn Any + Send + Sync>>,
}

impl Arena {
    /// Makes an arena of a mapping that the card reaches at a bus address from now on. What is
    /// given with it takes the memory away from the card when it is dropped.
    pub fn new(mapping: Mapping, iova: u64, unmap: Box<dyn Any + Send + Sync>) -> Arena {
        Arena { mapping, iova, used: AtomicUsize::new(0), unmap: Some(unmap) }
    }

    /// Allocates a zeroed region, aligned to 64 bytes.
    pub fn allocate(self: &Arc<Arena>, bytes: usize) -> Result<Region, Error> {
        let size = bytes.next_multiple_of(64);
        let start = self.used.fetch_add(size, Ordering::Relaxed);
        if start.checked_add(size).is_none_or(|end| end > self.mapping.len()) {
            let source = std::io::Error::from(std::io::ErrorKind::OutOfMemory);
            return Err(Error::host("DMA arena", source));
        }
        Ok(Region { arena: self.clone(), start, length: bytes })
    }

    fn offset(&self, iova: u64) -> Result<usize, DmaFault> {
        let offset = iova.checked_sub(self.iova).ok_or(DmaFault)?;
        usize::try_from(offset).map_err(|_| DmaFault)
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // The memory leaves the IOMMU before it goes back to the kernel.
        self.unmap = None;
    }
}

/// A card in the same process reaches the arena by the same bus addresses.
impl HostMemory for Arena {
    fn read(&self, iova: u64, out: &mut [u8]) -> Result<(), DmaFault> {
        self.mapping.read(self.offset(iova)?, out).map_err(|OutOfRange| DmaFault)
    }

    fn write(&self, iova: u64, data: &[u8]) -> Result<(), DmaFault> {
        self.mapping.write(self.offset(iova)?, data).map_err(|OutOfRange| DmaFault)
    }

    fn store(&self, iova: u64, value: u32) -> Result<(), DmaFault> {
        self.mapping.store(self.offset(iova)?, value).map_err(|OutOfRange| DmaFault)
    }
}

/// A part of an arena.
#[derive(Clone)]
pub struct Region {
    arena: Arc<Arena>,
    start: usize,
    length: usize,
}

impl Region {
    /// Returns the bus address of the region's first byte.
    #[must_use]
    pub fn iova(&self) -> u64 {
        self.arena.iova + self.start as u64
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

    fn check(&self, offset: usize, length: usize) -> usize {
        let inside = offset.checked_add(length).is_some_and(|end| end <= self.length);
        assert!(inside, "{length} bytes at {offset} of a DMA region of {}", self.length);
        self.start + offset
    }

    /// Copies bytes out. Panics outside the region: the driver computes its offsets itself.
    pub fn read(&self, offset: usize, out: &mut [u8]) {
        let at = self.check(offset, out.len());
        let inside = self.arena.mapping.read(at, out);
        debug_assert!(inside.is_ok());
    }

    /// Copies bytes in. Panics outside the region.
    pub fn write(&self, offset: usize, data: &[u8]) {
        let at = self.check(offset, data.len());
        let inside = self.arena.mapping.write(at, data);
        debug_assert!(inside.is_ok());
    }

    /// Reads a 4-aligned word with acquire ordering: records written before it are visible after
    /// it.
    #[must_use]
    pub fn load(&self, offset: usize) -> u32 {
        let at = self.check(offset, 4);
        self.arena.mapping.load(at).unwrap_or(0)
    }

    /// Writes a 4-aligned word with release ordering.
    pub fn store(&self, offset: usize, value: u32) {
        let at = self.check(offset, 4);
        let inside = self.arena.mapping.store(at, value);
        debug_assert!(inside.is_ok());
    }
}

/// Memory for a card in this process, which needs no IOMMU mapping. It has one arena at a time,
/// and the model is given the same memory.
#[derive(Default)]
pub struct LocalDma {
    current: std::sync::RwLock<Option<Arc<Arena>>>,
}

impl DmaSource for LocalDma {
    fn arena(&self, bytes: usize) -> Result<Arc<Arena>, Error> {
        let mapping = Mapping::anonymous(bytes).map_err(|e| Error::host("DMA arena", e))?;
        let arena = Arc::new(Arena::new(mapping, LOCAL_IOVA, Box::new(())));
        let mut current = self.current.write().unwrap_or_else(|e| e.into_inner());
        *current = Some(arena.clone());
        Ok(arena)
    }
}

impl LocalDma {
    fn with<T>(&self, f: impl Fn(&Arena) -> Result<T, DmaFault>) -> Result<T, DmaFault> {
        let current = self.current.read().unwrap_or_else(|e| e.into_inner());
        f(current.as_ref().ok_or(DmaFault)?)
    }
}

impl HostMemory for LocalDma {
    fn read(&self, iova: u64, out: &mut [u8]) -> Result<(), DmaFault> {
        let current = self.current.read().unwrap_or_else(|e| e.into_inner());
        current.as_ref().ok_or(DmaFault)?.read(iova, out)
    }

    fn write(&self, iova: u64, data: &[u8]) -> Result<(), DmaFault> {
        self.with(|arena| arena.write(iova, data))
    }

    fn store(&self, iova: u64, value: u32) -> Result<(), DmaFault> {
        self.with(|arena| arena.store(iova, value))
    }
}
