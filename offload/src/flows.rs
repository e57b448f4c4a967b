//! All megaflows that the engine knows, and the indexes that find them: by ufid, by the scope of
//! their lookup, by the scopes that they recirculate into, and by the packets that they match.

use std::collections::BTreeSet;
use std::sync::Arc;

use flow::{
    Actions, Classifier, Key, Match, Megaflow, Moment, Owner, Slab, Ufid, UfidIndex, overlap,
};

use crate::ageing::{Ageing, AgeingFlow};
use crate::dependents::Dependents;
use crate::event::{Answered, Cause, ProviderId};
use crate::ranks::Ranks;
use crate::record::FlowRecord;
use crate::request::RequestError;
use crate::residence::scopes_of;
use crate::sets::{FlowBits, FlowId, Sets};

/// The megaflows and their indexes.
#[derive(Default)]
pub(super) struct Flows {
    slab: Slab<FlowRecord>,
    by_ufid: UfidIndex,
    overlaps: Classifier,
    pub(super) ranks: Ranks,
    /// The client's megaflows, by what they depend on.
    pub(super) dependents: Dependents,
    /// Megaflows by the scope of their lookup. Scope 0, in which packets begin, has no set.
    scopes: Sets<u32>,
    /// Those of them that a NIC holds, or is to hold when the operation in flight is done.
    in_nics: Sets<u32>,
    /// Megaflows by the scopes that their actions recirculate into.
    parents: Sets<u32>,
    /// Megaflows that are not at rest: those that a NIC forwards, and those that have a rate or
    /// had packets since it was taken. There may be others among them.
    moving: FlowBits,
    /// The client's megaflows, until they are idle.
    ageing: Ageing,
}

/// A client's megaflow as it may be installed beside the others.
#[derive(Debug)]
pub(super) struct Narrowed {
    /// The megaflow, disjoint from all others.
    pub(super) flow: Arc<Megaflow>,
    /// The operators' megaflows that it was narrowed because of.
    pub(super) because_of: BTreeSet<FlowId>,
}

impl Flows {
    pub(super) fn len(&self) -> usize {
        self.slab.values().len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slab.values().is_empty()
    }

    pub(super) fn get(&self, id: FlowId) -> Option<&FlowRecord> {
        self.slab.values().get(id.0)
    }

    /// Returns a megaflow to be changed. Wanted actions are changed by [`Flows::set_actions`] only,
    /// and [`Flows::reindex`] follows a change of what the NIC executes.
    pub(super) fn get_mut(&mut self, id: FlowId) -> Option<&mut FlowRecord> {
        self.slab.get_mut(id.0)
    }

    /// Returns the megaflow of a ufid.
    pub(super) fn find(&self, ufid: Ufid) -> Option<FlowId> {
        let ufid_of = |number| Some(self.get(FlowId(number))?.flow.ufid);
        self.by_ufid.find(ufid, ufid_of).map(FlowId)
    }

    /// Returns all megaflows.
    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = (FlowId, &FlowRecord)> {
        self.slab.values().iter().map(|(place, record)| (FlowId(place), record))
    }

    /// Returns the megaflows in a slice of the slab, and where the next slice begins; `None`
    /// after the last one.
    pub(super) fn slice(&self, from: u32, most: u32) -> (Vec<FlowId>, Option<u32>) {
        let end = self.slab.end();
        let to = from.saturating_add(most).min(end);
        let mut ids = Vec::with_capacity(to.saturating_sub(from) as usize);
        ids.extend((from..to).map(FlowId).filter(|id| self.get(*id).is_some()));
        (ids, (to < end).then_some(to))
    }

    /// Returns some of the megaflows that are not at rest, at most this number from a place on,
    /// and where the next slice begins; `None` after the last one.
    pub(super) fn moving(&self, from: u32, most: u32) -> (Vec<FlowId>, Option<u32>) {
        self.moving.slice(from, most)
    }

    /// The megaflow is not at rest.
    pub(super) fn moves(&mut self, id: FlowId) {
        self.moving.insert(id);
    }

    /// Takes the megaflow out of those that are not at rest, if it is.
    pub(super) fn may_rest(&mut self, id: FlowId) {
        if self.get(id).is_none_or(FlowRecord::is_at_rest) {
            self.moving.remove(id);
        }
    }

    /// Takes out the next of the client's megaflows that was not used since this moment, as far
    /// as it was known when it was put there. If it is still there, it is to be put back.
    pub(super) fn next_aged(&mut self, used: Moment) -> Option<AgeingFlow> {
        self.ageing.take(used)
    }

