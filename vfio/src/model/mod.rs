//! The card in software: everything of `docs/fpga-abi.md` on the other side of the same
//! registers and the same memory. It runs in a thread of its own, in this process or served over
//! vfio-user to a virtual machine; it forwards between its wires by its own tables.

mod card;
mod commands;
mod held;
pub mod ledger;
mod pipeline;
mod registers;
mod rings;
mod tables;
mod vectors;
pub mod wire;

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

pub use ledger::{CardLedger, Drop as DropReason, PortLedger};
pub use registers::{BAR0_BYTES, Registers};
pub use tables::Damage;
pub use vectors::Vectors;
pub use wire::{MemoryWire, Unsent, Wire};

use flow::Clock;

use crate::error::Error;
use crate::register::CardCapabilities;
use crate::sys::HostMemory;

/// A running model card.
pub struct ModelCard {
    registers: Arc<Registers>,
    vectors: Arc<Vectors>,
    ledger: CardLedger,
    lost_counts: Arc<AtomicU32>,
    damages: Arc<Mutex<Vec<(u128, Damage)>>>,
    dice: Arc<AtomicU64>,
    thread: Option<JoinHandle<Vec<Box<dyn Wire>>>>,
}

impl ModelCard {
    /// Powers a card up, with one port per wire (`capabilities.ports` is set from them), host
    /// memory behind `memory`, interrupts to `vectors` and timestamps by `clock`. The card runs in
    /// its own thread until [`kill`] or [`stop`] (or drop).
    ///
    /// [`kill`]: ModelCard::kill
    /// [`stop`]: ModelCard::stop
    pub fn spawn(
        mut capabilities: CardCapabilities,
        wires: Vec<Box<dyn Wire>>,
        memory: Arc<dyn HostMemory>,
        vectors: Arc<Vectors>,
        clock: Clock,
    ) -> Result<ModelCard, Error> {
        capabilities.ports = crate::int::to_u32(wires.len());
        if !(1..=64).contains(&wires.len()) {
            return Err(Error::Unusable(format!("expected 1 to 64 wires, got {}", wires.len())));
        }
        let registers = Registers::new(&capabilities)?;
        let (cards, interrupts) = (registers.clone(), vectors.clone());
        let card = card::CardCore::new(&capabilities, cards, memory, interrupts, wires, clock);
        let (ledger, lost_counts) = (card.ledger.clone(), card.lost_counts.clone());
        let (damages, dice) = (card.damages.clone(), card.held.dice.clone());
        let thread = std::thread::Builder::new()
            .name("fpga-model".into())
            .spawn(move || card.run())
            .map_err(|e| Error::host("starting the card's thread", e))?;
        Ok(ModelCard {
            registers,
            vectors,
            ledger,
            lost_counts,
            damages,
            dice,
            thread: Some(thread),
        })
    }

    /// Returns BAR0: a vfio-user server forwards register accesses to it, and a driver in the same
    /// process uses it directly.
    #[must_use]
    pub fn registers(&self) -> Arc<Registers> {
        self.registers.clone()
    }

    /// Returns the ledger, the audit's ground truth.
    #[must_use]
    pub fn ledger(&self) -> CardLedger {
        self.ledger.clone()
    }

    /// Returns the number of the card's MSI-X vectors: command completions, events, one per port.
    #[must_use]
    pub fn vector_count(&self) -> u32 {
        2 + crate::int::to_u32((self.registers.rings() - 3) / 2)
    }

    /// Resets the card from outside (`VFIO_DEVICE_RESET`, FLR), with the effect of CTRL.CMD =
    /// RESET.
    pub fn reset(&self) {
        self.registers.pending.store(crate::register::CtrlCommand::Reset as u32, Ordering::SeqCst);
        self.registers.wake();
    }

    /// Makes the card complete its commands in a random order from now on, as a card may; a seed
    /// of 0 means the order of the ring.
    pub fn shuffle_completions(&self, seed: u64) {
        self.dice.store(seed, Ordering::SeqCst);
    }

    /// Makes the card lose the given number of counter updates: a fault that an audit must find.
    pub fn lose_counts(&self, count: u32) {
        self.lost_counts.store(count, Ordering::SeqCst);
    }

    /// Damages an entry, as a flipped bit in a table does: a fault that the driver must find and
    /// repair. The damage is done before any command that is given from now on.
    pub fn damage(&self, cookie: u128, damage: Damage) {
        self.damages.lock().unwrap_or_else(PoisonError::into_inner).push((cookie, damage));
        self.registers.wake();
    }

    /// Removes the card by surprise: every register reads all-ones from now on, and nothing is
    /// forwarded any more. Returns the wires.
    pub fn kill(mut self) -> Vec<Box<dyn Wire>> {
        self.registers.gone.store(true, Ordering::SeqCst);
        self.stop()
    }

    /// Cuts the card off its bus: every register reads all-ones, and the card halts. It forwards
    /// again once it is back on the bus ([`ModelCard::reconnect`]) and reset.
    pub fn cut_off(&self) {
        self.registers.is_cut_off.store(true, Ordering::SeqCst);
        self.registers.wake();
        self.vectors.raise_all();
    }

    /// Puts a card back on its bus.
    pub fn reconnect(&self) {
        self.registers.is_cut_off.store(false, Ordering::SeqCst);
    }

    /// Removes the card by surprise through a shared reference: the thread ends by itself and the
    /// wires go with it.
    pub fn pull_out(&self) {
        self.registers.gone.store(true, Ordering::SeqCst);
        self.registers.wake();
        // A thread that sleeps in an interrupt wait wakes up and sees the registers read all-ones.
        self.vectors.raise_all();
    }

    /// Powers the card off in order, after the driver has gone, or ends a card that was pulled
    /// out. Returns the wires; the second time there are none.
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
