//! A real card through VFIO: the group API, the card's BAR and interrupts, the IOMMU.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use pci_driver::config::PciConfig;
use pci_driver::config::caps::MsiXCapability;
use pci_driver::regions::{BackedByPciSubregion, PciMemoryRegion, PciRegion};
use rustix::event::{PollFd, PollFlags, poll};
use vfio_ioctls::{VfioContainer, VfioDevice, VfioError, VfioOps};
use vmm_sys_util::eventfd::EventFd;

use super::arena::{Arena, DmaSource};
use super::bar::{Bar, MappedBar, RevocableBar, TrappedBar};
use super::dma::PciFunction;
use super::interrupt::Interrupt;
use super::memory::Mapping;
use crate::error::Error;
use crate::int::to_usize;

/// The bus address of the arenas: above the low megabyte and below the MSI window at 0xfee00000,
/// so valid behind every IOMMU.
const IOVA_START: u64 = 0x1000_0000;
const IOVA_END: u64 = 0xfe00_0000;
/// VFIO_PCI_CONFIG_REGION_INDEX and VFIO_PCI_MSIX_IRQ_INDEX (linux/vfio.h).
const CONFIG_REGION: u32 = 7;
const MSIX_INDEX: u32 = 2;
/// VFIO_PCI_REQ_IRQ_INDEX: the kernel raises this interrupt when it wants the device back.
const REQUEST_INDEX: u32 = 4;
/// VFIO_REGION_INFO_FLAG_MMAP.
const FLAG_MMAP: u32 = 4;
/// The command register of the configuration space, with its bits for memory space and bus master.
const COMMAND: u64 = 4;
const MEMORY: u16 = 0x2;
const MASTER: u16 = 0x4;

/// The identity in a card's configuration space.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    /// The PCI vendor.
    pub vendor: u16,
    /// The PCI device.
    pub device: u16,
    /// The number of the card's MSI-X vectors.
    pub vectors: u16,
}

/// An opened PCI function.
///
/// The kernel may ask for the function back (when it is unbound from `vfio-pci` or taken off the
/// bus) and then waits until it is released. A thread waits for this request and releases the
/// function at once: the registers read all-ones from then on, like those of a card that was
/// pulled out.
pub struct VfioCard {
    identity: Identity,
    hold: Arc<Hold>,
    interrupts: Vec<Interrupt>,
    memory: Arc<VfioMemory>,
    stop: Interrupt,
    watcher: Option<JoinHandle<()>>,
}

/// The resources that keep the function open.
struct Hold {
    bar: Arc<RevocableBar>,
    device: Mutex<Option<Arc<VfioDevice>>>,
    interrupts: Vec<Interrupt>,
}

impl Hold {
    /// Closes the function, even if its registers are still in use.
    fn let_go(&self) {
        self.bar.revoke();
        let device = self.device.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(device) = device {
            // A failure means that the device is gone, and its interrupts with it.
            let _ = device.disable_msix();
        }
        // A thread that sleeps in an interrupt wait wakes up and sees the registers read all-ones.
        self.interrupts.iter().for_each(Interrupt::raise);
    }
}

impl VfioCard {
    /// Opens the function at a PCI address such as `0000:03:00.0`, which must be bound to
    /// `vfio-pci`; turns memory space and bus mastering on.
    pub fn open(address: &str) -> Result<VfioCard, Error> {
        let path = PathBuf::from("/sys/bus/pci/devices").join(address);
        let refused = |what: &str, error: VfioError| {
            Error::host(what, std::io::Error::other(explained(&error)))
        };
        let container = VfioContainer::new(None).map_err(|e| refused("opening VFIO", e))?;
        let container = Arc::new(container);
        let ops: Arc<dyn VfioOps> = container.clone();
        let device = VfioDevice::new(&path, ops, true).map_err(|e| refused("opening", e))?;
        let device = Arc::new(device);
        device.reset();
        let identity = identity(&device)?;
        set_command(&device, MEMORY | MASTER, 0);
        let bar = Arc::new(RevocableBar::new(map_bar(&device, 0)?));
        let interrupts = enable_interrupts(&device, MSIX_INDEX, identity.vectors)
            .map_err(|e| refused("MSI-X", e))?;
        let request = enable_interrupts(&device, REQUEST_INDEX, 1)
            .map_err(|e| refused("asking for requests", e))?;
        let copies = interrupts.iter().map(Interrupt::try_clone).collect::<Result<_, _>>()?;
        let device = Mutex::new(Some(device));
        let hold = Arc::new(Hold { bar, device, interrupts: copies });
        let stop = Interrupt::new()?;
        let watcher = watch(request, stop.try_clone()?, hold.clone())?;
        let memory = Arc::new(VfioMemory { container, next: AtomicU64::new(IOVA_START) });
        Ok(VfioCard { identity, hold, interrupts, memory, stop, watcher })
    }