    /// Returns a megaflow that ages, unless it has gone.
    pub(super) fn get_aged(&self, aged: AgeingFlow) -> Option<&FlowRecord> {
        self.get(aged.id).filter(|record| record.created == aged.created)
    }

    /// Returns true if this life of a megaflow is among those that age.
    #[cfg(test)]
    pub(super) fn ages(&self, id: FlowId) -> bool {
        let created = self.get(id).map(|record| record.created);
        self.ageing.iter().any(|aged| aged.id == id && Some(aged.created) == created)
    }

    /// Looks at the client's megaflow again when this moment is long enough ago.
    pub(super) fn ages_from(&mut self, id: FlowId, used: Moment) {
        if let Some(record) = self.get(id).filter(|record| record.owner == Owner::Client) {
            let aged = AgeingFlow { id, created: record.created };
            self.ageing.put(aged, used);
        }
    }

    /// Adds a new megaflow, which was narrowed because of these others.
    pub(super) fn insert(&mut self, record: FlowRecord, because_of: &BTreeSet<FlowId>) -> FlowId {
        let flow = record.flow.clone();
        let (scope, created) = (record.scope(), record.created);
        let id = FlowId(self.slab.insert(record));
        self.ages_from(id, created);
        self.by_ufid.insert(flow.ufid, id.0);
        self.overlaps.insert(&flow.matching, id.0);
        because_of.iter().for_each(|other| self.ranks.narrowed_because_of(id, *other));
        if scope != 0 {
            self.scopes.insert(scope, id);
        }
        self.reindex(id);
        id
    }

    /// Takes out a megaflow that is in no place any more. Returns it, the megaflows that waited
    /// behind it and the megaflows that were narrowed because of it.
    pub(super) fn remove(
        &mut self,
        id: FlowId,
    ) -> Option<(FlowRecord, BTreeSet<FlowId>, BTreeSet<FlowId>)> {
        let record = self.slab.remove(id.0)?;
        self.by_ufid.remove(record.flow.ufid, id.0);
        self.overlaps.remove(&record.flow.matching);
        self.scopes.remove(record.scope(), id);
        self.in_nics.remove(record.scope(), id);
        for scope in &record.parent_of {
            self.parents.remove(*scope, id);
        }
        self.dependents.forget(id);
        self.moving.remove(id);
        let (waited, narrowed) = self.ranks.remove(id);
        Some((record, waited, narrowed))
    }

    /// Updates the indexes of parents and of children with the megaflow's wanted actions and with
    /// what the NIC has of it.
    pub(super) fn reindex(&mut self, id: FlowId) {
        let Some(record) = self.slab.get_mut(id.0) else { return };
        let mut scopes = scopes_of(&record.flow.actions);
        let is_out = record.nic.is_empty() && !record.nic.life.forwards();
        if !is_out {
            scopes.extend(record.nic.scopes());
        }
        if record.nic.life.forwards() {
            self.moving.insert(id);
        }
        match record.scope() {
            0 => {}
            scope if is_out => self.in_nics.remove(scope, id),
            scope => self.in_nics.insert(scope, id),
        }
        scopes.sort_unstable();
        scopes.dedup();
        if *scopes == *record.parent_of {
            return;
        }
        for scope in record.parent_of.iter().filter(|scope| !scopes.contains(scope)) {
            self.parents.remove(*scope, id);
        }
        scopes.iter().for_each(|scope| self.parents.insert(*scope, id));
        record.parent_of = scopes.into();
    }

    /// Sets the actions that are wanted of a megaflow; a refusal of other actions is void. Returns
    /// `None` if they were wanted already. Otherwise returns the children that the NIC's actions
    /// still point at and that the new actions point at again: they would wait in vain to leave
    /// the NIC, and have to be planned anew.
    pub(super) fn set_actions(&mut self, id: FlowId, actions: Actions) -> Option<Vec<FlowId>> {
        let record = self.slab.get_mut(id.0)?;
        if record.flow.actions == actions {
            return None;
        }
        let before = scopes_of(&record.flow.actions);
        let again = scopes_of(&actions).into_iter().filter(|scope| !before.contains(scope));
        let again: Vec<u32> = again.filter(|scope| record.nic.points_at(*scope)).collect();
        record.flow = Arc::new(Megaflow { actions, ..(*record.flow).clone() });
        record.refused = None;
        record.retry = None;
        self.reindex(id);
        Some(again.into_iter().flat_map(|scope| self.scopes.of(scope)).collect())
    }

