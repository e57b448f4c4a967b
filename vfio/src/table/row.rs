//! The masked rows. Megaflows never overlap, so any free row will do.

use super::EntryHandle;

/// The entry in each masked row.
pub struct RowSlots {
    rows: Vec<Option<EntryHandle>>,
    used: u32,
}

impl RowSlots {
    /// Creates the rows, all free.
    #[must_use]
    pub fn new(count: u32) -> RowSlots {
        RowSlots { rows: vec![None; count as usize], used: 0 }
    }

    /// Takes a free row for an entry; `None` if no row is free.
    pub fn acquire(&mut self, owner: EntryHandle) -> Option<u32> {
        let row = self.rows.iter().position(Option::is_none)?;
        self.rows[row] = Some(owner);
        self.used += 1;
        Some(crate::int::to_u32(row))
    }

    /// Frees the row.
    pub fn clear(&mut self, row: u32) {
        if self.rows[row as usize].take().is_some() {
            self.used -= 1;
        }
    }

    /// Returns the number of rows in use.
    #[must_use]
    pub fn used(&self) -> u32 {
        self.used
    }

    /// Returns the number of rows.
    #[must_use]
    pub fn capacity(&self) -> u32 {
        crate::int::to_u32(self.rows.len())
    }
}
