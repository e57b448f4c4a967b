//! What a worker can be told to do.

use flow::{Actions, Completion, Dumped, Moment, Op, PortId, Provider, Stats, Ufid};

use super::Loop;
use super::handle::Reply;
use crate::datapath::Snapshot;
use crate::port::{Port, PortError};
use crate::upcall::{Resolution, UpcallId};

pub(super) enum Command {
    Apply(Vec<Op>, Reply<Vec<Completion>>),
    Resolve(UpcallId, Resolution),
    Execute { frame: Vec<u8>, in_port: PortId, actions: Actions },
    Receive { port: PortId, frame: Vec<u8>, reply: Reply<bool> },
    AddPort { id: PortId, port: Box<dyn Port>, reply: Reply<Result<(), PortError>> },
    RemovePort { id: PortId, reply: Reply<Option<Box<dyn Port>>> },
    Stats(Reply<Vec<(Ufid, Stats)>>),
    Dump(Reply<Vec<Dumped>>),
    Snapshot(Reply<Box<Snapshot>>),
    Stop,
}

impl Loop {
    pub(super) fn carry_out(&mut self, command: Command, now: Moment) {
        match command {
            Command::Apply(ops, reply) => {
                let mut done = Vec::with_capacity(ops.len());
                self.datapath.table().apply(&ops, &mut done);
                reply.send(done);
            }
            Command::Resolve(id, resolution) => {
                self.datapath.resolve(id, &resolution, now);
            }
            Command::Execute { frame, in_port, actions } => {
                self.datapath.execute(&frame, in_port, &actions, now);
            }
            Command::Receive { port, frame, reply } => {
                reply.send(self.datapath.receive(port, &frame, now));
            }
            Command::AddPort { id, port, reply } => {
                reply.send(self.datapath.add_port(id, port));
            }
            Command::RemovePort { id, reply } => reply.send(self.datapath.remove_port(id)),
            Command::Stats(reply) => {
                let mut out = Vec::new();
                // The host table always answers.
                let _ = self.datapath.table().stats(&mut out);
                reply.send(out);
            }
            Command::Dump(reply) => {
                let mut out = Vec::new();
                let _ = self.datapath.table().dump(&mut out);
                reply.send(out);
            }
            Command::Snapshot(reply) => reply.send(Box::new(self.datapath.snapshot())),
            // Handled by the loop itself.
            Command::Stop => {}
        }
    }
}
