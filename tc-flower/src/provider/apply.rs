//! Installs, replaces and removes filters.
//!
//! A batch goes to the kernel in waves: first all installs and removals, then the removals of old
//! filters that were replaced, the rollbacks, and the installs that were refused for a reason
//! that is gone. The counters in the kernel's echo of a removal are final: the kernel reads the
//! hardware right before it removes the filter. After a replacement no packet hits the old filter
//! by then. After a plain removal the packets in the microseconds between reading and removal are
//! not counted.

use std::collections::HashSet;
use std::sync::Arc;

use flow::{
    Completion, Generation, Megaflow, Op, ProviderError, Reason, Refusal, Stats, Subject,
    Submission, Ufid,
};

use super::table::Placed;
use super::tc::Tc;
use crate::cookie::Cookie;
use crate::decode::{Content, Filter, Summary};
use crate::encode::{self, Location};
use crate::netlink::consts::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_ECHO, NLM_F_EXCL, RTM_DELTFILTER, RTM_NEWTFILTER,
};
use crate::netlink::{BATCH, Nack, RequestOutcome, Transport};
use crate::rule::Rule;
use crate::translate::translate;

/// One result for each operation, in the order of the operations.
pub(super) type Results = Vec<Result<Stats, ProviderError>>;
/// The largest number of waves in one batch.
const WAVES: usize = 6;

/// One request of a wave and its purpose.
pub(super) enum Job {
    /// A new filter.
    Add(Box<Adding>),
    /// A removal that the caller asked for.
    Remove { op: usize, ufid: Ufid, placed: Placed },
    /// The removal of the old filter of a replacement whose new filter is in place.
    Old { op: usize, placed: Placed, digest: Option<u64>, last: Stats },
    /// The removal of a filter for which no operation waits: it is rolled back or left from
    /// before.
    Drop { placed: Placed },
}

impl Job {
    pub(super) fn placed(&self) -> Placed {
        match self {
            Job::Add(add) => add.placed,
            Job::Remove { placed, .. } | Job::Old { placed, .. } | Job::Drop { placed } => *placed,
        }
    }

    /// Returns the place of the filter if the job is a `Remove` or a `Drop`.
    fn removes(&self) -> Option<Location> {
        match self {
            Job::Remove { placed, .. } | Job::Drop { placed } => Some(placed.at),
            Job::Add(_) | Job::Old { .. } => None,
        }
    }
}

/// A filter to be installed.
pub(super) struct Adding {
    pub(super) op: usize,
    pub(super) flow: Arc<Megaflow>,
    pub(super) rule: Rule,
    pub(super) placed: Placed,
    /// True if the new filter replaces the megaflow's present one.
    pub(super) replaces: bool,
    /// The number of times that the install was already tried again after a refusal.
    pub(super) tries: u8,
}

/// The kernel's echo of a request.
pub(super) struct Echo {
    pub(super) at: Location,
    pub(super) summary: Summary,
    /// The digest of the filter's content.
    pub(super) digest: Option<u64>,
    /// True if the filter sends packets to an interface that was deleted.
    pub(super) headless: bool,
    /// True if the kernel shows the filter that was asked for; always true for a removal.
    pub(super) same: bool,
}

/// A request with its outcome, which is unknown if no answer came.
pub(super) struct AnsweredJob {
    pub(super) job: Job,
    pub(super) outcome: RequestOutcome,
    pub(super) echo: Option<Echo>,
}

/// One batch on its way to the kernel, wave after wave.
pub(super) struct Waves<'a, T> {
    pub(super) tc: &'a mut Tc<T>,
    pub(super) results: Results,
    /// Requests for the next wave.
    pub(super) next: Vec<Job>,
    /// Requests that got no answer.
    pub(super) doubts: Vec<Job>,
    /// Installs that the kernel refused.
    pub(super) refused: Vec<(Box<Adding>, Nack)>,
}

/// Applies the first operations in flight in one batch, whose waves are a datagram each. If the
/// device is gone, or goes meanwhile, operations without an effect that is known of end with that
/// error.
pub(super) fn apply<T: Transport>(tc: &mut Tc<T>, done: &mut Vec<Completion>) {
    // Operations on one ufid are done in order: a second operation on a ufid is not in the batch.
    let mut seen = HashSet::new();
    let next = tc.in_flight.iter().take(BATCH).take_while(|op| seen.insert(op.op.ufid())).count();
    let ops: Vec<Submission> = tc.in_flight.drain(..next).collect();
    if ops.is_empty() {
        return;
    }
    let results = match tc.check() {
        Ok(()) => Waves::new(tc, ops.len()).run(&ops),
        Err(gone) => ops.iter().map(|_| Err(gone.clone())).collect(),
    };
    let gone = tc.check();
    let end = |result| match (result, &gone) {
        (Err(ProviderError::Busy(_)), Err(gone)) => Err(gone.clone()),
        (result, _) => result,
    };
    done.extend(ops.iter().zip(results).map(|(op, result)| op.completed(end(result))));
    if gone.is_ok() {
        tc.listen();
    }
}

