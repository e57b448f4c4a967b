//! How the card raises interrupts.

use std::sync::{Mutex, PoisonError};

use crate::sys::Interrupt;

/// The card's MSI-X vectors; they may come and go at run time.
#[derive(Default)]
pub struct Vectors {
    table: Mutex<Vec<Option<Interrupt>>>,
}

impl Vectors {
    /// Sets (or, by `None`, clears) the eventfd of a vector.
    pub fn set(&self, vector: usize, interrupt: Option<Interrupt>) {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if table.len() <= vector {
            table.resize_with(vector + 1, || None);
        }
        table[vector] = interrupt;
    }

    /// Forgets all of them.
    pub fn clear(&self) {
        self.table.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Raises one; nothing happens if nobody listens.
    pub(crate) fn raise(&self, vector: u32) {
        let table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Some(interrupt)) = table.get(vector as usize) {
            interrupt.raise();
        }
    }

    /// Raises all of them.
    pub(crate) fn raise_all(&self) {
        let table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.iter().flatten().for_each(Interrupt::raise);
    }
}
