//! Registers: volatile accesses of the declared width, checked against the BAR's size.

use std::sync::{Arc, PoisonError, RwLock};

use vfio_ioctls::VfioDevice;

use super::memory::Mapping;

/// The registers of a card. An access outside them reads all-ones and writes nothing, as on a bus
/// where no device answers.
pub trait Bar: Send + Sync {
    /// Returns the size in bytes.
    fn size(&self) -> u64;

    /// Reads the 32-bit register at a 4-aligned offset.
    fn read32(&self, offset: u64) -> u32;

    /// Writes the 32-bit register at a 4-aligned offset.
    fn write32(&self, offset: u64, value: u32);

    /// Reads two registers, the low one first.
    fn read64(&self, offset: u64) -> u64 {
        let low = self.read32(offset);
        u64::from(self.read32(offset + 4)) << 32 | u64::from(low)
    }

    /// Writes two registers, the low one first.
    fn write64(&self, offset: u64, value: u64) {
        self.write32(offset, crate::int::low32(value));
        self.write32(offset + 4, crate::int::low32(value >> 32));
    }
}

/// A BAR that is mapped into this process.
pub(super) struct MappedBar {
    pub(super) mapping: Mapping,
}

impl MappedBar {
    fn register(&self, offset: u64) -> Option<*mut u32> {
        let offset = usize::try_from(offset).ok().filter(|offset| offset.is_multiple_of(4))?;
        if offset.checked_add(4)? > self.mapping.len() {
            return None;
        }
        // SAFETY: inside the mapping, as checked.
        Some(unsafe { self.mapping.start().add(offset) }.cast())
    }
}

impl Bar for MappedBar {
    fn size(&self) -> u64 {
        self.mapping.len() as u64
    }

    fn read32(&self, offset: u64) -> u32 {
        let Some(register) = self.register(offset) else { return u32::MAX };
        // SAFETY: mapped and aligned; device registers are only ever accessed volatile.
        u32::from_le(unsafe { register.read_volatile() })
    }

    fn write32(&self, offset: u64, value: u32) {
        if let Some(register) = self.register(offset) {
            // Records in DMA memory must be visible before the doorbell that announces them.
            std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
            // SAFETY: mapped and aligned; device registers are only ever accessed volatile.
            unsafe { register.write_volatile(value.to_le()) };
        }
    }
}

/// A BAR that the kernel does not let a process map: each access is a system call.
pub(super) struct TrappedBar {
    pub(super) device: Arc<VfioDevice>,
    pub(super) index: u32,
}

impl Bar for TrappedBar {
    fn size(&self) -> u64 {
        self.device.get_region_size(self.index)
    }

    fn read32(&self, offset: u64) -> u32 {
        let mut bytes = [0xff; 4];
        if offset.is_multiple_of(4) {
            self.device.region_read(self.index, &mut bytes, offset);
        }
        u32::from_le_bytes(bytes)
    }

    fn write32(&self, offset: u64, value: u32) {
        if offset.is_multiple_of(4) {
            std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
            self.device.region_write(self.index, &value.to_le_bytes(), offset);
        }
    }
}

/// A BAR that can be revoked while in use: from then on it reads all-ones and ignores writes.
pub(super) struct RevocableBar {
    size: u64,
    inner: RwLock<Option<Box<dyn Bar>>>,
}

impl RevocableBar {
    pub(super) fn new(inner: Box<dyn Bar>) -> RevocableBar {
        RevocableBar { size: inner.size(), inner: RwLock::new(Some(inner)) }
    }

    /// Revokes the BAR; accesses under way have ended when this returns.
    pub(super) fn revoke(&self) {
        *self.inner.write().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl Bar for RevocableBar {
    fn size(&self) -> u64 {
        self.size
    }

    fn read32(&self, offset: u64) -> u32 {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        inner.as_ref().map_or(u32::MAX, |bar| bar.read32(offset))
    }

    fn write32(&self, offset: u64, value: u32) {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(bar) = inner.as_ref() {
            bar.write32(offset, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revoked_bar_reads_all_ones_and_takes_no_writes() {
        let mapping = Mapping::anonymous(4096).unwrap();
        let bar = RevocableBar::new(Box::new(MappedBar { mapping }));
        bar.write32(8, 7);
        assert_eq!((bar.read32(8), bar.read64(8)), (7, 7));
        assert_eq!(bar.read32(2), u32::MAX, "not aligned");
        assert_eq!(bar.read32(4096), u32::MAX, "outside");
        bar.revoke();
        bar.write32(8, 9);
        assert_eq!((bar.read32(8), bar.size()), (u32::MAX, 4096));
    }
}
