//! The masked rows. Megaflows never overlap, so any free row will do.

use super::EntryHandle;

/// The entry in each masked row.
pub struct RowSlots {
    rows: Vec<Option<EntryHandle>>,
    free: Vec<u32>,
}

impl RowSlots {
    /// Creates the rows, all free.
    #[must_use]
    pub fn new(count: u32) -> RowSlots {
        RowSlots { rows: vec![None; count as usize], free: (0..count).rev().collect() }
    }

    /// Takes a free row for an entry; `None` if no row is free.
    pub fn acquire(&mut self, owner: EntryHandle) -> Option<u32> {
        let row = self.free.pop()?;
        self.rows[row as usize] = Some(owner);
        Some(row)
    }

    /// Returns the entry in a row.
    #[must_use]
    pub fn owner(&self, row: u32) -> Option<EntryHandle> {
        self.rows.get(row as usize).copied().flatten()
    }

    /// Frees the row.
    pub fn clear(&mut self, row: u32) {
        if self.rows[row as usize].take().is_some() {
            self.free.push(row);
        }
    }

    /// Returns the number of rows in use.
    #[must_use]
    pub fn used(&self) -> u32 {
        self.capacity() - crate::int::to_u32(self.free.len())
    }

    /// Returns the number of rows.
    #[must_use]
    pub fn capacity(&self) -> u32 {
        crate::int::to_u32(self.rows.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The slow twin searches for a free row.
    #[test]
    fn a_row_is_found_exactly_where_a_search_finds_one() {
        let (mut rows, mut twin) = (RowSlots::new(5), [None; 5]);
        for step in 0..2000u32 {
            let dice = step.wrapping_mul(0x9e37_79b9) >> 16;
            if dice % 2 == 0 {
                let row = rows.acquire(step);
                assert_eq!(row.is_some(), twin.contains(&None), "step {step}");
                if let Some(row) = row {
                    assert_eq!(twin[row as usize].replace(step), None, "step {step}");
                }
            } else {
                let row = dice / 2 % 5;
                rows.clear(row);
                twin[row as usize] = None;
            }
            assert_eq!(rows.rows, twin);
            assert_eq!(rows.used() as usize, twin.iter().flatten().count());
        }
        assert_eq!(rows.capacity(), 5);
    }
}
