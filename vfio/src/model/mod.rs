//! The card in software: everything of `docs/fpga-abi.md` on the other side of the same
//! registers and the same memory. It runs in a thread of its own, in this process or served over
//! vfio-user to a virtual machine; it forwards between its wires by its own tables.

mod card;
mod commands;
pub mod ledger;
mod pipeline;
mod registers;
mod rings;
mod tables;
mod vectors;
pub mod wire;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

pub use ledger::{Drop as DropReason, Ledger, PortLedger};
pub use registers::{BAR0_BYTES, Registers};
pub use tables::Damage;
pub use vectors::Vectors;
pub use wire::{MemoryWire, Unsent, Wire};

use crate::error::Error;
use crate::register::CardCapabilities;
use crate::sys::HostMemory;

/// A running model.
pub struct ModelCard {
    registers: Arc<Registers>,
    vectors: Arc<Vectors>,
    ledger: Ledger,
    lost_counts: Arc<AtomicU32>,
    damages: Arc<Mutex<Vec<(u128, Damage)>>>,
    thread: Option<JoinHandle<Vec<Box<dyn Wire>>>>,
}

impl ModelCard {
    /// Powers a card up: one port per wire (`capabilities.ports` is set from them), host memory
    /// behind `memory`, interrupts to `vectors`. It runs in its own thread until [`kill`] or
    /// [`stop`] (or drop).
    ///
    /// [`kill`]: ModelCard::kill
    /// [`stop`]: ModelCard::stop
    pub fn spawn(
        mut capabilities: CardCapabilities,
        wires: Vec<Box<dyn Wire>>,
        memory: Arc<dyn HostMemory>,
        vectors: Arc<Vectors>,
    ) -> Result<ModelCard, Error> {
        capabilities.ports = crate::int::to_u32(wires.len());
        if !(1..=64).contains(&wires.len()) {
            return Err(Error::Unusable(format!("expected 1 to 64 wires, got {}", wires.len())));
        }
        let registers = Registers::new(&capabilities)?;
        let card =
            card::Card::new(&capabilities, registers.clone(), memory, vectors.clone(), wires);
        let (ledger, lost_counts) = (card.ledger.clone(), card.lost_counts.clone());
        let damages = card.damages.clone();
        let thread = std::thread::Builder::new()
            .name("fpga-model".into())
            .spawn(move || card.run())
            .map_err(|e| Error::host("starting the card's thread", e))?;
        Ok(ModelCard { registers, vectors, ledger, lost_counts, damages, thread: Some(thread) })
    }

    /// BAR0: what a vfio-user server forwards register accesses to, and what a driver in the same
    /// process uses.
    #[must_use]
    pub fn registers(&self) -> Arc<Registers> {
        self.registers.clone()
    }

    /// The audit's ground truth.
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        self.ledger.clone()
    }

    /// MSI-X vectors that the card has: command completions, events, one a port.
    #[must_use]
    pub fn vector_count(&self) -> u32 {
        2 + crate::int::to_u32((self.registers.rings() - 3) / 2)
    }

    /// A PCI reset from outside (`VFIO_DEVICE_RESET`, FLR): as CTRL.CMD = RESET.
    pub fn reset(&self) {
        self.registers.pending.store(crate::register::Command::Reset as u32, Ordering::SeqCst);
        self.registers.wake();
    }

    /// Loses the given number of counter updates from now on: a fault that an audit must find.
    pub fn lose_counts(&self, count: u32) {
        self.lost_counts.store(count, Ordering::SeqCst);
    }

    /// Damages an entry, as a bit that flips in a table does: a fault that the driver must find
    /// and repair. Before any command that is given from now on.
    pub fn damage(&self, cookie: u128, damage: Damage) {
        self.damages.lock().unwrap_or_else(PoisonError::into_inner).push((cookie, damage));
        self.registers.wake();
    }

    /// Surprise removal: every register reads all-ones from now on, nothing is forwarded any
    /// more. Gives the wires back.
    pub fn kill(mut self) -> Vec<Box<dyn Wire>> {
        self.registers.gone.store(true, Ordering::SeqCst);
        self.stop()
    }

    /// The same by a shared reference: the thread ends by itself, the wires go with it.
    pub fn pull_out(&self) {
        self.registers.gone.store(true, Ordering::SeqCst);
        self.registers.wake();
        // Who sleeps in an interrupt wait looks at the registers and finds out.
        self.vectors.raise_all();
    }

    /// Powers the card off in order, after the driver has gone, or ends one that was pulled out.
    /// Gives the wires back; the second time there are none.
    pub fn stop(&mut self) -> Vec<Box<dyn Wire>> {
        self.registers.stop.store(true, Ordering::SeqCst);
        self.registers.wake();
        let wires = self.thread.take().and_then(|thread| thread.join().ok());
        self.registers.gone.store(true, Ordering::SeqCst);
        self.vectors.raise_all();
        wires.unwrap_or_default()
    }
}

impl Drop for ModelCard {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.stop();
        }
    }
}
