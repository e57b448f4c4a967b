//! The books: everything that a datapath counts.

use std::collections::BTreeMap;

use flow::conservation::Forks;
use flow::{Counters, Histogram, PortId};

use crate::drops::{DropReason, Drops};
use crate::ledger::{Ends, Ledger, Origin};

/// The counters of a datapath. Each method books one thing that happens to packets, in every
/// account that it concerns, so that the accounts agree at all times.
pub(super) struct DatapathBooks {
    pub(super) ledger: Ledger,
    pub(super) ends: Ends,
    pub(super) drops: Drops,
    /// Packets that hit a megaflow without actions.
    pub(super) explicit_drops: Counters,
    pub(super) injected: Counters,
    /// Number of packets looked up, indexed by their number of recirculations before the lookup.
    pub(super) lookups_at_depth: Vec<u64>,
    /// Times in which no packet was forwarded.
    pub(super) steps: Histogram,
    ports: BTreeMap<PortId, PortBook>,
}

/// The counters of one port.
#[derive(Clone, Copy, Default)]
pub(super) struct PortBook {
    pub(super) received: Counters,
    pub(super) continued: Counters,
    pub(super) sent: Counters,
    pub(super) receive_drops: Drops,
    pub(super) transmit_drops: Drops,
}

impl DatapathBooks {
    /// Empty books, for packets that make at most this number of recirculations in a row.
    pub(super) fn new(recirc_limit: usize) -> DatapathBooks {
        DatapathBooks {
            ledger: Ledger::default(),
            ends: Ends::default(),
            drops: Drops::default(),
            explicit_drops: Counters::default(),
            injected: Counters::default(),
            lookups_at_depth: vec![0; recirc_limit + 1],
            steps: Histogram::durations(),
            ports: BTreeMap::new(),
        }
    }

    pub(super) fn add_port(&mut self, port: PortId) {
        self.ports.insert(port, PortBook::default());
    }

    /// A removed port takes its own counters along; the sums keep what it counted.
    pub(super) fn remove_port(&mut self, port: PortId) {
        self.ports.remove(&port);
    }

    pub(super) fn port(&self, port: PortId) -> PortBook {
        self.ports.get(&port).copied().unwrap_or_default()
    }

    /// Packets came in at the port.
    pub(super) fn received(&mut self, port: PortId, origin: Origin, what: Counters) {
        if let Some(account) = self.ledger.of(origin) {
            account.received += what;
        }
        let Some(book) = self.ports.get_mut(&port) else { return };
        match origin {
            Origin::Continued => book.continued += what,
            Origin::Fresh | Origin::Counted => book.received += what,
        }
    }

    /// The port's device lost packets before they were received.
    pub(super) fn overrun(&mut self, port: PortId, packets: u64) {
        let what = Counters { packets, bytes: 0 };
        self.dropped(port, DropReason::RxOverrun, Origin::Counted, what);
    }

    /// A caller gave a frame to execute actions on.
    pub(super) fn injected(&mut self, what: Counters) {
        self.injected += what;
    }

    /// Packets with this number of recirculations behind them are looked up.
    pub(super) fn looked_up(&mut self, depth: usize, packets: usize) {
        if let Some(count) = self.lookups_at_depth.get_mut(depth) {
            *count += packets as u64;
        }
    }

    /// A packet hit a megaflow.
    pub(super) fn hit(&mut self, origin: Origin, what: Counters) {
        if let Some(account) = self.ledger.of(origin) {
            account.hits_first_pass += what;
        }
    }

    /// The megaflow that the packets hit drops them.
    pub(super) fn dropped_by_megaflow(&mut self, what: Counters) {
        self.explicit_drops += what;
        self.ends.forks.dropped += what;
    }

    /// A packet waits for the client's answer.
    pub(super) fn waits(&mut self, origin: Origin, what: Counters) {
        self.ends.waiting += what;
        if let Some(account) = self.ledger.of(origin) {
            account.pending += what;
        }
    }

    /// A packet waits no longer; the caller books what becomes of it.
    pub(super) fn waits_no_longer(&mut self, origin: Origin, what: Counters) {
        self.ends.waiting = self.ends.waiting.since(what).unwrap_or_default();
        if let Some(account) = self.ledger.of(origin) {
            account.pending = account.pending.since(what).unwrap_or_default();
        }
    }

    /// The client answered with actions for the packet and no megaflow.
    pub(super) fn executed(&mut self, origin: Origin, what: Counters) {
        if let Some(account) = self.ledger.of(origin) {
            account.executed += what;
        }
    }

    /// A packet that came in at the port, or a copy of one, goes no further.
    pub(super) fn dropped(
        &mut self,
        port: PortId,
        reason: DropReason,
        origin: Origin,
        what: Counters,
    ) {
        self.drops.count(reason, what);
        if let Some(account) = self.ledger.of(origin) {
            account.drops_before_hit.count(reason, what);
        }
        if let Some(book) = self.ports.get_mut(&port) {
            book.receive_drops.count(reason, what);
        }
    }

    /// A list of actions ended.
    pub(super) fn forked(&mut self, forks: Forks) {
        self.ends.forks += forks;
    }

    /// An action sent a packet up to the client.
    pub(super) fn sent_up(&mut self, what: Counters) {
        self.ends.userspace += what;
    }

    /// The port sent packets.
    pub(super) fn sent(&mut self, port: PortId, what: Counters) {
        self.ends.sent += what;
        if let Some(book) = self.ports.get_mut(&port) {
            book.sent += what;
        }
    }

    /// Packets were to leave by the port and did not.
    pub(super) fn not_sent(&mut self, port: PortId, reason: DropReason, what: Counters) {
        self.drops.count(reason, what);
        if let Some(book) = self.ports.get_mut(&port) {
            book.transmit_drops.count(reason, what);
        }
    }
}
