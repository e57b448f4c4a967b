//! The rings: records in shared memory, doorbells, shadow words.

pub mod command;
pub mod packet;
pub mod record;

mod consumer;
mod producer;

pub use consumer::Consumer;
pub use producer::Producer;

use crate::layout::Layout;

/// All record layouts, for the comparison with the text.
pub const LAYOUTS: &[Layout] = &[
    command::command::LAYOUT,
    record::completion::LAYOUT,
    record::event::LAYOUT,
    record::snapshot_header::LAYOUT,
    record::snapshot_word::LAYOUT,
    packet::rx::LAYOUT,
    packet::tx::LAYOUT,
];

/// The card's index in a shadow word, if it is of this epoch.
pub(crate) fn shadow_index(shadow: u32, epoch: u32) -> Option<u16> {
    let index = crate::int::low16(u64::from(shadow));
    (shadow >> 16 == epoch & 0xffff).then_some(index)
}
