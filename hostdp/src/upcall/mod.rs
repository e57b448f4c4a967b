//! Upcalls: packets on their way to the client, in bounded queues.
//!
//! There is one queue per port and a special one, served round robin with a quota, so that no port
//! can starve another. Misses of one key make one upcall: packets with this key that come before
//! the answer wait with the first packet and share the answer. Bytes of memory and time bound the
//! packets that wait, not their number: a burst of small packets is no less a burst than one of
//! large ones. What finds no room is dropped and counted. The upcall of a `userspace` action is a
//! copy: no packet waits for its answer.

mod queue;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use flow::packet::{HEADROOM, Packet};
use flow::{Actions, Key, Moment, PortId, UpcallReason};
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use slab::Slab;

use crate::drops::DropReason;
use crate::ledger::Origin;
use queue::UpcallQueue;

pub use queue::QueueCounters;

/// The upcall of a `userspace` action with this pid goes to the special queue, as in OVS's dpif, so
/// that it is not lost when its port is busy.
pub const SPECIAL_PID: u32 = u32::MAX;

/// The id of an upcall whose answer packets wait for. Ids are never reused within a process.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct UpcallId {
    index: u32,
    serial: u32,
    /// The number of the worker that asks.
    worker: u16,
}

impl UpcallId {
    pub(crate) fn of_worker(self, worker: u16) -> UpcallId {
        UpcallId { worker, ..self }
    }

    pub(crate) fn worker(self) -> usize {
        self.worker.into()
    }
}

/// A packet for the client.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct QueuedUpcall {
    /// The id for [`crate::Datapath::resolve`]; `None` for the upcall of an action, since no packet
    /// waits for its answer.
    pub id: Option<UpcallId>,
    /// The port that the packet came in by.
    pub port: PortId,
    /// The key that the lookup used.
    pub key: Key,
    /// The frame as it was at the lookup or at the action; of an unfinished frame the first packet
    /// that it is on a wire, whose TCP flags may be fewer than the key's.
    pub frame: Vec<u8>,
    /// Why the packet goes to the client.
    pub reason: UpcallReason,
    /// The moment since which the upcall waits.
    pub queued_at: Moment,
}

/// The answer to an upcall: what happens to the packets that wait for it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Resolution {
    /// The packets are looked up again: a megaflow that they hit was installed.
    Reinject,
    /// These actions are executed on each packet. An empty list is [`Resolution::Drop`].
    Execute(Actions),
    /// The packets are dropped, and counted as dropped by the client.
    Drop,
}

/// Limits of the upcalls and packets that wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UpcallLimits {
    /// Upcalls in each port's queue.
    pub queue: usize,
    /// Upcalls in the special queue.
    pub special: usize,
    /// Bytes of memory of the packets that wait for one answer. The first packet always has room.
    pub bytes_per_key: usize,
    /// Bytes of memory of the packets of one port that wait for any answer.
    pub bytes_per_port: usize,
    /// Upcalls that a worker hands to the client before the first of them is answered.
    pub outstanding: usize,
    /// Upcalls that a worker hands to the client in one message.
    pub batch: usize,
    /// Upcalls that a queue hands out before the next one has its turn.
    pub quota: usize,
    /// Time from an upcall to the moment at which its packets are dropped if there is no answer.
    pub timeout: Duration,
}

impl Default for UpcallLimits {
    fn default() -> UpcallLimits {
        UpcallLimits {
            queue: 256,
            special: 1024,
            // A millisecond of full-size frames at 8 Gbit/s, or some 2,300 small frames: as many as
            // one answer can send on in about a millisecond.
            bytes_per_key: 1 << 20,
            bytes_per_port: 8 << 20,
            outstanding: 256,
            batch: 64,
            quota: 16,
            timeout: Duration::from_secs(5),
        }
    }
}

/// A packet that waits for an answer.
#[derive(Clone)]
pub(crate) struct Waiting {
    pub(crate) packet: Packet,
    pub(crate) origin: Origin,
    /// Number of recirculations of the packet so far.
    pub(crate) depth: usize,
}

