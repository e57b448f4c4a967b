//! Plans a megaflow's next operation from what is wanted and what is there, one operation at a
//! time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use flow::{Generation, Megaflow, Moment, Op, OpKind, Ufid};

use super::entry::{Entry, Residence, scopes_of};
use super::event::{Cause, Place, ProviderId};
use super::life::Life;
use super::{Engine, Outbox};

/// The next step for a megaflow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    /// An operation is in flight or not due yet, or the megaflow waits behind another one.
    Wait,
    /// Everything is as wanted.
    Settled,
    /// The megaflow is in no place any more and is forgotten.
    Forget,
    Install(Where),
    Replace(Where),
    Remove(Where),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Where {
    Host,
    Nic,
}

/// Returns the next step for a megaflow; `waits` is true if the megaflow waits behind another
/// one. Hardware is a cache of the host table: a megaflow is installed there last and removed
/// from there first.
fn next_step(entry: &Entry, waits: bool) -> Step {
    let actions = &entry.flow.actions;
    if !entry.idle() || entry.held {
        return Step::Wait;
    }
    let in_nic = entry.nic.life == Life::Present;
    let on_host = entry.host.life == Life::Present;
    if entry.leaving.is_some() {
        return match (in_nic, on_host) {
            (true, _) => Step::Remove(Where::Nic),
            (false, true) => Step::Remove(Where::Host),
            (false, false) => Step::Forget,
        };
    }
    match (on_host, in_nic) {
        // The megaflows that this one overlaps are removed first.
        (false, _) if waits => Step::Wait,
        (false, _) => Step::Install(Where::Host),
        (true, _) if !entry.host.executes(actions) => Step::Replace(Where::Host),
        (true, true) if !entry.want_nic => Step::Remove(Where::Nic),
        (true, true) if !entry.nic.executes(actions) => Step::Replace(Where::Nic),
        // The cookie in the device names another owner, and the next process would believe it.
        (true, true) if entry.generation.owner() != entry.owner => Step::Replace(Where::Nic),
        (true, false) if entry.want_nic => Step::Install(Where::Nic),
        (true, _) => Step::Settled,
    }
}

impl Entry {
    /// Returns true if one of the megaflow's residences is in this place.
    pub(super) fn lives_in(&self, place: Place) -> bool {
        match place {
            Place::Host => true,
            Place::Nic(provider) => self.provider == Some(provider),
        }
    }

    /// Returns the residence in a place.
    pub(super) fn residence(&self, place: Place) -> &Residence {
        match place {
            Place::Host => &self.host,
            Place::Nic(_) => &self.nic,
        }
    }

    /// Returns the residence in a place, to be changed.
    pub(super) fn residence_mut(&mut self, place: Place) -> &mut Residence {
        match place {
            Place::Host => &mut self.host,
            Place::Nic(_) => &mut self.nic,
        }
    }
}

impl Engine {
    /// Asks for a megaflow's next operation, if one is due.
    pub(super) fn plan(&mut self, ufid: Ufid, now: Moment) {
        let Some(entry) = self.flows.get(&ufid) else { return };
        match next_step(entry, self.ranks.waits(ufid)) {
            Step::Wait => {}
            Step::Settled => self.answer_settled(ufid, now),
            Step::Forget => self.forget(ufid, now),
            Step::Install(Where::Host) => self.send(ufid, Where::Host, install),
            Step::Replace(Where::Host) => self.send(ufid, Where::Host, replace),
            Step::Remove(Where::Host) => self.send(ufid, Where::Host, remove),
            Step::Install(Where::Nic) => self.send(ufid, Where::Nic, install),
            Step::Replace(Where::Nic) => self.replace_in_nic(ufid, now),
            Step::Remove(Where::Nic) => {
                if self.parents_are_out(ufid) {
                    self.send(ufid, Where::Nic, remove);
                }
            }
        }
    }

    /// Replaces the actions in the NIC. If the NIC does not admit the new actions, the megaflow
    /// is removed from the NIC instead.
    fn replace_in_nic(&mut self, ufid: Ufid, now: Moment) {
        let Some(entry) = self.flows.get(&ufid) else { return };
        let provider = entry.provider.unwrap_or(ProviderId(usize::MAX));
        let Some(hardware) = self.hardware.get(provider.0) else { return };
        match hardware.admission.admit(&entry.flow) {
            Ok(()) if self.chain_is_in(ufid, provider) => self.send(ufid, Where::Nic, replace),
            // The megaflow stays out of the NIC until the children of the new actions are in.
            Ok(()) => {
                if let Some(entry) = self.flows.get_mut(&ufid) {
                    entry.want_nic = false;
                }
                self.waiting.insert(ufid);
                self.plan(ufid, now);
            }
            Err(why) => {
                self.tally.decided(&hardware.name.clone(), why.first.reason.code());
                self.refuse(ufid, why, None, now);
                self.plan(ufid, now);
            }
        }
    }

