//! What the host keeps of the card's tables: who is where, and what may be reused when.

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

/// What [`ActionSlots::acquire`] and [`MaskSlots::acquire`] give: a number, and whether the card
/// has to be told what stands there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Acquired<T> {
    /// The slot.
    pub id: T,
    /// It was not in use: write it before the entry.
    pub fresh: bool,
}
