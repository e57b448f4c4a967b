//! A simulated world around the engine. Tables fill up, fail, vanish and are changed behind our
//! back; commands take their time; operators interfere. The seed determines the whole run, so a
//! failing seed can be replayed alone.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use flow::{
    Action, Admission, Capabilities, Counters, Dumped, Field, Generation, Key, Megaflow, Moment,
    Op, Placement, PortId, ProviderError, ProviderEvent, Reason, Refusal, Refusals, Stats,
    Submission, TableName, TableUsage, Ufid, UpcallReason, Verdict,
};

use super::fickle::Fickle;
use super::*;
use crate::planner::Planner;

/// A small random generator: the seed determines the whole test.
pub(super) struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// Admits every megaflow except those of every seventh station.
pub(super) struct Picky(pub(super) Capabilities);

impl Admission for Picky {
    fn capabilities(&self) -> &Capabilities {
        &self.0
    }

    fn admit(&self, flow: &Megaflow) -> Result<(), Refusals> {
        let refused = flow.matching.key().tp_src.is_multiple_of(7);
        if refused { Err(Refusal::new(Reason::MatchField, Field::TpSrc).into()) } else { Ok(()) }
    }

    fn explain(&self, flow: &Megaflow) -> Result<String, Refusals> {
        self.admit(flow).map(|()| "plan".to_owned())
    }
}

/// The actions that operators give megaflows.
fn by_hand() -> flow::Actions {
    Arc::new([Action::Output(PortId(9))])
}

/// A table so simple that it is obviously right.
#[derive(Default)]
pub(super) struct Table {
    pub(super) entries: BTreeMap<Ufid, (Arc<Megaflow>, Counters)>,
    generations: BTreeMap<Ufid, Generation>,
    pub(super) queue: VecDeque<Command>,
}

impl Table {
    fn apply(&mut self, op: &Op, capacity: usize) -> Result<Stats, ProviderError> {
        let result = self.carry_out(op, capacity);
        if let (Ok(_), Op::Install { flow, generation } | Op::Replace { flow, generation }) =
            (&result, op)
        {
            self.generations.insert(flow.ufid, *generation);
        }
        result
    }

    fn carry_out(&mut self, op: &Op, capacity: usize) -> Result<Stats, ProviderError> {
        let stats = |counters| Stats { counters, ..Stats::default() };
        match op {
            Op::Install { flow, .. } if self.entries.contains_key(&flow.ufid) => {
                Err(ProviderError::Exists)
            }
            Op::Install { .. } if self.entries.len() >= capacity => {
                Err(ProviderError::Full(Refusal::new(Reason::TableFull, TableName::ExactMatch)))
            }
            Op::Install { flow, .. } => {
                self.entries.insert(flow.ufid, (flow.clone(), Counters::default()));
                Ok(Stats::default())
            }
            Op::Replace { flow, .. } => {
                let entry = self.entries.get_mut(&flow.ufid).ok_or(ProviderError::NotFound)?;
                let last = std::mem::take(&mut entry.1);
                entry.0 = flow.clone();
                Ok(stats(last))
            }
            Op::Remove { ufid } => {
                self.entries.remove(ufid).map(|e| stats(e.1)).ok_or(ProviderError::NotFound)
            }
        }
    }

    fn usage(&self, capacity: usize) -> TableUsage {
        TableUsage {
            table: TableName::ExactMatch,
            holds_megaflows: true,
            entries: self.entries.len() as u64,
            capacity: Some(capacity as u64),
        }
    }

    fn hit(&mut self, key: &Key, bytes: usize) -> Option<Arc<Megaflow>> {
        let entry = self.entries.values_mut().find(|(flow, _)| flow.matching.hits(key))?;
        entry.1 += Counters::packet(bytes);
        Some(entry.0.clone())
    }
}

pub(super) const NIC: Place = Place::Nic(ProviderId(0));

