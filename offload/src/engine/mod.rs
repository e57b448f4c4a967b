//! The engine: one pure step function. It decides what lives where; threads carry it out.
//!
//! Nothing here knows a socket, a clock, a lock or a random number: the same events at the same
//! moments give the same commands. What is wanted of a megaflow (its actions, whether it is to
//! be in the NIC, whether it is to go) is kept apart from what is there; `Engine::plan`
//! compares the two and asks for the next single operation. A completion, a lost rule or a
//! changed mind all end in the same comparison, so there is no path of its own for each.

mod accounting;
mod completion;
#[cfg(test)]
mod desk;
mod entry;
mod event;
mod life;
mod operator;
mod placement;
mod plan;
#[cfg(test)]
mod races;
mod report;
#[cfg(test)]
mod rules;
mod tally;
#[cfg(test)]
mod tests;
mod upcall;
#[cfg(test)]
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use flow::{
    Admission, Client, Counters, Dumped, Moment, PortId, ProviderEvent, Reason, Refusal,
    TableUsage, Ufid,
};

pub use event::{Answered, Cause, Command, Event, Place, ProviderId};
pub use placement::{Budget, ByRate, Policy};

use crate::request::{RequestError, Response, Token};
use entry::Entry;
use life::Life;
use tally::Tally;

/// What an operator can set.
#[derive(Clone, Debug)]
pub struct Settings {
    /// A client's megaflow without a packet for that long is removed.
    pub max_idle: Duration,
    /// Most megaflows; beyond, packets are forwarded one by one.
    pub flow_limit: usize,
    /// Time between two statistics passes.
    pub stats_interval: Duration,
    /// A fault in the accounting, put in on purpose.
    pub fault: Option<Fault>,
}

impl Default for Settings {
    /// OVS's own defaults: 10 s, 200,000 megaflows, 500 ms.
    fn default() -> Settings {
        Settings {
            max_idle: Duration::from_secs(10),
            flow_limit: 200_000,
            stats_interval: Duration::from_millis(500),
            fault: None,
        }
    }
}

/// Faults that tests put into the accounting, to see that they are found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// One counter update of the NIC is lost.
    DropCounterUpdate,
}

/// A hardware provider as the engine sees it.
struct Hardware {
    name: Arc<str>,
    admission: Arc<dyn Admission>,
    up: bool,
    /// What it held at start is known: before, nothing is put into it.
    known: bool,
    /// When its counters were last read.
    read_at: Moment,
    budget: Budget,
    tables: Vec<TableUsage>,
    /// Too full for newcomers, by the policy.
    crowded: bool,
    /// Said "full" since the last statistics pass.
    said_full: bool,
    /// Operations sent and not completed.
    queued: usize,
}

impl Hardware {
    fn short_of_room(&self) -> bool {
        self.crowded || self.said_full
    }

    /// May it be given newcomers now?
    fn takes(&mut self, now: Moment) -> bool {
        self.up && self.known && !self.crowded && self.budget.has(now)
    }
}

/// The least time from one pass over so many megaflows to the next: passes must leave the engine
/// time for everything else.
fn each(megaflows: usize) -> Duration {
    Duration::from_micros(megaflows as u64)
}

/// What the step at hand asks for, sorted by whom it goes to.
#[derive(Default)]
struct Outbox {
    host: Vec<flow::Op>,
    nic: BTreeMap<ProviderId, Vec<flow::Op>>,
    resolved: Vec<Command>,
    other: Vec<Command>,
    replies: Vec<(Token, Result<Response, RequestError>)>,
}

/// What a step asks for.
#[derive(Default, Debug)]
pub struct Commands {
    /// To be carried out in this order.
    pub commands: Vec<Command>,
    /// Answers to requests.
    pub replies: Vec<(Token, Result<Response, RequestError>)>,
}

