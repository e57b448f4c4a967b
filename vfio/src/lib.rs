//! The FPGA card: its driver over VFIO, and its model in software, both written against
//! `docs/fpga-abi.md`.
//!
//! `sys` is the only place with unsafe code: VFIO, mapped registers, DMA memory. `register`,
//! `ring` and `table` are the driver's parts, `provider` and `exception` what it is to the rest
//! of the project; `model` is the other side of the bus.

mod action;
mod crc;
pub mod error;
mod int;
pub mod key;
mod layout;
pub mod model;
pub mod register;
pub mod ring;
pub mod sys;
pub mod toeplitz;

pub use error::Error;
pub use layout::{Layout, Word};
