//! The host's picture of the card's tables: the entry in each place, and when a place is free
//! again.

mod action;
mod counter;
mod cuckoo;
mod mask;
mod row;

pub use action::ActionSlots;
pub use counter::CounterSlots;
pub use cuckoo::{Cuckoo, CuckooPlan, Move};
pub use mask::MaskSlots;
pub use row::RowSlots;

/// The driver's number of an entry, stable while the entry lives.
pub type EntryHandle = u32;

/// The slot that [`ActionSlots::acquire`] and [`MaskSlots::acquire`] return, and whether it has to
/// be written to the card first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Acquired<T> {
    /// The slot.
    pub id: T,
    /// True if the slot was not in use: it has to be written before the entry.
    pub fresh: bool,
}