impl<T: Transport> Waves<'_, T> {
    fn new(tc: &mut Tc<T>, ops: usize) -> Waves<'_, T> {
        tc.listen();
        tc.news.qdiscs_lost.clear();
        let lost = || Err(ProviderError::Busy("the kernel gave no answer".into()));
        let results = (0..ops).map(|_| lost()).collect();
        let strays = std::iter::from_fn(|| tc.strays.pop_first()).take(BATCH);
        let next = strays.map(|(_, placed)| Job::Drop { placed }).collect();
        Waves { tc, results, next, doubts: Vec::new(), refused: Vec::new() }
    }

    fn run(mut self, ops: &[Submission]) -> Results {
        for (index, op) in ops.iter().enumerate() {
            match self.plan(index, &op.op) {
                Ok(job) => self.next.push(job),
                Err(error) => self.results[index] = Err(error),
            }
        }
        self.look_again();
        for _ in 0..WAVES {
            for answer in self.exchange() {
                self.settle(answer);
            }
            self.resolve();
            self.reconsider();
            if self.next.is_empty() && self.doubts.is_empty() {
                break;
            }
        }
        let mut unfinished = std::mem::take(&mut self.next);
        unfinished.append(&mut self.doubts);
        self.give_up(unfinished);
        self.results
    }

    /// Returns the request that an operation needs.
    fn plan(&mut self, op: usize, what: &Op) -> Result<Job, ProviderError> {
        match what {
            Op::Install { flow, generation } => {
                if self.tc.table.get(flow.ufid).is_some() {
                    return Err(ProviderError::Exists);
                }
                // A filter that an earlier process left for this megaflow is not reused: it is
                // removed first.
                if let Some(found) = self.tc.found.remove(flow.ufid) {
                    self.next.push(Job::Drop { placed: found.placed });
                }
                self.plan_add(op, flow, *generation, None)
            }
            Op::Replace { flow, generation } => {
                let old = self.tc.table.get(flow.ufid).ok_or(ProviderError::NotFound)?.placed.at;
                self.plan_add(op, flow, *generation, Some(old))
            }
            Op::Remove { ufid } => {
                let entry = self.tc.table.get(*ufid).map(|entry| entry.placed);
                let found = || self.tc.found.remove(*ufid).map(|found| found.placed);
                let placed = entry.or_else(found).ok_or(ProviderError::NotFound)?;
                Ok(Job::Remove { op, ufid: *ufid, placed })
            }
        }
    }

    fn plan_add(
        &mut self,
        op: usize,
        flow: &Arc<Megaflow>,
        generation: Generation,
        old: Option<Location>,
    ) -> Result<Job, ProviderError> {
        // A replacement is looked up before the filter that it replaces. Both are on the same
        // interface and chain, because in_port and recirc_id are part of the match.
        let (rule, placed) = self.allot(flow, generation, old.map(|old| old.priority))?;
        let (flow, replaces) = (Arc::clone(flow), old.is_some());
        let adding = Adding { op, flow, rule, placed, replaces, tries: 0 };
        Ok(Job::Add(Box::new(adding)))
    }

    /// Translates a megaflow and takes a place for its filter.
    pub(super) fn allot(
        &mut self,
        flow: &Megaflow,
        generation: Generation,
        before: Option<u16>,
    ) -> Result<(Rule, Placed), ProviderError> {
        let rule = translate(flow, self.tc.ports.admission().target())
            .map_err(|why| ProviderError::Unsupported(why.first))?;
        if let Some(refusal) = self.tc.ports.admission().shadow(rule.ifindex, flow) {
            return Err(ProviderError::Unsupported(refusal));
        }
        let signature = rule.signature();
        let (priorities, room) = self.tc.table.chain(rule.ifindex, rule.chain);
        let priority = priorities.take(&signature, before, room).ok_or_else(|| {
            let refusal = Refusal::new(Reason::TableFull, Subject::Priorities);
            ProviderError::Full(refusal.detail(&"every priority is already taken by another mask"))
        })?;
        let (ifindex, chain, handle) = (rule.ifindex, rule.chain, self.tc.table.new_handle());
        let at = Location { ifindex, chain, priority, handle };
        let cookie = Cookie::new(flow.ufid, generation, rule.implied);
        let placed = Placed { at, protocol: rule.protocol, cookie };
        Ok((rule, placed))
    }

    /// Asks the kernel again, right before removal, for each filter that has no entry in the
    /// table, and for each filter at whose place another tool was seen. The filter is removed
    /// only if it still has the place and cookie that we know.
    fn look_again(&mut self) {
        let doubtful = |job: &Job| match job {
            Job::Drop { placed } => Some(*placed),
            Job::Remove { ufid, placed, .. } => {
                let entry = self.tc.table.get(*ufid);
                let known = entry.is_some_and(|entry| entry.touched.is_none());
                (!known).then_some(*placed)
            }
            Job::Add(_) | Job::Old { .. } => None,
        };
        let doubts: Vec<Placed> = self.next.iter().filter_map(doubtful).collect();
        if doubts.is_empty() {
            return;
        }
        // The places at which our filters still are; `None` if the kernel could not be asked.
        let there: Option<HashSet<Location>> = self
            .tc
            .are_there(&doubts)
            .ok()
            .map(|there| there.into_iter().flatten().map(|listed| listed.placed.at).collect());
        let doubts: HashSet<Location> = doubts.into_iter().map(|placed| placed.at).collect();
        let mut sure = Vec::new();
        let mut put_off = Vec::new();
        for job in std::mem::take(&mut self.next) {
            let at = job.removes().filter(|at| doubts.contains(at));
            let is_there = |at: Location| there.as_ref().map(|there| there.contains(&at));
            match (at.map(is_there), job) {
                (None, job) => sure.push(job),
                (Some(None), job) => put_off.push(job),
                (Some(Some(true)), Job::Drop { placed })
                    if self.tc.table.at(&placed.at).is_some() => {}
                (Some(Some(true)), job) => sure.push(job),
                (Some(Some(false)), Job::Remove { op, ufid, .. }) => {
                    self.results[op] = self.not_found(ufid).ok_or(ProviderError::NotFound);
                }
                (Some(Some(false)), Job::Add(_) | Job::Old { .. } | Job::Drop { .. }) => {}
            }
        }
        self.next = sure;
        self.give_up(put_off);
    }

    /// Sends one wave and collects the answers. A request that gets no answer has an unknown
    /// outcome.
    fn exchange(&mut self) -> Vec<AnsweredJob> {
        let jobs = std::mem::take(&mut self.next);
        if jobs.is_empty() {
            return Vec::new();
        }
        let mut batch = self.tc.client.batch();
        let mut sent = Vec::new();
        let mut answers = Vec::new();
        for job in jobs {
            let added = match &job {
                Job::Add(add) => {
                    let flags = NLM_F_ACK | NLM_F_ECHO | NLM_F_CREATE | NLM_F_EXCL;
                    let Placed { at, cookie, .. } = add.placed;
                    batch.add(RTM_NEWTFILTER, flags, |w| {
                        encode::install(w, &add.rule, at.priority, at.handle, cookie);
                    })
                }
                Job::Remove { placed, .. } | Job::Old { placed, .. } | Job::Drop { placed } => {
                    batch.add(RTM_DELTFILTER, NLM_F_ACK | NLM_F_ECHO, |w| {
                        encode::remove(w, &placed.at, placed.protocol);
                    })
                }
            };
            match added {
                Ok(_) => sent.push(job),
                Err(error) => {
                    let nack = Nack { errno: libc::EMSGSIZE, text: error.to_string() };
                    answers.push(AnsweredJob {
                        job,
                        outcome: RequestOutcome::Refused(nack),
                        echo: None,
                    });
                }
            }
        }
        let mut echoes: Vec<Option<Echo>> = sent.iter().map(|_| None).collect();
        let ports = self.tc.ports.by_ifindex();
        let target = self.tc.ports.admission().target();
        let outcomes = self.tc.client.transact(&batch, &mut |index, message| {
            let Ok(Some(filter)) = Filter::parse(message.payload) else { return };
            let Ok(summary) = filter.summary() else { return };
            let same = match &sent[index] {
                Job::Add(add) => filter
                    .megaflow(&add.placed.cookie, ports, target)
                    .is_some_and(|(flow, rule)| flow.ufid == add.flow.ufid && rule == add.rule),
                Job::Remove { .. } | Job::Old { .. } | Job::Drop { .. } => true,
            };
            let content = summary.cookie.and_then(|cookie| filter.content(cookie.implied));
            let digest = content.as_ref().map(Content::digest);
            let headless = content.is_some_and(|content| content.is_headless());
            echoes[index] = Some(Echo { at: filter.at, summary, digest, headless, same });
        });
        let outcomes = outcomes.unwrap_or_else(|_| vec![RequestOutcome::Unknown; sent.len()]);
        let answered = sent.into_iter().zip(outcomes).zip(echoes);
        answers.extend(answered.map(|((job, outcome), echo)| AnsweredJob { job, outcome, echo }));
        answers
    }
}
