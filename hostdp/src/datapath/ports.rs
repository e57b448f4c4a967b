//! The ports of a datapath, and the frames that are queued for each.

use std::os::fd::BorrowedFd;

use flow::PortId;
use flow::packet::Packet;

use super::books::DatapathBooks;
use crate::port::{Batch, LinkState, PacketPool, Port, PortError, TxReport};

/// The ports; numbers and names are unique.
#[derive(Default)]
pub(super) struct Ports {
    /// By number. There are few ports, and they are looked for by every group of packets.
    slots: Vec<Slot>,
    report: TxReport,
}

struct Slot {
    id: PortId,
    port: Box<dyn Port>,
    /// Frames to send with the next flush.
    queue: Vec<Packet>,
}

impl Ports {
    /// Adds a port; number and name must be free.
    pub(super) fn add(&mut self, id: PortId, port: Box<dyn Port>) -> Result<(), PortError> {
        let is_named = |slot: &Slot| slot.port.name() == port.name();
        match self.place(id) {
            Err(place) if !self.slots.iter().any(is_named) => {
                self.slots.insert(place, Slot { id, port, queue: Vec::new() });
                Ok(())
            }
            _ => Err(PortError::Taken(port.name().into())),
        }
    }

    pub(super) fn remove(&mut self, id: PortId) -> Option<Box<dyn Port>> {
        self.place(id).ok().map(|place| self.slots.remove(place).port)
    }

    pub(super) fn has(&self, id: PortId) -> bool {
        self.place(id).is_ok()
    }

    /// Where the port is, or where it would be.
    fn place(&self, id: PortId) -> Result<usize, usize> {
        self.slots.binary_search_by_key(&id, |slot| slot.id)
    }

    fn slot(&mut self, id: PortId) -> Option<&mut Slot> {
        let place = self.place(id).ok()?;
        self.slots.get_mut(place)
    }

    /// The ports by number.
    pub(super) fn iter(&self) -> impl Iterator<Item = (PortId, &dyn Port)> {
        self.slots.iter().map(|slot| (slot.id, &*slot.port))
    }

    /// The port with the lowest number.
    pub(super) fn first(&self) -> Option<PortId> {
        self.slots.first().map(|slot| slot.id)
    }

    /// The port with the next higher number.
    pub(super) fn after(&self, id: PortId) -> Option<PortId> {
        let next = self.slots.partition_point(|slot| slot.id <= id);
        self.slots.get(next).map(|slot| slot.id)
    }

    /// Adds the frames that have come in at the port to the batch.
    pub(super) fn receive(&mut self, id: PortId, batch: &mut Batch) {
        if let Some(slot) = self.slot(id) {
            slot.port.receive(batch);
        }
    }

    /// The frames that wait to be sent by a port; `None` if no such port exists.
    pub(super) fn queue(&mut self, id: PortId) -> Option<&mut Vec<Packet>> {
        self.slot(id).map(|slot| &mut slot.queue)
    }

    /// Sends what is queued. The pool gets the memory of what the ports don't keep.
    pub(super) fn flush(&mut self, books: &mut DatapathBooks, pool: &mut PacketPool) {
        for slot in self.slots.iter_mut().filter(|slot| !slot.queue.is_empty()) {
            if !slot.port.takes_unfinished() {
                finish(&mut slot.queue, pool);
            }
            let queued: usize = slot.queue.iter().map(Packet::segments).sum();
            slot.port.transmit(&mut slot.queue, &mut self.report);
            pool.keep_all(&mut slot.queue);
            let dropped: u64 = self.report.dropped.iter().map(|(_, what)| what.packets).sum();
            debug_assert_eq!(
                queued as u64,
                self.report.sent.packets + dropped,
                "a port told of each"
            );
            books.sent(slot.id, std::mem::take(&mut self.report.sent));
            for (reason, what) in self.report.dropped.drain(..) {
                books.not_sent(slot.id, reason, what);
            }
        }
    }

    /// Lets the ports check their devices.
    pub(super) fn check(&mut self, books: &mut DatapathBooks) {
        for slot in &mut self.slots {
            slot.port.check();
            let lost = slot.port.overruns();
            if lost > 0 {
                books.overrun(slot.id, lost);
            }
        }
    }

    /// Prepares for a sleep until one of the ports is readable; true if some port has no
    /// descriptor to sleep on and has to be polled instead.
    pub(super) fn arm(&mut self) -> bool {
        let mut has_to_poll = false;
        for slot in &mut self.slots {
            slot.port.arm();
            let works = slot.port.state() == LinkState::Up;
            has_to_poll |= works && slot.port.readable().is_none();
        }
        has_to_poll
    }

    /// Descriptors that become readable when a port has packets.
    pub(super) fn readable(&self) -> Vec<BorrowedFd<'_>> {
        self.slots.iter().filter_map(|slot| slot.port.readable()).collect()
    }
}

/// Puts the frames that unfinished ones are on a wire in the place of these.
fn finish(queue: &mut Vec<Packet>, pool: &mut PacketPool) {
    if queue.iter().any(|packet| packet.unfinished().is_some()) {
        let unfinished = std::mem::take(queue);
        unfinished.into_iter().for_each(|packet| pool.finish(packet, |whole| queue.push(whole)));
    }
}
