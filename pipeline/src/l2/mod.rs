//! A MAC-learning switch.
//!
//! For each packet the switch learns the port of the source address, then sends the packet to the
//! port where the destination was learnt, or to all other ports. The switch's megaflows make the
//! datapath do the same without asking, so the mask of a megaflow covers everything that its
//! actions depend on: `in_port` and `eth_src` (learning), `eth_dst` and the VLAN ID (forwarding),
//! and the EtherType with the presence of every tag before it, because the kernel and tc can only
//! match fields behind an EtherType that they know. PCP is wild: no action depends on it, and the
//! kernel and tc match VID and PCP separately.

mod aged;
mod mask;
mod reserved;
mod table;
mod topics;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use flow::{
    Action, Actions, Answer, Changed, Client, Key, Learning, MacAddr, Match, Megaflow, Moment,
    PortId, PortLink, Topics, Upcall, UpcallReason, VLAN_PRESENT, Verdict,
};

use aged::Address;
use reserved::is_reserved;
use table::{MacTable, Sighting};

/// How much a switch remembers, and for how long.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct L2Settings {
    /// Time after which an address that was not seen again is forgotten.
    pub ageing: Duration,
    /// Largest number of addresses that are remembered. When the table is full, each new address
    /// takes the place of the oldest one behind the port that has the most.
    pub max_entries: usize,
}

impl Default for L2Settings {
    /// 300 s and 8192 addresses, as OVS.
    fn default() -> L2Settings {
        L2Settings { ageing: Duration::from_secs(300), max_entries: 8192 }
    }
}

/// A MAC-learning switch: the client `l2`.
#[derive(Clone, Debug)]
pub struct Switch {
    /// The ports that exist; true for a port that has a link.
    ports: BTreeMap<PortId, bool>,
    table: MacTable,
    /// What has changed apart from addresses since somebody last asked.
    changes: Vec<Changed>,
    /// The latest moment that a caller has passed in.
    now: Moment,
}

impl Switch {
    /// A switch that has learnt nothing and has no ports.
    #[must_use]
    pub fn new(settings: L2Settings) -> Switch {
        let table = MacTable::new(settings);
        let (ports, changes) = (BTreeMap::new(), Vec::new());
        Switch { ports, table, changes, now: Moment::default() }
    }

    /// The actions for a packet with this key, by the addresses and ports that are known now.
    fn decide(&self, key: &Key) -> Actions {
        let flood = || -> Actions {
            let others = self.ports.keys().filter(|port| **port != key.port());
            others.map(|port| Action::Output(*port)).collect()
        };
        if is_reserved(key.eth_dst) {
            return Arc::new([]);
        }
        if key.eth_dst.is_multicast() {
            return flood();
        }
        match self.table.find(address(key, key.eth_dst)) {
            Some(port) if port == key.port() => Arc::new([]),
            Some(port) => Arc::new([Action::Output(port)]),
            None => flood(),
        }
    }

    /// Notes that the key's source address is behind the key's port.
    fn learn(&mut self, key: &Key, at: Moment) {
        if learns(key) && self.has_link(key.port()) {
            self.table.learn(address(key, key.eth_src), key.port(), at, self.now);
        }
    }

    fn has_link(&self, port: PortId) -> bool {
        self.ports.get(&port).is_some_and(|up| *up)
    }

    fn at(&mut self, now: Moment) {
        self.now = self.now.max(now);
    }
}

/// Returns true if the source address of a packet with this key is to be learnt. As in OVS, a group
/// or the zero address is no source, and frames to a reserved address are not learnt from.
fn learns(key: &Key) -> bool {
    let is_station = !key.eth_src.is_multicast() && key.eth_src != MacAddr::default();
    is_station && !is_reserved(key.eth_dst)
}

/// An address in the VLAN of the key; untagged packets and those with VID 0 are in VLAN 0.
fn address(key: &Key, mac: MacAddr) -> Address {
    let vlan = if key.vlan_tci & VLAN_PRESENT == 0 { 0 } else { key.vlan_tci & 0xfff };
    (vlan, mac)
}

