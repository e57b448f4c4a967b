//! Upcalls to the client, and the answers that decide about their packets.

use flow::packet::{self, Packet};
use flow::{Action, Counters, Key, Moment, PortId};

use super::{Datapath, ETHERNET_HEADER, Origin};
use crate::drops::DropReason;
use crate::port::{Batch, Frame};
use crate::upcall::{Pending, Resolution, Upcall, UpcallId};

impl Datapath {
    /// At most `max` upcalls for the client: queues in turn, each in order.
    pub fn next_upcalls(&mut self, max: usize) -> Vec<Upcall> {
        self.upcalls.next(max)
    }

    /// Number of upcalls that were handed out and not answered yet, and of those in the queues.
    #[must_use]
    pub fn upcalls_waiting(&self) -> (usize, usize) {
        (self.upcalls.outstanding(), self.upcalls.queued())
    }

    /// Answers an upcall, so that its packets go on. Returns false if no packet waits any more.
    pub fn resolve(&mut self, id: UpcallId, resolution: &Resolution, now: Moment) -> bool {
        let Some(pending) = self.upcalls.take(id) else { return false };
        match resolution {
            Resolution::Reinject => self.reinject(pending, now),
            Resolution::Execute(actions) if self.can_execute(actions) => {
                self.execute_pending(pending, actions, now);
            }
            Resolution::Execute(_) | Resolution::Drop => {
                self.drop_pending(pending, DropReason::Client);
            }
        }
        self.flush();
        true
    }

    /// Carries out actions on a frame that the caller gives, as if it had come in by `in_port`. The
    /// frame was not received: the ledger leaves it out, [`super::Snapshot::injected`] counts it.
    pub fn execute(&mut self, frame: &[u8], in_port: PortId, actions: &[Action], now: Moment) {
        let what = Counters::packet(frame.len());
        self.injected += what;
        if frame.len() < ETHERNET_HEADER {
            return self.drop_packet(DropReason::Malformed, Origin::Counted, in_port, what);
        }
        if !self.can_execute(actions) {
            return self.drop_packet(DropReason::Client, Origin::Counted, in_port, what);
        }
        self.credits.clear();
        let key = Key { in_port: in_port.0, ..packet::extract(frame) };
        let packet = self.start(Packet::new(frame), key, Origin::Counted);
        self.execute_list(actions, vec![packet], 0, now);
        self.flush();
    }

    /// Processes a frame as if the port had received it; returns false if no such port exists.
    pub fn receive(&mut self, port: PortId, frame: &[u8], now: Moment) -> bool {
        if !self.ports.contains_key(&port) {
            return false;
        }
        let mut batch = Batch::new();
        batch.push(Frame::fresh(Packet::new(frame)));
        self.process(port, &mut batch, now);
        true
    }

    /// Returns true if the actions can be executed. An empty list, and a list that the host table
    /// would refuse, are drops.
    fn can_execute(&self, actions: &[Action]) -> bool {
        !actions.is_empty() && self.table.can_execute(actions)
    }

    fn reinject(&mut self, pending: Pending, now: Moment) {
        self.credits.clear();
        // These packets were counted as missed. As in OVS, each packet is counted once.
        let slot = self.table.lookup_again(&pending.key);
        for waiting in pending.packets {
            let what = Counters::packet(waiting.packet.len());
            self.unwait(waiting.origin, what);
            if let Some(slot) = slot {
                let packet = self.start(waiting.packet, pending.key, waiting.origin);
                self.hit(slot, vec![packet], waiting.depth, now);
            } else {
                let (reason, port) = (DropReason::ClientMismatch, pending.key.port());
                self.drop_packet(reason, waiting.origin, port, what);
            }
        }
    }

    fn execute_pending(&mut self, pending: Pending, actions: &[Action], now: Moment) {
        self.credits.clear();
        for waiting in pending.packets {
            let what = Counters::packet(waiting.packet.len());
            self.unwait(waiting.origin, what);
            if let Some(account) = self.ledger.of(waiting.origin) {
                account.executed += what;
            }
            let packet = self.start(waiting.packet, pending.key, Origin::Counted);
            self.execute_list(actions, vec![packet], waiting.depth, now);
        }
    }
}
