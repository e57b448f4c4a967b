//! The table of learnt addresses.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use flow::{Learning, Moment, PortId};

use super::L2Settings;
use super::aged::{Address, Aged};

/// What is known of an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Sighting {
    /// The address is behind this port.
    At(PortId),
    /// The address was known until this moment.
    Forgotten(Moment),
    /// The address was never seen, or was forgotten longer ago than the ageing time.
    Never,
}

/// Addresses with their ports and ages.
///
/// A new address is always taken in. When the table is full, the port with the most addresses gives
/// up the one that was not seen for longest, as in OVS: a flood of source addresses on one port
/// pushes out that port's own addresses, and every port can count on its share.
#[derive(Clone, Debug)]
pub(super) struct MacTable {
    settings: L2Settings,
    entries: Aged<PortId>,
    /// The addresses of `entries`, by port.
    by_port: BTreeMap<PortId, Aged<()>>,
    /// The ports of `by_port`, ordered by their number of addresses.
    by_size: BTreeSet<(usize, PortId)>,
    /// Addresses that were forgotten, each with the moment, so that a megaflow from before that
    /// moment can be told from one that an earlier run of the daemon made. An address stays here
    /// for the ageing time; the limit is `max_entries`.
    forgotten: Aged<()>,
    /// The latest moment of an address that `forgotten` had no room for. Until the ageing time has
    /// passed since then, any unknown address may have been forgotten at that moment.
    let_go: Option<Moment>,
    /// The counters that only grow, and the capacity.
    learning: Learning,
    /// Addresses whose port changed since this list was last taken: they are new, moved or
    /// forgotten.
    pub(super) changed: Vec<Address>,
}

impl MacTable {
    pub(super) fn new(settings: L2Settings) -> MacTable {
        MacTable {
            settings,
            entries: Aged::default(),
            by_port: BTreeMap::new(),
            by_size: BTreeSet::new(),
            forgotten: Aged::default(),
            let_go: None,
            learning: Learning { capacity: settings.max_entries as u64, ..Learning::default() },
            changed: Vec::new(),
        }
    }

    pub(super) fn learning(&self) -> Learning {
        Learning { addresses: self.entries.len() as u64, ..self.learning.clone() }
    }

    /// The port behind which an address is.
    pub(super) fn find(&self, address: Address) -> Option<PortId> {
        self.entries.get(address).map(|(_, port)| port)
    }

    pub(super) fn sighting(&self, address: Address) -> Sighting {
        let forgotten = self.forgotten.get(address).map(|(when, ())| when);
        match (self.find(address), forgotten.or(self.let_go)) {
            (Some(port), _) => Sighting::At(port),
            (None, Some(when)) => Sighting::Forgotten(when),
            (None, None) => Sighting::Never,
        }
    }

    /// Notes that an address was behind a port at the moment `seen`, which may be before `now`.
    pub(super) fn learn(&mut self, address: Address, port: PortId, seen: Moment, now: Moment) {
        let known = self.entries.get(address);
        match known {
            Some((latest, before)) if before == port && latest >= seen => return,
            Some((_, before)) => self.learning.moved += u64::from(before != port),
            None => {
                if self.entries.len() >= self.settings.max_entries {
                    self.evict(port, now);
                }
                self.learning.learned += 1;
            }
        }
        self.forgotten.take(address);
        self.take(address);
        self.put(address, port, known.map_or(seen, |(latest, _)| latest.max(seen)));
        if known.is_none_or(|(_, before)| before != port) {
            self.changed.push(address);
        }
    }

    /// Makes room for a new address behind the port `newcomer`: the port with the most addresses
    /// gives up its oldest one. If no port has more than `newcomer`, `newcomer` gives up its own.
    fn evict(&mut self, newcomer: PortId, now: Moment) {
        let Some((most, largest)) = self.by_size.last().copied() else { return };
        let own = self.by_port.get(&newcomer).map_or(0, Aged::len);
        let from = if own == most { newcomer } else { largest };
        let oldest = self.by_port.get(&from).and_then(Aged::oldest);
        if let Some((_, address)) = oldest {
            self.forget(address, now);
            *self.learning.evicted.entry(from).or_default() += 1;
        }
    }

    /// Forgets the addresses that were not seen for the ageing time.
    pub(super) fn expire(&mut self, now: Moment) {
        let ageing = self.settings.ageing;
        let old = |(seen, address)| (now.since(seen) >= ageing).then_some(address);
        while let Some(address) = self.forgotten.oldest().and_then(old) {
            self.forgotten.take(address);
        }
        self.let_go = self.let_go.filter(|when| now.since(*when) < ageing);
        while let Some(address) = self.entries.oldest().and_then(old) {
            self.forget(address, now);
            self.learning.expired += 1;
        }
    }

    /// Forgets the addresses behind the ports for which `gone` is true.
    pub(super) fn forget_ports(&mut self, now: Moment, gone: impl Fn(PortId) -> bool) {
        let gone: Vec<PortId> = self.by_port.keys().copied().filter(|port| gone(*port)).collect();
        for port in &gone {
            while let Some((_, address)) = self.by_port.get(port).and_then(Aged::oldest) {
                self.forget(address, now);
            }
        }
    }

    fn forget(&mut self, address: Address, now: Moment) {
        self.take(address);
        self.changed.push(address);
        self.forgotten.put(address, now, ());
        // Bounds the memory that repeated floods and flushes can take.
        if self.forgotten.len() > self.settings.max_entries
            && let Some((when, oldest)) = self.forgotten.oldest()
        {
            self.forgotten.take(oldest);
            self.let_go = Some(when);
        }
    }

    fn put(&mut self, address: Address, port: PortId, seen: Moment) {
        self.entries.put(address, seen, port);
        self.of_port(port, |share| share.put(address, seen, ()));
    }

    fn take(&mut self, address: Address) {
        if let Some((_, port)) = self.entries.take(address) {
            self.of_port(port, |share| {
                share.take(address);
            });
        }
    }

    /// Changes the addresses of a port. A port without addresses is in neither index.
    fn of_port(&mut self, port: PortId, change: impl FnOnce(&mut Aged<()>)) {
        let share = self.by_port.entry(port).or_default();
        self.by_size.remove(&(share.len(), port));
        change(share);
        if share.len() > 0 {
            self.by_size.insert((share.len(), port));
        } else {
            self.by_port.remove(&port);
        }
    }

    /// The known addresses with their ports and ages, oldest first.
    pub(super) fn list(&self, now: Moment) -> impl Iterator<Item = (PortId, Address, Duration)> {
        let aged = self.entries.iter().map(move |(seen, at, port)| (port, at, now.since(seen)));
        aged.filter(|(_, _, age)| *age < self.settings.ageing)
    }
}
