//! Work that may be long: it is done in short steps, with forwarding in between.

use std::vec::IntoIter;

use flow::{Completion, Cursor, Dumped, Moment, Stats, Submission, Ufid};

use super::reply::{Parts, Reply};
use crate::datapath::Datapath;
use crate::table::FlowTable;
use crate::upcall::{Resolution, UpcallId};

/// A command that concerns many megaflows or upcalls, with what is done of it. The commands behind
/// it wait for its end, so that they are carried out in order.
pub(super) enum Task {
    Apply {
        next: Option<Submission>,
        rest: IntoIter<Submission>,
        done: Vec<Completion>,
        reply: Reply<Vec<Completion>>,
    },
    Resolve(IntoIter<(UpcallId, Resolution)>),
    Stats {
        cursor: Cursor,
        parts: Parts<(Ufid, Stats)>,
    },
    Dump {
        cursor: Cursor,
        found: Vec<Dumped>,
        reply: Reply<Vec<Dumped>>,
    },
}

/// Slots that one step reads.
const SLOTS: usize = 128;

impl Task {
    pub(super) fn apply(ops: Vec<Submission>, reply: Reply<Vec<Completion>>) -> Task {
        let done = Vec::with_capacity(ops.len());
        Task::Apply { next: None, rest: ops.into_iter(), done, reply }
    }

    pub(super) fn resolve(answers: Vec<(UpcallId, Resolution)>) -> Task {
        Task::Resolve(answers.into_iter())
    }

    pub(super) fn stats(parts: Parts<(Ufid, Stats)>) -> Task {
        Task::Stats { cursor: Cursor::default(), parts }
    }

    pub(super) fn dump(table: &FlowTable, reply: Reply<Vec<Dumped>>) -> Task {
        let found = Vec::with_capacity(table.len());
        Task::Dump { cursor: Cursor::default(), found, reply }
    }

    /// Takes one step; returns what is left to do. After the last step the answer is sent.
    pub(super) fn step(self, datapath: &mut Datapath, now: Moment) -> Option<Task> {
        match self {
            Task::Apply { next, mut rest, mut done, reply } => {
                let Some(op) = next.or_else(|| rest.next()) else {
                    reply.send(done);
                    return None;
                };
                let next = match datapath.table().try_apply(&op.op) {
                    None => Some(op),
                    Some(result) => {
                        done.push(op.completed(result));
                        None
                    }
                };
                Some(Task::Apply { next, rest, done, reply })
            }
            Task::Resolve(mut answers) => {
                let (id, resolution) = answers.next()?;
                datapath.resolve(id, &resolution, now);
                Some(Task::Resolve(answers))
            }
            Task::Stats { cursor, mut parts } => {
                let mut found = Vec::new();
                let next = datapath.table().news_slice(cursor, SLOTS, &mut found);
                if !found.is_empty() || next.is_none() {
                    parts.send(found, next.is_none());
                }
                next.map(|cursor| Task::Stats { cursor, parts })
            }
            Task::Dump { cursor, mut found, reply } => {
                match datapath.table().dump_slice(cursor, SLOTS, &mut found) {
                    Some(cursor) => return Some(Task::Dump { cursor, found, reply }),
                    None => reply.send(found),
                }
                None
            }
        }
    }
}
