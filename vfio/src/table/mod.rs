//! The host's picture of the card's tables: the entry in each place, and when a place is free
//! again.

mod action;
mod counter;
mod cuckoo;
mod mask;
mod row;

pub use action::ActionSlots;
pub use counter::Counters;
pub use cuckoo::{Cuckoo, Move, Plan};
pub use mask::MaskSlots;
pub use row::Rows;

/// The driver's number of an entry, stable while the entry lives.
pub type Handle = u32;

/// The slot that [`ActionSlots::acquire`] and [`MaskSlots::acquire`] return, and whether it has to
/// be written to the card first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Acquired<T> {
    /// The slot.
    pub id: T,
    /// True if the slot was not in use: it has to be written before the entry.
    pub fresh: bool,
}
