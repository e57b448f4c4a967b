//! Evaluates the answers to a batch.

use std::collections::BTreeSet;

use flow::{ProviderError, Reason, Refusal, Stats, Subject, Ufid};

use super::apply::{Adding, AnsweredJob, Echo, Job, Waves};
use super::errors::{NackCause, cause_of, is_absent, of_install};
use super::listing::Listed;
use super::table::{InstalledFilter, Placed};
use crate::netlink::{Nack, RequestOutcome, Transport};

/// The largest number of times one batch tries an install again after a refusal whose reason is
/// gone.
const TRIES: u8 = 2;

impl<T: Transport> Waves<'_, T> {
    pub(super) fn settle(&mut self, answer: AnsweredJob) {
        let AnsweredJob { job, outcome, echo } = answer;
        // The kernel echoes what it has done, so an echo is as good as the answer that is lost.
        let outcome = match outcome {
            RequestOutcome::Unknown if echo.is_some() => RequestOutcome::Done,
            outcome => outcome,
        };
        match (job, outcome) {
            (job, RequestOutcome::Unknown) => self.doubts.push(job),
            (Job::Add(add), RequestOutcome::Done) => match echo {
                Some(echo) => self.added(&add, &echo),
                None => self.doubts.push(Job::Add(add)),
            },
            (Job::Add(add), RequestOutcome::Refused(nack)) => self.refused.push((add, nack)),
            (Job::Remove { op, ufid, placed }, RequestOutcome::Done) => {
                let entry = self.tc.table.remove(ufid);
                let digest = entry.as_ref().and_then(|entry| entry.digest);
                let last = entry.map(|entry| entry.last).unwrap_or_default();
                self.results[op] = Ok(self.final_stats(echo.as_ref(), &placed, digest, last));
            }
            (Job::Remove { op, ufid, .. }, RequestOutcome::Refused(nack)) if is_absent(&nack) => {
                self.results[op] = self.not_found(ufid).ok_or(ProviderError::NotFound);
            }
            (Job::Remove { op, .. }, RequestOutcome::Refused(nack)) => {
                self.results[op] = Err(ProviderError::Busy(nack.to_string()));
            }
            (Job::Old { op, placed, digest, last }, RequestOutcome::Done) => {
                self.results[op] = Ok(self.final_stats(echo.as_ref(), &placed, digest, last));
            }
            (Job::Old { op, last, .. }, RequestOutcome::Refused(nack)) if is_absent(&nack) => {
                self.results[op] = Ok(last);
            }
            (job @ Job::Old { .. }, RequestOutcome::Refused(_)) => self.doubts.push(job),
            (Job::Drop { .. }, RequestOutcome::Done) => {}
            (Job::Drop { placed }, RequestOutcome::Refused(nack)) => {
                if !is_absent(&nack) {
                    self.tc.strays.insert(placed.at, placed);
                }
            }
        }
    }

    /// Handles a removal whose filter is already gone. Returns the filter's final counters if the
    /// monitor reported its deletion.
    pub(super) fn not_found(&mut self, ufid: Ufid) -> Option<Stats> {
        self.tc.listen();
        self.tc.table.remove(ufid)?.last_words
    }

    /// Checks that a filter which the kernel took is the one asked for, and is in hardware.
    fn added(&mut self, add: &Adding, echo: &Echo) {
        let cookie = echo.summary.cookie.unwrap_or(add.placed.cookie);
        let placed = Placed { at: echo.at, protocol: add.rule.protocol, cookie };
        let wrong = if !echo.same {
            let refusal = Refusal::new(Reason::Echo, Subject::Filter);
            Some(refusal.detail(&"the kernel shows another filter than was asked for"))
        } else if !echo.summary.in_hw {
            let refusal = Refusal::new(Reason::Device, Subject::InHardware);
            Some(refusal.detail(&"the kernel does not say that it is in hardware"))
        } else {
            None
        };
        if let Some(refusal) = wrong {
            self.give_back(add);
            self.tc.ports.stale = true;
            self.next.push(Job::Drop { placed });
            self.results[add.op] = Err(ProviderError::Unsupported(refusal));
            return;
        }
        self.results[add.op] = Ok(Stats::default());
        let ufid = add.flow.ufid;
        if let Some(old) = self.tc.table.remove(ufid).filter(|_| add.replaces) {
            let InstalledFilter { placed, digest, last, touched, last_words, .. } = old;
            let last = last_words.unwrap_or(last);
            let job = Job::Old { op: add.op, placed, digest, last };
            // If another tool was seen at that place, its filter may be there now and must not be
            // deleted.
            if touched.is_some() { self.doubts.push(job) } else { self.next.push(job) }
        }
        let mut entry = InstalledFilter::new(placed, echo.digest, Some(add.flow.clone()));
        entry.answered = echo.summary.answered;
        self.tc.table.insert(ufid, entry);
    }

    /// Returns the final counters of a removed filter. If another tool had changed the filter,
    /// the echoed counters are not ours and the last reading counts.
    fn final_stats(
        &self,
        echo: Option<&Echo>,
        placed: &Placed,
        digest: Option<u64>,
        last: Stats,
    ) -> Stats {
        let same = |echo: &&Echo| {
            let does_the_same = echo.digest == digest || echo.headless;
            echo.summary.cookie == Some(placed.cookie) && does_the_same
        };
        echo.filter(same).map_or(last, |echo| echo.summary.counted.stats(self.tc.clock.now()))
    }

    fn give_back(&mut self, add: &Adding) {
        self.tc.table.release(&add.placed.at);
    }

    /// Finds out the result of requests that got no answer by asking the kernel for their
    /// filters.
    pub(super) fn resolve(&mut self) {
        let doubts = std::mem::take(&mut self.doubts);
        if doubts.is_empty() {
            return;
        }
        self.tc.news.changed = true;
        let placed: Vec<Placed> = doubts.iter().map(Job::placed).collect();
        match self.tc.are_there(&placed) {
            Ok(there) => doubts.into_iter().zip(there).for_each(|(job, listed)| {
                self.resolve_one(job, listed);
            }),
            Err(_) => self.give_up(doubts),
        }
    }

    fn resolve_one(&mut self, job: Job, listed: Option<Listed>) {
        let now = self.tc.clock.now();
        match (job, listed) {
            (Job::Add(add), Some(listed)) => self.added(&add, &echo_of(&listed, &add)),
            (Job::Add(add), None) => self.give_back(&add),
            (Job::Remove { .. }, Some(_)) => {}
            (Job::Remove { op, ufid, .. }, None) => {
                let last = self.tc.table.get(ufid).map(|entry| entry.last);
                self.results[op] = Ok(self.not_found(ufid).or(last).unwrap_or_default());
            }
            (Job::Old { op, placed, digest, last }, listed) => {
                self.tc.strays.extend(listed.as_ref().map(|_| (placed.at, placed)));
                let counted = listed.filter(|one| one.digest == digest || one.headless);
                let counted = counted.map(|listed| listed.summary.counted.stats(now));
                self.results[op] = Ok(counted.unwrap_or(last));
            }
            (Job::Drop { placed }, listed) => {
                self.tc.strays.extend(listed.map(|_| (placed.at, placed)))
            }
        }
    }

    /// Looks at installs that the kernel refused. If the reason is gone, the install is tried
    /// again in this batch, at most `TRIES` times; after that the caller decides.
    pub(super) fn reconsider(&mut self) {
        let refused = std::mem::take(&mut self.refused);
        if refused.is_empty() {
            return;
        }
        let of_place = refused.iter().filter(|(_, nack)| cause_of(nack) == NackCause::Place);
        let interfaces: BTreeSet<u32> = of_place.map(|(add, _)| add.rule.ifindex).collect();
        interfaces.into_iter().for_each(|ifindex| self.tc.check_qdisc(ifindex));
        // Learns what else other tools changed, such as interfaces and the priorities that they
        // now use.
        self.tc.listen();
        for (add, nack) in refused {
            let cause = cause_of(&nack);
            let lost = self.tc.news.qdiscs_lost.contains(&add.rule.ifindex);
            let tries = if cause == NackCause::Place && !lost { 1 } else { TRIES };
            self.give_back(&add);
            if cause == NackCause::Lasting || add.tries >= tries {
                self.results[add.op] = Err(self.refused(&nack, cause, lost));
                continue;
            }
            let old = self.tc.table.get(add.flow.ufid).filter(|_| add.replaces);
            let mut before = old.map(|entry| entry.placed.at.priority);
            if cause == NackCause::Taken {
                // Another filter has the same key, so ours is looked up before it. If it has our
                // cookie, the next reading, which is due at once, finds it.
                before = Some(add.placed.at.priority);
                self.tc.news.changed = true;
            }
            match self.allot(&add.flow, add.placed.cookie.generation, before) {
                Ok((rule, placed)) => {
                    let again = Adding { rule, placed, tries: add.tries + 1, ..*add };
                    self.next.push(Job::Add(Box::new(again)));
                }
                Err(error) => self.results[add.op] = Err(error),
            }
        }
    }

    fn refused(&mut self, nack: &Nack, cause: NackCause, qdisc_was_lost: bool) -> ProviderError {
        match cause {
            NackCause::Place if qdisc_was_lost => {
                ProviderError::Busy("the qdisc was deleted while the filter was installed".into())
            }
            NackCause::Taken => {
                ProviderError::Busy("another tool's filter has the same key".into())
            }
            NackCause::Place | NackCause::Lasting => {
                self.tc.ports.stale = true;
                of_install(nack)
            }
        }
    }

    /// Ends jobs that this batch can't finish: an install fails as busy, and an old filter
    /// becomes a stray, which a later batch removes.
    pub(super) fn give_up(&mut self, jobs: Vec<Job>) {
        for job in jobs {
            match job {
                Job::Add(add) => {
                    self.give_back(&add);
                    self.results[add.op] =
                        Err(ProviderError::Busy("other tools kept changing the filter".into()));
                }
                // The result keeps its initial value: the kernel gave no answer.
                Job::Remove { .. } => {}
                Job::Old { op, placed, last, .. } => {
                    self.tc.strays.insert(placed.at, placed);
                    self.results[op] = Ok(last);
                }
                Job::Drop { placed } => drop(self.tc.strays.insert(placed.at, placed)),
            }
        }
    }
}

/// Makes the echo that the install request would have got from a filter that was listed.
fn echo_of(listed: &Listed, add: &Adding) -> Echo {
    let same = listed.flow.as_ref().is_some_and(|(flow, _)| **flow == *add.flow);
    Echo {
        at: listed.placed.at,
        summary: listed.summary,
        digest: listed.digest,
        headless: listed.headless,
        same,
    }
}
