//! From what is wanted and what is there to the next operation, one at a time for a megaflow.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use flow::{Megaflow, Moment, Op, Ufid};

use super::entry::{Entry, Residence, scopes_of};
use super::event::{Cause, Place, ProviderId};
use super::life::Life;
use super::{Engine, Outbox};

/// The next step for a megaflow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    /// Something is in flight, or all is as wanted.
    Wait,
    /// All is as wanted.
    Settled,
    /// It is nowhere any more.
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

/// Hardware is a cache of the host table: in there last, out of there first.
fn next_step(entry: &Entry) -> Step {
    let actions = &entry.flow.actions;
    if !entry.idle() {
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
        (false, _) => Step::Install(Where::Host),
        (true, _) if !entry.host.executes(actions) => Step::Replace(Where::Host),
        (true, true) if !entry.want_nic => Step::Remove(Where::Nic),
        (true, true) if !entry.nic.executes(actions) => Step::Replace(Where::Nic),
        (true, false) if entry.want_nic => Step::Install(Where::Nic),
        (true, _) => Step::Settled,
    }
}

impl Entry {
    /// The residence in a place.
    pub(super) fn residence(&self, place: Place) -> &Residence {
        match place {
            Place::Host => &self.host,
            Place::Nic(_) => &self.nic,
        }
    }

    /// The same, to be changed.
    pub(super) fn residence_mut(&mut self, place: Place) -> &mut Residence {
        match place {
            Place::Host => &mut self.host,
            Place::Nic(_) => &mut self.nic,
        }
    }
}

impl Engine {
    /// Asks for the next operation of a megaflow, if one is due.
    pub(super) fn plan(&mut self, ufid: Ufid, now: Moment) {
        let Some(entry) = self.flows.get(&ufid) else { return };
        match next_step(entry) {
            Step::Wait => {}
            Step::Settled => self.answer_settled(ufid, now),
            Step::Forget => self.forget(ufid, now),
            Step::Install(Where::Host) => self.send(ufid, Where::Host, install),
            Step::Replace(Where::Host) => self.send(ufid, Where::Host, replace),
            Step::Remove(Where::Host) => self.send(ufid, Where::Host, remove),
            Step::Install(Where::Nic) => self.send(ufid, Where::Nic, install),
            Step::Replace(Where::Nic) => self.replace_in_nic(ufid, now),
            Step::Remove(Where::Nic) => {
                if self.parents_are_out(ufid, now) {
                    self.send(ufid, Where::Nic, remove);
                }
            }
        }
    }

    /// New actions may be more than the NIC can do: then the megaflow comes out of it.
    fn replace_in_nic(&mut self, ufid: Ufid, now: Moment) {
        let Some(entry) = self.flows.get(&ufid) else { return };
        let provider = entry.provider.unwrap_or(ProviderId(usize::MAX));
        let Some(hardware) = self.hardware.get(provider.0) else { return };
        match hardware.admission.admit(&entry.flow) {
            Ok(()) => self.send(ufid, Where::Nic, replace),
            Err(refusal) => {
                self.tally.decided(&hardware.name.clone(), refusal.reason.code());
                self.refuse(ufid, refusal, None);
                self.plan(ufid, now);
            }
        }
    }

    fn send(&mut self, ufid: Ufid, to: Where, op: fn(&Arc<Megaflow>, u32) -> Op) {
        let Some(entry) = self.flows.get_mut(&ufid) else { return };
        if to == Where::Nic {
            entry.generation = entry.generation.wrapping_add(1);
        }
        let op = op(&entry.flow, entry.generation);
        let residence = match to {
            Where::Host => &mut entry.host,
            Where::Nic => &mut entry.nic,
        };
        residence.life = residence.life.sent(op.kind());
        residence.sent = Some(entry.flow.actions.clone());
        let Outbox { host, nic, .. } = &mut self.out;
        match (to, entry.provider) {
            (Where::Host, _) => host.push(op),
            (Where::Nic, Some(provider)) => nic.entry(provider).or_default().push(op),
            (Where::Nic, None) => residence.life = Life::Absent,
        }
    }

    /// May the megaflow leave the NIC? Not as the last one of a scope that a parent in the NIC
    /// still recirculates into: the parents go first.
    fn parents_are_out(&mut self, ufid: Ufid, now: Moment) -> bool {
        let Some(entry) = self.flows.get(&ufid) else { return true };
        let scope = entry.scope();
        if scope == 0 || self.residents(scope) > 1 {
            return true;
        }
        let members = self.parents.get(&scope).into_iter().flatten().copied();
        let there: Vec<Ufid> = members
            .filter(|parent| *parent != ufid)
            .filter(|p| self.flows.get(p).is_some_and(|e| e.nic.life != Life::Absent))
            .collect();
        for parent in &there {
            if let Some(entry) = self.flows.get_mut(parent) {
                entry.want_nic = false;
            }
            self.waiting.insert(*parent);
            self.plan(*parent, now);
        }
        there.is_empty()
    }

    /// A megaflow came into the NIC or left it: parents that wait for it, and children that
    /// wait for it to leave, go on.
    pub(super) fn chain_changed(&mut self, ufid: Ufid, now: Moment) {
        let Some(entry) = self.flows.get(&ufid) else { return };
        let scope = entry.scope();
        let targets = scopes_of(&entry.flow.actions);
        let children = targets.iter().filter_map(|s| self.scopes.get(s)).flatten().copied();
        let children: Vec<Ufid> = children.filter(|child| *child != ufid).collect();
        for child in children {
            self.plan(child, now);
        }
        if scope != 0 {
            let parents = self.parents.get(&scope).into_iter().flatten().copied();
            for parent in parents.collect::<Vec<_>>() {
                self.place(parent, now);
            }
        }
    }

    /// Takes a new megaflow in.
    pub(super) fn insert(&mut self, entry: Entry) {
        let ufid = entry.flow.ufid;
        self.index(ufid, &entry.flow, true);
        self.flows.insert(ufid, entry);
    }

    /// Keeps the indices of scopes and parents as the megaflow's match and actions are.
    pub(super) fn index(&mut self, ufid: Ufid, flow: &Megaflow, there: bool) {
        let change = |map: &mut BTreeMap<u32, BTreeSet<Ufid>>, scope| {
            let set = map.entry(scope).or_default();
            if there {
                set.insert(ufid)
            } else {
                set.remove(&ufid)
            };
            if set.is_empty() {
                map.remove(&scope);
            }
        };
        for scope in scopes_of(&flow.actions) {
            change(&mut self.parents, scope);
        }
        change(&mut self.scopes, flow.matching.key().recirc_id);
    }

    /// The megaflow is nowhere any more.
    fn forget(&mut self, ufid: Ufid, now: Moment) {
        self.answer_removed(ufid, now);
        if let Some(entry) = self.flows.remove(&ufid) {
            let cause = entry.leaving.map_or("gone", Cause::name);
            self.tally.removed(cause);
            if let Some(placement) = entry.counted_as {
                self.tally.left(placement);
            }
            self.index(ufid, &entry.flow, false);
        }
        self.waiting.remove(&ufid);
    }
}

fn install(flow: &Arc<Megaflow>, generation: u32) -> Op {
    Op::Install { flow: flow.clone(), generation }
}

fn replace(flow: &Arc<Megaflow>, generation: u32) -> Op {
    Op::Replace { flow: flow.clone(), generation }
}

fn remove(flow: &Arc<Megaflow>, _generation: u32) -> Op {
    Op::Remove { ufid: flow.ufid }
}
