//! The card as a vfio-user server: what QEMU's requests mean to the model.

use std::fs::File;
use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use vfio::model::BAR0_BYTES;
use vfio::sys::{Bar, Interrupt};
use vfio_bindings::bindings::vfio as bindings;
use vfio_user::{DmaMapFlags, DmaUnmapFlags, IrqInfo, Server, ServerBackend, ServerRegion};

use super::pci::{CONFIG_BYTES, ConfigSpace, MSIX_BAR, MSIX_BAR_BYTES};
use super::slot::PciSlot;
use super::socket::remove_socket;
use crate::check::{Outcome, WithContext};

const BAR0: u32 = bindings::VFIO_PCI_BAR0_REGION_INDEX;
const CONFIG: u32 = bindings::VFIO_PCI_CONFIG_REGION_INDEX;
const MSIX: u32 = bindings::VFIO_PCI_MSIX_IRQ_INDEX;

/// The PCI function around the slot.
pub(super) struct PciEndpoint {
    slot: Arc<PciSlot>,
    config: ConfigSpace,
    vector_count: u32,
}

impl PciEndpoint {
    pub(super) fn new(slot: Arc<PciSlot>, vector_count: u32) -> PciEndpoint {
        let config = ConfigSpace::new(u16::try_from(vector_count).unwrap_or(u16::MAX));
        PciEndpoint { slot, config, vector_count }
    }

    /// Serves one client after the other, in a thread of its own.
    pub(super) fn serve(mut self, path: &Path) -> Outcome {
        let path: PathBuf = path.to_owned();
        remove_socket(&path)?;
        let server = Server::new(&path, true, self.irqs(), regions()).context(path.display())?;
        std::thread::Builder::new()
            .name("vfio-user".into())
            .spawn(move || {
                loop {
                    if let Err(error) = server.run(&mut self) {
                        eprintln!("card: vfio-user: {error}");
                    }
                    self.disconnected();
                }
            })
            .context("starting the server's thread")?;
        Ok(())
    }

    fn irqs(&self) -> Vec<IrqInfo> {
        (0..bindings::VFIO_PCI_NUM_IRQS)
            .map(|index| IrqInfo {
                index,
                flags: if index == MSIX {
                    bindings::VFIO_IRQ_INFO_EVENTFD | bindings::VFIO_IRQ_INFO_NORESIZE
                } else {
                    0
                },
                count: if index == MSIX { self.vector_count } else { 0 },
            })
            .collect()
    }

    /// The machine went away: so does all that was its.
    fn disconnected(&mut self) {
        self.slot.memory.unmap(0, u64::MAX);
        self.slot.vectors.clear();
        self.config.reset();
        // Fails only for a card that was pulled out, which has no state left.
        let _ = self.reset_card();
    }

    fn reset_card(&self) -> Outcome {
        self.slot.ctrl()?.reset(&self.slot.clock).context("reset").map(drop)
    }
}

/// BAR0 and the configuration space; the BAR of the MSI-X table, which QEMU keeps itself.
fn regions() -> Vec<ServerRegion> {
    (0..bindings::VFIO_PCI_NUM_REGIONS)
        .map(|index| {
            let size = match index {
                BAR0 => BAR0_BYTES,
                CONFIG => u64::from(CONFIG_BYTES),
                _ if index == u32::from(MSIX_BAR) => MSIX_BAR_BYTES,
                _ => 0,
            };
            let access =
                bindings::VFIO_REGION_INFO_FLAG_READ | bindings::VFIO_REGION_INFO_FLAG_WRITE;
            let region_info = bindings::vfio_region_info {
                argsz: u32::try_from(size_of::<bindings::vfio_region_info>()).unwrap_or_default(),
                flags: if size == 0 { 0 } else { access },
                index,
                cap_offset: 0,
                size,
                offset: 0,
            };
            ServerRegion { region_info, sparse_areas: Vec::new(), mmap_fd: None }
        })
        .collect()
}

impl ServerBackend for PciEndpoint {
    fn region_read(&mut self, region: u32, offset: u64, data: &mut [u8]) -> Result<(), Error> {
        data.fill(0xff);
        match region {
            _ if self.slot.is_empty() => {}
            BAR0 if data.len().is_multiple_of(4) => {
                for (word, at) in data.chunks_exact_mut(4).zip((offset..).step_by(4)) {
                    word.copy_from_slice(&self.slot.read32(at).to_le_bytes());
                }
            }
            // Registers answer 32-bit accesses only.
            BAR0 => {}
            CONFIG => self.config.read(offset, data),
            _ => data.fill(0),
        }
        Ok(())
    }

    fn region_write(&mut self, region: u32, offset: u64, data: &[u8]) -> Result<(), Error> {
        match region {
            BAR0 if data.len().is_multiple_of(4) => {
                for (word, at) in data.as_chunks::<4>().0.iter().zip((offset..).step_by(4)) {
                    self.slot.write32(at, u32::from_le_bytes(*word));
                }
            }
            CONFIG => self.config.write(offset, data),
            _ => {}
        }
        Ok(())
    }

    fn dma_map(
        &mut self,
        flags: DmaMapFlags,
        offset: u64,
        address: u64,
        size: u64,
        fd: Option<File>,
    ) -> Result<(), Error> {
        // Without a file it is no RAM: a device's own registers, which the card has no business in.
        let Some(fd) = fd else { return Ok(()) };
        let writable = flags.contains(DmaMapFlags::WRITE);
        self.slot.memory.map(address, size, &fd.into(), offset, writable).map_err(|error| {
            eprintln!("card: {error}");
            error.into()
        })
    }

    fn dma_unmap(&mut self, flags: DmaUnmapFlags, address: u64, size: u64) -> Result<(), Error> {
        if flags.contains(DmaUnmapFlags::UNMAP_ALL) {
            self.slot.memory.unmap(0, u64::MAX);
        } else {
            self.slot.memory.unmap(address, size);
        }
        Ok(())
    }

    /// Answers when the card is reset, so that what the host does next meets a fresh one.
    fn reset(&mut self) -> Result<(), Error> {
        self.config.reset();
        self.reset_card().map_err(|failure| Error::other(failure.to_string()))
    }

    fn set_irqs(
        &mut self,
        index: u32,
        _flags: u32,
        start: u32,
        count: u32,
        fds: Vec<File>,
    ) -> Result<(), Error> {
        if index != MSIX {
            return Ok(());
        }
        if start.checked_add(count).is_none_or(|end| end > self.vector_count) {
            return Err(ErrorKind::InvalidInput.into());
        }
        if count == 0 {
            self.slot.vectors.clear();
        }
        // No files for a range of vectors takes theirs away.
        let mut fds = fds.into_iter();
        for vector in start..start + count {
            let interrupt = fds.next().map(|fd| Interrupt::from_fd(fd.into()));
            self.slot.vectors.set(vector as usize, interrupt);
        }
        Ok(())
    }
}
