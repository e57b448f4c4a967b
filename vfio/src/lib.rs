//! The FPGA card: its driver over VFIO, and its model in software, both written against
//! `docs/fpga-abi.md`.
//!
//! `sys` is the only module with unsafe code: VFIO, mapped registers, DMA memory. `register`,
//! `ring` and `table` are the driver's parts; `provider` and `exception` are its interface to the
//! rest of the project; `model` is the other side of the bus.

mod action;
pub mod admission;
mod channel;
mod crc;
mod driver;
mod embedded;
mod error;
mod exception;
mod int;
mod job_time;
pub mod key;
mod layout;
pub mod model;
mod open_card;
mod provider;
pub mod register;
pub mod ring;
pub mod sys;
pub mod table;
pub mod toeplitz;

pub use admission::CardAdmission;
pub use driver::{Access, Driver, DriverConfig};
pub use embedded::Embedded;
pub use error::Error;
pub use exception::RingPort;
pub use layout::{Layout, Word};
pub use model::{CardLedger, MemoryWire, ModelCard, Wire};
pub use provider::FpgaProvider;
pub use register::CardCapabilities;
