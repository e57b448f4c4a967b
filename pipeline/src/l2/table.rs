//! Where addresses are.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use flow::{Learning, Moment, PortId};

use super::Settings;
use super::aged::{Address, Aged};

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

/// Addresses with their ports and ages.
///
/// A newcomer always gets in. When the table is full, the port with the most addresses gives up
/// the one that it has not seen for longest, as in OVS: a flood of source addresses pushes out
/// its own, and every port can count on its share.
#[derive(Debug)]
pub(super) struct Table {
    settings: Settings,
    entries: Aged<PortId>,
    /// The same by port.
    by_port: BTreeMap<PortId, Aged<()>>,
    /// The ports of `by_port` by how many addresses each has.
    by_size: BTreeSet<(usize, PortId)>,
    /// What was forgotten, and when, so that megaflows of before can be told from those that
    /// another life of the daemon made. Kept for the ageing time, at most as many as entries.
    forgotten: Aged<()>,
    /// When the latest one was forgotten that `forgotten` had no room for: until the ageing time
    /// has passed since, any address that is not known may be such a one.
    let_go: Option<Moment>,
    /// The numbers that only grow.
    learning: Learning,
}

impl Table {
    pub(super) fn new(settings: Settings) -> Table {
        Table {
            settings,
            entries: Aged::default(),
            by_port: BTreeMap::new(),
            by_size: BTreeSet::new(),
            forgotten: Aged::default(),
            let_go: None,
            learning: Learning { capacity: settings.max_entries as u64, ..Learning::default() },
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

    /// Notes that an address was behind a port at a moment, now or before; true if that is news.
    pub(super) fn learn(
        &mut self,
        address: Address,
        port: PortId,
        seen: Moment,
        now: Moment,
    ) -> bool {
        let known = self.entries.get(address);
        match known {
            Some((latest, before)) if before == port && latest >= seen => return false,
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
        known.is_none_or(|(_, before)| before != port)
    }

    /// Makes room for an address behind a port: the port with the most gives up its oldest. Where
    /// none has more than the newcomer's own port, that one does.
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

    /// Forgets what was not seen for too long; true if there was something.
    pub(super) fn expire(&mut self, now: Moment) -> bool {
        let ageing = self.settings.ageing;
        let old = |(seen, address)| (now.since(seen) >= ageing).then_some(address);
        while let Some(address) = self.forgotten.oldest().and_then(old) {
            self.forgotten.take(address);
        }
        self.let_go = self.let_go.filter(|when| now.since(*when) < ageing);
        let mut expired = 0;
        while let Some(address) = self.entries.oldest().and_then(old) {
            self.forget(address, now);
            expired += 1;
        }
        self.learning.expired += expired;
        expired > 0
    }

    /// Forgets the addresses behind some ports; true if there were any.
    pub(super) fn forget_ports(&mut self, now: Moment, gone: impl Fn(PortId) -> bool) -> bool {
        let gone: Vec<PortId> = self.by_port.keys().copied().filter(|port| gone(*port)).collect();
        for port in &gone {
            while let Some((_, address)) = self.by_port.get(port).and_then(Aged::oldest) {
                self.forget(address, now);
            }
        }
        !gone.is_empty()
    }

    fn forget(&mut self, address: Address, now: Moment) {
        self.take(address);
        self.forgotten.put(address, now, ());
        // Many floods or flushes must not pile up.
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

    /// Changes what a port has; one that has nothing is in neither index.
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

    /// What is known, longest unseen first, with ages.
    pub(super) fn list(&self, now: Moment) -> impl Iterator<Item = (PortId, Address, Duration)> {
        let aged = self.entries.iter().map(move |(seen, at, port)| (port, at, now.since(seen)));
        aged.filter(|(_, _, age)| *age < self.settings.ageing)
    }
}
