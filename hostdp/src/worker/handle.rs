//! Commanding a worker from other threads.

use std::sync::Arc;

use crossbeam_channel::Sender;
use flow::{Actions, Completion, Dumped, PortId, Stats, Submission, Ufid};

use super::command::WorkerCommand;
use super::gather::{gather, gather_parts, merge_completions};
use super::reply::{Reply, ReplyParts};
use super::wake::Wake;
use crate::datapath::DatapathSnapshot;
use crate::port::{Port, PortError};
use crate::upcall::{Resolution, UpcallId};

/// Operations that a worker frees at once. To free the memory of a million would take it
/// milliseconds.
const PART: usize = 1024;

/// The thread of a worker has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a worker of the datapath has stopped")]
pub struct WorkerGone;

/// Commands the workers. The calls never block. The commands of one thread are carried out in
/// order by each worker, but no other command waits for the end of a reading of the table. An
/// answer comes when the last worker is done.
///
/// Operations, and changes of ports, are the business of one thread, so that all workers get them
/// in the same order.
#[derive(Clone)]
pub struct WorkerHandle {
    workers: Arc<[Mailbox]>,
}

/// Where a worker gets its commands.
pub(super) struct Mailbox {
    pub(super) commands: Sender<WorkerCommand>,
    pub(super) wake: Arc<Wake>,
}

impl WorkerHandle {
    pub(super) fn new(workers: Vec<Mailbox>) -> WorkerHandle {
        WorkerHandle { workers: workers.into() }
    }

    /// Operations on the host table; one completion each, in order. It comes when all workers have
    /// carried the operation out: no packet is forwarded by a removed megaflow after that. Its
    /// statistics are the sum of what the workers have counted and not told before.
    pub fn apply(
        &self,
        ops: Vec<Submission>,
        reply: Reply<Vec<Completion>>,
    ) -> Result<(), WorkerGone> {
        let mut ops = ops.into_iter();
        let mut parts: Vec<Vec<Submission>> = Vec::new();
        while ops.len() > 0 {
            parts.push(ops.by_ref().take(PART).collect());
        }
        // The last worker gets the operations themselves, the others copies.
        let copies = (1..self.workers.len()).map(|_| parts.clone()).collect::<Vec<_>>();
        let parts = copies.into_iter().chain([parts]);
        let replies = gather(self.workers.len(), reply, merge_completions);
        self.to_all(parts.zip(replies).map(|(parts, reply)| WorkerCommand::Apply(parts, reply)))
    }

    /// Answers upcalls, those of a worker in order. Where no packet waits for the answer any more,
    /// it has no effect.
    pub fn resolve(&self, answers: Vec<(UpcallId, Resolution)>) -> Result<(), WorkerGone> {
        let mut of_worker: Vec<Vec<_>> = self.workers.iter().map(|_| Vec::new()).collect();
        for answer in answers {
            if let Some(answers) = of_worker.get_mut(answer.0.worker()) {
                answers.push(answer);
            }
        }
        let all = self.workers.iter().zip(of_worker).filter(|(_, answers)| !answers.is_empty());
        send(all.map(|(worker, answers)| (worker, WorkerCommand::Resolve(answers))))
    }

    /// Carries out actions on a frame that the caller gives.
    pub fn execute(
        &self,
        frame: Vec<u8>,
        in_port: PortId,
        actions: Actions,
    ) -> Result<(), WorkerGone> {
        self.to_first(WorkerCommand::Execute { frame, in_port, actions })
    }

    /// Processes a frame as if the port had received it; the answer is false if no such port
    /// exists.
    pub fn receive(
        &self,
        port: PortId,
        frame: Vec<u8>,
        reply: Reply<bool>,
    ) -> Result<(), WorkerGone> {
        self.to_first(WorkerCommand::Receive { port, frame, reply })
    }

    /// Adds a port that the caller has opened, in whichever network namespace: a part of it for
    /// each worker, in their order. The answer is an error if the workers can't have it: as all
    /// have the same ports, then none has it.
    pub fn add_port(
        &self,
        id: PortId,
        parts: Vec<Box<dyn Port>>,
        reply: Reply<Result<(), PortError>>,
    ) -> Result<(), WorkerGone> {
        let replies = gather(self.workers.len(), reply, |first: Result<_, _>, others: Vec<_>| {
            others.into_iter().fold(first, Result::and)
        });
        let parts = parts.into_iter().zip(replies);
        self.to_all(parts.map(|(port, reply)| WorkerCommand::AddPort { id, port, reply }))
    }

    /// Removes a port; the answer is its parts, none if there is no such port. Dropping them closes
    /// the device.
    pub fn remove_port(
        &self,
        id: PortId,
        reply: Reply<Vec<Box<dyn Port>>>,
    ) -> Result<(), WorkerGone> {
        let replies = gather(self.workers.len(), reply, |first: Option<_>, others: Vec<_>| {
            first.into_iter().chain(others.into_iter().flatten()).collect()
        });
        self.to_all(replies.into_iter().map(|reply| WorkerCommand::RemovePort { id, reply }))
    }

    /// What was counted on megaflows since the last call, in parts. A megaflow that several workers
    /// have counted is in several parts, which add up.
    pub fn stats(&self, parts: ReplyParts<(Ufid, Stats)>) -> Result<(), WorkerGone> {
        let parts = gather_parts(self.workers.len(), parts);
        self.to_all(parts.into_iter().map(WorkerCommand::Stats))
    }

    /// All megaflows, in parts, as the first worker has them. Their statistics are what this worker
    /// has counted and not told.
    pub fn dump(&self, parts: ReplyParts<Dumped>) -> Result<(), WorkerGone> {
        self.to_first(WorkerCommand::Dump(parts))
    }

    /// All counters, those of each worker at one moment.
    pub fn snapshot(&self, reply: Reply<Box<DatapathSnapshot>>) -> Result<(), WorkerGone> {
        let replies =
            gather(self.workers.len(), reply, |mut sum: Box<DatapathSnapshot>, others| {
                others.into_iter().for_each(|other: Box<_>| sum.merge(*other));
                sum
            });
        self.to_all(replies.into_iter().map(WorkerCommand::Snapshot))
    }

    /// Ends the threads after the commands sent before; a reading under way is cut off.
    pub fn stop(&self) -> Result<(), WorkerGone> {
        self.to_all(self.workers.iter().map(|_| WorkerCommand::Stop))
    }

    fn to_first(&self, command: WorkerCommand) -> Result<(), WorkerGone> {
        send(self.workers.iter().zip([command]))
    }

    fn to_all(&self, commands: impl Iterator<Item = WorkerCommand>) -> Result<(), WorkerGone> {
        send(self.workers.iter().zip(commands))
    }
}

/// Sends each worker its command, also if another one is gone.
fn send<'a>(all: impl Iterator<Item = (&'a Mailbox, WorkerCommand)>) -> Result<(), WorkerGone> {
    let mut sent = Ok(());
    for (worker, command) in all {
        match worker.commands.send(command) {
            Ok(()) => worker.wake.wake(),
            Err(_) => sent = Err(WorkerGone),
        }
    }
    sent
}
