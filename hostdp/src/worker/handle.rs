//! Commanding a worker from other threads.

use std::sync::Arc;

use crossbeam_channel::Sender;
use flow::{Actions, Completion, Dumped, PortId, Stats, Submission, Ufid};

use super::command::WorkerCommand;
use super::reply::{Reply, ReplyParts};
use super::wake::Wake;
use crate::datapath::DatapathSnapshot;
use crate::port::{Port, PortError};
use crate::upcall::{Resolution, UpcallId};

/// Operations that the worker frees at once. To free the memory of a million would take it
/// milliseconds.
const PART: usize = 1024;

/// The worker's thread has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the datapath's worker has stopped")]
pub struct WorkerGone;

/// Commands a worker. The calls never block. The commands of one thread are carried out in order,
/// but no other command waits for the end of a reading of the table.
#[derive(Clone)]
pub struct WorkerHandle {
    commands: Sender<WorkerCommand>,
    wake: Arc<Wake>,
}

impl WorkerHandle {
    pub(super) fn new(commands: Sender<WorkerCommand>, wake: Arc<Wake>) -> WorkerHandle {
        WorkerHandle { commands, wake }
    }

    /// Operations on the host table; one completion each, in order.
    pub fn apply(
        &self,
        ops: Vec<Submission>,
        reply: Reply<Vec<Completion>>,
    ) -> Result<(), WorkerGone> {
        let mut ops = ops.into_iter();
        let mut parts = Vec::new();
        while ops.len() > 0 {
            parts.push(ops.by_ref().take(PART).collect());
        }
        self.send(WorkerCommand::Apply(parts, reply))
    }

    /// Answers upcalls, in order. Where no packet waits for the answer any more, it has no effect.
    pub fn resolve(&self, answers: Vec<(UpcallId, Resolution)>) -> Result<(), WorkerGone> {
        self.send(WorkerCommand::Resolve(answers))
    }

    /// Carries out actions on a frame that the caller gives.
    pub fn execute(
        &self,
        frame: Vec<u8>,
        in_port: PortId,
        actions: Actions,
    ) -> Result<(), WorkerGone> {
        self.send(WorkerCommand::Execute { frame, in_port, actions })
    }

    /// Processes a frame as if the port had received it; the answer is false if no such port
    /// exists.
    pub fn receive(
        &self,
        port: PortId,
        frame: Vec<u8>,
        reply: Reply<bool>,
    ) -> Result<(), WorkerGone> {
        self.send(WorkerCommand::Receive { port, frame, reply })
    }

    /// Adds a port that the caller has opened, in whichever network namespace.
    pub fn add_port(
        &self,
        id: PortId,
        port: Box<dyn Port>,
        reply: Reply<Result<(), PortError>>,
    ) -> Result<(), WorkerGone> {
        self.send(WorkerCommand::AddPort { id, port, reply })
    }

    /// Removes a port; the answer is the port itself. Dropping the port closes its device.
    pub fn remove_port(
        &self,
        id: PortId,
        reply: Reply<Option<Box<dyn Port>>>,
    ) -> Result<(), WorkerGone> {
        self.send(WorkerCommand::RemovePort { id, reply })
    }

    /// Statistics of the megaflows that packets hit since the last call, in parts.
    pub fn stats(&self, parts: ReplyParts<(Ufid, Stats)>) -> Result<(), WorkerGone> {
        self.send(WorkerCommand::Stats(parts))
    }

    /// All megaflows, in parts.
    pub fn dump(&self, parts: ReplyParts<Dumped>) -> Result<(), WorkerGone> {
        self.send(WorkerCommand::Dump(parts))
    }

    /// All counters at one moment.
    pub fn snapshot(&self, reply: Reply<Box<DatapathSnapshot>>) -> Result<(), WorkerGone> {
        self.send(WorkerCommand::Snapshot(reply))
    }

    /// Ends the thread after the commands sent before; a reading under way is cut off.
    pub fn stop(&self) -> Result<(), WorkerGone> {
        self.send(WorkerCommand::Stop)
    }

    fn send(&self, command: WorkerCommand) -> Result<(), WorkerGone> {
        self.commands.send(command).map_err(|_| WorkerGone)?;
        self.wake.wake();
        Ok(())
    }
}
