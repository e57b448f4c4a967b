//! Where addresses are.

use std::collections::BTreeMap;
use std::time::Duration;

use flow::{MacAddr, Moment, PortId};

use super::Settings;

/// VLAN and address.
pub(super) type Address = (u16, MacAddr);

/// What a switch learnt, in numbers that only grow, but for `addresses`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Learning {
    /// Addresses that are known now.
    pub addresses: usize,
    /// Addresses learnt, each time anew.
    pub learnt: u64,
    /// Addresses that turned up behind another port.
    pub moved: u64,
    /// Addresses that were not seen for too long.
    pub expired: u64,
    /// Times that an address was not learnt because the table was full.
    pub overflows: u64,
}

/// What is known of an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Sighting {
    /// It is behind that port.
    At(PortId),
    /// It was known until then.
    Forgotten(Moment),
    /// Nothing, or it was forgotten long ago.
    Never,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    port: PortId,
    seen: Moment,
}

/// Addresses with their ports and ages.
#[derive(Debug)]
pub(super) struct Table {
    settings: Settings,
    entries: BTreeMap<Address, Entry>,
    /// What was forgotten, and when, so that megaflows of before can be told from those that
    /// another life of the daemon made. Kept for the ageing time, at most `limit` of them.
    forgotten: BTreeMap<Address, Moment>,
    /// Nothing expires before.
    next_expiry: Moment,
    learning: Learning,
}

impl Table {
    pub(super) fn new(settings: Settings) -> Table {
        Table {
            settings,
            entries: BTreeMap::new(),
            forgotten: BTreeMap::new(),
            next_expiry: Moment::default(),
            learning: Learning::default(),
        }
    }

    pub(super) fn learning(&self) -> Learning {
        Learning { addresses: self.entries.len(), ..self.learning }
    }

    /// The port behind which an address is.
    pub(super) fn find(&self, address: Address) -> Option<PortId> {
        self.entries.get(&address).map(|entry| entry.port)
    }

    pub(super) fn sighting(&self, address: Address) -> Sighting {
        match (self.entries.get(&address), self.forgotten.get(&address)) {
            (Some(entry), _) => Sighting::At(entry.port),
            (None, Some(when)) => Sighting::Forgotten(*when),
            (None, None) => Sighting::Never,
        }
    }

    /// Notes that an address is behind a port; true if that is news.
    pub(super) fn learn(&mut self, address: Address, port: PortId, at: Moment) -> bool {
        if let Some(entry) = self.entries.get_mut(&address) {
            entry.seen = entry.seen.max(at);
            let moved = entry.port != port;
            entry.port = port;
            self.learning.moved += u64::from(moved);
            return moved;
        }
        if self.entries.len() >= self.settings.limit {
            self.learning.overflows += 1;
            return false;
        }
        self.forgotten.remove(&address);
        self.entries.insert(address, Entry { port, seen: at });
        self.next_expiry = self.next_expiry.min(at + self.settings.ageing);
        self.learning.learnt += 1;
        true
    }

    /// Forgets what was not seen for too long; true if there was something.
    pub(super) fn expire(&mut self, now: Moment) -> bool {
        if now < self.next_expiry {
            return false;
        }
        let ageing = self.settings.ageing;
        let old = |seen: Moment| now.since(seen) >= ageing;
        self.forgotten.retain(|_, when| !old(*when));
        let before = self.entries.len();
        let forgotten = &mut self.forgotten;
        self.entries.retain(|address, entry| {
            if old(entry.seen) {
                forgotten.insert(*address, now);
            }
            !old(entry.seen)
        });
        let expired = before - self.entries.len();
        self.learning.expired += expired as u64;
        let first = self.entries.values().map(|entry| entry.seen + ageing).min();
        self.next_expiry = first.unwrap_or(now + ageing).min(now + ageing);
        self.trim();
        expired > 0
    }

    /// Forgets the addresses behind some ports; true if there were any.
    pub(super) fn forget(&mut self, now: Moment, gone: impl Fn(PortId) -> bool) -> bool {
        let before = self.entries.len();
        let forgotten = &mut self.forgotten;
        self.entries.retain(|address, entry| {
            if gone(entry.port) {
                forgotten.insert(*address, now);
            }
            !gone(entry.port)
        });
        self.trim();
        self.entries.len() < before
    }

    /// Many flushes of many addresses must not pile up.
    fn trim(&mut self) {
        while self.forgotten.len() > self.settings.limit {
            self.forgotten.pop_first();
        }
    }

    /// What is known, longest unseen first, with ages.
    pub(super) fn list(&self, now: Moment) -> Vec<(PortId, Address, Duration)> {
        let alive = self.entries.iter().filter(|(_, e)| now.since(e.seen) < self.settings.ageing);
        let mut list: Vec<_> =
            alive.map(|(address, e)| (e.port, *address, now.since(e.seen))).collect();
        list.sort_by_key(|(_, address, age)| (std::cmp::Reverse(*age), *address));
        list
    }
}
