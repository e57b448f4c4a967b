//! The contract of a place where megaflows can live.

use std::sync::Arc;

use crate::capability::Admission;
use crate::id::Ufid;
use crate::megaflow::Megaflow;
use crate::refusal::{Reason, Refusal};
use crate::stats::Stats;
use crate::traffic::PortTraffic;

/// One operation on a provider.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Op {
    /// Install a megaflow that is not there. `generation` tells apart the lives of one ufid: the
    /// device carries it in its cookie, a dump returns it.
    Install {
        /// What to install.
        flow: Arc<Megaflow>,
        /// Which life of the ufid.
        generation: u32,
    },
    /// Change the actions of one that is there. Make before break where the device can.
    Replace {
        /// The same match with new actions.
        flow: Arc<Megaflow>,
        /// Which life the new one is.
        generation: u32,
    },
    /// Take it out.
    Remove {
        /// Which.
        ufid: Ufid,
    },
}

/// The kind of an operation, for completions and metrics.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[allow(missing_docs, reason = "the same as the variants of Op")]
pub enum OpKind {
    Install,
    Replace,
    Remove,
}

impl OpKind {
    /// All kinds.
    pub const ALL: [OpKind; 3] = [OpKind::Install, OpKind::Replace, OpKind::Remove];

    /// The word for it in metrics and logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            OpKind::Install => "install",
            OpKind::Replace => "replace",
            OpKind::Remove => "remove",
        }
    }
}

impl Op {
    /// What it does.
    #[must_use]
    pub fn kind(&self) -> OpKind {
        match self {
            Op::Install { .. } => OpKind::Install,
            Op::Replace { .. } => OpKind::Replace,
            Op::Remove { .. } => OpKind::Remove,
        }
    }

    /// To which megaflow.
    #[must_use]
    pub fn ufid(&self) -> Ufid {
        match self {
            Op::Install { flow, .. } | Op::Replace { flow, .. } => flow.ufid,
            Op::Remove { ufid } => *ufid,
        }
    }
}

/// The result of one operation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Completion {
    /// Which megaflow.
    pub ufid: Ufid,
    /// What was asked.
    pub kind: OpKind,
    /// For `Remove` and `Replace` the final statistics of the life that ended, every hit in
    /// it included; for `Install` zero. On an error the table is as it was before the op, and
    /// the life that was there goes on; after a failed `Replace` too.
    pub result: Result<Stats, ProviderError>,
}

/// Why an operation failed: each variant is the caller's next move.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ProviderError {
    /// The device can't do it: keep the megaflow on the host, don't retry unless it changes.
    #[error("{0}")]
    Unsupported(Refusal),
    /// No room: evict something or wait.
    #[error("{0}")]
    Full(Refusal),
    /// Not now (busy, interrupted, out of time): the same op may be tried again later.
    #[error("busy: {0}")]
    Busy(String),
    /// A megaflow of this ufid is there already.
    #[error("the megaflow is installed already")]
    Exists,
    /// A megaflow of this ufid is not there: it was lost or removed behind our back.
    #[error("the megaflow is not there")]
    NotFound,
    /// The install would overlap another megaflow: the contract forbids it.
    #[error("overlaps {0}")]
    Overlap(Ufid),
    /// The device is gone: stop using it.
    #[error("the device is gone: {0}")]
    Gone(String),
}

impl ProviderError {
    /// The refusal that a megaflow gets from this error.
    #[must_use]
    pub fn refusal(&self) -> Refusal {
        match self {
            ProviderError::Unsupported(refusal) | ProviderError::Full(refusal) => refusal.clone(),
            ProviderError::Gone(why) => Refusal::new(Reason::DeviceGone, "device").detail(why),
            ProviderError::Busy(why) => Refusal::new(Reason::Device, "busy").detail(why),
            ProviderError::Exists | ProviderError::NotFound | ProviderError::Overlap(_) => {
                Refusal::new(Reason::Device, "table").detail(self.to_string())
            }
        }
    }

    /// A short word for metrics.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            ProviderError::Unsupported(_) => "unsupported",
            ProviderError::Full(_) => "full",
            ProviderError::Busy(_) => "busy",
            ProviderError::Exists => "exists",
            ProviderError::NotFound => "not-found",
            ProviderError::Overlap(_) => "overlap",
            ProviderError::Gone(_) => "gone",
        }
    }
}

