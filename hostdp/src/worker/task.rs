//! Work that may be long: it is done in short steps, with forwarding in between.

use std::vec::IntoIter;

use flow::{Completion, Cursor, Dumped, Moment, Stats, Submission, Ufid};

use super::reply::{Reply, ReplyParts};
use crate::datapath::Datapath;
use crate::upcall::{Resolution, UpcallId};

/// A command that concerns many megaflows or upcalls, with what is done of it. The commands behind
/// an operation or an answer wait for its end, so that they are carried out in order; nobody waits
/// for the end of a reading.
pub(super) enum Task {
    Apply {
        next: Option<Submission>,
        part: IntoIter<Submission>,
        parts: IntoIter<Vec<Submission>>,
        done: Vec<Completion>,
        reply: Reply<Vec<Completion>>,
    },
    Resolve(IntoIter<(UpcallId, Resolution)>),
    Stats {
        cursor: Cursor,
        parts: ReplyParts<(Ufid, Stats)>,
    },
    Dump {
        cursor: Cursor,
        parts: ReplyParts<Dumped>,
    },
}

/// Operations that one step carries out. Few of them take longer than a microsecond or two, and
/// none of them much longer.
const OPS: usize = 16;
/// Slots that one step reads.
const SLOTS: usize = 128;

impl Task {
    pub(super) fn apply(parts: Vec<Vec<Submission>>, reply: Reply<Vec<Completion>>) -> Task {
        let done = Vec::with_capacity(parts.iter().map(Vec::len).sum());
        let part = Vec::new().into_iter();
        Task::Apply { next: None, part, parts: parts.into_iter(), done, reply }
    }

    pub(super) fn resolve(answers: Vec<(UpcallId, Resolution)>) -> Task {
        Task::Resolve(answers.into_iter())
    }

    pub(super) fn stats(parts: ReplyParts<(Ufid, Stats)>) -> Task {
        Task::Stats { cursor: Cursor::default(), parts }
    }

    pub(super) fn dump(parts: ReplyParts<Dumped>) -> Task {
        Task::Dump { cursor: Cursor::default(), parts }
    }

    /// Takes one step; returns what is left to do. After the last step the answer is sent.
    pub(super) fn step(self, datapath: &mut Datapath, now: Moment) -> Option<Task> {
        match self {
            Task::Apply { mut next, mut part, mut parts, mut done, reply } => {
                for _ in 0..OPS {
                    let Some(op) = next.take().or_else(|| part.next()) else {
                        let Some(another) = parts.next() else {
                            reply.send(done);
                            return None;
                        };
                        part = another.into_iter();
                        continue;
                    };
                    match datapath.table().try_apply(&op.op) {
                        // This was a step of its own, and the next one may be as long.
                        None => {
                            next = Some(op);
                            break;
                        }
                        Some(result) => done.push(op.completed(result)),
                    }
                }
                Some(Task::Apply { next, part, parts, done, reply })
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
            Task::Dump { cursor, mut parts } => {
                let mut found = Vec::new();
                let next = datapath.table().dump_slice(cursor, SLOTS, &mut found);
                parts.send(found, next.is_none());
                next.map(|cursor| Task::Dump { cursor, parts })
            }
        }
    }
}
