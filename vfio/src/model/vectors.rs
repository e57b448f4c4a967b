//! The way in which the card raises interrupts.

use std::sync::{Mutex, PoisonError};

use crate::sys::Interrupt;

/// The card's MSI-X vectors; a vector's eventfd may be set and cleared at run time.
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

    /// Clears all vectors.
    pub fn clear(&self) {
        self.table.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Raises one vector; nothing happens if it has no eventfd.
    pub(crate) fn raise(&self, vector: u32) {
        let table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Some(interrupt)) = table.get(vector as usize) {
            interrupt.raise();
        }
    }

    /// Raises all vectors.
    pub(crate) fn raise_all(&self) {
        let table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.iter().flatten().for_each(Interrupt::raise);
    }
}