impl Waiting {
    /// Bytes of memory that the packet takes while it waits.
    fn memory(&self) -> usize {
        size_of::<Waiting>() + HEADROOM + self.packet.len()
    }
}

/// An upcall that is not answered yet, with its packets.
pub(crate) struct PendingUpcall {
    pub(crate) port: PortId,
    pub(crate) key: Key,
    /// The packets; the client sees the first one.
    pub(crate) packets: Vec<Waiting>,
    /// Bytes of memory of the packets.
    bytes: usize,
    queued_at: Moment,
    serial: u32,
    delivered: bool,
}

/// An upcall in a queue.
enum Item {
    /// The index of a pending upcall; stale if the upcall there has another serial now.
    Miss { index: usize, serial: u32 },
    /// The whole upcall of an action: no packet waits for its answer.
    Action(Box<QueuedUpcall>),
}

pub(crate) struct Upcalls {
    limits: UpcallLimits,
    ports: BTreeMap<PortId, UpcallQueue<Item>>,
    special: UpcallQueue<Item>,
    pending: Slab<PendingUpcall>,
    by_key: HashMap<Key, usize, FixedState>,
    delivered: usize,
    serial: u32,
    /// The port whose queue has its turn next.
    turn: PortId,
}

impl Upcalls {
    pub(crate) fn new(seed: u64, limits: UpcallLimits) -> Upcalls {
        Upcalls {
            limits,
            ports: BTreeMap::new(),
            special: UpcallQueue::new(limits.special),
            pending: Slab::new(),
            by_key: HashMap::with_hasher(FixedState::with_seed(seed)),
            delivered: 0,
            serial: 0,
            turn: PortId(0),
        }
    }

    pub(crate) fn add_port(&mut self, port: PortId) {
        self.ports.entry(port).or_insert_with(|| UpcallQueue::new(self.limits.queue));
    }

    /// Removes the port's queue; returns the unanswered upcalls with their packets.
    pub(crate) fn remove_port(&mut self, port: PortId) -> Vec<PendingUpcall> {
        self.ports.remove(&port);
        self.take_where(|pending| pending.port == port)
    }

    /// Queues an upcall for a packet that missed, or lets the packet wait with one of the same key.
    /// An error if there is no room. What waits is a copy that takes no more memory than it needs.
    pub(crate) fn miss(
        &mut self,
        key: &Key,
        waiting: &Waiting,
        now: Moment,
    ) -> Result<(), DropReason> {
        let Some(queue) = self.ports.get_mut(&key.port()) else {
            return Err(DropReason::NoSuchPort);
        };
        let bytes = waiting.memory();
        if queue.waiting + bytes > self.limits.bytes_per_port {
            return Err(DropReason::UpcallPendingFull);
        }
        let known = self.by_key.get(key).and_then(|index| self.pending.get_mut(*index));
        if let Some(pending) = known {
            if pending.bytes + bytes > self.limits.bytes_per_key {
                return Err(DropReason::UpcallPendingFull);
            }
            pending.packets.push(waiting.clone());
            pending.bytes += bytes;
            queue.waiting += bytes;
            return Ok(());
        }
        if !queue.has_room() {
            queue.refuse();
            return Err(DropReason::UpcallQueueFull);
        }
        self.serial = self.serial.wrapping_add(1);
        let index = self.pending.insert(PendingUpcall {
            port: key.port(),
            key: *key,
            packets: vec![waiting.clone()],
            bytes,
            queued_at: now,
            serial: self.serial,
            delivered: false,
        });
        queue.push(Item::Miss { index, serial: self.serial });
        queue.waiting += bytes;
        self.by_key.insert(*key, index);
        Ok(())
    }

    /// Queues the copy that a `userspace` action makes; returns false if there is no room.
    pub(crate) fn action(&mut self, pid: u32, upcall: QueuedUpcall) -> bool {
        let queue = if pid == SPECIAL_PID {
            Some(&mut self.special)
        } else {
            self.ports.get_mut(&upcall.port)
        };
        let Some(queue) = queue else { return false };
        if queue.has_room() {
            queue.push(Item::Action(Box::new(upcall)));
            return true;
        }
        queue.refuse();
        false
    }