    fn send(&mut self, ufid: Ufid, to: Where, op: fn(&Arc<Megaflow>, Generation) -> Op) {
        let Some(entry) = self.flows.get_mut(&ufid) else { return };
        if to == Where::Nic {
            entry.generation = entry.generation.next(entry.owner);
        }
        let op = op(&entry.flow, entry.generation);
        let residence = match to {
            Where::Host => &mut entry.host,
            Where::Nic => &mut entry.nic,
        };
        residence.life = residence.life.sent(op.kind());
        let brings = op.kind() != OpKind::Remove;
        residence.sent = brings.then(|| entry.flow.actions.clone());
        let Outbox { host, nic, .. } = &mut self.out;
        match (to, entry.provider) {
            (Where::Host, _) => host.push(op),
            (Where::Nic, Some(provider)) => nic.entry(provider).or_default().push(op),
            (Where::Nic, None) => residence.life = Life::Absent,
        }
    }

    /// Returns true if the megaflow may leave the NIC. The last megaflow of a scope may not leave
    /// while a parent in the NIC still recirculates into the scope: the parents are made to go
    /// first.
    fn parents_are_out(&mut self, ufid: Ufid) -> bool {
        let Some(entry) = self.flows.get(&ufid) else { return true };
        let (scope, provider) = (entry.scope(), entry.provider);
        let stays = |other: &Entry| other.provider == provider && other.nic.stays();
        if scope == 0 || self.has_another(scope, ufid, stays) {
            return true;
        }
        let members = self.parents.get(&scope).into_iter().flatten().copied();
        let mut there: Vec<Ufid> = members
            .filter(|parent| *parent != ufid)
            .filter_map(|parent| Some((parent, self.flows.get(&parent)?)))
            .filter(|(_, e)| e.provider == provider && e.nic.points_at(scope))
            .map(|(parent, _)| parent)
            .collect();
        // In a ring each megaflow is below the others. Once a parent is to leave the NIC itself,
        // the parents that are below this megaflow are not waited for.
        let waits =
            |p: &Ufid| self.flows.get(p).is_some_and(|e| !e.want_nic || e.leaving.is_some());
        if there.iter().any(waits) {
            let below = self.scopes_below(ufid);
            there.retain(|p| self.flows.get(p).is_none_or(|e| !below.contains(&e.scope())));
        }
        for parent in &there {
            // A parent whose wanted actions don't name this scope stops pointing at it by itself.
            if let Some(entry) = self.flows.get_mut(parent)
                && scopes_of(&entry.flow.actions).contains(&scope)
            {
                entry.want_nic = false;
                self.waiting.insert(*parent);
            }
            self.due.push(*parent);
        }
        there.is_empty()
    }

    /// Returns the scopes that the megaflow's packets can reach in the NIC.
    fn scopes_below(&self, ufid: Ufid) -> BTreeSet<u32> {
        let mut below = BTreeSet::new();
        let mut from = vec![ufid];
        while let Some(entry) = from.pop().and_then(|ufid| self.flows.get(&ufid)) {
            for scope in entry.nic.scopes() {
                if below.insert(scope) {
                    from.extend(self.scopes.get(&scope).into_iter().flatten());
                }
            }
        }
        below
    }

    /// A megaflow came into the NIC, left it or changed its actions there; `before` are the
    /// scopes that it pointed at until now. Parents that wait for the megaflow go on, and so do
    /// children that wait until the megaflow does not point at them any more.
    pub(super) fn chain_changed(&mut self, ufid: Ufid, before: Vec<u32>, now: Moment) {
        let Some(entry) = self.flows.get(&ufid) else { return };
        let scope = entry.scope();
        let left = before.into_iter().filter(|scope| !entry.nic.points_at(*scope));
        let children = left.filter_map(|scope| self.scopes.get(&scope)).flatten();
        let children: Vec<Ufid> = children.filter(|child| **child != ufid).copied().collect();
        let came = scope != 0 && entry.nic.life == Life::Present;
        for child in children {
            self.plan(child, now);
        }
        if came {
            let parents = self.parents.get(&scope).into_iter().flatten().copied();
            for parent in parents.collect::<Vec<_>>() {
                self.place(parent, now);
            }
        }
    }

