//! The slot that a card sits in: the same PCI function for the machine, whichever card it is.

use std::sync::{Arc, PoisonError, RwLock};

use flow::Clock;
use vfio::model::{ModelCard, Registers, Vectors, Wire};
use vfio::register::{BlockKind, Blocks, CardCapabilities, Ctrl};
use vfio::sys::{Bar, GuestMemory, HostMemory};

use crate::check::{Outcome, WithContext};

/// The bus's side of the slot.
pub(super) struct PciSlot {
    registers: RwLock<Arc<Registers>>,
    /// Memory of the machine that a card here reaches.
    pub(super) memory: Arc<GuestMemory>,
    /// Interrupts that a card here can raise.
    pub(super) vectors: Arc<Vectors>,
    /// The clock of every card here.
    pub(super) clock: Clock,
}

impl PciSlot {
    /// With a first card in it.
    pub(super) fn new(wires: Vec<Box<dyn Wire>>) -> Outcome<(Arc<PciSlot>, ModelCard)> {
        let (memory, vectors) = (Arc::<GuestMemory>::default(), Arc::<Vectors>::default());
        let clock = Clock::start();
        let card = power_up(wires, memory.clone(), vectors.clone(), clock.clone())?;
        let registers = RwLock::new(card.registers());
        Ok((Arc::new(PciSlot { registers, memory, vectors, clock }), card))
    }

    /// Puts a new card in, with no more or fewer wires than the last one had.
    pub(super) fn insert(&self, wires: Vec<Box<dyn Wire>>) -> Outcome<ModelCard> {
        let card = power_up(wires, self.memory.clone(), self.vectors.clone(), self.clock.clone())?;
        *self.registers.write().unwrap_or_else(PoisonError::into_inner) = card.registers();
        Ok(card)
    }

    fn registers(&self) -> Arc<Registers> {
        self.registers.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns true if no card answers.
    pub(super) fn is_empty(&self) -> bool {
        self.read32(0) == u32::MAX
    }

    /// The card's control registers.
    pub(super) fn ctrl(self: &Arc<Self>) -> Outcome<Ctrl> {
        let bar: Arc<dyn Bar> = self.clone();
        let blocks = Blocks::walk(&bar).context("the card")?;
        Ok(Ctrl(blocks.need(BlockKind::Ctrl).context("the card")?))
    }
}

fn power_up(
    wires: Vec<Box<dyn Wire>>,
    memory: Arc<dyn HostMemory>,
    vectors: Arc<Vectors>,
    clock: Clock,
) -> Outcome<ModelCard> {
    ModelCard::spawn(CardCapabilities::default(), wires, memory, vectors, clock)
        .context("starting the card")
}

impl Bar for PciSlot {
    fn size(&self) -> u64 {
        self.registers().size()
    }

    fn read32(&self, offset: u64) -> u32 {
        self.registers().read32(offset)
    }

    fn write32(&self, offset: u64, value: u32) {
        self.registers().write32(offset, value);
    }
}
