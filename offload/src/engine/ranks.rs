//! Who may stand beside whom: no two megaflows may match one packet, and an operator's outranks a
//! client's.
//!
//! An operator's megaflow takes the place of the client's that it overlaps: it waits *behind* them
//! until they are gone from every table. A client's is *narrowed* until it is disjoint from all
//! that are there. Where the operator's goes, what was narrowed because of it is asked for again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use flow::{Match, Megaflow, OverlapIndex, Ufid};

/// Every megaflow that the engine knows, with what keeps it apart from the others.
#[derive(Default)]
pub(super) struct Ranks {
    index: OverlapIndex,
    /// From a megaflow that waits to those that it waits behind.
    behind: Relation,
    /// From a client's megaflow to the operators' that it was narrowed because of.
    narrowed: Relation,
}

impl Ranks {
    /// A megaflow is wanted from now on, narrowed because of these.
    pub(super) fn insert(&mut self, flow: &Arc<Megaflow>, because_of: &BTreeSet<Ufid>) {
        self.index.insert(flow);
        because_of.iter().for_each(|other| self.narrowed.insert(flow.ufid, *other));
    }

    /// A megaflow is nowhere any more. Returns those that waited behind it, which may go on, and
    /// those that it had narrowed.
    pub(super) fn remove(&mut self, flow: &Megaflow) -> (BTreeSet<Ufid>, BTreeSet<Ufid>) {
        self.index.remove(&flow.matching);
        (self.behind.remove(flow.ufid), self.narrowed.remove(flow.ufid))
    }

    /// All that the match overlaps, one of the same match among them, by ufid.
    pub(super) fn overlapping(&mut self, matching: &Match) -> Vec<Arc<Megaflow>> {
        self.index.overlapping(matching)
    }

    /// The megaflow may not be installed before the other is gone.
    pub(super) fn wait_behind(&mut self, ufid: Ufid, other: Ufid) {
        self.behind.insert(ufid, other);
    }

    /// Does it have to wait for another to go?
    pub(super) fn waits(&self, ufid: Ufid) -> bool {
        self.behind.to.contains_key(&ufid)
    }
}

/// A relation between megaflows, from both of its ends.
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

    /// Takes a megaflow out; returns those that were related to it.
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
