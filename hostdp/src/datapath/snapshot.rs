//! Everything that is counted, at one moment.

use flow::{Counters, PortId};

use super::{Datapath, Ledger};
use crate::drops::Drops;
use crate::port::{LinkState, PortKind};
use crate::table::LookupCounters;
use crate::upcall::QueueCounters;

/// A copy of a datapath's counters.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Where every received packet went.
    pub ledger: Ledger,
    /// All drops, those after a hit and those of copies included.
    pub drops: Drops,
    /// Packets that hit a megaflow without actions, at any depth: a hit, not among the drops.
    pub explicit_drops: Counters,
    /// Frames that the client gave to execute, answers to upcalls not included.
    pub injected: Counters,
    /// Packets looked up, by how many recirculations were behind them.
    pub lookups_at_depth: Vec<u64>,
    /// How lookups went.
    pub lookups: LookupCounters,
    /// Megaflows.
    pub flows: usize,
    /// Masks, one per port, scope and EtherType that it is used with.
    pub subtables: usize,
    /// Upcalls that wait for the client's answer.
    pub upcalls_outstanding: usize,
    /// The special upcall queue.
    pub special_queue: QueueCounters,
    /// The ports, by number.
    pub ports: Vec<PortSnapshot>,
}

/// A copy of one port's counters.
#[derive(Clone, Debug)]
pub struct PortSnapshot {
    /// Its number.
    pub id: PortId,
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: PortKind,
    /// Whether it works.
    pub state: LinkState,
    /// Why not.
    pub trouble: Option<String>,
    /// Longest payload that it sends, where it knows.
    pub mtu: Option<u32>,
    /// Packets received that nobody had counted before.
    pub received: Counters,
    /// Packets that a card handed up in the middle of a chain.
    pub continued: Counters,
    /// Packets sent.
    pub sent: Counters,
    /// Packets that came in here and were dropped.
    pub receive_drops: Drops,
    /// Packets that should have gone out here.
    pub transmit_drops: Drops,
    /// Its upcall queue.
    pub queue: QueueCounters,
}

impl Datapath {
    /// All counters as they are now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let ports = self.ports.iter().map(|(id, slot)| PortSnapshot {
            id: *id,
            name: slot.port.name().into(),
            kind: slot.port.kind(),
            state: slot.port.state(),
            trouble: slot.port.trouble().map(str::to_owned),
            mtu: slot.port.mtu(),
            received: slot.received,
            continued: slot.continued,
            sent: slot.sent,
            receive_drops: slot.receive_drops,
            transmit_drops: slot.transmit_drops,
            queue: self.upcalls.port(*id),
        });
        Snapshot {
            ledger: self.ledger,
            drops: self.drops,
            explicit_drops: self.explicit_drops,
            injected: self.injected,
            lookups_at_depth: self.lookups_at_depth.clone(),
            lookups: self.table.lookups(),
            flows: self.table.len(),
            subtables: self.table.subtables(),
            upcalls_outstanding: self.upcalls.outstanding(),
            special_queue: self.upcalls.special(),
            ports: ports.collect(),
        }
    }
}