    /// Takes at most `max` upcalls off the queues. In each round the special queue comes first,
    /// then the ports in turn; each queue gives at most its quota.
    pub(crate) fn next(&mut self, max: usize) -> Vec<QueuedUpcall> {
        let mut out = Vec::new();
        loop {
            let before = out.len();
            for _ in 0..self.limits.quota.min(max - out.len()) {
                let Some(item) = self.special.pop() else { break };
                out.extend(self.deliver(item));
            }
            let after = self.ports.range(self.turn..).map(|(port, _)| *port);
            let order: Vec<PortId> =
                after.chain(self.ports.range(..self.turn).map(|(port, _)| *port)).collect();
            for port in order {
                if out.len() >= max {
                    self.turn = port;
                    break;
                }
                for _ in 0..self.limits.quota.min(max - out.len()) {
                    let item = self.ports.get_mut(&port).and_then(UpcallQueue::pop);
                    let Some(item) = item else { break };
                    out.extend(self.deliver(item));
                }
                self.turn = PortId(port.0.wrapping_add(1));
            }
            if out.len() >= max || out.len() == before {
                return out;
            }
        }
    }

    /// Makes the upcall of a queued item; `None` if it timed out in the queue.
    fn deliver(&mut self, item: Item) -> Option<QueuedUpcall> {
        let (index, serial) = match item {
            Item::Action(upcall) => return Some(*upcall),
            Item::Miss { index, serial } => (index, serial),
        };
        let pending = self.pending.get_mut(index).filter(|p| p.serial == serial)?;
        pending.delivered = true;
        self.delivered += 1;
        Some(QueuedUpcall {
            id: Some(UpcallId { index: u32::try_from(index).ok()?, serial, worker: 0 }),
            port: pending.port,
            key: pending.key,
            frame: first_frame(&pending.packets.first()?.packet),
            reason: UpcallReason::Miss,
            queued_at: pending.queued_at,
        })
    }

    /// Takes a delivered upcall with its packets; `None` if it does not wait any more.
    pub(crate) fn take(&mut self, id: UpcallId) -> Option<PendingUpcall> {
        let index = id.index as usize;
        self.pending.get(index).filter(|p| p.serial == id.serial && p.delivered)?;
        self.forget(index)
    }

    /// Takes the upcalls that have waited too long, with their packets.
    pub(crate) fn expire(&mut self, now: Moment) -> Vec<PendingUpcall> {
        let timeout = self.limits.timeout;
        self.take_where(|pending| now.since(pending.queued_at) >= timeout)
    }

    /// Upcalls handed to the client and not answered yet.
    pub(crate) fn outstanding(&self) -> usize {
        self.delivered
    }

    /// Upcalls in the queues.
    pub(crate) fn queued(&self) -> usize {
        self.special.len() + self.ports.values().map(UpcallQueue::len).sum::<usize>()
    }

    pub(crate) fn special(&self) -> QueueCounters {
        self.special.counters()
    }

    pub(crate) fn port(&self, port: PortId) -> QueueCounters {
        self.ports.get(&port).map(UpcallQueue::counters).unwrap_or_default()
    }

    fn take_where(&mut self, is_wanted: impl Fn(&PendingUpcall) -> bool) -> Vec<PendingUpcall> {
        let wanted = self.pending.iter().filter(|(_, pending)| is_wanted(pending));
        let indices: Vec<usize> = wanted.map(|(index, _)| index).collect();
        indices.into_iter().filter_map(|index| self.forget(index)).collect()
    }

    fn forget(&mut self, index: usize) -> Option<PendingUpcall> {
        let pending = self.pending.try_remove(index)?;
        self.by_key.remove(&pending.key);
        if let Some(queue) = self.ports.get_mut(&pending.port) {
            queue.waiting = queue.waiting.saturating_sub(pending.bytes);
        }
        self.delivered -= usize::from(pending.delivered);
        Some(pending)
    }
}

/// The first frame that a packet is on a wire.
fn first_frame(packet: &Packet) -> Vec<u8> {
    if packet.unfinished().is_none() {
        return packet.bytes().to_vec();
    }
    let mut first = Packet::default();
    packet.segment(0, &mut first);
    first.bytes().to_vec()
}
