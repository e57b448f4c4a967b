//! Ranks: no two megaflows may match one packet, and an operator's megaflow outranks a client's.
//!
//! An operator's megaflow takes the place of the client's megaflows that it overlaps: it waits
//! *behind* them until they are gone from every table. A client's megaflow is *narrowed* until it
//! is disjoint from all others. When an operator's megaflow goes, the megaflows that were
//! narrowed because of it are removed, and the client is asked again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use flow::{Match, Megaflow, OverlapIndex, Ufid};

/// All megaflows that the engine knows, with the relations that keep them apart.
#[derive(Default)]
pub(super) struct Ranks {
    index: OverlapIndex,
    /// Maps a waiting megaflow to the megaflows that it waits behind.
    behind: Relation,
    /// Maps a client's megaflow to the operators' megaflows that it was narrowed because of.
    narrowed: Relation,
}

impl Ranks {
    /// Adds a megaflow that is wanted from now on and was narrowed because of these others.
    pub(super) fn insert(&mut self, flow: &Arc<Megaflow>, because_of: &BTreeSet<Ufid>) {
        self.index.insert(flow);
        because_of.iter().for_each(|other| self.narrowed.insert(flow.ufid, *other));
    }

    /// Takes out a megaflow that is in no place any more. Returns the megaflows that waited
    /// behind it, which may go on, and the megaflows that were narrowed because of it.
    pub(super) fn remove(&mut self, flow: &Megaflow) -> (BTreeSet<Ufid>, BTreeSet<Ufid>) {
        self.index.remove(&flow.matching);
        (self.behind.remove(flow.ufid), self.narrowed.remove(flow.ufid))
    }

    /// Returns all megaflows that the match overlaps, by ufid; one with the same match is
    /// included.
    pub(super) fn overlapping(&mut self, matching: &Match) -> Vec<Arc<Megaflow>> {
        self.index.overlapping(matching)
    }

    /// Notes that the megaflow may not be installed before the other one is gone.
    pub(super) fn wait_behind(&mut self, ufid: Ufid, other: Ufid) {
        self.behind.insert(ufid, other);
    }

    /// Returns true if the megaflow has to wait until another one is gone.
    pub(super) fn waits(&self, ufid: Ufid) -> bool {
        self.behind.to.contains_key(&ufid)
    }
}

/// A relation between megaflows that can be followed in both directions.
#[derive(Default)]
struct Relation {
    to: BTreeMap<Ufid, BTreeSet<Ufid>>,
    from: BTreeMap<Ufid, BTreeSet<Ufid>>,
}

impl Relation {
    fn insert(&mut self, one: Ufid, other: Ufid) {
        self.to.entry(one).or_default().insert(other);
        self.from.entry(other).or_default().insert(one);
    }

    /// Takes a megaflow out of the relation. Returns the megaflows that were related to it.
    fn remove(&mut self, ufid: Ufid) -> BTreeSet<Ufid> {
        for other in self.to.remove(&ufid).into_iter().flatten() {
            out_of(&mut self.from, other, ufid);
        }
        let related = self.from.remove(&ufid).unwrap_or_default();
        related.iter().for_each(|one| out_of(&mut self.to, *one, ufid));
        related
    }
}

fn out_of(sets: &mut BTreeMap<Ufid, BTreeSet<Ufid>>, of: Ufid, ufid: Ufid) {
    if let Some(set) = sets.get_mut(&of) {
        set.remove(&ufid);
        if set.is_empty() {
            sets.remove(&of);
        }
    }
}