pub(super) struct World {
    pub(super) dice: Dice,
    pub(super) engine: Engine,
    pub(super) now: Moment,
    pub(super) host: Table,
    pub(super) nic: Table,
    pub(super) capacity: usize,
    pub(super) nic_up: bool,
    /// The engine has not asked yet for what the NIC holds: it knows of the NIC before its loss.
    nic_is_new: bool,
    /// Entries that stayed in the NIC when it was lost, each with what the engine had read of it.
    stayed: BTreeMap<Ufid, Counters>,
    pub(super) events: VecDeque<Event>,
    /// Upcalls come by a channel of their own, sooner or later than the events before them.
    pub(super) upcalls: VecDeque<Event>,
    pub(super) version: Arc<std::sync::atomic::AtomicU32>,
    /// The true first-pass hits, by place.
    pub(super) truth: [Counters; 2],
    /// Hits that the NIC counted and the engine can never read, as the rule was deleted behind
    /// its back.
    pub(super) unreadable: Counters,
    pub(super) pending: Vec<Key>,
    pub(super) asked: u64,
    pub(super) replies: BTreeMap<Token, Result<Response, RequestError>>,
}

impl World {
    pub(super) fn new(seed: u64) -> World {
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let version = Arc::new(std::sync::atomic::AtomicU32::new(0));
        let client = Fickle::new(version.clone());
        let settings = Settings {
            max_idle: Duration::from_secs(3),
            stats_interval: Duration::from_millis(200),
            ..Settings::default()
        };
        let mut engine = Engine::new(settings, Box::new(client), Box::new(ByRate));
        engine.add_hardware("nic", Arc::new(Picky(Capabilities::default())), Budget::new(500));
        let provider = ProviderId(0);
        engine.step(Event::Dumped { provider, found: Vec::new() }, Moment(1));
        let capacity = 4 + usize::try_from(dice.roll(40)).unwrap();
        World {
            dice,
            engine,
            now: Moment(1),
            host: Table::default(),
            nic: Table::default(),
            capacity,
            nic_up: true,
            nic_is_new: false,
            stayed: BTreeMap::new(),
            events: VecDeque::new(),
            upcalls: VecDeque::new(),
            version,
            truth: [Counters::default(); 2],
            unreadable: Counters::default(),
            pending: Vec::new(),
            asked: 0,
            replies: BTreeMap::new(),
        }
    }

    pub(super) fn step(&mut self, event: Event) {
        let commands = self.engine.step(event, self.now);
        self.carry(commands);
    }

    pub(super) fn carry(&mut self, commands: Commands) {
        self.replies.extend(commands.replies);
        for command in commands.commands {
            match &command {
                Command::Dump(_) => self.nic.queue.push_back(command),
                Command::Apply { place, .. } | Command::ReadStats(place) => match place {
                    Place::Host => self.host.queue.push_back(command),
                    Place::Nic(_) => self.nic.queue.push_back(command),
                },
                Command::Resolve { .. } => self.host.queue.push_back(command),
                Command::Adopt { .. } | Command::Execute { .. } => {}
            }
        }
    }

