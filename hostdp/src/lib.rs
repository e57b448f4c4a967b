//! The host datapath: it forwards every packet that hardware does not forward.
#![deny(unsafe_code)]
#![cfg_attr(
    test,
    allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_possible_wrap,
        clippy::too_many_lines
    )
)]

pub mod datapath;
pub mod drops;
mod ledger;
pub mod port;
mod program;
pub mod table;
#[cfg(test)]
mod testing;
pub mod upcall;
pub mod worker;

pub use datapath::{Datapath, DatapathSettings, DatapathSnapshot, PortSnapshot};
pub use drops::{DropReason, Drops};
pub use ledger::{Ends, Ledger, ReceivedAccount};
pub use table::FlowTable;
pub use upcall::{QueuedUpcall, Resolution, SPECIAL_PID, UpcallId, UpcallLimits};
