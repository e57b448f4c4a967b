//! Walks over all megaflows, a slice in each step, so that no step grows with their number.

use std::collections::VecDeque;

use flow::{Moment, Refusals};

use crate::event::ProviderId;
use crate::rounds::Sweep;
use crate::waiters::ClearingId;

/// The largest number of places in the slab that one step visits. Small in tests, so that many
/// things happen between two slices.
pub(super) const SLICE: u32 = if cfg!(test) { 3 } else { 64 };

/// What is done with each megaflow on a walk.
pub(super) enum Errand {
    /// The client is asked whether the megaflow is still right.
    Revalidate,
    /// The megaflow is removed, for a request if there is one.
    Remove(Option<ClearingId>),
    /// A device can do more, or a reason is gone: a refused megaflow is tried again.
    TryAgain,
    /// The provider is gone, for this reason: its megaflows go on in the host table.
    Lost(ProviderId, Refusals),
    /// The statistics have been read: belief is compared with what was read.
    Sweep(Sweep),
}

/// A walk that is under way. It visits the megaflows that were there when it began.
pub(super) struct Walk {
    pub(super) errand: Errand,
    pub(super) began: Moment,
    /// Where the next slice begins.
    pub(super) next: u32,
}

/// The walks that are under way; they take turns.
#[derive(Default)]
pub(super) struct Walks(VecDeque<Walk>);

impl Walks {
    pub(super) fn begin(&mut self, errand: Errand, now: Moment) {
        self.0.push_back(Walk { errand, began: now, next: 0 });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns true if a walk that revalidates every megaflow is under way.
    pub(super) fn revalidates(&self) -> bool {
        self.0.iter().any(|walk| matches!(walk.errand, Errand::Revalidate))
    }

    /// Returns true if a walk that removes every megaflow is under way.
    pub(super) fn removes(&self) -> bool {
        self.0.iter().any(|walk| matches!(walk.errand, Errand::Remove(_)))
    }

    /// Returns true if a walk over the megaflows of a lost provider is under way.
    pub(super) fn leaves(&self, provider: ProviderId) -> bool {
        let leaves = |walk: &Walk| matches!(walk.errand, Errand::Lost(lost, _) if lost == provider);
        self.0.iter().any(leaves)
    }

    /// Takes the walk whose turn it is.
    pub(super) fn take(&mut self) -> Option<Walk> {
        self.0.pop_front()
    }

    /// Puts back a walk that has more to visit.
    pub(super) fn put_back(&mut self, walk: Walk) {
        self.0.push_back(walk);
    }
}
