//! Upcalls: packets on their way to the client, in bounded queues.
//!
//! One queue per port and a special one, served round robin with a quota, so that no port can
//! starve another. A miss makes one upcall per key: packets of the same key that come before it
//! is answered wait beside it (a few; the rest are dropped and counted) and share its answer.
//! An `userspace` action's upcall is a copy: nothing waits for its answer.

mod queue;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use flow::packet::Packet;
use flow::{Actions, Key, Moment, PortId, UpcallReason};
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use slab::Slab;

use crate::datapath::Origin;
use crate::drops::DropReason;
use queue::{Item, Queue};

/// An `userspace` action with this pid goes to the special queue, as dpif has it: what must not
/// be lost even if its port is busy.
pub const SPECIAL_PID: u32 = u32::MAX;

/// Which upcall an answer is for. Never reused within a process.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct UpcallId {
    index: u32,
    serial: u32,
}

/// A packet for the client.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Upcall {
    /// For [`crate::Datapath::resolve`]; `None` for an action's upcall: nothing waits for it.
    pub id: Option<UpcallId>,
    /// The port that the packet came in by.
    pub port: PortId,
    /// Its key, as the lookup saw it.
    pub key: Key,
    /// The frame, as it was at that point.
    pub frame: Vec<u8>,
    /// Why.
    pub reason: UpcallReason,
    /// Since when it waits.
    pub queued_at: Moment,
}

/// What to do with the packets that wait for an upcall's answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Resolution {
    /// Look them up again: a megaflow that they hit was installed.
    Reinject,
    /// Do this to each; empty is [`Resolution::Drop`].
    Execute(Actions),
    /// Drop them, counted as dropped by the client.
    Drop,
}

/// How much may wait, and how long.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UpcallLimits {
    /// Upcalls in each port's queue.
    pub queue: usize,
    /// Upcalls in the special queue.
    pub special: usize,
    /// Packets that wait for one answer.
    pub waiting_per_key: usize,
    /// Packets of one port that wait for any answer.
    pub waiting: usize,
    /// Upcalls that a worker hands to the client before the first of them is answered.
    pub outstanding: usize,
    /// Upcalls that a queue hands out before the next one has its turn.
    pub quota: usize,
    /// After that long without an answer the packets are dropped.
    pub timeout: Duration,
}

impl Default for UpcallLimits {
    fn default() -> UpcallLimits {
        UpcallLimits {
            queue: 256,
            special: 1024,
            waiting_per_key: 32,
            waiting: 2048,
            outstanding: 256,
            quota: 16,
            timeout: Duration::from_secs(5),
        }
    }
}

/// Counts of one queue; what it dropped is also among the datapath's drops.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct QueueCounters {
    /// Upcalls taken in.
    pub queued: u64,
    /// Upcalls handed to the client.
    pub delivered: u64,
    /// Upcalls refused because the queue was full.
    pub dropped: u64,
    /// Upcalls in it now.
    pub length: u64,
}

/// A packet that waits for an answer.
pub(crate) struct Waiting {
    pub(crate) packet: Packet,
    pub(crate) origin: Origin,
    /// Recirculations that it has behind it.
    pub(crate) depth: usize,
}

/// An upcall that is not answered yet, with its packets.
pub(crate) struct Pending {
    pub(crate) port: PortId,
    pub(crate) key: Key,
    /// The first is the one that the client sees.
    pub(crate) packets: Vec<Waiting>,
    queued_at: Moment,
    serial: u32,
    delivered: bool,
}