/// One megaflow as the device itself shows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Dumped {
    /// Whose cookie it carries.
    pub ufid: Ufid,
    /// Which life.
    pub generation: u32,
    /// The megaflow, decoded from the device; `None` where the device can't tell or holds
    /// something that we would not have written.
    pub flow: Option<Arc<Megaflow>>,
    /// Its statistics.
    pub stats: Stats,
    /// Is it really forwarding in the device (for tc: the kernel says `in_hw`)?
    pub active: bool,
}

/// How full a table is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TableUsage {
    /// Its name, stable.
    pub table: &'static str,
    /// Do megaflows live in it? Not in what they share: masks, action lists, counters. A
    /// megaflow fits while any of the tables that it can live in has room.
    pub holds_megaflows: bool,
    /// Entries in use.
    pub entries: u64,
    /// Entries that fit; `None` where nobody knows (tc).
    pub capacity: Option<u64>,
}

/// What happened on a provider without being asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ProviderEvent {
    /// The device is gone; every entry in it with it.
    Gone(String),
    /// Somebody changed the table behind our back, or a notification was lost, or the device can
    /// do other things than before: read its statistics, and try again what it refused.
    Changed,
    /// Others did something to megaflows in the device, which the statistics leave out since.
    Corrected {
        /// What.
        kind: Correction,
        /// To how many.
        megaflows: u64,
        /// The first of them, and what is known about it, for people.
        first: String,
    },
}

/// What others do to megaflows in a device.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Correction {
    /// Another rule was put in the place of ours under our cookie.
    Altered,
    /// A rule that is not ours is looked up first and takes its packets.
    Shadowed,
}

impl Correction {
    /// All kinds.
    pub const ALL: [Correction; 2] = [Correction::Altered, Correction::Shadowed];

    /// The word for it in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Correction::Altered => "altered",
            Correction::Shadowed => "shadowed",
        }
    }

    /// What happened, for the log: "of what we had put there, …".
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Correction::Altered => {
                "somebody changed rules of ours in the device; they are put right"
            }
            Correction::Shadowed => {
                "rules that are not ours come first in the device; the host forwards instead"
            }
        }
    }
}

/// A place where megaflows can live: the host table, tc, the FPGA card.
///
/// Owned by one thread, takes batches, never calls back. Operations of one batch take effect in
/// their order where they concern one ufid; a failed one does not stop those behind it.
pub trait Provider: Send {
    /// Its name in metrics, CLI and logs (`tc`, `fpga`, `host`).
    fn name(&self) -> &str;

    /// The decision function, a snapshot that may be used from any thread.
    fn admission(&self) -> Arc<dyn Admission>;

    /// Carries out a batch, pipelined on the device; pushes exactly one completion per op, in
    /// the order of the ops.
    fn apply(&mut self, ops: &[Op], done: &mut Vec<Completion>);

    /// Statistics of all entries that live in the device, absolute since their install, as one
    /// pass over the device. An entry of ours that is not among them is not in the device.
    fn stats(&mut self, out: &mut Vec<(Ufid, Stats)>) -> Result<(), ProviderError>;

    /// Everything in the device that carries our cookie, read from the device, not from memory.
    fn dump(&mut self, out: &mut Vec<Dumped>) -> Result<(), ProviderError>;

    /// Takes entries over that a dump returned, as if this process had installed them; returns
    /// those that it could take.
    fn adopt(&mut self, found: &[Dumped]) -> Vec<Ufid>;

    /// How full the tables are.
    fn tables(&self) -> Vec<TableUsage>;

    /// What the device's ports count; nothing for a device that does not tell.
    fn traffic(&mut self) -> Result<Vec<PortTraffic>, ProviderError> {
        Ok(Vec::new())
    }

    /// What happened since the last call; never blocks.
    fn events(&mut self) -> Vec<ProviderEvent>;

    /// The end, on purpose: takes out what is still there and what was made to put it on, so that
    /// nothing is left behind. Merely dropping a provider, as a process that dies does, may leave
    /// the device forwarding.
    fn close(&mut self) -> Result<(), ProviderError> {
        Ok(())
    }
}
