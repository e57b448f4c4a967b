//! Ranks: no two megaflows may match one packet, and an operator's megaflow outranks a client's.
//!
//! An operator's megaflow takes the place of the client's megaflows that it overlaps: it waits
//! *behind* them until they are gone from every table. A client's megaflow is *narrowed* until it
//! is disjoint from all others. When an operator's megaflow goes, the megaflows that were
//! narrowed because of it are removed, and the client is asked again.

use std::collections::BTreeSet;

use crate::sets::{FlowId, Sets};

/// The relations between megaflows that keep them apart.
#[derive(Default)]
pub(super) struct Ranks {
    /// Waiting megaflows, and the megaflows that they wait behind.
    behind: Relation,
    /// Client's megaflows, and the operators' megaflows that they were narrowed because of.
    narrowed: Relation,
}

impl Ranks {
    /// Notes that the client's megaflow was narrowed because of the other one.
    pub(super) fn narrowed_because_of(&mut self, id: FlowId, other: FlowId) {
        self.narrowed.insert(id, other);
    }

    /// Notes that the megaflow may not be installed before the other one is gone.
    pub(super) fn wait_behind(&mut self, id: FlowId, other: FlowId) {
        self.behind.insert(id, other);
    }

    /// Returns true if the megaflow has to wait until another one is gone.
    pub(super) fn waits(&self, id: FlowId) -> bool {
        self.behind.to.has(id)
    }

    /// Takes out a megaflow that is in no place any more. Returns the megaflows that waited
    /// behind it, which may go on, and the megaflows that were narrowed because of it.
    pub(super) fn remove(&mut self, id: FlowId) -> (BTreeSet<FlowId>, BTreeSet<FlowId>) {
        (self.behind.remove(id), self.narrowed.remove(id))
    }
}

/// A relation between megaflows that can be followed in both directions.
#[derive(Default)]
struct Relation {
    to: Sets<FlowId>,
    from: Sets<FlowId>,
}

impl Relation {
    fn insert(&mut self, one: FlowId, other: FlowId) {
        self.to.insert(one, other);
        self.from.insert(other, one);
    }

    /// Takes a megaflow out of the relation. Returns the megaflows that were related to it.
    fn remove(&mut self, id: FlowId) -> BTreeSet<FlowId> {
        for other in self.to.take(id) {
            self.from.remove(other, id);
        }
        let related = self.from.take(id);
        related.iter().for_each(|one| self.to.remove(*one, id));
        related
    }
}
