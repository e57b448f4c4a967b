//! Those who wait for answers: requests that are answered when a megaflow has settled or gone,
//! when all megaflows of a moment are gone, or when the statistics are in.

use std::collections::{BTreeMap, BTreeSet};

use flow::{ProviderError, Ufid};
use hashbrown::HashMap;

use crate::event::Place;
use crate::request::{FlowView, RequestError, Response, Token};
use crate::sets::FlowId;

/// An answer, and the request that it belongs to.
pub(super) type Reply = (Token, Result<Response, RequestError>);

/// The requests that wait, and the answers of the current step.
#[derive(Default)]
pub(super) struct Waiters {
    /// Requests that wait until nothing is left to do for a megaflow. At most one waits for each.
    askers: HashMap<FlowId, Token, foldhash::fast::RandomState>,
    /// Requests that wait until megaflows are gone, each with the megaflows that are still there.
    clearing: Vec<(Token, BTreeSet<FlowId>)>,
    /// Requests that wait for statistics, each with the number of passes that it still waits for
    /// in each place. A pass that began before the request does not answer it.
    reconciling: Vec<(Token, BTreeMap<Place, u32>)>,
    replies: Vec<Reply>,
}

impl Waiters {
    /// Answers a request.
    pub(super) fn answer(&mut self, token: Token, answer: Result<Response, RequestError>) {
        self.replies.push((token, answer));
    }

    /// Takes the answers of the current step.
    pub(super) fn take(&mut self) -> Vec<Reply> {
        std::mem::take(&mut self.replies)
    }

    /// Has the request wait until nothing is left to do for the megaflow.
    pub(super) fn ask(&mut self, id: FlowId, token: Token) {
        self.askers.insert(id, token);
    }

    /// Returns true if a request waits for the megaflow.
    pub(super) fn is_asked(&self, id: FlowId) -> bool {
        self.askers.contains_key(&id)
    }

    /// Nothing is left to do for the megaflow.
    pub(super) fn settled(&mut self, id: FlowId) {
        if let Some(token) = self.askers.remove(&id) {
            self.answer(token, Ok(Response::Done));
        }
    }

    /// The host table refused the megaflow.
    pub(super) fn refused(&mut self, id: FlowId, ufid: Ufid, error: &ProviderError) {
        if let Some(token) = self.askers.remove(&id) {
            let text = match error {
                ProviderError::Invalid(invalid) => invalid.to_string(),
                _ => format!("{ufid}: {error}"),
            };
            self.answer(token, Err(RequestError::Refused(text)));
        }
    }

    /// The megaflow is gone. The request that asked for its removal gets its final statistics,
    /// which `view` makes.
    pub(super) fn removed(&mut self, id: FlowId, view: impl FnOnce() -> FlowView) {
        for (_, left) in &mut self.clearing {
            left.remove(&id);
        }
        self.answer_cleared();
        if let Some(token) = self.askers.remove(&id) {
            self.answer(token, Ok(Response::Flows(vec![view()])));
        }
    }

    /// The megaflow could not be removed yet, and the removal is tried again: the requests that
    /// wait for its end are told.
    pub(super) fn removal_failed(&mut self, id: FlowId, ufid: Ufid, error: &ProviderError) {
        let text = format!("{ufid} could not be removed yet: {error}; the removal is tried again");
        let refused = Err(RequestError::Refused(text));
        let clearing = self.clearing.extract_if(.., |(_, left)| left.contains(&id));
        let waiting = self.askers.remove(&id).into_iter().chain(clearing.map(|(token, _)| token));
        self.replies.extend(waiting.map(|token| (token, refused.clone())));
    }

    /// Has the request wait until these megaflows are gone.
    pub(super) fn clear(&mut self, token: Token, all: BTreeSet<FlowId>) {
        self.clearing.push((token, all));
        self.answer_cleared();
    }

    fn answer_cleared(&mut self) {
        let cleared = self.clearing.extract_if(.., |(_, left)| left.is_empty());
        self.replies.extend(cleared.map(|(token, _)| (token, Ok(Response::Done))));
    }

    /// Has the request wait for this number of passes over each place.
    pub(super) fn reconcile(&mut self, token: Token, passes: BTreeMap<Place, u32>) {
        self.reconciling.push((token, passes));
    }

    /// A pass over a place is done. Returns true if a request waits for a later pass, which has to
    /// begin now.
    pub(super) fn pass_done(&mut self, place: Place) -> bool {
        let mut again = false;
        for (_, passes) in &mut self.reconciling {
            if let Some(left) = passes.get_mut(&place) {
                *left -= 1;
                again |= *left > 0;
                passes.retain(|_, left| *left > 0);
            }
        }
        self.answer_reconciled();
        again
    }

    /// No pass over this place comes any more.
    pub(super) fn no_more_passes(&mut self, place: Place) {
        for (_, passes) in &mut self.reconciling {
            passes.remove(&place);
        }
        self.answer_reconciled();
    }

    fn answer_reconciled(&mut self) {
        let done = self.reconciling.extract_if(.., |(_, passes)| passes.is_empty());
        self.replies.extend(done.map(|(token, _)| (token, Ok(Response::Done))));
    }

    /// Returns true if a request waits for statistics.
    #[cfg(test)]
    pub(super) fn waits_for_statistics(&self) -> bool {
        !self.reconciling.is_empty()
    }
}