pub(crate) struct Upcalls {
    limits: UpcallLimits,
    ports: BTreeMap<PortId, Queue>,
    special: Queue,
    pending: Slab<Pending>,
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
            special: Queue::new(limits.special),
            pending: Slab::new(),
            by_key: HashMap::with_hasher(FixedState::with_seed(seed)),
            delivered: 0,
            serial: 0,
            turn: PortId(0),
        }
    }

    pub(crate) fn add_port(&mut self, port: PortId) {
        self.ports.entry(port).or_insert_with(|| Queue::new(self.limits.queue));
    }

    /// Forgets the port's queue; returns what waited for answers.
    pub(crate) fn remove_port(&mut self, port: PortId) -> Vec<Pending> {
        self.ports.remove(&port);
        self.take_where(|pending| pending.port == port)
    }

    /// Takes a packet that missed; says why not where there is no room.
    pub(crate) fn miss(
        &mut self,
        key: &Key,
        waiting: Waiting,
        now: Moment,
    ) -> Result<(), DropReason> {
        let Some(queue) = self.ports.get_mut(&key.port()) else {
            return Err(DropReason::NoSuchPort);
        };
        if queue.waiting >= self.limits.waiting {
            return Err(DropReason::UpcallPendingFull);
        }
        let known = self.by_key.get(key).and_then(|index| self.pending.get_mut(*index));
        if let Some(pending) = known {
            if pending.packets.len() >= self.limits.waiting_per_key {
                return Err(DropReason::UpcallPendingFull);
            }
            pending.packets.push(waiting);
            queue.waiting += 1;
            return Ok(());
        }
        if !queue.has_room() {
            queue.refuse();
            return Err(DropReason::UpcallQueueFull);
        }
        self.serial = self.serial.wrapping_add(1);
        let index = self.pending.insert(Pending {
            port: key.port(),
            key: *key,
            packets: vec![waiting],
            queued_at: now,
            serial: self.serial,
            delivered: false,
        });
        queue.push(Item::Miss { index, serial: self.serial });
        queue.waiting += 1;
        self.by_key.insert(*key, index);
        Ok(())
    }

    /// Takes the copy that an `userspace` action makes; false where there is no room.
    pub(crate) fn action(&mut self, pid: u32, upcall: Upcall) -> bool {
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

    /// At most `max` upcalls: the special queue first in each round, then the ports in turn,
    /// each at most its quota a round.
    pub(crate) fn next(&mut self, max: usize) -> Vec<Upcall> {
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
                    let item = self.ports.get_mut(&port).and_then(Queue::pop);
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

    /// `None` for one that timed out in the queue.
    fn deliver(&mut self, item: Item) -> Option<Upcall> {
        let (index, serial) = match item {
            Item::Action(upcall) => return Some(*upcall),
            Item::Miss { index, serial } => (index, serial),
        };
        let pending = self.pending.get_mut(index).filter(|p| p.serial == serial)?;
        pending.delivered = true;
        self.delivered += 1;
        Some(Upcall {
            id: Some(UpcallId { index: u32::try_from(index).ok()?, serial }),
            port: pending.port,
            key: pending.key,
            frame: pending.packets.first()?.packet.bytes().to_vec(),
            reason: UpcallReason::Miss,
            queued_at: pending.queued_at,
        })
    }

    /// Takes a delivered upcall's packets for its answer; `None` if it is not waiting any more.
    pub(crate) fn take(&mut self, id: UpcallId) -> Option<Pending> {
        let index = id.index as usize;
        self.pending.get(index).filter(|p| p.serial == id.serial && p.delivered)?;
        self.forget(index)
    }

    /// Takes those that have waited too long.
    pub(crate) fn expire(&mut self, now: Moment) -> Vec<Pending> {
        let timeout = self.limits.timeout;
        self.take_where(|pending| now.since(pending.queued_at) >= timeout)
    }

    /// Upcalls handed to the client and not answered yet.
    pub(crate) fn outstanding(&self) -> usize {
        self.delivered
    }

    /// Upcalls in the queues.
    pub(crate) fn queued(&self) -> usize {
        self.special.len() + self.ports.values().map(Queue::len).sum::<usize>()
    }

    pub(crate) fn special(&self) -> QueueCounters {
        self.special.counters()
    }

    pub(crate) fn port(&self, port: PortId) -> QueueCounters {
        self.ports.get(&port).map(Queue::counters).unwrap_or_default()
    }

    fn take_where(&mut self, is_wanted: impl Fn(&Pending) -> bool) -> Vec<Pending> {
        let wanted = self.pending.iter().filter(|(_, pending)| is_wanted(pending));
        let indices: Vec<usize> = wanted.map(|(index, _)| index).collect();
        indices.into_iter().filter_map(|index| self.forget(index)).collect()
    }

    fn forget(&mut self, index: usize) -> Option<Pending> {
        let pending = self.pending.try_remove(index)?;
        self.by_key.remove(&pending.key);
        if let Some(queue) = self.ports.get_mut(&pending.port) {
            queue.waiting = queue.waiting.saturating_sub(pending.packets.len());
        }
        self.delivered -= usize::from(pending.delivered);
        Some(pending)
    }
}
