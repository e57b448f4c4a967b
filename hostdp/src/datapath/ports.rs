//! The ports of a datapath, and the frames that are queued for each.

use std::collections::BTreeMap;
use std::os::fd::BorrowedFd;

use flow::PortId;
use flow::packet::Packet;

use super::books::DatapathBooks;
use crate::port::{Batch, LinkState, Port, PortError, TxReport};

/// The ports by number; numbers and names are unique.
#[derive(Default)]
pub(super) struct Ports {
    slots: BTreeMap<PortId, Slot>,
    report: TxReport,
}

struct Slot {
    port: Box<dyn Port>,
    /// Frames to send with the next flush.
    queue: Vec<Packet>,
}

impl Ports {
    /// Adds a port; number and name must be free.
    pub(super) fn add(&mut self, id: PortId, port: Box<dyn Port>) -> Result<(), PortError> {
        let is_named = |slot: &Slot| slot.port.name() == port.name();
        if self.has(id) || self.slots.values().any(is_named) {
            return Err(PortError::Taken(port.name().into()));
        }
        self.slots.insert(id, Slot { port, queue: Vec::new() });
        Ok(())
    }

    pub(super) fn remove(&mut self, id: PortId) -> Option<Box<dyn Port>> {
        self.slots.remove(&id).map(|slot| slot.port)
    }

    pub(super) fn has(&self, id: PortId) -> bool {
        self.slots.contains_key(&id)
    }

    /// The ports by number.
    pub(super) fn iter(&self) -> impl Iterator<Item = (PortId, &dyn Port)> {
        self.slots.iter().map(|(id, slot)| (*id, &*slot.port))
    }

    /// The port with the lowest number.
    pub(super) fn first(&self) -> Option<PortId> {
        self.slots.keys().next().copied()
    }

    /// The port with the next higher number.
    pub(super) fn after(&self, id: PortId) -> Option<PortId> {
        let next = PortId(id.0.checked_add(1)?);
        self.slots.range(next..).next().map(|(id, _)| *id)
    }

    /// Adds the frames that have come in at the port to the batch.
    pub(super) fn receive(&mut self, id: PortId, batch: &mut Batch) {
        if let Some(slot) = self.slots.get_mut(&id) {
            slot.port.receive(batch);
        }
    }

    /// Queues a frame to be sent; returns false if no such port exists.
    pub(super) fn queue(&mut self, id: PortId, frame: Packet) -> bool {
        let slot = self.slots.get_mut(&id);
        slot.map(|slot| slot.queue.push(frame)).is_some()
    }

    /// Sends what is queued.
    pub(super) fn flush(&mut self, books: &mut DatapathBooks) {
        for (id, slot) in self.slots.iter_mut().filter(|(_, slot)| !slot.queue.is_empty()) {
            slot.port.transmit(&mut slot.queue, &mut self.report);
            books.sent(*id, std::mem::take(&mut self.report.sent));
            for (reason, what) in self.report.dropped.drain(..) {
                books.not_sent(*id, reason, what);
            }
        }
    }

    /// Lets the ports check their devices.
    pub(super) fn check(&mut self, books: &mut DatapathBooks) {
        for (id, slot) in &mut self.slots {
            slot.port.check();
            let lost = slot.port.overruns();
            if lost > 0 {
                books.overrun(*id, lost);
            }
        }
    }

    /// Prepares for a sleep until one of the ports is readable; true if some port has no
    /// descriptor to sleep on and has to be polled instead.
    pub(super) fn arm(&mut self) -> bool {
        let mut has_to_poll = false;
        for slot in self.slots.values_mut() {
            slot.port.arm();
            let works = slot.port.state() == LinkState::Up;
            has_to_poll |= works && slot.port.readable().is_none();
        }
        has_to_poll
    }

    /// Descriptors that become readable when a port has packets.
    pub(super) fn readable(&self) -> Vec<BorrowedFd<'_>> {
        self.slots.values().filter_map(|slot| slot.port.readable()).collect()
    }
}