impl Client for Switch {
    fn name(&self) -> &'static str {
        "l2"
    }

    /// Floods still go to ports without a link, as in OVS, so a port whose link comes back receives
    /// them at once.
    fn ports(&mut self, ports: &[PortLink]) {
        let ports = ports.iter().map(|port| (port.id, port.up)).collect();
        let before = std::mem::replace(&mut self.ports, ports);
        let now = &self.ports;
        let all: BTreeSet<PortId> = before.keys().chain(now.keys()).copied().collect();
        let differ = all.iter().filter(|port| before.get(port) != now.get(port));
        self.changes.extend(differ.map(|port| Changed::Topic(topics::link_of(*port))));
        if !before.keys().eq(now.keys()) {
            self.changes.push(Changed::Topic(topics::FLOODS));
        }
        self.table.forget_ports(self.now, |port| now.get(&port) != Some(&true));
    }

    /// Drops copies that an `userspace` action sent up, and packets from a port that is gone. A
    /// packet from a port without a link was received before the link was lost, or after a return
    /// that is not known yet: it is forwarded without a megaflow, and its source is not learnt.
    fn upcall(&mut self, upcall: Upcall<'_>, now: Moment) -> Answer {
        self.at(now);
        let key = upcall.key;
        if *upcall.reason != UpcallReason::Miss || !self.ports.contains_key(&key.port()) {
            return Answer::Execute(Arc::new([]));
        }
        if !self.has_link(key.port()) {
            return Answer::Execute(self.decide(key));
        }
        self.learn(key, now);
        let matching = Match::new(key, &mask::of(key));
        Answer::Install(Arc::new(Megaflow::new(matching, self.decide(key))))
    }

    fn tick(&mut self, now: Moment) {
        self.at(now);
        self.table.expire(now);
    }

    fn topics(&self, flow: &Megaflow) -> Topics {
        let key = &flow.matching.key();
        let (source, destination) = (address(key, key.eth_src), address(key, key.eth_dst));
        let is_group = key.eth_dst.is_multicast();
        let floods = is_group || self.table.find(destination).is_none();
        let is_reserved = is_reserved(key.eth_dst);
        [
            Some(topics::link_of(key.port())),
            learns(key).then(|| topics::place_of(source)),
            (!is_reserved && !is_group).then(|| topics::place_of(destination)),
            (!is_reserved && floods).then_some(topics::FLOODS),
        ]
    }

    fn changes(&mut self) -> Vec<Changed> {
        let mut changes = std::mem::take(&mut self.changes);
        let addresses = self.table.changed.drain(..);
        changes.extend(addresses.map(|address| Changed::Topic(topics::place_of(address))));
        changes
    }

    /// Removes a megaflow whose source is known elsewhere or was forgotten, so that the next packet
    /// comes up and its source is learnt again. A source that was never seen, as after a restart,
    /// is learnt from the megaflow itself, which stays. A megaflow that this client would not have
    /// made (its mask is wider, or its port is gone or has no link) is removed too.
    fn revalidate(&mut self, flow: &Megaflow, now: Moment) -> Verdict {
        self.at(now);
        let key = &flow.matching.key();
        if !mask::is_within(flow) || !self.has_link(key.port()) {
            return Verdict::Remove;
        }
        if learns(key) {
            match self.table.sighting(address(key, key.eth_src)) {
                Sighting::At(port) if port == key.port() => {}
                Sighting::At(_) | Sighting::Forgotten(_) => return Verdict::Remove,
                Sighting::Never => self.learn(key, now),
            }
        }
        let actions = self.decide(key);
        if actions == flow.actions { Verdict::Keep } else { Verdict::Replace(actions) }
    }

    /// Refreshes the source's age, but never moves an address to another port: only a packet that
    /// comes up does, because the counters of a megaflow at the old port may be read late.
    fn used(&mut self, flow: &Megaflow, at: Moment) {
        self.at(at);
        let key = &flow.matching.key();
        if !mask::is_within(flow) || !learns(key) {
            return;
        }
        match self.table.sighting(address(key, key.eth_src)) {
            Sighting::At(port) if port != key.port() => {}
            Sighting::Forgotten(when) if at <= when => {}
            Sighting::At(_) | Sighting::Forgotten(_) | Sighting::Never => self.learn(key, at),
        }
    }

    fn show(&self, now: Moment) -> String {
        let mut out = " port  VLAN  MAC                Age\n".to_owned();
        for (port, (vlan, mac), age) in self.table.list(now) {
            let _ = writeln!(out, "{:>5}  {vlan:>4}  {mac}  {:>3}", port.0, age.as_secs());
        }
        out
    }

    fn learning(&self) -> Option<Learning> {
        Some(self.table.learning())
    }

    fn flush(&mut self) {
        self.table.forget_ports(self.now, |_| true);
        self.table.changed.clear();
        self.changes.push(Changed::Everything);
    }
}
