//! The typed register blocks, one file each.

mod block;
mod cap;
mod ctrl;
mod dbg;
mod err;
mod fwid;
mod hash;
mod ports;
mod queue;
mod snap;

pub use block::{BlockKind, Blocks, Window};
pub use cap::{CardCapabilities, CardFeatures};
pub use ctrl::{CardState, Ctrl, CtrlCommand};
pub use dbg::DebugCounters;
pub use err::ErrBlock;
pub use fwid::{MAGIC, check as check_identity};
pub use hash::HashBlock;
pub use ports::{PortWindow, PortsBlock, RECEIVE_DROPS, TRANSMIT_DROPS};
pub use queue::{RingRegisters, RingSetup};
pub use snap::Snap;

/// The words of each block.
pub mod words {
    pub use super::block::header;
    pub use super::cap::cap;
    pub use super::ctrl::ctrl;
    pub use super::dbg::dbg;
    pub use super::err::err;
    pub use super::fwid::fwid;
    pub use super::hash::hash;
    pub use super::ports::{port, ports};
    pub use super::queue::ring;
    pub use super::snap::snap;
}

use crate::layout::Layout;

/// All layouts of registers, for the test that compares them with `docs/fpga-abi.md`.
pub const LAYOUTS: &[Layout] = &[
    words::header::LAYOUT,
    words::fwid::LAYOUT,
    words::cap::LAYOUT,
    words::ctrl::LAYOUT,
    words::hash::LAYOUT,
    words::snap::LAYOUT,
    words::err::LAYOUT,
    words::dbg::LAYOUT,
    words::ports::LAYOUT,
    words::port::LAYOUT,
    words::ring::LAYOUT,
];
