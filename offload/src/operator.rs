//! Operators' requests over the control socket.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use flow::{Actions, Megaflow, Moment, Owner, ProviderError, Ufid, overlap};

use super::entry::Entry;
use super::event::{Cause, Command, Place, ProviderId};
use super::{Commands, Engine};
use crate::request::{Request, RequestError, Response, Token};

/// The answer to a request; `None` if it is given later.
type Asked = Option<Result<Response, RequestError>>;

impl Engine {
    /// Answers a request, at once or (through [`Commands::replies`]) when the request is carried
    /// out.
    pub fn request(&mut self, token: Token, request: Request, now: Moment) -> Commands {
        let answer = match request {
            Request::Flows => Some(Ok(Response::Flows(self.views(now)))),
            Request::Flow(ufid) => Some(self.view(ufid, now).map(|v| Response::Flows(vec![v]))),
            Request::Install(flow) => self.install(token, flow, now),
            Request::Replace(ufid, actions) => self.replace(token, ufid, actions, now),
            Request::Remove(ufid) => self.remove(token, ufid, now),
            Request::RemoveAll => self.remove_all(token, now),
            Request::Explain(flow) => Some(Ok(Response::Explanation(self.explain(&flow, now)))),
            Request::FdbShow => Some(Ok(Response::Text(self.client.show(now)))),
            Request::FdbFlush => {
                self.client.flush();
                self.revalidate(now);
                Some(Ok(Response::Done))
            }
            Request::Reconcile => {
                self.reconcile(token);
                None
            }
            Request::Close => {
                self.closing = true;
                for ufid in self.flows.keys().copied().collect::<Vec<_>>() {
                    self.leave(ufid, Cause::Operator, now);
                }
                None
            }
        };
        if let Some(answer) = answer {
            self.out.replies.push((token, answer));
        }
        self.flush(now)
    }

    /// Removes all megaflows. The request is answered when all megaflows of this moment are gone.
    fn remove_all(&mut self, token: Token, now: Moment) -> Asked {
        let all: BTreeSet<Ufid> = self.flows.keys().copied().collect();
        if all.is_empty() {
            return Some(Ok(Response::Done));
        }
        self.clearing.push((token, all.clone()));
        for ufid in all {
            self.leave(ufid, Cause::Operator, now);
        }
        None
    }

    /// Notes the request that waits for a change of a megaflow. At most one request may wait for
    /// each megaflow.
    fn ask_for(&mut self, token: Token, ufid: Ufid) -> Result<(), RequestError> {
        let entry = self.flows.get_mut(&ufid).ok_or_else(|| no_such_flow(ufid))?;
        if entry.asker.is_some() {
            return Err(is_changing(ufid));
        }
        entry.asker = Some(token);
        Ok(())
    }

    /// Replaces the actions of a megaflow that is to stay.
    fn replace(&mut self, token: Token, ufid: Ufid, actions: Actions, now: Moment) -> Asked {
        if self.flows.get(&ufid).is_some_and(|entry| entry.leaving.is_some()) {
            return Some(Err(is_going(ufid)));
        }
        if let Err(error) = self.ask_for(token, ufid) {
            return Some(Err(error));
        }
        self.change_actions(ufid, actions);
        self.plan(ufid, now);
        None
    }

    /// Removes a megaflow. If the megaflow is leaving already, the request waits for the same
    /// end.
    fn remove(&mut self, token: Token, ufid: Ufid, now: Moment) -> Asked {
        if let Err(error) = self.ask_for(token, ufid) {
            return Some(Err(error));
        }
        self.leave(ufid, Cause::Operator, now);
        None
    }

    fn install(&mut self, token: Token, flow: Arc<Megaflow>, now: Moment) -> Asked {
        if self.closing {
            return Some(Err(RequestError::Stopping));
        }
        let others = self.ranks.overlapping(&flow.matching);
        if let Err(error) = self.may_install(&flow, &others) {
            return Some(Err(error));
        }
        let ufid = flow.ufid;
        self.take_in(Entry::new(flow, Owner::Operator, now), &others, now);
        if let Some(entry) = self.flows.get_mut(&ufid) {
            entry.asker = Some(token);
        }
        self.recount(ufid, "new");
        self.plan(ufid, now);
        None
    }

    /// Takes a megaflow in, in the place of the megaflows that it overlaps and outranks. A known
    /// megaflow with the same match becomes the operator's and keeps its counts.
    pub(super) fn take_in(&mut self, entry: Entry, others: &[Arc<Megaflow>], now: Moment) {
        let flow = entry.flow.clone();
        match self.flows.get_mut(&flow.ufid) {
            Some(known) => {
                known.owner = Owner::Operator;
                known.leaving = None;
                self.change_actions(flow.ufid, flow.actions.clone());
            }
            None => self.insert(entry, &BTreeSet::new()),
        }
        for other in others.iter().filter(|other| other.ufid != flow.ufid) {
            self.ranks.wait_behind(flow.ufid, other.ufid);
            self.leave(other.ufid, Cause::Displaced, now);
        }
    }

