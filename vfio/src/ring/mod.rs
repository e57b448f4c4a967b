//! The rings: records in shared memory, doorbells, shadow words.

pub mod command;
pub mod packet;
pub mod record;

mod consumer;
mod producer;
mod shared;

pub use consumer::Consumer;
pub use producer::Producer;
pub use shared::RingConfig;
pub(crate) use shared::ring_bytes;

use crate::layout::Layout;

/// All record layouts, for the test that compares them with `docs/fpga-abi.md`.
pub const LAYOUTS: &[Layout] = &[
    command::command::LAYOUT,
    record::completion::LAYOUT,
    record::event::LAYOUT,
    record::snapshot_header::LAYOUT,
    record::snapshot_word::LAYOUT,
    packet::rx::LAYOUT,
    packet::tx::LAYOUT,
];
