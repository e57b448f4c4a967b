//! The host datapath of one worker thread: ports in, table, actions, ports out.
//!
//! Single-threaded and without a clock: who owns it passes the time in. Per burst: keys →
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
pub use account::{Account, Ledger};
pub use snapshot::{PortSnapshot, Snapshot};

/// What is fixed when a datapath is made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Config {
    /// Of the hashes and of the sample action's dice. Should be secret where packets are
    /// somebody else's.
    pub seed: u64,
    /// Keys in the exact-match cache; 0 turns it off.
    pub cached_keys: usize,
    /// Most megaflows.
    pub flow_limit: usize,
    /// Bounds of the upcalls.
    pub upcalls: UpcallLimits,
    /// Recirculations in a row that a packet may make; OVS allows 8.
    pub recirc_limit: usize,
    /// Recirculations that a received packet and all its copies may make together. (The kernel
    /// bounds the deferred ones of a packet, for the same reason: copies multiply.)
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
    drops: Drops,
    explicit_drops: Counters,
    injected: Counters,
    /// By how many recirculations were behind them: packets looked up.
    lookups_at_depth: Vec<u64>,
    dice: u64,
    /// Per packet of the burst at work: recirculations that it and its copies may still make.
    credits: Vec<usize>,
    batch: Batch,
}

/// A packet at work.
#[derive(Clone)]
struct InFlight {
    packet: Packet,
    key: Key,
    origin: Origin,
    /// Its place in `credits`.
    credit: usize,
    /// Bytes that the next output or userspace action leaves off.
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
            drops: Drops::default(),
            explicit_drops: Counters::default(),
            injected: Counters::default(),
            lookups_at_depth: vec![0; config.recirc_limit + 1],
            dice: config.seed,
            credits: Vec::new(),
            batch: Batch::new(),
        }
    }

    /// What was fixed when it was made.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The flow table; it is the provider named `host`.
    pub fn table(&mut self) -> &mut FlowTable {
        &mut self.table
    }

    /// One burst from every port; returns how many packets there were.
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

    /// Forwards what a port received, and sends what comes of it. Empties the batch.
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

/// Without a whole one there is no frame.
const ETHERNET_HEADER: usize = 14;
