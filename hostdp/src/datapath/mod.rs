//! The host datapath of one worker thread: ports in, table, actions, ports out.
//!
//! A datapath is single-threaded and has no clock: its owner passes the time in. Per burst: keys →
//! exact-match cache → classifier → groups of one megaflow each → actions → a burst per port.

mod account;
mod answer;
mod execute;
mod forward;
mod ports;
mod snapshot;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use flow::packet::Packet;
use flow::{Counters, Key, Moment, PortId};

use crate::drops::{DropReason, Drops};
use crate::port::Batch;
use crate::table::FlowTable;
use crate::upcall::{UpcallLimits, Upcalls};
use ports::PortSlot;

pub(crate) use account::Origin;
pub use account::{Account, Ends, Ledger};
pub use snapshot::{PortSnapshot, Snapshot};

/// The settings of a datapath, which are fixed when it is made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Config {
    /// Seed of the hashes and of the sample action's dice. The seed should be secret if somebody
    /// else sends the packets.
    pub seed: u64,
    /// Number of keys in the exact-match cache; 0 turns the cache off.
    pub cached_keys: usize,
    /// Largest number of megaflows.
    pub flow_limit: usize,
    /// Limits of the upcalls.
    pub upcalls: UpcallLimits,
    /// Recirculations in a row that a packet may make; OVS allows 8.
    pub recirc_limit: usize,
    /// Recirculations that a received packet and all its copies may make together. The kernel has a
    /// similar limit on the deferred actions of a packet, because copies multiply.
    pub deferred_limit: usize,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            seed: 0,
            cached_keys: 8192,
            flow_limit: 1 << 20,
            upcalls: UpcallLimits::default(),
            recirc_limit: 8,
            deferred_limit: 64,
        }
    }
}

/// Ports, megaflows, upcalls, and the packets between them.
pub struct Datapath {
    config: Config,
    table: FlowTable,
    ports: BTreeMap<PortId, PortSlot>,
    upcalls: Upcalls,
    ledger: Ledger,
    ends: Ends,
    drops: Drops,
    explicit_drops: Counters,
    injected: Counters,
    /// Number of packets looked up, indexed by their number of recirculations before the lookup.
    lookups_at_depth: Vec<u64>,
    dice: u64,
    /// For each packet of the current burst the recirculations that it and its copies may still
    /// make.
    credits: Vec<usize>,
    batch: Batch,
}

/// A packet that is being processed.
#[derive(Clone)]
struct InFlight {
    packet: Packet,
    key: Key,
    origin: Origin,
    /// The index of the packet's number in `credits`.
    credit: usize,
    /// Number of bytes that the next output or userspace action cuts off the end.
    cut: usize,
}

impl Datapath {
    /// A datapath without ports and megaflows.
    #[must_use]
    pub fn new(config: Config) -> Datapath {
        Datapath {
            config,
            table: FlowTable::new(config.seed, config.cached_keys, config.flow_limit),
            ports: BTreeMap::new(),
            upcalls: Upcalls::new(config.seed, config.upcalls),
            ledger: Ledger::default(),
            ends: Ends::default(),
            drops: Drops::default(),
            explicit_drops: Counters::default(),
            injected: Counters::default(),
            lookups_at_depth: vec![0; config.recirc_limit + 1],
            dice: config.seed,
            credits: Vec::new(),
            batch: Batch::new(),
        }
    }

    /// The datapath's settings.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The flow table; it is the provider named `host`.
    pub fn table(&mut self) -> &mut FlowTable {
        &mut self.table
    }

    /// Processes one burst from every port; returns the number of packets.
    pub fn poll(&mut self, now: Moment) -> usize {
        let mut batch = std::mem::take(&mut self.batch);
        let mut count = 0;
        let mut next = self.ports.keys().next().copied();
        while let Some(id) = next {
            if let Some(slot) = self.ports.get_mut(&id) {
                slot.receive(&mut batch);
            }
            count += batch.frames().len();
            if !batch.is_empty() {
                self.process(id, &mut batch, now);
            }
            next = self.ports.range(PortId(id.0.saturating_add(1))..).next().map(|(id, _)| *id);
            next = next.filter(|next| *next > id);
        }
        self.batch = batch;
        count
    }

    /// Forwards the frames that a port received, and sends the resulting frames. Empties the batch.
    pub fn process(&mut self, port: PortId, batch: &mut Batch, now: Moment) {
        let (frames, dropped) = batch.take();
        let mut work = Vec::with_capacity(frames.len());
        self.credits.clear();
        for (reason, what) in dropped {
            self.count_received(port, Origin::Fresh, what);
            self.drop_packet(reason, Origin::Fresh, port, what);
        }
        for mut frame in frames {
            let origin = if frame.continued { Origin::Continued } else { Origin::Fresh };
            let what = Counters::packet(frame.packet.len());
            self.count_received(port, origin, what);
            if frame.packet.len() < ETHERNET_HEADER {
                self.drop_packet(DropReason::Malformed, origin, port, what);
                continue;
            }
            let mut key = frame.packet.extract();
            key.in_port = port.0;
            key.recirc_id = frame.recirc_id.0;
            key.dp_hash = frame.dp_hash;
            work.push(self.start(frame.packet, key, origin));
        }
        self.forward(work, 0, now);
        self.flush();
    }

    /// What became of all packets received so far; exact whenever no call is under way.
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        self.ledger
    }

    fn start(&mut self, packet: Packet, key: Key, origin: Origin) -> InFlight {
        self.credits.push(self.config.deferred_limit);
        InFlight { packet, key, origin, credit: self.credits.len() - 1, cut: 0 }
    }

    fn count_received(&mut self, port: PortId, origin: Origin, what: Counters) {
        if let Some(account) = self.ledger.of(origin) {
            account.received += what;
        }
        if let Some(slot) = self.ports.get_mut(&port) {
            slot.count_received(origin, what);
        }
    }

    /// Counts a packet, or a copy of one, that goes no further.
    fn drop_packet(&mut self, reason: DropReason, origin: Origin, port: PortId, what: Counters) {
        self.drops.count(reason, what);
        if let Some(account) = self.ledger.of(origin) {
            account.drops_before_hit.count(reason, what);
        }
        if let Some(slot) = self.ports.get_mut(&port) {
            slot.count_receive_drop(reason, what);
        }
    }
}

/// Length of an Ethernet header in bytes: a shorter frame is malformed.
const ETHERNET_HEADER: usize = 14;