/// The engine. See the module's text.
pub struct Engine {
    settings: Settings,
    client: Box<dyn Client>,
    policy: Box<dyn Policy>,
    hardware: Vec<Hardware>,
    flows: BTreeMap<Ufid, Entry>,
    /// Megaflows by the scope of their lookup.
    scopes: BTreeMap<u32, BTreeSet<Ufid>>,
    /// Megaflows by the scopes that they recirculate into.
    parents: BTreeMap<u32, BTreeSet<Ufid>>,
    /// Megaflows that wait for the NIC.
    waiting: BTreeSet<Ufid>,
    /// Who waits for statistics, and for how many passes of each place: one that began before
    /// the question does not answer it.
    reconciling: Vec<(Token, BTreeMap<Place, u32>)>,
    /// Who waits for the end of megaflows, and of which.
    clearing: Vec<(Token, BTreeSet<Ufid>)>,
    /// Places whose statistics are being read.
    reading: BTreeSet<Place>,
    next_stats: Moment,
    /// The client changed its mind, and megaflows are to be asked about again.
    stale: bool,
    next_revalidation: Moment,
    next_placing: Moment,
    /// First-pass hits of everything that ever was, by place.
    first_pass_host: Counters,
    first_pass_nic: BTreeMap<ProviderId, Counters>,
    ports: Vec<PortId>,
    tally: Tally,
    /// Megaflows whose next operation is not due yet, and when it is.
    held: BTreeSet<(Moment, Ufid)>,
    /// Megaflows to be planned before the step is over.
    due: Vec<Ufid>,
    out: Outbox,
    host_name: Arc<str>,
    /// No new megaflows: packets are forwarded one by one until the end.
    closing: bool,
}

impl Engine {
    /// An engine without hardware and without ports.
    #[must_use]
    pub fn new(settings: Settings, client: Box<dyn Client>, policy: Box<dyn Policy>) -> Engine {
        Engine {
            settings,
            client,
            policy,
            hardware: Vec::new(),
            flows: BTreeMap::new(),
            scopes: BTreeMap::new(),
            parents: BTreeMap::new(),
            waiting: BTreeSet::new(),
            reconciling: Vec::new(),
            clearing: Vec::new(),
            reading: BTreeSet::new(),
            next_stats: Moment::default(),
            stale: false,
            next_revalidation: Moment::default(),
            next_placing: Moment::default(),
            first_pass_host: Counters::default(),
            first_pass_nic: BTreeMap::new(),
            ports: Vec::new(),
            tally: Tally::default(),
            held: BTreeSet::new(),
            due: Vec::new(),
            out: Outbox::default(),
            host_name: "host".into(),
            closing: false,
        }
    }

    /// Adds a hardware provider; tried in the order in which they were added.
    pub fn add_hardware(
        &mut self,
        name: &str,
        admission: Arc<dyn Admission>,
        budget: Budget,
    ) -> ProviderId {
        self.hardware.push(Hardware {
            name: name.into(),
            admission,
            up: true,
            known: false,
            read_at: Moment::default(),
            budget,
            tables: Vec::new(),
            crowded: false,
            said_full: false,
            queued: 0,
        });
        ProviderId(self.hardware.len() - 1)
    }

    /// One step: what happened, when, and what is to be done about it.
    pub fn step(&mut self, event: Event, now: Moment) -> Commands {
        match event {
            Event::Upcall { id, key, frame, reason } => {
                self.upcall(id, &key, &frame, &reason, now);
            }
            Event::Completed { place, completions, took } => {
                self.completed(place, completions, took, now);
            }
            Event::Stats { place, stats, tables } => self.statistics(place, stats, tables, now),
            Event::Dumped { provider, found } => self.adopt(provider, found, now),
            Event::Provider { provider, event } => self.provider_event(provider, event, now),
            Event::Ports(ports) => {
                self.client.ports(&ports);
                self.ports = ports;
            }
            Event::Tick => self.tick(now),
        }
        self.flush(now)
    }

    fn tick(&mut self, now: Moment) {
        self.stale |= self.client.tick(now);
        if self.stale && now >= self.next_revalidation {
            self.revalidate(now);
            self.next_revalidation = now + each(self.flows.len());
        }
        self.release_held(now);
        self.place_waiting(now);
        if now >= self.next_stats {
            self.next_stats = now + self.settings.stats_interval;
            self.read_stats();
        }
    }

    /// Asks every place for its statistics, unless it is being read already.
    fn read_stats(&mut self) {
        let nics = self.hardware.iter().enumerate().filter(|(_, h)| h.up);
        let places = nics.map(|(index, _)| Place::Nic(ProviderId(index))).chain([Place::Host]);
        for place in places.collect::<Vec<_>>() {
            if self.reading.insert(place) {
                self.out.other.push(Command::ReadStats(place));
            }
        }
    }

    fn provider_event(&mut self, provider: ProviderId, event: ProviderEvent, now: Moment) {
        match event {
            ProviderEvent::Changed => {
                self.next_stats = now;
            }
            ProviderEvent::Gone(why) => self.lost(provider, &why, now),
        }
    }