    /// Lets a place carry out its oldest command; the resulting event goes into the engine's
    /// queue.
    pub(super) fn work(&mut self, place: Place) {
        let nic = place == NIC;
        let fault = nic.then(|| self.dice.roll(30));
        let up = self.nic_up;
        // What was meant for the NIC before its loss is dropped by its thread.
        if nic && up && self.nic_is_new {
            if let Some(Command::Dump(provider)) = self.nic.queue.pop_front() {
                self.nic_is_new = false;
                self.tell_of_content(provider);
            }
            return;
        }
        let stayed = &mut self.stayed;
        let unreadable = &mut self.unreadable;
        let (table, capacity) = match place {
            Place::Host => (&mut self.host, usize::MAX),
            Place::Nic(_) => (&mut self.nic, self.capacity),
        };
        match table.queue.pop_front() {
            Some(Command::Apply { ops, .. }) => {
                let complete = |sent: &Submission| {
                    let ufid = sent.op.ufid();
                    let result = match fault {
                        _ if nic && !up => Err(ProviderError::Gone("unplugged".to_owned())),
                        // The engine does not wait for this removal, nor for the last counts.
                        _ if nic && stayed.contains_key(&ufid) => {
                            let result = table.apply(&sent.op, capacity);
                            let seen = stayed.remove(&ufid).unwrap();
                            let last = result.as_ref().expect("a removal").counters;
                            *unreadable += last.since(seen).unwrap();
                            result
                        }
                        Some(0) => Err(ProviderError::Busy("later".to_owned())),
                        _ => table.apply(&sent.op, capacity),
                    };
                    sent.completed(result)
                };
                let completions = ops.iter().map(complete).collect();
                self.events.push_back(Event::Completed { place, completions });
            }
            Some(Command::ReadStats(_)) => {
                let read = |(ufid, (_, counters)): (&Ufid, &(_, Counters))| {
                    (*ufid, Stats { counters: *counters, ..Stats::default() })
                };
                let stats = if nic && !up {
                    Err(ProviderError::Gone("unplugged".to_owned()))
                } else {
                    let mut all: Vec<(Ufid, Stats)> = table.entries.iter().map(read).collect();
                    if !nic {
                        // The host tells what it has counted once.
                        table.entries.values_mut().for_each(|entry| entry.1 = Counters::default());
                    }
                    // A busy kernel leaves a rule out in the same way.
                    if fault == Some(1) {
                        all.pop();
                    }
                    while all.len() > 5 {
                        let stats = all.drain(..5).collect();
                        self.events.push_back(Event::StatsPart { place, stats });
                    }
                    Ok(all)
                };
                // Some devices report how full they are, others only refuse.
                let tells = nic && capacity.is_multiple_of(2);
                let tables = tells.then(|| table.usage(capacity)).into_iter().collect();
                self.events.push_back(Event::Stats { place, stats, tables });
            }
            Some(Command::Resolve { id, answer }) => {
                let key = self.pending[usize::try_from(id).unwrap()];
                if answer == Answered::Reinject {
                    self.forward(&key, 100, false);
                }
            }
            Some(Command::Adopt { .. } | Command::Dump(_) | Command::Execute { .. }) | None => {}
        }
    }

    /// Forwards a packet: NIC first, then the host, then an upcall.
    pub(super) fn forward(&mut self, key: &Key, bytes: usize, fresh: bool) {
        let forwards = self.nic_up || !self.stayed.is_empty();
        let nic = if forwards && fresh { self.nic.hit(key, bytes) } else { None };
        let place = usize::from(nic.is_none());
        let flow = nic.or_else(|| self.host.hit(key, bytes));
        match flow {
            None if fresh || key.recirc_id != 0 => {
                let id = self.pending.len() as u64;
                self.pending.push(*key);
                self.upcalls.push_back(Event::Upcalls(vec![UpcallPacket {
                    id: Some(id),
                    key: Box::new(*key),
                    frame: vec![0; bytes],
                    reason: UpcallReason::Miss,
                }]));
            }
            None => panic!("{key:?} was answered and misses again"),
            Some(flow) => {
                if key.recirc_id == 0 {
                    self.truth[place] += Counters::packet(bytes);
                }
                for action in flow.actions.iter() {
                    if let Action::Recirc(scope) = action {
                        if place == 0 {
                            let children = self.nic.entries.values();
                            let scopes = children.map(|(f, _)| f.matching.key().recirc_id);
                            let mut there = scopes.filter(|s| *s == scope.0);
                            assert!(there.next().is_some(), "a parent without a child");
                        }
                        let again = Key { recirc_id: scope.0, ..*key };
                        self.forward(&again, bytes, place == 0);
                    }
                }
            }
        }
    }

