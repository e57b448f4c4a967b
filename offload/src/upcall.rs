//! Upcalls: the client answers, the host table gets the megaflow, and the packet is looked up
//! again.

use std::collections::BTreeSet;
use std::sync::Arc;

use flow::{Actions, Answer, Key, Megaflow, Moment, Owner, Ufid, Upcall, UpcallReason, Verdict};

use super::Engine;
use super::entry::{Entry, scopes_of};
use super::event::{Answered, Cause, Command};

impl Engine {
    pub(super) fn upcall(
        &mut self,
        id: Option<u64>,
        key: &Key,
        frame: &[u8],
        reason: &UpcallReason,
        now: Moment,
    ) {
        let answer = match self.client.upcall(Upcall { key, frame, reason }, now) {
            Answer::Execute(actions) => Answered::Execute(actions),
            Answer::Install(flow) => self.wanted(key, flow, now),
        };
        match (id, answer) {
            (Some(id), answer) => self.out.resolved.push(Command::Resolve { id, answer }),
            (None, Answered::Execute(actions)) if !actions.is_empty() => {
                let command = Command::Execute { port: key.port(), frame: frame.to_vec(), actions };
                self.out.resolved.push(command);
            }
            // The packet itself was forwarded already; this was a copy for the client.
            (None, _) => {}
        }
    }

    /// Handles a megaflow that the client wants, whether it is installed already or not.
    fn wanted(&mut self, key: &Key, flow: Arc<Megaflow>, now: Moment) -> Answered {
        if self.closing {
            return Answered::Execute(flow.actions.clone());
        }
        let (flow, because_of) = match self.beside_others(key, flow) {
            Ok(narrowed) => narrowed,
            Err(answer) => return answer,
        };
        let ufid = flow.ufid;
        let known = self.flows.contains_key(&ufid);
        if !known && self.flows.len() >= self.settings.flow_limit {
            self.tally.overflows += 1;
            return Answered::Execute(flow.actions.clone());
        }
        let entry = self.flows.get_mut(&ufid);
        match entry {
            None => {
                self.insert(Entry::new(flow.clone(), Owner::Client, now), &because_of);
                self.recount(ufid, "new");
            }
            // An operator's decision stands: the removal is carried out, and the actions stay.
            Some(entry) if entry.leaving == Some(Cause::Operator) => {
                return Answered::Execute(flow.actions.clone());
            }
            Some(entry) => {
                entry.leaving = None;
                entry.used = Some(now);
                if entry.owner == Owner::Client {
                    self.change_actions(ufid, flow.actions.clone());
                }
            }
        }
        self.plan(ufid, now);
        // The host table's operations go out before the answer and take effect in that order. But
        // while a removal from the host table is in flight, the next install is not sent yet.
        let entry = self.flows.get(&ufid);
        match entry {
            Some(entry) if entry.comes_to_host() => Answered::Reinject,
            // An operator's megaflow decides what happens to the packet, even while it waits for
            // other megaflows to go.
            Some(entry) => Answered::Execute(entry.flow.actions.clone()),
            None => Answered::Execute(flow.actions.clone()),
        }
    }

    /// Narrows the client's megaflow around this packet until it overlaps no other megaflow.
    /// Returns the narrowed megaflow, and the operators' megaflows that it was narrowed because
    /// of. Returns the packet's answer as the error if another megaflow matches the packet, or if
    /// the room for this megaflow is not free yet.
    fn beside_others(
        &mut self,
        key: &Key,
        flow: Arc<Megaflow>,
    ) -> Result<(Arc<Megaflow>, BTreeSet<Ufid>), Answered> {
        let mut because_of = BTreeSet::new();
        let mut matching = flow.matching;
        loop {
            let others = self.ranks.overlapping(&matching);
            let others = others.iter().filter(|other| other.matching != matching);
            // Operators' megaflows come first: client's megaflows that were narrowed because of
            // the same operator's megaflow are disjoint already and need no further narrowing.
            let entries = others.filter_map(|other| self.flows.get(&other.ufid));
            let Some(other) = entries.max_by_key(|e| (e.owner == Owner::Operator, e.flow.ufid))
            else {
                break;
            };
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
                because_of.insert(other.flow.ufid);
            }
            matching = matching
                .narrowed(key, &other.flow.matching)
                .ok_or_else(|| Answered::Execute(flow.actions.clone()))?;
        }
        match matching == flow.matching {
            true => Ok((flow, because_of)),
            false => Ok((Arc::new(Megaflow::new(matching, flow.actions.clone())), because_of)),
        }
    }

    /// Sets the actions that are wanted. A refusal of the old actions is void.
    pub(super) fn change_actions(&mut self, ufid: Ufid, actions: Actions) {
        let Some(entry) = self.flows.get_mut(&ufid) else { return };
        if entry.flow.actions == actions {
            return;
        }
        // Children wait to leave the NIC until no megaflow there points at them. If the new
        // actions point at such children again, they would wait in vain, so they are planned
        // anew.
        let before = scopes_of(&entry.flow.actions);
        let again = scopes_of(&actions).into_iter().filter(|scope| !before.contains(scope));
        let again = again.filter(|scope| entry.nic.points_at(*scope));
        let children = again.filter_map(|scope| self.scopes.get(&scope)).flatten();
        self.due.extend(children.copied());
        entry.flow = Arc::new(Megaflow { actions, ..(*entry.flow).clone() });
        entry.refused = None;
        entry.retry = None;
        self.index(ufid);
        self.waiting.insert(ufid);
    }

    /// The client has learnt something: each of its megaflows is revalidated.
    pub(super) fn revalidate(&mut self, now: Moment) {
        self.stale = false;
        for ufid in self.flows.keys().copied().collect::<Vec<_>>() {
            self.revalidate_one(ufid, now);
        }
    }

    pub(super) fn revalidate_one(&mut self, ufid: Ufid, now: Moment) {
        let Some(entry) = self.flows.get(&ufid) else { return };
        if entry.owner != Owner::Client || entry.leaving.is_some() {
            return;
        }
        let flow = entry.flow.clone();
        match self.client.revalidate(&flow, now) {
            Verdict::Keep => {}
            Verdict::Replace(actions) => {
                self.change_actions(ufid, actions);
                self.plan(ufid, now);
            }
            Verdict::Remove => self.leave(ufid, Cause::Revalidated, now),
        }
    }
}
