//! What is known of commands in flight.

use std::sync::Arc;

use flow::{Generation, Megaflow, ProviderError, Stats, Ufid};

use crate::ring::command::CounterId;
use crate::table::EntryHandle;

/// The results of the ops of a batch, as far as known.
pub(super) type Results = Vec<Option<Result<Stats, ProviderError>>>;

/// The purpose of a command in flight; there is one for each command, in order.
pub(super) enum Purpose {
    /// The write of a mask or an action list that the entry of an op will name.
    Part,
    /// The move of the entry of this megaflow.
    Move(Ufid),
    Write {
        op: usize,
        handle: EntryHandle,
    },
    Replace {
        op: usize,
        handle: EntryHandle,
        next: Next,
    },
    Clear {
        op: usize,
        handle: EntryHandle,
    },
    MaskClear(u8),
}

/// The new values of an entry after a replace.
pub(super) struct Next {
    pub(super) flow: Arc<Megaflow>,
    pub(super) generation: Generation,
    pub(super) action: u32,
    pub(super) counter: CounterId,
}
