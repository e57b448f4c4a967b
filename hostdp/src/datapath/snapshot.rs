//! Everything that is counted, at one moment.

use flow::{ClassifierCounters, Counters, Histogram, PortId};

use crate::drops::Drops;
use crate::ledger::{Ends, Ledger};
use crate::port::{LinkState, PortKind};
use crate::upcall::QueueCounters;

/// A copy of a datapath's counters.
#[derive(Clone, Debug)]
pub struct DatapathSnapshot {
    /// Where every received packet went.
    pub ledger: Ledger,
    /// Where packets and their copies ended.
    pub ends: Ends,
    /// All drops, those after a hit and those of copies included.
    pub drops: Drops,
    /// Packets that hit a megaflow without actions, at any depth. These are hits, not among
    /// `drops`.
    pub explicit_drops: Counters,
    /// Frames that callers gave to execute; answers to upcalls are not included.
    pub injected: Counters,
    /// Number of packets looked up, indexed by their number of recirculations before the lookup.
    pub lookups_at_depth: Vec<u64>,
    /// Times of the owner's steps other than forwarding, see [`crate::Datapath::stepped`].
    pub steps: Histogram,
    /// Counters of the lookups.
    pub lookups: ClassifierCounters,
    /// Number of megaflows.
    pub flows: usize,
    /// Number of masks; a mask counts once for each port, scope and EtherType that it is used with.
    pub masks: usize,
    /// Upcalls that wait for the client's answer.
    pub upcalls_outstanding: usize,
    /// The special upcall queue.
    pub special_queue: QueueCounters,
    /// The ports, by number.
    pub ports: Vec<PortSnapshot>,
}

impl DatapathSnapshot {
    /// Adds the counters of another worker, whose table has the same megaflows and which has a part
    /// of the same ports.
    pub(crate) fn merge(&mut self, other: DatapathSnapshot) {
        self.ledger.add(&other.ledger);
        self.ends.add(&other.ends);
        self.drops.add(&other.drops);
        self.explicit_drops += other.explicit_drops;
        self.injected += other.injected;
        for (sum, count) in self.lookups_at_depth.iter_mut().zip(other.lookups_at_depth) {
            *sum += count;
        }
        self.steps.merge(&other.steps);
        self.lookups.lookups += other.lookups.lookups;
        self.lookups.hits += other.lookups.hits;
        self.lookups.visited += other.lookups.visited;
        self.upcalls_outstanding += other.upcalls_outstanding;
        self.special_queue.add(other.special_queue);
        for port in other.ports {
            match self.ports.iter_mut().find(|known| known.id == port.id) {
                Some(known) => known.merge(port),
                None => self.ports.push(port),
            }
        }
    }
}

/// A copy of one port's counters.
#[derive(Clone, Debug)]
pub struct PortSnapshot {
    /// The port's number.
    pub id: PortId,
    /// The port's name.
    pub name: String,
    /// The port's kind.
    pub kind: PortKind,
    /// The port's state.
    pub state: LinkState,
    /// Why the port does not work, or what else is wrong with it.
    pub trouble: Option<String>,
    /// The way that the port's frames take, for people; `None` for the usual one of its kind.
    pub way: Option<&'static str>,
    /// For each worker, in their order, the number of the port's queues that it receives from.
    pub queues: Vec<usize>,
    /// Longest payload in bytes that the port sends; `None` if the port does not know it.
    pub mtu: Option<u32>,
    /// Packets received that were not counted on a megaflow before.
    pub received: Counters,
    /// Packets that a card handed up in the middle of a chain.
    pub continued: Counters,
    /// Packets sent.
    pub sent: Counters,
    /// Packets that came in here and were dropped.
    pub receive_drops: Drops,
    /// Packets that were to leave by this port and were dropped.
    pub transmit_drops: Drops,
    /// The port's upcall queue.
    pub queue: QueueCounters,
}

impl PortSnapshot {
    fn merge(&mut self, other: PortSnapshot) {
        // As for those who are told of changes: the worst part has the word.
        if (other.state, other.trouble.is_some()) > (self.state, self.trouble.is_some()) {
            (self.state, self.trouble) = (other.state, other.trouble);
        }
        self.way = self.way.or(other.way);
        self.queues.extend(other.queues);
        self.received += other.received;
        self.continued += other.continued;
        self.sent += other.sent;
        self.receive_drops.add(&other.receive_drops);
        self.transmit_drops.add(&other.transmit_drops);
        self.queue.add(other.queue);
    }
}
