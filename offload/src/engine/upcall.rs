//! Upcalls: the client answers, the host table gets the megaflow, the packet looks up again.

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
            // The packet itself went its way already; this was a copy for the client.
            (None, _) => {}
        }
    }

    /// A client wants a megaflow, whether it is there already or not.
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
            // An operator's word stands: his removal is carried out, his actions stay.
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
        // The host table's operations go out before the answer and take effect in that order.
        // But where it is just being taken out there, the next one is not sent yet.
        let entry = self.flows.get(&ufid);
        match entry {
            Some(entry) if entry.comes_to_host() => Answered::Reinject,
            // The operator's says what happens, also while it waits for others to go.
            Some(entry) => Answered::Execute(entry.flow.actions.clone()),
            None => Answered::Execute(flow.actions.clone()),
        }
    }

    /// The client's megaflow as it can stand beside all others: narrowed to what is left of it
    /// around this packet, and because of which operators' megaflows. Or else what happens to the
    /// packet, where another megaflow has it, or will have left room for this one in a moment.
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
            // An operator's first: what is narrowed because of it alone stands side by side.
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

    /// Other actions are wanted. A refusal that was for the old ones is void.
    pub(super) fn change_actions(&mut self, ufid: Ufid, actions: Actions) {
        let Some(entry) = self.flows.get_mut(&ufid) else { return };
        if entry.flow.actions == actions {
            return;
        }
        // Children that wait until the NIC does not point at them any more wait in vain where that
        // is wanted again: they are to ask for it anew.
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

    /// The client learnt something: every megaflow of its own is asked about again.
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
