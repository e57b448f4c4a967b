//! The card's configuration space (PCI Local Bus 3.0, 6.1 and 6.8.2).

/// Ids are the integrator's; the driver looks at the first register block instead.
pub(crate) const VENDOR_ID: u16 = 0x4d46;
pub(crate) const DEVICE_ID: u16 = 0x0001;

/// Bytes of the configuration space.
pub(super) const CONFIG_BYTES: u32 = 256;
/// The BAR with the MSI-X table and the pending bits.
pub(super) const MSIX_BAR: u8 = 4;
pub(super) const MSIX_BAR_BYTES: u64 = 4096;

const STATUS: usize = 0x06;
const HAS_CAPABILITIES: u8 = 0x10;
const CLASS: usize = 0x09;
/// Processing accelerator.
const ACCELERATOR: [u8; 3] = [0, 0, 0x12];
const CAPABILITIES: usize = 0x34;
const MSIX: usize = 0x40;
const MSIX_ID: u8 = 0x11;
/// Offset of the pending bits in the BAR.
const PENDING: u16 = 0x800;

/// The bytes, and which bits of them the host may write.
pub(super) struct ConfigSpace {
    bytes: [u8; CONFIG_BYTES as usize],
    writable: [u8; CONFIG_BYTES as usize],
}

impl ConfigSpace {
    /// The configuration space of a card with the given number of MSI-X vectors, 1 to 2,048.
    pub(super) fn new(vectors: u16) -> ConfigSpace {
        let mut bytes = [0; CONFIG_BYTES as usize];
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        put(0x00, &VENDOR_ID.to_le_bytes());
        put(0x02, &DEVICE_ID.to_le_bytes());
        put(STATUS, &[HAS_CAPABILITIES]);
        put(CLASS, &ACCELERATOR);
        put(CAPABILITIES, &[0x40]);
        let size = (vectors.max(1) - 1).to_le_bytes();
        let pending = (PENDING | u16::from(MSIX_BAR)).to_le_bytes();
        put(MSIX, &[MSIX_ID, 0, size[0], size[1], MSIX_BAR, 0, 0, 0, pending[0], pending[1], 0, 0]);
        let mut writable = [0; CONFIG_BYTES as usize];
        // Command: I/O, memory, bus master; interrupts off. Interrupt line. MSI-X: mask, enable.
        for (at, bits) in [(0x04, 0x07), (0x05, 0x04), (0x3c, 0xff), (MSIX + 3, 0xc0)] {
            writable[at] = bits;
        }
        ConfigSpace { bytes, writable }
    }

    /// Reads; all-ones outside.
    pub(super) fn read(&self, offset: u64, out: &mut [u8]) {
        for (at, byte) in (offset..).zip(out) {
            let stored = usize::try_from(at).ok().and_then(|at| self.bytes.get(at));
            *byte = stored.copied().unwrap_or(0xff);
        }
    }

    /// Writes what may be written.
    pub(super) fn write(&mut self, offset: u64, data: &[u8]) {
        for (at, byte) in (offset..).zip(data) {
            let at = usize::try_from(at).unwrap_or(usize::MAX);
            if let (Some(stored), Some(mask)) = (self.bytes.get_mut(at), self.writable.get(at)) {
                *stored = *stored & !mask | byte & mask;
            }
        }
    }

    /// A reset of the function.
    pub(super) fn reset(&mut self) {
        for (byte, mask) in self.bytes.iter_mut().zip(&self.writable) {
            *byte &= !mask;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Read by somebody else's parser, the one that the driver uses too.
    #[test]
    fn the_capability_list_has_msix_with_its_vectors() {
        use pci_driver::config::PciConfig;
        use pci_driver::config::caps::MsiXCapability;
        use pci_driver::regions::{BackedByPciSubregion, PciMemoryRegion, PciRegion};
        let space = ConfigSpace::new(4);
        let mut bytes = [0; 256];
        space.read(0, &mut bytes);
        let region = PciMemoryRegion::new(&bytes);
        let config = PciConfig::backed_by(&region);
        assert_eq!(config.vendor_id().read().unwrap(), VENDOR_ID);
        assert_eq!(config.device_id().read().unwrap(), DEVICE_ID);
        // Base class, behind subclass and programming interface.
        assert_eq!(bytes[0x0b], 0x12);
        let capabilities = config.capabilities().unwrap();
        let msix = capabilities.of_type::<MsiXCapability<'_>>().unwrap().next().unwrap();
        assert_eq!(msix.read_le_u16(2).unwrap(), 4 - 1);
        assert_eq!(msix.read_le_u32(4).unwrap(), u32::from(MSIX_BAR));
        assert_eq!(msix.read_le_u32(8).unwrap(), u32::from(PENDING) | u32::from(MSIX_BAR));
    }

    #[test]
    fn only_what_may_be_written_is() {
        let mut space = ConfigSpace::new(4);
        space.write(0, &[0xff; 256]);
        let mut bytes = [0; 8];
        space.read(0, &mut bytes);
        assert_eq!(bytes, [0x46, 0x4d, 0x01, 0x00, 0x07, 0x04, 0x10, 0x00]);
        space.reset();
        space.read(0, &mut bytes);
        assert_eq!(bytes, [0x46, 0x4d, 0x01, 0x00, 0, 0, 0x10, 0x00]);
        space.write(300, &[1]);
        let mut outside = [0; 2];
        space.read(255, &mut outside);
        assert_eq!(outside, [0, 0xff]);
    }
}
