//! The operations in flight, and whose turn it is.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use flow::{Completion, Op, ProviderError, Stats, Submission, Ufid};

/// How often an operation that found no room is tried again: behind the commands that were in
/// flight, behind the clearing of a mask slot, behind a snapshot.
const ATTEMPTS: u32 = 4;

/// The number of an operation, in the order in which they were taken.
pub(crate) type JobId = u64;

struct OpenJob {
    submission: Submission,
    /// The time at which the operation has to be completed.
    due: Duration,
    attempts: u32,
}

/// The operations on one ufid.
#[derive(Default)]
struct Line {
    /// The number of those that are in flight: taken, and their completions not delivered yet.
    in_flight: usize,
    /// True if one has begun and has not ended. The others wait for it.
    is_taken: bool,
    waiting: VecDeque<JobId>,
}

/// The operations in flight.
#[derive(Default)]
pub(super) struct Jobs {
    taken: u64,
    open: BTreeMap<JobId, OpenJob>,
    /// Operations that may begin now.
    ready: VecDeque<JobId>,
    /// Operations that found no room, each with the number of the command behind which it is tried
    /// again.
    blocked: VecDeque<(u32, JobId)>,
    lines: HashMap<Ufid, Line>,
    /// Completions that were not delivered yet.
    done: Vec<Completion>,
}

impl Jobs {
    /// Returns the number of operations in flight.
    pub(super) fn len(&self) -> usize {
        self.open.len() + self.done.len()
    }

    /// Returns the number of operations that were taken so far.
    pub(super) fn taken(&self) -> u64 {
        self.taken
    }

    /// Returns the number of operations that have not ended.
    pub(super) fn open(&self) -> usize {
        self.open.len()
    }

    /// Returns true if a completion waits to be delivered.
    pub(super) fn has_done(&self) -> bool {
        !self.done.is_empty()
    }

    /// Returns true if an operation on this ufid is in flight.
    pub(super) fn concern(&self, ufid: Ufid) -> bool {
        self.lines.contains_key(&ufid)
    }

    /// Takes an operation, behind those on the same ufid.
    pub(super) fn take(&mut self, submission: Submission, due: Duration) {
        let id = self.taken;
        self.taken += 1;
        let line = self.lines.entry(submission.op.ufid()).or_default();
        line.in_flight += 1;
        if line.is_taken {
            line.waiting.push_back(id);
        } else {
            line.is_taken = true;
            self.ready.push_back(id);
        }
        self.open.insert(id, OpenJob { submission, due, attempts: 0 });
    }

    /// Returns the next operation that may begin; `is_done_before` tells whether all commands
    /// before the one of a number are done.
    pub(super) fn next(&mut self, is_done_before: impl Fn(u32) -> bool) -> Option<(JobId, Op)> {
        let id = match self.blocked.front() {
            Some((behind, id)) if is_done_before(*behind) => {
                let id = *id;
                self.blocked.pop_front();
                id
            }
            _ => self.ready.pop_front()?,
        };
        self.open.get(&id).map(|job| (id, job.submission.op.clone()))
    }

    /// Returns true if the operation was not tried before.
    pub(super) fn is_first_attempt(&self, id: JobId) -> bool {
        self.open.get(&id).is_some_and(|job| job.attempts == 0)
    }

    /// Lets an operation wait until the commands before the one of this number are done; returns
    /// false if it was tried often enough.
    pub(super) fn block(&mut self, id: JobId, behind: u32, due: Duration) -> bool {
        let Some(job) = self.open.get_mut(&id) else { return false };
        job.attempts += 1;
        job.due = due;
        let is_tried_again = job.attempts <= ATTEMPTS;
        if is_tried_again {
            self.blocked.push_back((behind, id));
        }
        is_tried_again
    }

    /// Ends an operation; the next one on its ufid may begin.
    pub(super) fn end(&mut self, id: JobId, result: Result<Stats, ProviderError>) {
        let Some(job) = self.open.remove(&id) else { return };
        if let Some(line) = self.lines.get_mut(&job.submission.op.ufid()) {
            match line.waiting.pop_front() {
                Some(next) => self.ready.push_back(next),
                None => line.is_taken = false,
            }
        }
        self.done.push(job.submission.completed(result));
    }

    /// Ends all operations with this error.
    pub(super) fn end_all(&mut self, error: &ProviderError) {
        while let Some(id) = self.open.keys().next().copied() {
            self.end(id, Err(error.clone()));
        }
        self.ready.clear();
        self.blocked.clear();
    }

    /// Delivers the completions.
    pub(super) fn deliver(&mut self, out: &mut Vec<Completion>) {
        for completion in &self.done {
            if let Some(line) = self.lines.get_mut(&completion.ufid) {
                line.in_flight -= 1;
                if line.in_flight == 0 {
                    self.lines.remove(&completion.ufid);
                }
            }
        }
        out.append(&mut self.done);
    }

    /// Returns true if the oldest operation should have been completed at this time.
    pub(super) fn is_late(&self, time: Duration) -> bool {
        self.open.values().next().is_some_and(|job| job.due <= time)
    }
}
