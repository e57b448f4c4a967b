//! What operators ask for over the control socket.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use flow::{Megaflow, Moment, ProviderError, Ufid};

use super::entry::{Entry, Origin};
use super::event::{Cause, Command, Place, ProviderId};
use super::{Commands, Engine};
use crate::request::{Request, RequestError, Response, Token};

impl Engine {
    /// Answers a request, at once or (through [`Commands::replies`]) when it is carried out.
    pub fn request(&mut self, token: Token, request: Request, now: Moment) -> Commands {
        let answer = match request {
            Request::Flows => Some(Ok(Response::Flows(self.views(now)))),
            Request::Flow(ufid) => Some(self.view(ufid, now).map(|v| Response::Flows(vec![v]))),
            Request::Install(flow) => self.install(token, flow, now),
            Request::Replace(ufid, actions) => {
                self.ask_for(token, ufid).err().map(Err).or_else(|| {
                    self.change_actions(ufid, actions);
                    self.plan(ufid, now);
                    None
                })
            }
            Request::Remove(ufid) => self.ask_for(token, ufid).err().map(Err).or_else(|| {
                self.leave(ufid, Cause::Operator, now);
                None
            }),
            Request::RemoveAll => self.remove_all(token, now),
            Request::Explain(flow) => Some(Ok(Response::Explanation(self.explain(&flow)))),
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
            Request::Exit => {
                self.closing = true;
                for ufid in self.flows.keys().copied().collect::<Vec<_>>() {
                    self.leave(ufid, Cause::Operator, now);
                }
                // Told when everything is out, by who stops the threads.
                None
            }
            // These need the threads around the engine; the runtime answers them.
            Request::Status | Request::Receive(..) => {
                Some(Err(RequestError::Refused("not a request to the engine".to_owned())))
            }
        };
        if let Some(answer) = answer {
            self.out.replies.push((token, answer));
        }
        self.flush(now)
    }

    /// Done when all that are there now are gone.
    fn remove_all(&mut self, token: Token, now: Moment) -> Option<Result<Response, RequestError>> {
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

    /// Notes who waits for a change of a megaflow; one at a time.
    fn ask_for(&mut self, token: Token, ufid: Ufid) -> Result<(), RequestError> {
        let entry = self.flows.get_mut(&ufid).filter(|entry| entry.leaving.is_none());
        let entry = entry.ok_or_else(|| no_such_flow(ufid))?;
        if entry.asker.is_some() {
            let text = format!("{ufid} is being changed by another request; try again");
            return Err(RequestError::Refused(text));
        }
        entry.asker = Some(token);
        Ok(())
    }

    fn install(
        &mut self,
        token: Token,
        flow: Arc<Megaflow>,
        now: Moment,
    ) -> Option<Result<Response, RequestError>> {
        let ufid = flow.ufid;
        if self.closing {
            return Some(Err(RequestError::Stopping));
        }
        if self.flows.contains_key(&ufid) {
            let text = format!("{ufid} exists already (change it with dpctl/mod-flow)");
            return Some(Err(RequestError::Refused(text)));
        }
        if self.flows.len() >= self.settings.flow_limit {
            let text = format!("the limit of {} megaflows is reached", self.settings.flow_limit);
            return Some(Err(RequestError::Refused(text)));
        }
        let mut entry = Entry::new(flow, Origin::Operator, now);
        entry.asker = Some(token);
        self.insert(entry);
        self.recount(ufid, "new");
        self.plan(ufid, now);
        None
    }

    /// Nothing is left to do for the megaflow: whoever waits for that is told.
    pub(super) fn answer_settled(&mut self, ufid: Ufid, _now: Moment) {
        let asker = self.flows.get_mut(&ufid).and_then(|entry| entry.asker.take());
        if let Some(token) = asker {
            self.out.replies.push((token, Ok(Response::Done)));
        }
    }

    /// The megaflow is gone: whoever asked for that gets its final statistics.
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

    /// The host table refused it: whoever asked for it is told why.
    pub(super) fn answer_failure(&mut self, ufid: Ufid, error: &ProviderError) {
        let asker = self.flows.get_mut(&ufid).and_then(|entry| entry.asker.take());
        if let Some(token) = asker {
            let text = format!("{ufid}: {error}");
            self.out.replies.push((token, Err(RequestError::Refused(text))));
        }
    }

    /// A pass over all places that begins now; a pass that began before does not count.
    fn reconcile(&mut self, token: Token) {
        let nics = self.hardware.iter().enumerate().filter(|(_, hardware)| hardware.up);
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

pub(super) fn no_such_flow(ufid: Ufid) -> RequestError {
    RequestError::Refused(format!("{ufid}: no such flow"))
}
