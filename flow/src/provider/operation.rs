//! Operations on a provider, and their ends.

use serde::{Deserialize, Serialize};

use std::sync::Arc;

use crate::id::Ufid;
use crate::megaflow::Megaflow;
use crate::owner::Generation;
use crate::stats::Stats;

use super::error::ProviderError;

/// One operation on a provider.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
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
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
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

/// The number of an operation, from its submission to its completion. Whoever submits chooses the
/// numbers, and uses none twice while the first operation with it is in flight.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
pub struct Tag(pub u64);

/// An operation with its number.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Submission {
    /// The operation's number.
    pub tag: Tag,
    /// The operation.
    pub op: Op,
}

impl Submission {
    /// Numbers operations from 0 on.
    pub fn number(ops: impl IntoIterator<Item = Op>) -> impl Iterator<Item = Submission> {
        (0..).zip(ops).map(|(tag, op)| Submission { tag: Tag(tag), op })
    }

    /// Returns the end of the operation.
    #[must_use]
    pub fn completed(&self, result: Result<Stats, ProviderError>) -> Completion {
        Completion { tag: self.tag, ufid: self.op.ufid(), kind: self.op.kind(), result }
    }
}

/// The result of one operation.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Completion {
    /// The operation's number.
    pub tag: Tag,
    /// The ufid of the operation's megaflow.
    pub ufid: Ufid,
    /// The kind of the operation.
    pub kind: OpKind,
    /// For `Remove` and `Replace` the final statistics of the life that ended, with every hit in
    /// it; for `Install` zero. After an error the table is as it was before the operation: a life
    /// that was to be removed or replaced goes on.
    pub result: Result<Stats, ProviderError>,
}
