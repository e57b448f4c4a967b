//! The ports of a datapath, with what is counted and queued for each.

use std::os::fd::BorrowedFd;

use flow::packet::Packet;
use flow::{Counters, Moment, PortId};

use super::{Datapath, Origin};
use crate::drops::{DropReason, Drops};
use crate::port::{Batch, LinkState, Port, PortError, TxReport};
use crate::upcall::Pending;

pub(super) struct PortSlot {
    pub(super) port: Box<dyn Port>,
    /// Frames to send with the next flush.
    queue: Vec<Packet>,
    report: TxReport,
    pub(super) received: Counters,
    pub(super) continued: Counters,
    pub(super) sent: Counters,
    pub(super) receive_drops: Drops,
    pub(super) transmit_drops: Drops,
}

impl PortSlot {
    fn new(port: Box<dyn Port>) -> PortSlot {
        PortSlot {
            port,
            queue: Vec::new(),
            report: TxReport::default(),
            received: Counters::default(),
            continued: Counters::default(),
            sent: Counters::default(),
            receive_drops: Drops::default(),
            transmit_drops: Drops::default(),
        }
    }

    pub(super) fn receive(&mut self, batch: &mut Batch) {
        self.port.receive(batch);
    }

    pub(super) fn queue(&mut self, frame: Packet) {
        self.queue.push(frame);
    }

    pub(super) fn count_received(&mut self, origin: Origin, what: Counters) {
        match origin {
            Origin::Continued => self.continued += what,
            Origin::Fresh | Origin::Counted => self.received += what,
        }
    }

    pub(super) fn count_receive_drop(&mut self, reason: DropReason, what: Counters) {
        self.receive_drops.count(reason, what);
    }

    fn flush(&mut self, drops: &mut Drops, sent: &mut Counters) {
        if self.queue.is_empty() {
            return;
        }
        self.port.transmit(&mut self.queue, &mut self.report);
        let now_sent = std::mem::take(&mut self.report.sent);
        self.sent += now_sent;
        *sent += now_sent;
        for (reason, what) in self.report.dropped.drain(..) {
            self.transmit_drops.count(reason, what);
            drops.count(reason, what);
        }
    }
}

impl Datapath {
    /// Adds a port under a number; number and name must be free.
    pub fn add_port(&mut self, id: PortId, port: Box<dyn Port>) -> Result<(), PortError> {
        let is_named = |slot: &PortSlot| slot.port.name() == port.name();
        if self.ports.contains_key(&id) || self.ports.values().any(is_named) {
            return Err(PortError::Taken(port.name().into()));
        }
        self.ports.insert(id, PortSlot::new(port));
        self.upcalls.add_port(id);
        Ok(())
    }

    /// Removes a port and returns it; `None` if no port has the number. The port's packets that
    /// wait for answers are dropped; megaflows that name the port stay.
    pub fn remove_port(&mut self, id: PortId) -> Option<Box<dyn Port>> {
        let slot = self.ports.remove(&id)?;
        for pending in self.upcalls.remove_port(id) {
            self.drop_pending(pending, DropReason::PortRemoved);
        }
        Some(slot.port)
    }

    /// The ports and their states, by number.
    pub fn ports(&self) -> impl Iterator<Item = (PortId, &dyn Port)> {
        self.ports.iter().map(|(id, slot)| (*id, &*slot.port))
    }

    /// Lets the ports check their devices, and drops packets that waited too long for an answer.
    /// Callers call this a few times a second.
    pub fn check(&mut self, now: Moment) {
        for slot in self.ports.values_mut() {
            slot.port.check();
            let lost = slot.port.overruns();
            if lost > 0 {
                let what = Counters { packets: lost, bytes: 0 };
                slot.receive_drops.count(DropReason::RxOverrun, what);
                self.drops.count(DropReason::RxOverrun, what);
            }
        }
        for pending in self.upcalls.expire(now) {
            self.drop_pending(pending, DropReason::PendingTimeout);
        }
    }

    /// Prepares for a sleep until one of the ports is readable; true if some port has no
    /// descriptor to sleep on and has to be polled instead.
    pub fn arm(&mut self) -> bool {
        let mut has_to_poll = false;
        for slot in self.ports.values_mut() {
            slot.port.arm();
            let works = slot.port.state() == LinkState::Up;
            has_to_poll |= works && slot.port.readable().is_none();
        }
        has_to_poll
    }

    /// Descriptors that become readable when a port has packets.
    #[must_use]
    pub fn readable(&self) -> Vec<BorrowedFd<'_>> {
        self.ports.values().filter_map(|slot| slot.port.readable()).collect()
    }

    /// Sends what is queued.
    pub(super) fn flush(&mut self) {
        for slot in self.ports.values_mut() {
            slot.flush(&mut self.drops, &mut self.ends.sent);
        }
    }

    /// Drops the packets of an upcall.
    pub(super) fn drop_pending(&mut self, pending: Pending, reason: DropReason) {
        for waiting in pending.packets {
            let what = Counters::packet(waiting.packet.len());
            self.unwait(waiting.origin, what);
            self.drop_packet(reason, waiting.origin, pending.port, what);
        }
    }

    /// The packet waits no longer.
    pub(super) fn unwait(&mut self, origin: Origin, what: Counters) {
        self.ends.waiting = self.ends.waiting.since(what).unwrap_or_default();
        if let Some(account) = self.ledger.of(origin) {
            account.pending = account.pending.since(what).unwrap_or_default();
        }
    }
}