    pub(super) fn random_step(&mut self) {
        match self.dice.roll(100) {
            0..=49 => {
                // A few stations send most of the packets.
                let station = self.dice.roll(60).min(self.dice.roll(60));
                let tp_src = u16::try_from(station).unwrap() + 1;
                let key = Key { in_port: 1, tp_src, ..Key::default() };
                let bytes = usize::try_from(60 + self.dice.roll(1400)).unwrap();
                self.forward(&key, bytes, true);
            }
            50..=64 => self.work(Place::Host),
            65..=79 => self.work(NIC),
            80..=89 => {
                if let Some(event) = self.events.pop_front() {
                    self.step(event);
                }
            }
            90..=94 => {
                if let Some(event) = self.upcalls.pop_front() {
                    self.step(event);
                }
            }
            95 => self.advance(),
            96 => {
                self.now = self.now + Duration::from_millis(10 + self.dice.roll(100));
                self.step(Event::Tick);
            }
            97 if self.dice.roll(4) == 0 => self.operator(),
            98 if self.dice.roll(5) == 0 => {
                self.version.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            }
            99 if self.dice.roll(30) == 0 => self.delete_behind_our_back(),
            99 if self.dice.roll(100) == 0 && self.nic_up => self.unplug(),
            99 if self.dice.roll(10) == 0 && !self.nic_up => self.plug_in(),
            _ => {}
        }
    }

    fn advance(&mut self) {
        if self.engine.has_more() {
            self.step(Event::Advance);
        }
    }

    /// Sends a random operator's request: a removal, other actions for a megaflow, or a
    /// reconciliation.
    pub(super) fn operator(&mut self) {
        let all: Vec<Ufid> = self.engine.ufids();
        if all.is_empty() {
            return;
        }
        let ufid = all[usize::try_from(self.dice.roll(all.len() as u64)).unwrap()];
        let request = match self.dice.roll(10) {
            0 => Request::RemoveAll,
            1..=3 => Request::Replace(ufid, by_hand()),
            4 => Request::Reconcile,
            _ => Request::Remove(ufid),
        };
        self.asked += 1;
        let commands = self.engine.request_at(Token(1000 + self.asked), request, self.now);
        self.carry(commands);
    }

    pub(super) fn delete_behind_our_back(&mut self) {
        // The readings on their way to the engine arrive first, so only later counts are lost.
        self.drain();
        // Only megaflows of scope 0 are victims: a deleted child would break its parent's chain.
        let childless = |f: &Megaflow| f.matching.key().recirc_id == 0;
        let all = self.nic.entries.iter().filter(|(_, (flow, _))| childless(flow));
        let victims: Vec<Ufid> = all.map(|(ufid, _)| *ufid).collect();
        if !victims.is_empty() {
            let index = usize::try_from(self.dice.roll(victims.len() as u64)).unwrap();
            let (_, counters) = self.nic.entries.remove(&victims[index]).unwrap();
            self.lose(victims[index], counters);
        }
    }

    /// Notes the counts that the engine had not read: they can't be read any more.
    pub(super) fn lose(&mut self, ufid: Ufid, counters: Counters) {
        let seen = self.stayed.remove(&ufid).unwrap_or_else(|| self.seen(ufid));
        self.unreadable += counters.since(seen).unwrap_or_default();
    }

    /// What the engine has read of the entry.
    fn seen(&self, ufid: Ufid) -> Counters {
        self.engine.find(ufid).map_or(Counters::default(), |r| r.nic_account.seen())
    }

    pub(super) fn unplug(&mut self) {
        self.drain();
        self.nic_up = false;
        // Only the way to the NIC is gone, or the NIC with what it held. A chain does not stay.
        let stays = self.dice.roll(2) == 0;
        let is_alone = |f: &Megaflow| matches!(f.actions[..], [Action::Output(_)]);
        for (ufid, (flow, counters)) in std::mem::take(&mut self.nic.entries) {
            if flow.matching.key().recirc_id != 0 {
                continue;
            }
            if stays && is_alone(&flow) {
                self.stayed.insert(ufid, self.seen(ufid));
                self.nic.entries.insert(ufid, (flow, counters));
            } else {
                self.lose(ufid, counters);
            }
        }
        let event = ProviderEvent::Gone("unplugged".to_owned());
        self.events.push_back(Event::Provider { provider: ProviderId(0), event });
    }