    /// Returns the registers.
    #[must_use]
    pub fn bar(&self) -> Arc<dyn Bar> {
        self.hold.bar.clone()
    }

    /// Returns the identity in the configuration space.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Returns the function's MSI-X vectors, in order.
    pub fn interrupts(&self) -> Result<Vec<Interrupt>, Error> {
        self.interrupts.iter().map(Interrupt::try_clone).collect()
    }

    /// Returns the source of memory that the IOMMU lets the card reach.
    #[must_use]
    pub fn dma(&self) -> Arc<dyn DmaSource> {
        self.memory.clone()
    }
}

/// Bus mastering is turned off, so the function can't start an access of its own.
impl PciFunction for VfioCard {
    fn stop_dma(&self) {
        let device = self.hold.device.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(device) = &*device {
            set_command(device, 0, MASTER);
        }
    }

    /// The kernel resets a function that is closed.
    fn let_go(&self) {
        self.hold.let_go();
    }
}

impl Drop for VfioCard {
    fn drop(&mut self) {
        self.stop.raise();
        if let Some(watcher) = self.watcher.take() {
            // A panic of the thread has been printed, and there is nothing left to watch.
            let _ = watcher.join();
        }
        self.hold.let_go();
    }
}

/// Starts the thread that waits for the kernel's request; none if the device has no such
/// interrupt.
fn watch(
    mut request: Vec<Interrupt>,
    stop: Interrupt,
    hold: Arc<Hold>,
) -> Result<Option<JoinHandle<()>>, Error> {
    let Some(request) = request.pop() else { return Ok(None) };
    let wait = move || {
        loop {
            let mut fds = [PollFd::new(&request, PollFlags::IN), PollFd::new(&stop, PollFlags::IN)];
            // A signal ends the wait early; the loop looks again.
            let _ = poll(&mut fds, None);
            if stop.clear() {
                return;
            }
            if request.clear() {
                return hold.let_go();
            }
        }
    };
    let thread = std::thread::Builder::new().name("vfio-request".into()).spawn(wait);
    thread.map(Some).map_err(|e| Error::host("starting a thread", e))
}

/// Explains a refusal of the kernel by its errno, because `vfio-ioctls` names only the call.
fn explained(error: &VfioError) -> String {
    let errno = |source: &std::io::Error, errno| source.raw_os_error() == Some(errno);
    let meaning = match error {
        VfioError::ContainerSetIOMMU(errno) if errno.errno() == libc::EPERM => {
            "interrupts are not remapped, and allow_unsafe_interrupts is not set"
        }
        VfioError::OpenContainer(e) if errno(e, libc::ENOENT) => "vfio is not loaded",
        VfioError::OpenGroup(e, _) if errno(e, libc::ENOENT) => "it is not bound to vfio-pci",
        VfioError::OpenGroup(e, _) if errno(e, libc::EBUSY) => "another process has it",
        VfioError::GroupViable => "another device of its IOMMU group has a driver of its own",
        VfioError::VfioExtension => "vfio_iommu_type1 is not loaded",
        VfioError::InvalidPath => "it has no IOMMU group",
        _ => return error.to_string(),
    };
    format!("{error}: {meaning}")
}

fn identity(device: &VfioDevice) -> Result<Identity, Error> {
    let mut bytes = [0xff; 256];
    device.region_read(CONFIG_REGION, &mut bytes, 0);
    let unusable = |e: std::io::Error| Error::Unusable(format!("configuration space: {e}"));
    let region = PciMemoryRegion::new(&bytes);
    let config = PciConfig::backed_by(&region);
    let vendor = config.vendor_id().read().map_err(unusable)?;
    if vendor == 0xffff {
        return Err(Error::Gone);
    }
    let capabilities = config.capabilities().map_err(unusable)?;
    let vectors = match capabilities.of_type::<MsiXCapability<'_>>().map_err(unusable)?.next() {
        // Message control: table size − 1 in bits 10–0 (PCIe 7.7.2.2).
        Some(msix) => (msix.read_le_u16(2).map_err(unusable)? & 0x7ff) + 1,
        None => 0,
    };
    Ok(Identity { vendor, device: config.device_id().read().map_err(unusable)?, vectors })
}

/// Sets and clears bits of the command register.
fn set_command(device: &VfioDevice, set: u16, clear: u16) {
    let mut command = [0; 2];
    device.region_read(CONFIG_REGION, &mut command, COMMAND);
    let command = (u16::from_le_bytes(command) | set) & !clear;
    device.region_write(CONFIG_REGION, &command.to_le_bytes(), COMMAND);
}

