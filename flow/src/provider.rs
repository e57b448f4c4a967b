//! The contract of a place where megaflows can live.

use std::sync::Arc;

use crate::capability::Admission;
use crate::id::Ufid;
use crate::megaflow::Megaflow;
use crate::owner::Generation;
use crate::refusal::{Reason, Refusal, Subject};
use crate::stats::Stats;
use crate::traffic::PortTraffic;
use crate::validate::Invalid;

/// One operation on a provider.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Op {
    /// Install a megaflow that is not installed. `generation` is the life of the ufid and its
    /// owner: the device carries it in its cookie, and a dump returns it.
    Install {
        /// The megaflow to install.
        flow: Arc<Megaflow>,
        /// Which life of the ufid.
        generation: Generation,
    },
    /// Change the actions of an installed megaflow, make-before-break where the device can.
    Replace {
        /// The same match with new actions.
        flow: Arc<Megaflow>,
        /// Which life the new one is.
        generation: Generation,
    },
    /// Remove an installed megaflow.
    Remove {
        /// The ufid of the megaflow.
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

    /// The word for the operation in metrics and logs.
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
    /// The kind of the operation.
    #[must_use]
    pub fn kind(&self) -> OpKind {
        match self {
            Op::Install { .. } => OpKind::Install,
            Op::Replace { .. } => OpKind::Replace,
            Op::Remove { .. } => OpKind::Remove,
        }
    }

    /// The ufid of the operation's megaflow.
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
    /// The ufid of the operation's megaflow.
    pub ufid: Ufid,
    /// The kind of the operation.
    pub kind: OpKind,
    /// For `Remove` and `Replace` the final statistics of the life that ended, with every hit in
    /// it; for `Install` zero. After an error the table is as it was before the operation: a life
    /// that was to be removed or replaced goes on.
    pub result: Result<Stats, ProviderError>,
}

/// Why an operation failed: each variant is the caller's next move.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ProviderError {
    /// No place could give the megaflow a meaning: tell whoever asked for it, and don't retry.
    #[error("{0}")]
    Invalid(Invalid),
    /// The device can't do this: keep the megaflow on the host, and don't retry unless the megaflow
    /// changes.
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
    /// No megaflow of this ufid is installed: it was lost, or somebody else removed it.
    #[error("the megaflow is not installed")]
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
            ProviderError::Gone(why) => {
                Refusal::new(Reason::DeviceGone, Subject::Device).said(why.as_str())
            }
            ProviderError::Busy(why) => {
                Refusal::new(Reason::Device, Subject::Busy).said(why.as_str())
            }
            ProviderError::Invalid(_)
            | ProviderError::Exists
            | ProviderError::NotFound
            | ProviderError::Overlap(_) => {
                Refusal::new(Reason::Device, Subject::DeviceTable).said(self.to_string())
            }
        }
    }

    /// A short word for metrics.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            ProviderError::Invalid(_) => "invalid",
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
    /// The life of the ufid, and its owner.
    pub generation: Generation,
    /// The megaflow, decoded from the device; `None` where the device can't tell or holds
    /// something that we would not have written.
    pub flow: Option<Arc<Megaflow>>,
    /// The megaflow's statistics.
    pub stats: Stats,
    /// True if the megaflow really forwards in the device (for tc: the kernel says `in_hw`).
    pub active: bool,
}

macro_rules! tables {
    ($($variant:ident $name:literal $meaning:literal;)*) => {
        /// A table of a provider. The names are stable: metrics and refusals use them.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum TableName { $(#[doc = $meaning] $variant,)* }

        impl TableName {
            /// All of them.
            pub const ALL: &'static [TableName] = &[$(TableName::$variant,)*];

            /// The stable name.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(TableName::$variant => $name,)* }
            }
        }
    };
}

tables! {
    Megaflow "megaflow" "The megaflows of the host.";
    Flower "flower" "The flower filters of tc.";
    ExactMatch "exact-match" "The megaflows of a card that are found by hashing.";
    MaskedRows "masked-rows" "The megaflows of a card that are compared one by one.";
    Masks "masks" "The masks under which a card hashes.";
    Actions "actions" "The action lists of a card.";
    Counters "counters" "The counters of a card.";
}