    /// The NIC tells what it holds since it is back. The engine goes on with some of it, and
    /// removes the rest.
    fn tell_of_content(&mut self, provider: ProviderId) {
        let found = self.nic.entries.iter().map(|(ufid, (flow, counters))| Dumped {
            ufid: *ufid,
            generation: self.nic.generations[ufid],
            flow: Some(flow.clone()),
            stats: Stats { counters: *counters, ..Stats::default() },
            active: true,
        });
        let mut found: Vec<Dumped> = found.collect();
        while found.len() > 5 {
            self.step(Event::DumpedPart { provider, found: found.drain(..5).collect() });
        }
        self.step(Event::Dumped { provider, found });
        let goes_on = |r: &FlowRecord| r.nic.life.forwards();
        let engine = &self.engine;
        self.stayed.retain(|ufid, _| !engine.find(*ufid).is_some_and(goes_on));
    }

    /// The device is back, with what it held still.
    fn plug_in(&mut self) {
        self.nic_up = true;
        self.nic_is_new = true;
        let admission = Arc::new(Picky(Capabilities::default()));
        self.events.push_back(Event::Opened { provider: ProviderId(0), admission });
    }

    pub(super) fn drain(&mut self) {
        for _ in 0..100_000 {
            if let Some(event) = self.events.pop_front().or_else(|| self.upcalls.pop_front()) {
                self.step(event);
            } else if self.engine.has_more() {
                self.advance();
            } else if !self.host.queue.is_empty() {
                self.work(Place::Host);
            } else if !self.nic.queue.is_empty() {
                self.work(NIC);
            } else {
                return;
            }
        }
        panic!("never quiet");
    }

    /// Lets time pass until nothing is held back any more: operations that failed for a while are
    /// tried again.
    pub(super) fn settle(&mut self) {
        for _ in 0..30 {
            self.drain();
            self.now = self.now + Duration::from_millis(50);
            self.step(Event::Tick);
        }
        self.drain();
    }

    pub(super) fn flows(&mut self) -> Vec<FlowView> {
        let commands = self.engine.request_at(Token(0), Request::Reconcile, self.now);
        self.carry(commands);
        self.drain();
        assert_eq!(self.replies.remove(&Token(0)).map(|r| r.is_ok()), Some(true));
        let mut all = Vec::new();
        let mut from = Some(0);
        while let Some(start) = from {
            // Every page size has to show every megaflow once.
            let request = Request::Flows { from: start, most: 1 + start % 4 };
            let commands = self.engine.request_at(Token(1), request, self.now);
            self.carry(commands);
            match self.replies.remove(&Token(1)) {
                Some(Ok(Response::Page(page))) => {
                    all.extend(page.flows.into_iter().map(|(_, view)| view));
                    from = page.next;
                }
                other => panic!("{other:?}"),
            }
        }
        all.sort_unstable_by_key(|view| view.flow.ufid);
        all
    }

    /// Asks the client about all its megaflows: the slow twin of asking about those only that
    /// depend on what has changed. An operator's change stays until the next answer.
    fn nothing_was_left_out(&mut self, seed: u64) {
        let all = self.engine.planner.flows.iter().map(|(_, record)| record);
        let all = all.filter(|record| record.flow.actions != by_hand());
        let all: Vec<Arc<Megaflow>> = all.map(|record| record.flow.clone()).collect();
        for flow in all {
            let verdict = self.engine.client.revalidate(&flow, self.now);
            assert_eq!(verdict, Verdict::Keep, "seed {seed}: {flow:?}");
        }
    }

