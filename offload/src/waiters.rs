//! Those who wait for answers: requests that are answered when a megaflow has settled or gone,
//! when all megaflows of a moment are gone, or when the statistics are in.

use std::collections::VecDeque;

use flow::{Chunks, ProviderError, Ufid};
use hashbrown::HashMap;

use crate::request::{FlowView, RequestError, Response, Token};
use crate::sets::FlowId;

/// A request that removes all megaflows. Later requests have greater numbers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct ClearingId(pub(super) u32);

/// The state of a request that removes all megaflows.
struct Clearing {
    id: ClearingId,
    /// `None` once the request is answered.
    token: Option<Token>,
    /// The walk over all megaflows has ended.
    walked: bool,
    /// The number of megaflows that are still there, without those that an earlier request waits
    /// for.
    left: usize,
}

/// Who waits until nothing is left to do for a megaflow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Asker {
    /// A request for this megaflow alone.
    One(Token),
    /// A request for many megaflows, and this one's place among them.
    OneOf(Token, usize),
}

/// The state of a request for many megaflows.
struct Batch {
    /// The number of megaflows that something is left to do for.
    left: usize,
    failed: Vec<(usize, RequestError)>,
}

/// An answer, and the request that it belongs to.
pub(super) type RequestReply = (Token, Result<Response, RequestError>);

/// The requests that wait, and the answers of the current step.
#[derive(Default)]
pub(super) struct Waiters {
    /// Requests that wait until nothing is left to do for a megaflow. At most one waits for each.
    askers: Chunks<Asker>,
    batches: HashMap<Token, Batch, foldhash::fast::RandomState>,
    /// Requests that wait until all megaflows of a moment are gone, in order.
    clearing: VecDeque<Clearing>,
    clearings: u32,
    /// Requests that wait for statistics, each with the number of rounds that it still waits for.
    /// A round that began before the request does not answer it.
    reconciling: Vec<(Token, u32)>,
    replies: Vec<RequestReply>,
}

impl Waiters {
    /// Answers a request.
    pub(super) fn answer(&mut self, token: Token, answer: Result<Response, RequestError>) {
        self.replies.push((token, answer));
    }

    /// Takes the answers of the current step.
    pub(super) fn take(&mut self) -> Vec<RequestReply> {
        std::mem::take(&mut self.replies)
    }

    /// Begins a request for this number of megaflows. Each of them is to be asked for, or to be
    /// answered at once.
    pub(super) fn begin_batch(&mut self, token: Token, megaflows: usize) {
        self.batches.insert(token, Batch { left: megaflows, failed: Vec::new() });
        self.answer_batch(token);
    }

    fn answer_batch(&mut self, token: Token) {
        if self.batches.get(&token).is_some_and(|batch| batch.left == 0)
            && let Some(Batch { failed, .. }) = self.batches.remove(&token)
        {
            self.answer(token, Ok(Response::Installed { failed }));
        }
    }

    /// Tells one who waits for a megaflow how it went.
    pub(super) fn tell(&mut self, asker: Asker, how: Result<Response, RequestError>) {
        match asker {
            Asker::One(token) => self.answer(token, how),
            Asker::OneOf(token, place) => {
                if let Some(batch) = self.batches.get_mut(&token) {
                    batch.left -= 1;
                    batch.failed.extend(how.err().map(|error| (place, error)));
                }
                self.answer_batch(token);
            }
        }
    }

    /// Has the request wait until nothing is left to do for the megaflow.
    pub(super) fn ask(&mut self, id: FlowId, asker: Asker) {
        self.askers.put(id.0, asker);
    }

    /// Returns true if a request waits for the megaflow.
    pub(super) fn is_asked(&self, id: FlowId) -> bool {
        self.askers.get(id.0).is_some()
    }

    /// Nothing is left to do for the megaflow.
    pub(super) fn settled(&mut self, id: FlowId) {
        if let Some(asker) = self.askers.remove(id.0) {
            self.tell(asker, Ok(Response::Done));
        }
    }

