//! The vocabulary of Megaflow: keys, masks, megaflows, actions, and the contracts between its
//! parts. No I/O, no async, no unsafe: everything here but the clock in [`clock`] is a pure
//! function of its arguments, so every other crate can be tested against it.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::cast_possible_truncation))]

pub mod action;
pub mod buckets;
pub mod capability;
pub mod chunks;
pub mod classifier;
pub mod client;
pub mod clock;
pub mod conservation;
pub mod exception;
pub mod field;
pub mod hash;
pub mod histogram;
pub mod id;
pub mod key;
pub mod matching;
pub mod megaflow;
pub mod numbers;
pub mod odp;
pub mod overlap;
pub mod owner;
pub mod packet;
pub mod placement;
pub mod provider;
mod recent;
pub mod reference;
pub mod refusal;
pub mod serial;
pub mod stats;
pub mod table;
pub mod testing;
pub mod traffic;
pub mod ufids;
pub mod validate;

pub use action::{Action, ActionKind, Actions, HashAlgorithm, SetFields, Userspace};
pub use buckets::Buckets;
pub use capability::{Admission, Capabilities, FieldSupport};
pub use chunks::{Chunks, Slab};
pub use classifier::{Classifier, ClassifierCounters};
pub use client::{
    Answer, Changed, Client, Learning, PortLink, Topic, Topics, Upcall, UpcallReason, Verdict,
};
pub use clock::{Clock, ManualTime, StepTimer};
pub use field::{Attr, Field};
pub use histogram::Histogram;
pub use id::{MacAddr, PortId, RecircId, Ufid, VLAN_PRESENT};
pub use key::{Key, Mask};
pub use matching::Match;
pub use megaflow::Megaflow;
pub use numbers::Numbers;
pub use owner::{Generation, Owner};
pub use placement::{Placement, Transition};
pub use provider::{
    Blocking, Completion, Correction, Cursor, Dumped, Op, OpKind, PART, Provider, ProviderError,
    ProviderEvent, Submission, Tag,
};
pub use refusal::{Detail, Reason, Reasons, Refusal, Refusals, Subject};
pub use stats::{Counters, Moment, Stats};
pub use table::{TableName, TableUsage};
pub use traffic::PortTraffic;
pub use ufids::UfidIndex;
pub use validate::{Invalid, validate, validate_actions};
