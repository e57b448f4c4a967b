//! What is known of commands in flight.

use std::sync::Arc;

use flow::{Generation, Megaflow};

use super::jobs::JobId;
use crate::ring::command::CounterId;
use crate::table::EntryHandle;

/// The purpose of a command in flight.
pub(crate) enum Purpose {
    /// The write of a mask or an action list that the entry of an op will name.
    Part,
    /// The move of an entry. The handle may have another owner by the time of the completion; no
    /// two entries have the same serial number.
    Move {
        handle: EntryHandle,
        serial: u64,
    },
    Write {
        job: JobId,
        handle: EntryHandle,
    },
    Replace {
        job: JobId,
        handle: EntryHandle,
        next: Next,
    },
    Clear {
        job: JobId,
        handle: EntryHandle,
    },
    MaskClear(u8),
    /// A snapshot, with its ticket.
    Snapshot(u64),
    /// A command whose completion is waited for.
    Call,
}

/// The new values of an entry after a replace.
pub(crate) struct Next {
    pub(super) flow: Arc<Megaflow>,
    pub(super) generation: Generation,
    pub(super) action: u32,
    pub(super) counter: CounterId,
}