    /// Looks at every megaflow for what the index of those in a NIC answers.
    fn children_in_nics_are_found(&self, seed: u64) {
        let flows = &self.engine.planner.flows;
        for (id, record) in flows.iter().filter(|(_, record)| record.scope() != 0) {
            let found = flows.in_nics(record.scope()).any(|other| other == id);
            let (may, must) = (!record.nic.is_empty(), record.nic.stays());
            assert!(found || !must, "seed {seed}: {record:?} is in a NIC");
            assert!(may || !found || must, "seed {seed}: {record:?} is in no NIC");
        }
    }

    /// Looks at every megaflow for whether sweeps will visit it, and whether it will be let go when
    /// it is idle.
    fn nobody_is_overlooked(&self, seed: u64) {
        let flows = &self.engine.planner.flows;
        let (moving, _) = flows.moving(0, u32::MAX);
        for (id, record) in flows.iter() {
            let is_found = record.is_at_rest() || moving.contains(&id);
            assert!(is_found, "seed {seed}: no sweep visits {record:?}");
            let ages = record.owner == flow::Owner::Client;
            assert!(!ages || flows.ages(id), "seed {seed}: {record:?} is never idle");
        }
        assert!(moving.into_iter().all(|id| flows.get(id).is_some()), "seed {seed}");
    }

    /// Checks the invariants at a quiet point.
    pub(super) fn check(&mut self, seed: u64) {
        self.children_in_nics_are_found(seed);
        self.nobody_is_overlooked(seed);
        if !self.nic_up && !self.stayed.is_empty() {
            self.plug_in();
        }
        self.settle();
        self.children_in_nics_are_found(seed);
        self.nobody_is_overlooked(seed);
        self.nothing_was_left_out(seed);
        let answered = self.replies.keys().filter(|token| token.0 > 1000).count();
        assert_eq!(answered as u64, self.asked, "seed {seed}: every request is answered");
        let flows = self.flows();
        let host: Vec<Ufid> = self.host.entries.keys().copied().collect();
        let live: Vec<Ufid> = flows.iter().map(|view| view.flow.ufid).collect();
        assert_eq!(host, live, "seed {seed}: (I1) every live flow is in hostdp");
        let nic: Vec<Ufid> = self.nic.entries.keys().copied().collect();
        let placed = flows.iter().filter(|view| view.placement == Placement::Nic);
        let placed: Vec<Ufid> = placed.map(|view| view.flow.ufid).collect();
        assert_eq!(nic, placed, "seed {seed}: (I4) after quiet, dump == belief");
        assert!(nic.len() <= self.capacity, "seed {seed}: (I3)");
        for view in &flows {
            let (installed, _) = &self.host.entries[&view.flow.ufid];
            assert_eq!(installed.actions, view.flow.actions, "seed {seed}: (I5) host");
            if let Some((installed, _)) = self.nic.entries.get(&view.flow.ufid) {
                assert_eq!(installed.actions, view.flow.actions, "seed {seed}: (I5) nic");
            }
        }
        let Planner { flows, placer, .. } = &self.engine.planner;
        // Where room is short, whoever waits is tried after a later pass.
        let has_room = !placer.device(ProviderId(0)).unwrap().short_of_room();
        for (id, record) in flows.iter().filter(|(_, record)| record.may_be_placed()) {
            let why = record.refusal().map(|refused| refused.why.first.reason);
            let waits = why == Some(Reason::Recirculation) && self.nic_up && has_room;
            let is_in = flows.chain_is_in(id, ProviderId(0));
            assert!(!waits || !is_in, "seed {seed}: a parent waits for a child that is there");
        }
        let nic = self.engine.hits(ProviderId(0)).first;
        let host = self.engine.first_pass_host();
        assert_eq!(host, self.truth[1], "seed {seed}: (I2) host");
        assert_eq!(nic + self.unreadable, self.truth[0], "seed {seed}: (I2) nic");
    }
}
