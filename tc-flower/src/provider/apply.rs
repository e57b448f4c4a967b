//! Installing, replacing, removing.
//!
//! A batch goes to the kernel in two waves: first all that is new and all that is removed, then
//! the old filters of what was replaced and what has to be rolled back. Counters are final when
//! the kernel's echo of the removal carries them: it reads the hardware right before it takes
//! the filter out. For a replacement nothing hits the old filter any more by then; for a plain
//! removal the packets of the microseconds between reading and taking out are not counted.

use std::collections::HashSet;
use std::sync::Arc;

use flow::{Completion, Megaflow, Op, ProviderError, Reason, Refusal, Stats, Ufid};

use super::Tc;
use super::errors::{is_absent, of_install};
use super::qdisc;
use super::table::{Entry, Placed};
use crate::cookie::Cookie;
use crate::decode::{Filter, Summary};
use crate::encode::{self, Location};
use crate::rule::Rule;
use crate::translate::translate;
use crate::wire::consts::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_ECHO, NLM_F_EXCL, RTM_DELTFILTER, RTM_NEWTFILTER,
};
use crate::wire::{Nack, Outcome, Transport};

/// One result for each operation, with its index.
type Results = Vec<Result<Stats, ProviderError>>;

/// One request of a wave and what it is for.
pub(super) enum Job {
    /// A new filter.
    Add(Box<Adding>),
    /// A removal that somebody asked for.
    Remove { op: usize, ufid: Ufid, placed: Placed },
    /// The old filter of a replacement whose new one is in place.
    Old { op: usize, placed: Placed, last: Stats },
    /// A filter that nobody waits for: rolled back, or left from before.
    Drop { placed: Placed },
}

/// A filter on its way in.
pub(super) struct Adding {
    op: usize,
    flow: Arc<Megaflow>,
    rule: Rule,
    priority: u16,
    cookie: Cookie,
    /// Whether it replaces the megaflow's filter.
    replaces: bool,
}

/// What the kernel echoed of a request.
struct Echo {
    at: Location,
    summary: Summary,
    /// Of a new filter: is it what was asked for?
    same: bool,
}

