//! A card and its driver in one process.

use std::sync::Arc;

use crate::driver::{Access, Driver, DriverConfig};
use crate::error::Error;
use crate::model::{CardLedger, ModelCard, Vectors, Wire};
use crate::register::CardCapabilities;
use crate::ring::packet::DESCRIPTOR_BYTES;
use crate::sys::{Bar, Interrupt, LocalDma};

/// The embedded card: a model card in this process, with a driver on it.
pub struct Embedded {
    /// The driver.
    pub driver: Driver,
    /// The model: for its ledger, for faults, and for its end.
    pub card: ModelCard,
}

impl Embedded {
    /// Powers up a card with these wires and opens it. Wire i is `config.ports[i]`.
    pub fn start(
        capabilities: CardCapabilities,
        wires: Vec<Box<dyn Wire>>,
        config: &DriverConfig,
    ) -> Result<Embedded, Error> {
        if config.packet_stride < DESCRIPTOR_BYTES + 64 {
            return Err(Error::Unusable("a packet slot is too small".into()));
        }
        let dma = Arc::new(LocalDma::default());
        let (vectors, clock) = (Arc::new(Vectors::default()), config.clock.clone());
        let card = ModelCard::spawn(capabilities, wires, dma.clone(), vectors.clone(), clock)?;
        let mut interrupts = Vec::new();
        for vector in 0..card.vector_count() {
            let interrupt = Interrupt::new()?;
            vectors.set(vector as usize, Some(interrupt.try_clone()?));
            interrupts.push(interrupt);
        }
        let bar: Arc<dyn Bar> = card.registers();
        let access = Access { bar, dma, interrupts, function: Arc::new(()) };
        let driver = Driver::open(access, config)?;
        Ok(Embedded { driver, card })
    }

    /// Returns the ledger, the audit's ground truth.
    #[must_use]
    pub fn ledger(&self) -> CardLedger {
        self.card.ledger()
    }
}