fn map_bar(device: &Arc<VfioDevice>, index: u32) -> Result<Box<dyn Bar>, Error> {
    let size = to_usize(device.get_region_size(index));
    if size == 0 {
        return Err(Error::Unusable(format!("the device has no BAR{index}")));
    }
    if device.get_region_flags(index) & FLAG_MMAP == 0 {
        return Ok(Box::new(TrappedBar { device: device.clone(), index }));
    }
    // SAFETY: the descriptor belongs to `device`, which outlives this call.
    let file = unsafe { BorrowedFd::borrow_raw(device.as_raw_fd()) };
    let offset = device.get_region_offset(index);
    match Mapping::of_file(file, offset, size, true) {
        Ok(mapping) => Ok(Box::new(MappedBar { mapping })),
        // A BAR with a hole (an MSI-X table in it) may still be read and written by calls.
        Err(_) => Ok(Box::new(TrappedBar { device: device.clone(), index })),
    }
}

/// Enables the first vectors of an interrupt index, one for each event descriptor.
fn enable_interrupts(
    device: &VfioDevice,
    index: u32,
    vectors: u16,
) -> Result<Vec<Interrupt>, VfioError> {
    let known = device.get_irq_info(index).map_or(0, |info| info.count);
    let count = u32::from(vectors).min(known);
    let mut interrupts = Vec::new();
    let mut events = Vec::new();
    for _ in 0..count {
        let Ok(interrupt) = Interrupt::new() else { break };
        let Ok(copy) = interrupt.as_fd().try_clone_to_owned() else { break };
        // SAFETY: the descriptor is fresh and owned by nobody else; EventFd closes it.
        events.push(unsafe { EventFd::from_raw_fd(copy.into_raw_fd()) });
        interrupts.push(interrupt);
    }
    if !events.is_empty() {
        device.enable_irq(index, events.iter().collect())?;
    }
    Ok(interrupts)
}

/// Memory mapped through the container's IOMMU.
struct VfioMemory {
    container: Arc<VfioContainer>,
    next: AtomicU64,
}

/// Takes a range out of the IOMMU when dropped.
struct Unmap {
    container: Arc<VfioContainer>,
    iova: u64,
    length: usize,
}

impl Drop for Unmap {
    fn drop(&mut self) {
        // A failure can only leave the range mapped until the container closes.
        let _ = self.container.vfio_dma_unmap(self.iova, self.length);
    }
}

impl DmaSource for VfioMemory {
    fn arena(&self, bytes: usize) -> Result<Arc<Arena>, Error> {
        let mapping = Mapping::anonymous(bytes).map_err(|e| Error::host("DMA arena", e))?;
        let length = mapping.len();
        let iova = self.next.fetch_add(length as u64, Ordering::Relaxed);
        if iova + length as u64 > IOVA_END {
            let source = std::io::Error::from(std::io::ErrorKind::OutOfMemory);
            return Err(Error::host("IOVA space", source));
        }
        // SAFETY: the range is a mapping of our own that is only accessed by atomics (Mapping);
        // the arena takes it out of the IOMMU before the mapping goes (Arena's drop).
        unsafe { self.container.vfio_dma_map(iova, length, mapping.start()) }.map_err(|e| {
            let source = std::io::Error::other(e.to_string());
            Error::host(format!("mapping {length} bytes for DMA (is memlock enough?)"), source)
        })?;
        let unmap = Unmap { container: self.container.clone(), iova, length };
        Ok(Arc::new(Arena::new(mapping, iova, Box::new(unmap))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_refuses_is_said_with_its_meaning() {
        let group =
            |errno| VfioError::OpenGroup(std::io::Error::from_raw_os_error(errno), "7".to_owned());
        let attach = |errno| VfioError::ContainerSetIOMMU(vmm_sys_util::errno::Error::new(errno));
        for (error, want) in [
            (attach(libc::EPERM), "interrupts are not remapped"),
            (attach(libc::ENODEV), "(os error 19)"),
            (group(libc::ENOENT), "not bound to vfio-pci"),
            (group(libc::EBUSY), "another process has it"),
            (group(libc::EACCES), "Permission denied (os error 13)"),
            (VfioError::GroupViable, "another device of its IOMMU group"),
            (VfioError::InvalidPath, "it has no IOMMU group"),
        ] {
            let text = explained(&error);
            assert!(text.contains(want), "{text}");
        }
    }

    #[test]
    fn an_address_without_a_device_is_an_error() {
        let error = VfioCard::open("0000:ff:1f.7").err().unwrap();
        assert!(error.to_string().starts_with("opening"), "{error}");
    }
}