/// A request that is answered, or not.
struct Answer {
    job: Job,
    outcome: Outcome,
    echo: Option<Echo>,
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
        let strays = std::mem::take(&mut self.strays);
        let mut jobs: Vec<Job> = strays.into_iter().map(|placed| Job::Drop { placed }).collect();
        for (index, op) in ops.iter().enumerate() {
            match self.plan(index, op, &mut jobs) {
                Ok(job) => jobs.push(job),
                Err(error) => results[index] = Err(error),
            }
        }
        let mut doubts = Vec::new();
        for _ in 0..2 {
            let mut next = Vec::new();
            for answer in self.exchange(std::mem::take(&mut jobs)) {
                self.settle(answer, &mut results, &mut next, &mut doubts);
            }
            jobs = next;
        }
        if !doubts.is_empty() {
            self.resolve(doubts, &mut results);
        }
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
                if let Some((placed, _)) = self.found.remove(&flow.ufid) {
                    jobs.push(Job::Drop { placed });
                }
                self.plan_add(op, flow, *generation, None)
            }
            Op::Replace { flow, generation } => {
                let old = self.table.get(flow.ufid).ok_or(ProviderError::NotFound)?.placed.at;
                self.plan_add(op, flow, *generation, Some(old))
            }
            Op::Remove { ufid } => {
                if let Some(entry) = self.table.get(*ufid) {
                    return Ok(Job::Remove { op, ufid: *ufid, placed: entry.placed });
                }
                let (placed, _) = self.found.remove(ufid).ok_or(ProviderError::NotFound)?;
                Ok(Job::Remove { op, ufid: *ufid, placed })
            }
        }
    }

    fn plan_add(
        &mut self,
        op: usize,
        flow: &Arc<Megaflow>,
        generation: u32,
        old: Option<Location>,
    ) -> Result<Job, ProviderError> {
        let rule = translate(flow, self.admission.target()).map_err(ProviderError::Unsupported)?;
        let signature = rule.signature();
        // A replacement is looked up before what it replaces; both are on one interface and
        // chain, because in_port and recirc_id are part of the match.
        let before = old.map(|old| old.priority);
        let priorities = self.table.priorities(rule.ifindex, rule.chain);
        let priority = priorities.take(&signature, before).ok_or_else(|| {
            let refusal = Refusal::new(Reason::TableFull, "tc priorities");
            ProviderError::Full(refusal.detail("every priority has another mask already"))
        })?;
        let cookie = Cookie::new(flow.ufid, generation, rule.implied);
        let flow = Arc::clone(flow);
        let replaces = old.is_some();
        Ok(Job::Add(Box::new(Adding { op, flow, rule, priority, cookie, replaces })))
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
            echoes[index] = Some(Echo { at: filter.at, summary, same });
        });
        let outcomes = outcomes.unwrap_or_else(|_| vec![Outcome::Unknown; sent.len()]);
        let answered = sent.into_iter().zip(outcomes).zip(echoes);
        answers.extend(answered.map(|((job, outcome), echo)| Answer { job, outcome, echo }));
        answers
    }

    fn settle(
        &mut self,
        answer: Answer,
        results: &mut Results,
        next: &mut Vec<Job>,
        doubts: &mut Vec<Job>,
    ) {
        let Answer { job, outcome, echo } = answer;
        match (job, outcome) {
            (job, Outcome::Unknown) => doubts.push(job),
            (Job::Add(add), Outcome::Done) => match echo {
                Some(echo) => self.added(*add, &echo, results, next),
                None => doubts.push(Job::Add(add)),
            },
            (Job::Add(add), Outcome::Refused(nack)) => {
                self.give_back(&add);
                results[add.op] = Err(self.refused(&add, &nack));
            }
            (Job::Remove { op, ufid, .. }, Outcome::Done) => {
                let last = self.table.remove(ufid).map(|entry| entry.last).unwrap_or_default();
                results[op] = Ok(self.final_stats(echo.as_ref(), last));
            }
            (Job::Remove { op, ufid, .. }, Outcome::Refused(nack)) if is_absent(&nack) => {
                self.table.remove(ufid);
                results[op] = Err(ProviderError::NotFound);
            }
            (Job::Remove { op, .. }, Outcome::Refused(nack)) => {
                results[op] = Err(ProviderError::Busy(nack.to_string()));
            }
            (Job::Old { op, last, .. }, Outcome::Done) => {
                results[op] = Ok(self.final_stats(echo.as_ref(), last));
            }
            (Job::Old { op, last, .. }, Outcome::Refused(nack)) if is_absent(&nack) => {
                results[op] = Ok(last);
            }
            (job @ Job::Old { .. }, Outcome::Refused(_)) => doubts.push(job),
            (Job::Drop { .. }, Outcome::Done) => {}
            (Job::Drop { placed }, Outcome::Refused(nack)) => {
                if !is_absent(&nack) {
                    self.strays.push(placed);
                }
            }
        }
    }

    /// The kernel took a filter: is it what was asked for, and in hardware?
    fn added(&mut self, add: Adding, echo: &Echo, results: &mut Results, next: &mut Vec<Job>) {
        let placed = Placed { at: echo.at, protocol: add.rule.protocol, cookie: add.cookie };
        let wrong = if !echo.same {
            Some((Reason::Echo, "filter", "the kernel shows another filter than was asked for"))
        } else if !echo.summary.in_hw {
            Some((Reason::Device, "in_hw", "the kernel does not say that it is in hardware"))
        } else {
            None
        };
        if let Some((reason, subject, detail)) = wrong {
            self.give_back(&add);
            next.push(Job::Drop { placed });
            let refusal = Refusal::new(reason, subject).detail(detail);
            results[add.op] = Err(ProviderError::Unsupported(refusal));
            return;
        }
        results[add.op] = Ok(Stats::default());
        let ufid = add.flow.ufid;
        if let Some(old) = self.table.remove(ufid).filter(|_| add.replaces) {
            next.push(Job::Old { op: add.op, placed: old.placed, last: old.last });
        }
        let answered = echo.summary.answered;
        self.table.insert(ufid, Entry { placed, last: Stats::default(), answered });
    }

    fn final_stats(&self, echo: Option<&Echo>, last: Stats) -> Stats {
        echo.map_or(last, |echo| echo.summary.counted.stats((self.clock)()))
    }

    fn give_back(&mut self, add: &Adding) {
        self.table.priorities(add.rule.ifindex, add.rule.chain).release(add.priority);
    }

    fn refused(&mut self, add: &Adding, nack: &Nack) -> ProviderError {
        // The kernel's EINVAL may just mean that somebody took the qdisc away.
        let ifindex = add.rule.ifindex;
        if nack.errno == libc::EINVAL
            && matches!(qdisc::ensure(&mut self.client, ifindex), Ok(true))
        {
            self.own_qdisc(ifindex);
            self.changed = true;
            return ProviderError::Busy("the qdisc was gone; there is a new one now".into());
        }
        of_install(nack)
    }

    /// Finds out what became of requests without an answer, by looking at the interface.
    fn resolve(&mut self, doubts: Vec<Job>, results: &mut Results) {
        self.changed = true;
        let mut ours = Vec::new();
        for ifindex in self.interfaces() {
            match qdisc::survey(&mut self.client, ifindex) {
                Ok(survey) => ours.extend(survey.ours),
                // The results are what they were: busy. The next reading corrects the belief.
                Err(_) => return,
            }
        }
        let now = (self.clock)();
        let find = |placed: &Placed| ours.iter().find(|(other, _)| other == placed);
        for job in doubts {
            match job {
                // As it was before: what came in goes again.
                Job::Add(add) => {
                    self.give_back(&add);
                    let came = ours.iter().map(|(placed, _)| placed).filter(|placed| {
                        placed.cookie == add.cookie
                            && placed.at.priority == add.priority
                            && placed.at.ifindex == add.rule.ifindex
                            && placed.at.chain == add.rule.chain
                    });
                    self.strays.extend(came);
                }
                Job::Remove { op, ufid, placed } => {
                    if find(&placed).is_none() {
                        let entry = self.table.remove(ufid);
                        results[op] = Ok(entry.map(|entry| entry.last).unwrap_or_default());
                    }
                }
                Job::Old { op, placed, last } => {
                    let found = find(&placed);
                    results[op] = Ok(found.map_or(last, |(_, counted)| counted.stats(now)));
                    self.strays.extend(found.map(|_| placed));
                }
                Job::Drop { placed } => self.strays.extend(find(&placed).map(|_| placed)),
            }
        }
    }
}