    /// Returns true if each scope that the megaflow recirculates into has a megaflow that stays
    /// in the NIC.
    pub(super) fn chain_is_in(&self, ufid: Ufid, provider: ProviderId) -> bool {
        let entry = self.flows.get(&ufid);
        entry.is_some_and(|entry| self.scopes_without(&entry.flow, provider).is_empty())
    }

    /// Returns the scopes that a megaflow recirculates into and that have no megaflow that stays
    /// in the NIC.
    pub(super) fn scopes_without(&self, flow: &Megaflow, provider: ProviderId) -> Vec<u32> {
        let stays = |child: &Entry| {
            let wanted = child.want_nic && child.leaving.is_none();
            child.provider == Some(provider) && child.nic.stays() && wanted
        };
        let mut scopes = scopes_of(&flow.actions);
        scopes.retain(|scope| !self.has_another(*scope, flow.ufid, stays));
        scopes
    }

    /// Returns true if the scope has a megaflow, other than `but`, for which `is` returns true.
    fn has_another(&self, scope: u32, but: Ufid, is: impl Fn(&Entry) -> bool) -> bool {
        // The megaflows of a scope leave in the order of their ufids. The search starts at the
        // end, where the megaflows that stay are.
        let members = self.scopes.get(&scope).into_iter().flatten().rev();
        members.filter(|u| **u != but).filter_map(|u| self.flows.get(u)).any(is)
    }

    /// Adds a new megaflow, which was narrowed because of these others.
    pub(super) fn insert(&mut self, entry: Entry, because_of: &BTreeSet<Ufid>) {
        let ufid = entry.flow.ufid;
        self.ranks.insert(&entry.flow, because_of);
        self.scopes.entry(entry.scope()).or_default().insert(ufid);
        self.flows.insert(ufid, entry);
        self.index(ufid);
    }

    /// Updates the index of parents with the megaflow's wanted actions and its actions in the
    /// NIC.
    pub(super) fn index(&mut self, ufid: Ufid) {
        let Some(entry) = self.flows.get_mut(&ufid) else { return };
        let mut scopes: BTreeSet<u32> = scopes_of(&entry.flow.actions).into_iter().collect();
        scopes.extend(entry.nic.scopes());
        if scopes == entry.parent_of {
            return;
        }
        let before = std::mem::replace(&mut entry.parent_of, scopes.clone());
        for scope in before.difference(&scopes) {
            out_of(&mut self.parents, *scope, ufid);
        }
        for scope in scopes {
            self.parents.entry(scope).or_default().insert(ufid);
        }
    }

    /// Forgets a megaflow that is in no place any more.
    fn forget(&mut self, ufid: Ufid, now: Moment) {
        self.answer_removed(ufid, now);
        if let Some(entry) = self.flows.remove(&ufid) {
            let cause = entry.leaving.map_or("gone", Cause::name);
            self.tally.removed(cause);
            if let Some(placement) = entry.counted_as {
                self.tally.left(placement);
            }
            for scope in &entry.parent_of {
                out_of(&mut self.parents, *scope, ufid);
            }
            out_of(&mut self.scopes, entry.scope(), ufid);
            let (waited, narrowed) = self.ranks.remove(&entry.flow);
            self.due.extend(waited);
            for narrowed in narrowed {
                self.leave(narrowed, Cause::Revalidated, now);
            }
        }
        self.waiting.remove(&ufid);
    }
}

/// Takes a megaflow out of an index.
fn out_of(index: &mut BTreeMap<u32, BTreeSet<Ufid>>, scope: u32, ufid: Ufid) {
    if let Some(set) = index.get_mut(&scope) {
        set.remove(&ufid);
        if set.is_empty() {
            index.remove(&scope);
        }
    }
}

fn install(flow: &Arc<Megaflow>, generation: Generation) -> Op {
    Op::Install { flow: flow.clone(), generation }
}

fn replace(flow: &Arc<Megaflow>, generation: Generation) -> Op {
    Op::Replace { flow: flow.clone(), generation }
}

fn remove(flow: &Arc<Megaflow>, _generation: Generation) -> Op {
    Op::Remove { ufid: flow.ufid }
}