    /// Returns all megaflows that the match overlaps, in order; one with the same match is
    /// included.
    pub(super) fn overlapping(&mut self, matching: &Match) -> Vec<FlowId> {
        let mut found = Vec::new();
        while !self.overlaps.overlapping(matching, usize::MAX, &mut found) {}
        found.sort_unstable();
        found.into_iter().map(FlowId).collect()
    }

    /// Returns the megaflows of a scope other than 0.
    pub(super) fn of_scope(&self, scope: u32) -> impl Iterator<Item = FlowId> + '_ {
        self.scopes.of(scope)
    }

    /// Returns the megaflows of a scope other than 0 that a NIC holds or held a moment ago.
    pub(super) fn in_nics(&self, scope: u32) -> impl DoubleEndedIterator<Item = FlowId> + '_ {
        self.in_nics.of(scope)
    }

    /// Returns the megaflows that recirculate into a scope.
    pub(super) fn parents_of(&self, scope: u32) -> impl Iterator<Item = FlowId> + '_ {
        self.parents.of(scope)
    }

    /// Returns true if each scope that the megaflow recirculates into has a megaflow that stays
    /// in the NIC.
    pub(super) fn chain_is_in(&self, id: FlowId, provider: ProviderId) -> bool {
        self.get(id).is_some_and(|r| self.scopes_without(&r.flow, provider).is_empty())
    }

    /// Returns the scopes that a megaflow recirculates into and that have no megaflow that stays
    /// in the NIC.
    pub(super) fn scopes_without(&self, flow: &Megaflow, provider: ProviderId) -> Vec<u32> {
        let mut scopes = scopes_of(&flow.actions);
        if scopes.is_empty() {
            return scopes;
        }
        let stays = |child: &FlowRecord| {
            let wanted = child.want_nic && child.leaving.is_none();
            child.provider == Some(provider) && child.nic.stays() && wanted
        };
        let but = self.find(flow.ufid);
        scopes.retain(|scope| *scope != 0 && !self.has_another(*scope, but, stays));
        scopes
    }

    /// Returns the parents that keep the megaflow in the NIC. The last megaflow of a scope may not
    /// leave while a parent in the NIC still recirculates into the scope.
    pub(super) fn parents_in_nic(&self, id: FlowId) -> Vec<FlowId> {
        let Some(record) = self.get(id) else { return Vec::new() };
        let (scope, provider) = (record.scope(), record.provider);
        let stays = |other: &FlowRecord| other.provider == provider && other.nic.stays();
        if scope == 0 || self.has_another(scope, Some(id), stays) {
            return Vec::new();
        }
        let points_here = |parent: &FlowId| {
            let parent = self.get(*parent);
            parent.is_some_and(|r| r.provider == provider && r.nic.points_at(scope))
        };
        let parents = self.parents.of(scope).filter(|parent| *parent != id);
        let mut there: Vec<FlowId> = parents.filter(points_here).collect();
        // In a ring each megaflow is below the others. Once a parent is to leave the NIC itself,
        // the parents that are below this megaflow are not waited for.
        let goes = |p: &FlowId| self.get(*p).is_some_and(|r| !r.want_nic || r.leaving.is_some());
        if there.iter().any(goes) {
            let below = self.scopes_below(id);
            there.retain(|p| self.get(*p).is_none_or(|r| !below.contains(&r.scope())));
        }
        there
    }

    /// Returns the scopes that the megaflow's packets can reach in the NIC.
    fn scopes_below(&self, id: FlowId) -> BTreeSet<u32> {
        let mut below = BTreeSet::new();
        let mut from = vec![id];
        while let Some(record) = from.pop().and_then(|id| self.get(id)) {
            for scope in record.nic.scopes() {
                if below.insert(scope) {
                    from.extend(self.scopes.of(scope));
                }
            }
        }
        below
    }

    /// Returns true if the scope has a megaflow in a NIC, other than `but`, for which `is` returns
    /// true.
    fn has_another(
        &self,
        scope: u32,
        but: Option<FlowId>,
        is: impl Fn(&FlowRecord) -> bool,
    ) -> bool {
        // The megaflows of a scope leave in order. The search starts at the end, where the
        // megaflows that stay are.
        let members = self.in_nics(scope).rev().filter(|id| Some(*id) != but);
        members.filter_map(|id| self.get(id)).any(is)
    }

    /// Narrows the client's megaflow around this packet until it overlaps no other megaflow.
    /// Returns the packet's answer as the error if another megaflow matches the packet, or if
    /// the room for this megaflow is not free yet.
    pub(super) fn beside_others(
        &mut self,
        key: &Key,
        flow: Arc<Megaflow>,
    ) -> Result<Narrowed, Answered> {
        let mut because_of = BTreeSet::new();
        let mut matching = flow.matching.clone();
        loop {
            let others = self.overlapping(&matching);
            let others = others.into_iter().filter_map(|id| Some((id, self.get(id)?)));
            let others = others.filter(|(_, other)| other.flow.matching != matching);
            // Operators' megaflows come first: client's megaflows that were narrowed because of
            // the same operator's megaflow are disjoint already and need no further narrowing.
            let next = others.max_by_key(|(_, r)| (r.owner == Owner::Operator, r.flow.ufid));
            let Some((id, other)) = next else { break };
            if other.flow.matching.hits(key) {
                return Err(match other.leaving {
                    None if other.comes_to_host() => Answered::Reinject,
                    None => Answered::Execute(other.flow.actions.clone()),
                    Some(_) => Answered::Execute(flow.actions.clone()),
                });
            }
            if other.owner == Owner::Client && other.leaving.is_some() {
                return Err(Answered::Execute(flow.actions.clone()));
            }
            if other.owner == Owner::Operator {
                because_of.insert(id);
            }
            matching = matching
                .narrowed(key, &other.flow.matching)
                .ok_or_else(|| Answered::Execute(flow.actions.clone()))?;
        }
        let flow = match matching == flow.matching {
            true => flow,
            false => Arc::new(Megaflow::new(matching, flow.actions.clone())),
        };
        Ok(Narrowed { flow, because_of })
    }

    /// Returns `Ok` if an operator's megaflow may be installed, in the place of the client's
    /// megaflows that it overlaps (`others`); otherwise the error for the operator. `is_asked` is
    /// true for a megaflow that another request waits for.
    pub(super) fn may_install(
        &self,
        flow: &Megaflow,
        others: &[FlowId],
        limit: usize,
        is_asked: impl Fn(FlowId) -> bool,
    ) -> Result<(), RequestError> {
        let ufid = flow.ufid;
        let refused = |text: String| Err(RequestError::Refused(text));
        for id in others {
            let Some(other) = self.get(*id) else { continue };
            let (is_same, goes) = (other.flow.ufid == ufid, other.leaving.is_some());
            if is_same && other.leaving == Some(Cause::Operator) {
                return Err(RequestError::is_going(ufid));
            }
            match other.owner {
                Owner::Operator if is_same && goes => return Err(RequestError::is_going(ufid)),
                Owner::Operator if is_same => {
                    return refused(format!(
                        "{ufid} exists already (change it with dpctl/mod-flow)"
                    ));
                }
                // The new megaflow waits until the leaving one is gone.
                Owner::Operator if goes => {}
                Owner::Operator => {
                    let why = overlap::explain(&flow.matching, &other.flow);
                    return refused(format!("{ufid} {why}"));
                }
                Owner::Client if is_same && is_asked(*id) => {
                    return Err(RequestError::is_changing(ufid));
                }
                Owner::Client => {}
            }
        }
        // A ufid is a hash of the match: if another match has the same ufid, the two can't be
        // told apart.
        let same = self.find(ufid).and_then(|id| self.get(id));
        if same.is_some_and(|same| same.flow.matching != flow.matching) {
            return refused(format!("{ufid} is the ufid of another match"));
        }
        if others.is_empty() && self.len() >= limit {
            return refused(format!("the limit of {limit} megaflows is reached"));
        }
        // The host table decides whether a megaflow means anything. But this one changes others
        // before it gets there, which a meaningless one must not.
        if !others.is_empty() {
            flow::validate(&flow.matching, &flow.actions)
                .map_err(|invalid| RequestError::Refused(invalid.to_string()))?;
        }
        Ok(())
    }

    /// Returns true if a megaflow that a device holds may be taken over for its owner. If two
    /// megaflows overlap and neither outranks the other, only one can be right. If another match
    /// has the same ufid, the two can't be told apart.
    pub(super) fn may_take_over(&self, flow: &Megaflow, owner: Owner, others: &[FlowId]) -> bool {
        let outranked = |id: &FlowId| self.get(*id).is_some_and(|other| other.owner < owner);
        let same = self.find(flow.ufid).and_then(|id| self.get(id));
        others.iter().all(outranked) && same.is_none_or(|same| same.flow.matching == flow.matching)
    }
}