    /// The host table refused the megaflow.
    pub(super) fn refused(&mut self, id: FlowId, ufid: Ufid, error: &ProviderError) {
        if let Some(asker) = self.askers.remove(id.0) {
            let text = match error {
                ProviderError::Invalid(invalid) => invalid.to_string(),
                _ => format!("{ufid}: {error}"),
            };
            self.tell(asker, Err(RequestError::Refused(text)));
        }
    }

    /// The megaflow is gone. The request that asked for its removal gets its final statistics,
    /// which `view` makes.
    pub(super) fn removed(
        &mut self,
        id: FlowId,
        clearing: Option<ClearingId>,
        view: impl FnOnce() -> FlowView,
    ) {
        if let Some(clearing) = clearing.and_then(|id| self.clearing_mut(id)) {
            clearing.left -= 1;
            self.answer_cleared();
        }
        if let Some(asker) = self.askers.remove(id.0) {
            self.tell(asker, Ok(Response::Flows(vec![view()])));
        }
    }

    /// The megaflow could not be removed yet, and the removal is tried again: the requests that
    /// wait for its end are told.
    pub(super) fn removal_failed(
        &mut self,
        id: FlowId,
        clearing: Option<ClearingId>,
        ufid: Ufid,
        error: &ProviderError,
    ) {
        let text = format!("{ufid} could not be removed yet: {error}; the removal is tried again");
        let refused = Err(RequestError::Refused(text));
        let waits = |all: &&mut Clearing| clearing.is_some_and(|first| first <= all.id);
        let clearing = self.clearing.iter_mut().filter(waits).filter_map(|all| all.token.take());
        self.replies.extend(clearing.map(|token| (token, refused.clone())));
        if let Some(asker) = self.askers.remove(id.0) {
            self.tell(asker, refused);
        }
    }

    /// Has the request wait until all megaflows of this moment are gone. Each of them is to be
    /// announced by [`Waiters::clears`], until [`Waiters::walked`].
    pub(super) fn clear(&mut self, token: Token) -> ClearingId {
        self.clearings += 1;
        let id = ClearingId(self.clearings);
        self.clearing.push_back(Clearing { id, token: Some(token), walked: false, left: 0 });
        id
    }

    /// The request waits for one more megaflow.
    pub(super) fn clears(&mut self, id: ClearingId) {
        if let Some(clearing) = self.clearing_mut(id) {
            clearing.left += 1;
        }
    }

    /// All megaflows that the request waits for are announced.
    pub(super) fn walked(&mut self, id: ClearingId) {
        if let Some(clearing) = self.clearing_mut(id) {
            clearing.walked = true;
            self.answer_cleared();
        }
    }

    fn clearing_mut(&mut self, id: ClearingId) -> Option<&mut Clearing> {
        self.clearing.iter_mut().find(|clearing| clearing.id == id)
    }

    /// Answers the requests whose megaflows are gone. A request also waits for the megaflows of
    /// the earlier ones, which were there when it came.
    fn answer_cleared(&mut self) {
        while self.clearing.front().is_some_and(|first| first.walked && first.left == 0) {
            let token = self.clearing.pop_front().and_then(|first| first.token);
            self.replies.extend(token.map(|token| (token, Ok(Response::Done))));
        }
    }

    /// Has the request wait for this number of rounds of statistics.
    pub(super) fn reconcile(&mut self, token: Token, rounds: u32) {
        self.reconciling.push((token, rounds));
    }

    /// A round of statistics is done. Returns true if a request waits for another one, which has
    /// to begin now.
    pub(super) fn round_done(&mut self) -> bool {
        self.reconciling.iter_mut().for_each(|(_, rounds)| *rounds -= 1);
        let done = self.reconciling.extract_if(.., |(_, rounds)| *rounds == 0);
        self.replies.extend(done.map(|(token, _)| (token, Ok(Response::Done))));
        !self.reconciling.is_empty()
    }

    /// Returns true if a request waits for statistics.
    #[cfg(test)]
    pub(super) fn waits_for_statistics(&self) -> bool {
        !self.reconciling.is_empty()
    }
}
