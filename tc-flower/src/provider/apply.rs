//! Installing, replacing, removing.
//!
//! A batch goes to the kernel in waves: first all that is new and all that is removed, then the
//! old filters of what was replaced, what has to be rolled back, and what was refused for a reason
//! that is gone. Counters are final when the kernel's echo of the removal carries them: it reads
//! the hardware right before it takes the filter out. For a replacement nothing hits the old
//! filter any more by then; for a plain removal the packets of the microseconds between reading
//! and taking out are not counted.

use std::collections::HashSet;
use std::sync::Arc;

use flow::{Completion, Generation, Megaflow, Op, ProviderError, Reason, Refusal, Stats, Ufid};

use super::Tc;
use super::table::Placed;
use crate::cookie::Cookie;
use crate::decode::{Content, Filter, Summary};
use crate::encode::{self, Location};
use crate::rule::Rule;
use crate::translate::translate;
use crate::wire::consts::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_ECHO, NLM_F_EXCL, RTM_DELTFILTER, RTM_NEWTFILTER,
};
use crate::wire::{Nack, Outcome, Transport};

/// One result for each operation, with its index.
pub(super) type Results = Vec<Result<Stats, ProviderError>>;
/// Most waves of one batch.
const WAVES: usize = 6;

/// One request of a wave and what it is for.
pub(super) enum Job {
    /// A new filter.
    Add(Box<Adding>),
    /// A removal that somebody asked for.
    Remove { op: usize, ufid: Ufid, placed: Placed },
    /// The old filter of a replacement whose new one is in place.
    Old { op: usize, placed: Placed, digest: Option<u64>, last: Stats },
    /// A filter that nobody waits for: rolled back, or left from before.
    Drop { placed: Placed },
}

impl Job {
    /// The place of the filter that it removes.
    fn removes(&self) -> Option<Location> {
        match self {
            Job::Remove { placed, .. } | Job::Drop { placed } => Some(placed.at),
            Job::Add(_) | Job::Old { .. } => None,
        }
    }
}

/// A filter on its way in.
pub(super) struct Adding {
    pub(super) op: usize,
    pub(super) flow: Arc<Megaflow>,
    pub(super) rule: Rule,
    pub(super) priority: u16,
    pub(super) cookie: Cookie,
    /// Whether it replaces the megaflow's filter.
    pub(super) replaces: bool,
    /// How often it was refused for a reason that was gone then.
    pub(super) tries: u8,
}

/// What the kernel echoed of a request.
pub(super) struct Echo {
    pub(super) at: Location,
    pub(super) summary: Summary,
    /// Of what it does, and whether a port that it sends to is gone.
    pub(super) digest: Option<u64>,
    pub(super) headless: bool,
    /// For a new filter: true if the kernel shows the filter that was asked for.
    pub(super) same: bool,
}

/// A request that is answered, or not.
pub(super) struct Answer {
    pub(super) job: Job,
    pub(super) outcome: Outcome,
    pub(super) echo: Option<Echo>,
}

/// What a wave leaves to do.
#[derive(Default)]
pub(super) struct Left {
    /// For the next wave.
    pub(super) next: Vec<Job>,
    /// Without an answer.
    pub(super) doubts: Vec<Job>,
    /// Refused.
    pub(super) refused: Vec<(Box<Adding>, Nack)>,
}

impl<T: Transport> Tc<T> {
    pub(super) fn apply(&mut self, ops: &[Op], done: &mut Vec<Completion>) {
        let mut from = 0;
        while from < ops.len() {
            // Operations on one ufid are in order: a second one begins a new batch.
            let mut seen = HashSet::new();
            let to = ops[from..].iter().position(|op| !seen.insert(op.ufid()));
            let to = to.map_or(ops.len(), |len| from + len);
            let results = self.batch(&ops[from..to]);
            done.extend(ops[from..to].iter().zip(results).map(|(op, result)| Completion {
                ufid: op.ufid(),
                kind: op.kind(),
                result,
            }));
            from = to;
            self.listen();
        }
    }

    fn batch(&mut self, ops: &[Op]) -> Results {
        let lost = || Err(ProviderError::Busy("the kernel gave no answer".into()));
        let mut results: Results = ops.iter().map(|_| lost()).collect();
        self.listen();
        self.qdiscs_lost.clear();
        let strays = std::mem::take(&mut self.strays);
        let mut jobs: Vec<Job> = strays.into_iter().map(|placed| Job::Drop { placed }).collect();
        for (index, op) in ops.iter().enumerate() {
            match self.plan(index, op, &mut jobs) {
                Ok(job) => jobs.push(job),
                Err(error) => results[index] = Err(error),
            }
        }
        self.look_again(&mut jobs, &mut results);
        for _ in 0..WAVES {
            let mut left = Left::default();
            for answer in self.exchange(std::mem::take(&mut jobs)) {
                self.settle(answer, &mut results, &mut left);
            }
            self.resolve(&mut left, &mut results);
            self.reconsider(&mut left, &mut results);
            jobs = left.next;
            if jobs.is_empty() {
                break;
            }
        }
        self.give_up(jobs, &mut results);
        results
    }