    /// Returns `Ok` if an operator's megaflow may be installed, in the place of the client's
    /// megaflows that it overlaps; otherwise the error for the operator.
    fn may_install(&self, flow: &Megaflow, others: &[Arc<Megaflow>]) -> Result<(), RequestError> {
        let ufid = flow.ufid;
        let refused = |text: String| Err(RequestError::Refused(text));
        for other in others {
            let Some(entry) = self.flows.get(&other.ufid) else { continue };
            let (is_same, goes) = (other.ufid == ufid, entry.leaving.is_some());
            if is_same && entry.leaving == Some(Cause::Operator) {
                return Err(is_going(ufid));
            }
            match entry.owner {
                Owner::Operator if is_same && goes => return Err(is_going(ufid)),
                Owner::Operator if is_same => {
                    return refused(format!(
                        "{ufid} exists already (change it with dpctl/mod-flow)"
                    ));
                }
                // The new megaflow waits until the leaving one is gone.
                Owner::Operator if goes => {}
                Owner::Operator => {
                    let why = overlap::explain(&flow.matching, other);
                    return refused(format!("{ufid} {why}"));
                }
                Owner::Client if is_same && entry.asker.is_some() => {
                    return Err(is_changing(ufid));
                }
                Owner::Client => {}
            }
        }
        // A ufid is a hash of the match: if another match has the same ufid, the two can't be
        // told apart.
        if self.flows.get(&ufid).is_some_and(|entry| entry.flow.matching != flow.matching) {
            return refused(format!("{ufid} is the ufid of another match"));
        }
        // The host table decides whether a megaflow means anything. But this one changes others
        // before it gets there, which a meaningless one must not.
        if !others.is_empty() {
            flow::validate(&flow.matching, &flow.actions)
                .map_err(|invalid| RequestError::Refused(invalid.to_string()))?;
        }
        if others.is_empty() && self.flows.len() >= self.settings.flow_limit {
            let limit = self.settings.flow_limit;
            return refused(format!("the limit of {limit} megaflows is reached"));
        }
        Ok(())
    }

    /// Nothing is left to do for the megaflow: the request that waits for that is answered.
    pub(super) fn answer_settled(&mut self, ufid: Ufid, _now: Moment) {
        let asker = self.flows.get_mut(&ufid).and_then(|entry| entry.asker.take());
        if let Some(token) = asker {
            self.out.replies.push((token, Ok(Response::Done)));
        }
    }

    /// The megaflow is gone: the request that asked for its removal gets its final statistics.
    pub(super) fn answer_removed(&mut self, ufid: Ufid, now: Moment) {
        let out = &mut self.out;
        self.clearing.retain_mut(|(token, left)| {
            left.remove(&ufid);
            if left.is_empty() {
                out.replies.push((*token, Ok(Response::Done)));
            }
            !left.is_empty()
        });
        let asker = self.flows.get_mut(&ufid).and_then(|entry| entry.asker.take());
        if let Some(token) = asker {
            let answer = self.view(ufid, now).map(|view| Response::Flows(vec![view]));
            self.out.replies.push((token, answer));
        }
    }

    /// The megaflow could not be removed yet, and the removal is tried again: the requests that
    /// wait for its end are told.
    pub(super) fn answer_failed_removal(&mut self, ufid: Ufid, error: &ProviderError) {
        let text = format!("{ufid} could not be removed yet: {error}; the removal is tried again");
        let refused = Err(RequestError::Refused(text));
        let asker = self.flows.get_mut(&ufid).and_then(|entry| entry.asker.take());
        let clearing = self.clearing.extract_if(.., |(_, left)| left.contains(&ufid));
        let waiting = asker.into_iter().chain(clearing.map(|(token, _)| token));
        self.out.replies.extend(waiting.map(|token| (token, refused.clone())));
    }

    /// The host table refused the megaflow: the request that asked for it is told why.
    pub(super) fn answer_failure(&mut self, ufid: Ufid, error: &ProviderError) {
        let asker = self.flows.get_mut(&ufid).and_then(|entry| entry.asker.take());
        if let Some(token) = asker {
            let text = match error {
                ProviderError::Invalid(invalid) => invalid.to_string(),
                _ => format!("{ufid}: {error}"),
            };
            self.out.replies.push((token, Err(RequestError::Refused(text))));
        }
    }

    /// Reconciles all places. The request waits for a pass over each place that begins now or
    /// later; a pass that is under way does not count.
    fn reconcile(&mut self, token: Token) {
        let nics = self.hardware.iter().enumerate().filter(|(_, hardware)| hardware.is_up());
        let places = nics.map(|(index, _)| Place::Nic(ProviderId(index))).chain([Place::Host]);
        let mut passes = BTreeMap::new();
        for place in places.collect::<Vec<_>>() {
            let begins_now = self.reading.insert(place);
            if begins_now {
                self.out.other.push(Command::ReadStats(place));
            }
            passes.insert(place, if begins_now { 1 } else { 2 });
        }
        self.reconciling.push((token, passes));
    }
}

fn is_changing(ufid: Ufid) -> RequestError {
    RequestError::Refused(format!("{ufid} is being changed by another request; try again"))
}

fn is_going(ufid: Ufid) -> RequestError {
    RequestError::Refused(format!("{ufid} is being removed; try again when it is gone"))
}

pub(super) fn no_such_flow(ufid: Ufid) -> RequestError {
    RequestError::Refused(format!("{ufid}: no such flow"))
}
