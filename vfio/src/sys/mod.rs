//! Access to the operating system and to raw memory: the only unsafe code of this crate.
//! Everything public in this module is safe to use in any way.
#![allow(unsafe_code, reason = "mapped memory, VFIO; each block says why it is sound")]

pub mod arena;
pub mod bar;
pub mod dma;
pub mod guest;
pub mod heap;
pub mod interrupt;
pub mod memory;
pub mod vfio;

pub use arena::{Arena, DmaSource, LocalDma, Region};
pub use bar::Bar;
pub use dma::{DmaFault, HostMemory, PciFunction};
pub use guest::GuestMemory;
pub use interrupt::Interrupt;
