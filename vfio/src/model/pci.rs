//! The model as a PCI function: its configuration space, and register accesses as a bus (or a
//! vfio-user server) sees them, by bytes.

use super::registers::{BAR0_BYTES, Registers};
use crate::sys::Bar;

/// Bytes of the configuration space.
pub const CONFIG_BYTES: usize = 256;
/// BAR that holds the MSI-X table and pending bits; nothing else is in it.
pub const MSIX_BAR: u32 = 4;
/// Its bytes.
pub const MSIX_BAR_BYTES: u64 = 4096;
/// Red Hat's vendor id with a device id of the range that it leaves for experiments: the driver
/// accepts a card by its FWID block and never looks at them.
const VENDOR_DEVICE: [u8; 4] = [0x36, 0x1b, 0xf0, 0x10];
/// Processing accelerator.
const CLASS: u8 = 0x12;
/// Where the MSI-X capability is.
const MSIX: usize = 0x40;
/// Pending bits within [`MSIX_BAR`].
const PENDING: u16 = 0x800;

/// The configuration space of a model card.
pub struct ConfigSpace {
    bytes: [u8; CONFIG_BYTES],
    /// Bits that a write changes.
    writable: [u8; CONFIG_BYTES],
}

impl ConfigSpace {
    /// Of a card with that many MSI-X vectors (at most 128: that is what the table's BAR holds).
    #[must_use]
    pub fn new(vectors: u32) -> ConfigSpace {
        let mut bytes = [0; CONFIG_BYTES];
        let mut writable = [0; CONFIG_BYTES];
        bytes[..4].copy_from_slice(&VENDOR_DEVICE);
        bytes[0x06] = 0x10; // status: capability list
        bytes[0x0b] = CLASS;
        bytes[0x34] = 0x40; // first capability
        let [low, high, ..] = (vectors.clamp(1, 128) - 1).to_le_bytes();
        let [pending_low, pending_high] = PENDING.to_le_bytes();
        let bar = MSIX_BAR.to_le_bytes()[0];
        let msix = [0x11, 0, low, high, bar, 0, 0, 0, pending_low | bar, pending_high, 0, 0];
        bytes[MSIX..MSIX + msix.len()].copy_from_slice(&msix);
        writable[0x04..0x06].copy_from_slice(&[0x07, 0x04]); // I/O, memory, master; INTx off
        writable[0x3c] = 0xff; // interrupt line
        writable[MSIX + 3] = 0xc0; // MSI-X enable, function mask
        ConfigSpace { bytes, writable }
    }

    /// Reads; what is outside reads all-ones.
    pub fn read(&self, offset: u64, out: &mut [u8]) {
        for (at, byte) in (offset..).zip(out) {
            let at = usize::try_from(at).unwrap_or(CONFIG_BYTES);
            *byte = self.bytes.get(at).copied().unwrap_or(0xff);
        }
    }

    /// Writes the writable bits.
    pub fn write(&mut self, offset: u64, data: &[u8]) {
        for (at, value) in (offset..).zip(data) {
            let at = usize::try_from(at).unwrap_or(CONFIG_BYTES);
            if let (Some(byte), Some(mask)) = (self.bytes.get_mut(at), self.writable.get(at)) {
                *byte = *byte & !mask | value & mask;
            }
        }
    }
}

impl Registers {
    /// An access of BAR0 by bytes: whole 32-bit words are read in order, anything else reads
    /// all-ones (the text allows no other width).
    pub fn read_bytes(&self, offset: u64, out: &mut [u8]) {
        out.fill(0xff);
        if offset.is_multiple_of(4) && offset < BAR0_BYTES {
            for (at, word) in (offset..).step_by(4).zip(out.chunks_exact_mut(4)) {
                word.copy_from_slice(&self.read32(at).to_le_bytes());
            }
        }
    }

    /// The same for a write; anything but whole words has no effect.
    pub fn write_bytes(&self, offset: u64, data: &[u8]) {
        if offset.is_multiple_of(4) && data.len().is_multiple_of(4) {
            for (at, word) in (offset..).step_by(4).zip(data.chunks_exact(4)) {
                let word = word.iter().rev().fold(0, |value, byte| value << 8 | u32::from(*byte));
                self.write32(at, word);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use pci_driver::config::PciConfig;
    use pci_driver::config::caps::MsiXCapability;
    use pci_driver::regions::structured::PciBitFieldReadable;
    use pci_driver::regions::{BackedByPciSubregion, PciMemoryRegion, PciRegion};

    use super::*;

    #[test]
    fn an_independent_decoder_reads_the_configuration_space() {
        let mut config = ConfigSpace::new(6);
        config.write(4, &[0xff, 0xff, 0, 0]);
        config.write(0, &[0; 4]);
        config.write(0x10, &[0xff; 4]);
        let mut bytes = [0; CONFIG_BYTES];
        config.read(0, &mut bytes);
        let region = PciMemoryRegion::new(&bytes);
        let decoded = PciConfig::backed_by(&region);
        assert_eq!(decoded.vendor_id().read().unwrap(), 0x1b36);
        assert_eq!(decoded.command().read().unwrap(), 0x0407, "only what is writable");
        assert_eq!(bytes[0x10..0x14], [0; 4]);
        let capabilities = decoded.capabilities().unwrap();
        let msix = capabilities.of_type::<MsiXCapability<'_>>().unwrap().next().unwrap();
        assert_eq!(msix.read_le_u16(2).unwrap(), 5, "table size − 1");
        assert_eq!(msix.read_le_u32(4).unwrap(), MSIX_BAR);
        assert_eq!(msix.read_le_u32(8).unwrap(), MSIX_BAR | u32::from(PENDING));
        config.read(254, &mut bytes[..4]);
        assert_eq!(bytes[2..4], [0xff, 0xff], "outside");
    }
}
