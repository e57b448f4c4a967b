//! The engine: one pure step function. The engine decides which megaflow lives in which place;
//! threads carry its commands out.
//!
//! Nothing here knows a socket, a clock, a lock or a random number: the same events at the same
//! moments give the same commands. The engine keeps what is wanted of a megaflow (its actions,
//! whether it is to be in the NIC, whether it is to go) apart from what is there; `Engine::plan`
//! compares the two and asks for the next single operation. A completion, a lost rule and a
//! changed decision all end in the same comparison, so none of them needs a path of its own.

#![forbid(unsafe_code)]

mod accounting;
mod completion;
mod entry;
mod event;
mod explain;
mod hardware;
mod life;
mod operator;
mod placement;
mod plan;
mod ports;
mod ranks;
mod report;
mod request;
mod tally;
#[cfg(test)]
mod tests;
mod upcall;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use flow::conservation::Hits;
use flow::{Client, Counters, Moment, PortLink, Ufid};

pub use event::{Answered, Cause, Command, Event, Place, ProviderId};
pub use placement::{Budget, ByRate, Policy};
pub use report::DeviceView;
pub use request::{
    Explanation, FlowView, Refused, Request, RequestError, Response, Standing, Token,
};
pub use tally::{ProviderTally, Tally};

use entry::Entry;
use hardware::Hardware;
use ranks::Ranks;

/// The name of the host table as a provider.
pub const HOST: &str = "host";

/// What an operator can set.
#[derive(Clone, Debug)]
pub struct Settings {
    /// A client's megaflow is removed when it has had no packet for this time.
    pub max_idle: Duration,
    /// The largest number of megaflows. At this limit, packets without a megaflow are forwarded
    /// one by one.
    pub flow_limit: usize,
    /// Time between two statistics passes.
    pub stats_interval: Duration,
    /// A fault that a test puts into the accounting on purpose.
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

/// Faults that tests put into the accounting, to see that the checks find them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// One counter update of the NIC is lost.
    DropCounterUpdate,
}

/// The least time between the starts of two passes over this number of megaflows: passes must
/// leave the engine time for everything else.
fn each(megaflows: usize) -> Duration {
    Duration::from_micros(megaflows as u64)
}

/// The operations, commands and replies of the current step, sorted by their destination.
#[derive(Default)]
struct Outbox {
    host: Vec<flow::Op>,
    nic: BTreeMap<ProviderId, Vec<flow::Op>>,
    resolved: Vec<Command>,
    other: Vec<Command>,
    replies: Vec<(Token, Result<Response, RequestError>)>,
}

/// The result of a step.
#[derive(Default, Debug)]
pub struct Commands {
    /// Commands, to be carried out in this order.
    pub commands: Vec<Command>,
    /// Answers to requests.
    pub replies: Vec<(Token, Result<Response, RequestError>)>,
}

/// The engine. The module's text describes it.
pub struct Engine {
    settings: Settings,
    client: Box<dyn Client>,
    policy: Box<dyn Policy>,
    hardware: Vec<Hardware>,
    flows: BTreeMap<Ufid, Entry>,
    ranks: Ranks,
    /// Megaflows by the scope of their lookup.
    scopes: BTreeMap<u32, BTreeSet<Ufid>>,
    /// Megaflows by the scopes that their actions recirculate into.
    parents: BTreeMap<u32, BTreeSet<Ufid>>,
    /// Megaflows that wait for the NIC.
    waiting: BTreeSet<Ufid>,
    /// Requests that wait for statistics, each with the number of passes that it still waits for
    /// in each place. A pass that began before the request does not answer it.
    reconciling: Vec<(Token, BTreeMap<Place, u32>)>,
    /// Requests that wait until megaflows are gone, each with the megaflows that are still there.
    clearing: Vec<(Token, BTreeSet<Ufid>)>,
    /// Places whose statistics are being read.
    reading: BTreeSet<Place>,
    next_stats: Moment,
    /// The client has learnt something, and all its megaflows are to be revalidated.
    stale: bool,
    next_revalidation: Moment,
    next_placing: Moment,
    /// First-pass hits of every megaflow that ever was in the host table.
    first_pass_host: Counters,
    nic_hits: BTreeMap<ProviderId, Hits>,
    ports: Vec<PortLink>,
    tally: Tally,
    /// Megaflows whose next operation is not due yet, each with the moment at which it is.
    held: BTreeSet<(Moment, Ufid)>,
    /// Megaflows to be planned before the step ends.
    due: Vec<Ufid>,
    out: Outbox,
    /// The engine is closing: it accepts no new megaflows and forwards packets one by one until
    /// the end.
    closing: bool,
}

impl Engine {
    /// Returns an engine without hardware and without ports.
    #[must_use]
    pub fn new(settings: Settings, client: Box<dyn Client>, policy: Box<dyn Policy>) -> Engine {
        Engine {
            settings,
            client,
            policy,
            hardware: Vec::new(),
            flows: BTreeMap::new(),
            ranks: Ranks::default(),
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
            nic_hits: BTreeMap::new(),
            ports: Vec::new(),
            tally: Tally::of_host(HOST),
            held: BTreeSet::new(),
            due: Vec::new(),
            out: Outbox::default(),
            closing: false,
        }
    }

    /// Takes one event that happened at `now`, and returns the commands and replies that follow.
    pub fn step(&mut self, event: Event, now: Moment) -> Commands {
        match event {
            Event::Upcall { id, key, frame, reason } => {
                self.upcall(id, &key, &frame, &reason, now);
            }
            Event::Completed { place, completions } => self.completed(place, &completions, now),
            Event::Stats { place, stats, tables } => self.statistics(place, stats, tables, now),
            Event::Dumped { provider, found } => self.adopt(provider, found, now),
            Event::Provider { provider, event } => self.provider_event(provider, event, now),
            Event::Ports(ports) => self.ports(ports, now),
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

    /// Asks each place for its statistics, unless its statistics are being read already.
    fn read_stats(&mut self) {
        let nics = self.hardware.iter().enumerate().filter(|(_, h)| h.is_up());
        let places = nics.map(|(index, _)| Place::Nic(ProviderId(index))).chain([Place::Host]);
        for place in places.collect::<Vec<_>>() {
            if self.reading.insert(place) {
                self.out.other.push(Command::ReadStats(place));
            }
        }
    }

    fn place_name(&self, place: Place) -> Arc<str> {
        match place {
            Place::Host => HOST.into(),
            Place::Nic(provider) => self.hardware_name(provider),
        }
    }

    /// Sorts what the step asked for: first the operations on the host table (a megaflow is
    /// installed there first), then the packets that wait for these, then hardware operations,
    /// and last the readings of statistics, which thus see all operations of the step.
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
        // An adoption precedes the operations on the megaflows that it adopts.
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