/// How full a table is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TableUsage {
    /// Which table.
    pub table: TableName,
    /// True for a table of megaflows, false for a table of things that megaflows share: masks,
    /// action lists, counters. A megaflow fits while any of the tables that can hold it has room.
    pub holds_megaflows: bool,
    /// Entries in use.
    pub entries: u64,
    /// Entries that fit; `None` where nobody knows (tc).
    pub capacity: Option<u64>,
}

/// Something that happened on a provider without an operation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ProviderEvent {
    /// The device is gone; every entry in it with it.
    Gone(String),
    /// Somebody else changed the table, or a notification was lost, or the device's capabilities
    /// changed: the receiver reads the statistics, and tries again what the device refused.
    Changed,
    /// Somebody else changed or shadowed megaflows in the device. From then on the statistics leave
    /// these megaflows out.
    Corrected {
        /// The kind of the change.
        kind: Correction,
        /// Number of megaflows concerned.
        megaflows: u64,
        /// The first of these megaflows, and what is known about it, as text for people.
        first: String,
    },
}

/// A change that somebody else made to megaflows in a device.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Correction {
    /// Somebody put another rule in the place of ours, under our cookie.
    Altered,
    /// The device looks up somebody else's rule before ours, which takes the packets of ours.
    Shadowed,
}

impl Correction {
    /// All kinds.
    pub const ALL: [Correction; 2] = [Correction::Altered, Correction::Shadowed];

    /// The word for the change in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Correction::Altered => "altered",
            Correction::Shadowed => "shadowed",
        }
    }

    /// A sentence for the log that says what happened.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Correction::Altered => {
                "somebody changed rules of ours in the device; the daemon restores them"
            }
            Correction::Shadowed => {
                "rules that are not ours come first in the device; the host forwards instead"
            }
        }
    }
}

/// A place where megaflows can live: the host table, tc, the FPGA card.
///
/// A provider is owned by one thread, takes batches and never calls back. Operations of one batch
/// on one ufid take effect in their order; a failed operation does not stop the later ones.
pub trait Provider: Send {
    /// The provider's name in metrics, CLI and logs (`tc`, `fpga`, `host`).
    fn name(&self) -> &str;

    /// A snapshot of the function that decides about megaflows. Any thread may use it.
    fn admission(&self) -> Arc<dyn Admission>;

    /// Carries out a batch, pipelined on the device; pushes exactly one completion per op, in
    /// the order of the ops.
    fn apply(&mut self, ops: &[Op], done: &mut Vec<Completion>);

    /// Reads the statistics of all megaflows in the device, absolute since their install, in one
    /// pass over the device. A megaflow of ours that is not among them is not in the device.
    fn stats(&mut self, out: &mut Vec<(Ufid, Stats)>) -> Result<(), ProviderError>;

    /// Reads everything in the device that carries our cookie, from the device, not from memory.
    fn dump(&mut self, out: &mut Vec<Dumped>) -> Result<(), ProviderError>;

    /// Adopts megaflows that a dump returned, as if this process had installed them; returns the
    /// ufids of those that it could adopt.
    fn adopt(&mut self, found: &[Dumped]) -> Vec<Ufid>;

    /// How full the tables are.
    fn tables(&self) -> Vec<TableUsage>;

    /// Reads the counters of the device's ports; empty for a device that has none.
    fn traffic(&mut self) -> Result<Vec<PortTraffic>, ProviderError> {
        Ok(Vec::new())
    }

    /// The events since the last call; never blocks.
    fn events(&mut self) -> Vec<ProviderEvent>;

    /// Ends the provider on purpose: removes our megaflows and everything that was made to hold
    /// them, so that the device has nothing of ours. A provider that is merely dropped, as when its
    /// process dies, may leave the device forwarding.
    fn close(&mut self) -> Result<(), ProviderError> {
        Ok(())
    }
}