    /// A device is gone: its megaflows go on in the host table, with what was counted.
    fn lost(&mut self, provider: ProviderId, why: &str, now: Moment) {
        let Some(hardware) = self.hardware.get_mut(provider.0) else { return };
        if !std::mem::replace(&mut hardware.up, false) {
            return;
        }
        hardware.queued = 0;
        hardware.tables.clear();
        self.reading.remove(&Place::Nic(provider));
        self.nobody_waits_for(Place::Nic(provider));
        let another = self.hardware.iter().any(|hardware| hardware.up);
        let there: Vec<Ufid> = self
            .flows
            .iter()
            .filter(|(_, entry)| entry.provider == Some(provider))
            .map(|(ufid, _)| *ufid)
            .collect();
        for ufid in there {
            if let Some(entry) = self.flows.get_mut(&ufid) {
                entry.nic.life = Life::Absent;
                entry.nic.installed = None;
                entry.nic.sent = None;
                entry.nic.account.life_ended();
                entry.provider = None;
            }
            self.index(ufid);
            let refusal = Refusal::new(Reason::DeviceGone, "device").detail(why);
            self.refuse(ufid, refusal, another.then_some(now));
            self.plan(ufid, now);
        }
    }

    /// Takes over what a device held at start: known megaflows live on, with their counters;
    /// what can't be understood goes.
    fn adopt(&mut self, provider: ProviderId, found: Vec<Dumped>, now: Moment) {
        if let Some(hardware) = self.hardware.get_mut(provider.0) {
            hardware.known = true;
            hardware.read_at = now;
        }
        let mut taken = Vec::new();
        for dumped in found {
            let known = dumped.flow.as_ref().filter(|f| f.ufid == dumped.ufid && dumped.active);
            let free = !self.flows.contains_key(&dumped.ufid);
            if let (Some(flow), true) = (known, free) {
                let mut entry = Entry::new(flow.clone(), entry::Origin::Client, now);
                entry.nic.life = Life::Present;
                entry.nic.installed = Some(flow.actions.clone());
                entry.nic.account = life::Account::adopted(dumped.stats.counters);
                entry.provider = Some(provider);
                entry.want_nic = true;
                entry.generation = dumped.generation;
                entry.used = dumped.stats.used.or(Some(now));
                if entry.scope() == 0 {
                    *self.first_pass_nic.entry(provider).or_default() += dumped.stats.counters;
                }
                self.insert(entry);
                // What the client can learn from them it learns from all of them, before it is
                // asked whether each is still right.
                self.client.used(flow, now);
                let name = self.hardware_name(provider);
                self.tally.correction(&name, "adopted");
            } else {
                let op = flow::Op::Remove { ufid: dumped.ufid };
                self.out.nic.entry(provider).or_default().push(op);
                let name = self.hardware_name(provider);
                self.tally.correction(&name, "orphan");
            }
            taken.push(dumped);
        }
        let ufids: Vec<Ufid> = taken.iter().map(|dumped| dumped.ufid).collect();
        if !taken.is_empty() {
            self.out.other.push(Command::Adopt { provider, found: taken });
        }
        for ufid in ufids {
            if self.closing {
                self.leave(ufid, Cause::Operator, now);
            }
            self.revalidate_one(ufid, now);
            self.plan(ufid, now);
            self.recount(ufid, "adopted");
        }
    }

    fn place_name(&self, place: Place) -> Arc<str> {
        match place {
            Place::Host => Arc::clone(&self.host_name),
            Place::Nic(provider) => self.hardware_name(provider),
        }
    }

    fn hardware_name(&self, provider: ProviderId) -> Arc<str> {
        self.hardware.get(provider.0).map_or_else(|| "?".into(), |h| Arc::clone(&h.name))
    }

    /// Sorts what the step asked for: the host table first (a megaflow goes in there first),
    /// then the packets that wait for it, then hardware, then readings, which so see it all.
    fn flush(&mut self, now: Moment) -> Commands {
        while let Some(ufid) = self.due.pop() {
            self.plan(ufid, now);
        }
        let out = std::mem::take(&mut self.out);
        let mut commands = Vec::new();
        if !out.host.is_empty() {
            commands.push(Command::Apply { place: Place::Host, ops: out.host });
        }
        commands.extend(out.resolved);
        // A takeover stands before the operations on what is taken over.
        let (adopt, other): (Vec<_>, Vec<_>) =
            out.other.into_iter().partition(|c| matches!(c, Command::Adopt { .. }));
        commands.extend(adopt);
        for (provider, ops) in out.nic {
            if let Some(hardware) = self.hardware.get_mut(provider.0) {
                hardware.queued += ops.len();
            }
            commands.push(Command::Apply { place: Place::Nic(provider), ops });
        }
        commands.extend(other);
        Commands { commands, replies: out.replies }
    }
}