    /// What an operation asks of the kernel.
    fn plan(&mut self, op: usize, what: &Op, jobs: &mut Vec<Job>) -> Result<Job, ProviderError> {
        match what {
            Op::Install { flow, generation } => {
                if self.table.get(flow.ufid).is_some() {
                    return Err(ProviderError::Exists);
                }
                // What an older process left of it is not taken over: it goes first.
                if let Some(found) = self.found.remove(&flow.ufid) {
                    jobs.push(Job::Drop { placed: found.placed });
                }
                self.plan_add(op, flow, *generation, None)
            }
            Op::Replace { flow, generation } => {
                let old = self.table.get(flow.ufid).ok_or(ProviderError::NotFound)?.placed.at;
                self.plan_add(op, flow, *generation, Some(old))
            }
            Op::Remove { ufid } => {
                let entry = self.table.get(*ufid).map(|entry| entry.placed);
                let found = || self.found.remove(ufid).map(|found| found.placed);
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
        // A replacement is looked up before what it replaces; both are on one interface and
        // chain, because in_port and recirc_id are part of the match.
        let (rule, priority) = self.allot(flow, old.map(|old| old.priority))?;
        let cookie = Cookie::new(flow.ufid, generation, rule.implied);
        let (flow, replaces) = (Arc::clone(flow), old.is_some());
        let adding = Adding { op, flow, rule, priority, cookie, replaces, tries: 0 };
        Ok(Job::Add(Box::new(adding)))
    }

    /// The filter that a megaflow becomes now, and a priority for it.
    pub(super) fn allot(
        &mut self,
        flow: &Megaflow,
        before: Option<u16>,
    ) -> Result<(Rule, u16), ProviderError> {
        let rule = translate(flow, self.admission.target())
            .map_err(|why| ProviderError::Unsupported(why.first))?;
        if let Some(refusal) = self.admission.shadow(rule.ifindex, flow) {
            return Err(ProviderError::Unsupported(refusal));
        }
        let signature = rule.signature();
        let priorities = self.table.priorities(rule.ifindex, rule.chain);
        let priority = priorities.take(&signature, before).ok_or_else(|| {
            let refusal = Refusal::new(Reason::TableFull, "tc priorities");
            ProviderError::Full(refusal.detail("every priority is already taken by another mask"))
        })?;
        Ok((rule, priority))
    }

    /// Looks again, right before the removal, at each filter that is removed without being in the
    /// books (it was taken for somebody else's or for a leftover), or where other tools were seen:
    /// it must still be there as it is known, and must not belong to anybody else.
    fn look_again(&mut self, jobs: &mut Vec<Job>, results: &mut Results) {
        let doubtful = |job: &Job| match job {
            Job::Drop { placed } => Some(*placed),
            Job::Remove { ufid, placed, .. } => {
                let known = self.table.get(*ufid).is_some() && !self.touched.contains(&placed.at);
                (!known).then_some(*placed)
            }
            Job::Add(_) | Job::Old { .. } => None,
        };
        let doubts: Vec<Placed> = jobs.iter().filter_map(doubtful).collect();
        if doubts.is_empty() {
            return;
        }
        // By place; nothing where nothing is known.
        let there: Option<HashSet<Location>> = self
            .are_there(&doubts)
            .ok()
            .map(|there| there.into_iter().flatten().map(|listed| listed.placed.at).collect());
        let doubts: HashSet<Location> = doubts.into_iter().map(|placed| placed.at).collect();
        let mut sure = Vec::new();
        let mut put_off = Vec::new();
        for job in std::mem::take(jobs) {
            let at = job.removes().filter(|at| doubts.contains(at));
            let is_there = |at: Location| there.as_ref().map(|there| there.contains(&at));
            match (at.map(is_there), job) {
                (None, job) => sure.push(job),
                (Some(None), job) => put_off.push(job),
                (Some(Some(true)), Job::Drop { placed }) if self.table.at(&placed.at).is_some() => {
                }
                (Some(Some(true)), job) => sure.push(job),
                (Some(Some(false)), Job::Remove { op, ufid, placed }) => {
                    results[op] = self.not_found(ufid, &placed);
                }
                (Some(Some(false)), Job::Add(_) | Job::Old { .. } | Job::Drop { .. }) => {}
            }
        }
        *jobs = sure;
        self.give_up(put_off, results);
    }

    /// Sends one wave and collects the answers. What gets none is unknown.
    fn exchange(&mut self, jobs: Vec<Job>) -> Vec<Answer> {
        if jobs.is_empty() {
            return Vec::new();
        }
        let mut batch = self.client.batch();
        let mut sent = Vec::new();
        let mut answers = Vec::new();
        for job in jobs {
            let added = match &job {
                Job::Add(add) => {
                    let flags = NLM_F_ACK | NLM_F_ECHO | NLM_F_CREATE | NLM_F_EXCL;
                    batch.add(RTM_NEWTFILTER, flags, |w| {
                        encode::install(w, &add.rule, add.priority, 0, add.cookie);
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
                    answers.push(Answer { job, outcome: Outcome::Refused(nack), echo: None });
                }
            }
        }
        let mut echoes: Vec<Option<Echo>> = sent.iter().map(|_| None).collect();
        let (ports, target) = (&self.by_ifindex, self.admission.target());
        let outcomes = self.client.transact(&batch, &mut |index, message| {
            let Ok(Some(filter)) = Filter::parse(message.payload) else { return };
            let Ok(summary) = filter.summary() else { return };
            let same = match &sent[index] {
                Job::Add(add) => filter
                    .megaflow(&add.cookie, ports, target)
                    .is_some_and(|(flow, rule)| flow.ufid == add.flow.ufid && rule == add.rule),
                Job::Remove { .. } | Job::Old { .. } | Job::Drop { .. } => true,
            };
            let content = summary.cookie.and_then(|cookie| filter.content(cookie.implied));
            let digest = content.as_ref().map(Content::digest);
            let headless = content.is_some_and(|content| content.is_headless());
            echoes[index] = Some(Echo { at: filter.at, summary, digest, headless, same });
        });
        let outcomes = outcomes.unwrap_or_else(|_| vec![Outcome::Unknown; sent.len()]);
        let answered = sent.into_iter().zip(outcomes).zip(echoes);
        answers.extend(answered.map(|((job, outcome), echo)| Answer { job, outcome, echo }));
        answers
    }
}
