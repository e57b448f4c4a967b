//! Host memory as a card reaches it: an arena of the same process, or a guest's memory over
//! vfio-user.

/// An access that the IOMMU does not let through.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DmaFault;

/// The PCI function of a card, as far as it is not the card's own registers.
pub trait PciFunction: Send + Sync {
    /// Keeps the card from accessing host memory from now on, whatever the card does.
    fn stop_dma(&self);

    /// Gives the function back although parts of the driver may still use it: its registers read
    /// all-ones from now on, and it reaches no memory.
    fn let_go(&self);
}

/// A card in this process is no PCI function: it accesses memory in its own thread only, which its
/// reset stops.
impl PciFunction for () {
    fn stop_dma(&self) {}

    fn let_go(&self) {}
}

/// Host memory by bus address.
pub trait HostMemory: Send + Sync {
    /// Reads bytes.
    fn read(&self, iova: u64, out: &mut [u8]) -> Result<(), DmaFault>;

    /// Writes bytes.
    fn write(&self, iova: u64, data: &[u8]) -> Result<(), DmaFault>;

    /// Writes a word; everything written before it is visible to a reader of the word.
    fn store(&self, iova: u64, value: u32) -> Result<(), DmaFault>;
}
