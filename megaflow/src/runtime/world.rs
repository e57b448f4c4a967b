//! The engine, the thread around a provider and real tables, stepped by dice in one thread, with a
//! provider that has every fault which the contract allows. The seed determines the whole run.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use crossbeam_channel::{Receiver, unbounded};
use flow::packet::extract;
use flow::testing::faulty::{Faults, Faulty, Watch};
use flow::{
    Action, Actions, Admission, Answer, Changed, Client, Completion, Counters, Cursor, Dumped,
    Field, Key, ManualTime, Match, Megaflow, Placement, PortId, PortLink, Provider, ProviderError,
    ProviderEvent, Stats, Submission, TableUsage, Ufid, Upcall, Verdict,
};
use hostdp::port::memory::{self, MemoryPeer};
use hostdp::{Datapath, DatapathSettings, Resolution, UpcallId};
use offload::{
    Answered, Budget, ByRate, Command, Engine, Event, FlowView, Place, ProviderId, Request,
    Response, Settings, Token, UpcallPacket,
};

use super::provider::{News, ProviderJob, ProviderLoop};

const PORTS: u32 = 4;
const NIC: ProviderId = ProviderId(0);

struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// Answers each destination with an output that changes from time to time.
struct Fickle {
    version: Arc<Mutex<u32>>,
    seen: u32,
}

fn actions(key: &Key, version: u32) -> Actions {
    Arc::new([Action::Output(PortId(2 + (u32::from(key.eth_dst.0[5]) + version) % 3))])
}

impl Client for Fickle {
    fn name(&self) -> &'static str {
        "fickle"
    }
    fn ports(&mut self, _ports: &[PortLink]) {}
    fn upcall(&mut self, upcall: Upcall<'_>, _now: flow::Moment) -> Answer {
        let matching = Match::new(upcall.key, &Key::mask_of(&[Field::EthDst, Field::EthType]));
        Answer::Install(Arc::new(Megaflow::new(matching, actions(upcall.key, self.seen))))
    }
    fn tick(&mut self, _now: flow::Moment) {}
    fn changes(&mut self) -> Vec<Changed> {
        let version = *self.version.lock().unwrap();
        let is_new = std::mem::replace(&mut self.seen, version) != version;
        is_new.then_some(Changed::Everything).into_iter().collect()
    }
    fn revalidate(&mut self, flow: &Megaflow, _now: flow::Moment) -> Verdict {
        match actions(flow.matching.key(), self.seen) {
            right if right == flow.actions => Verdict::Keep,
            right => Verdict::Replace(right),
        }
    }
    fn used(&mut self, _flow: &Megaflow, _at: flow::Moment) {}
    fn show(&self, _now: flow::Moment) -> String {
        String::new()
    }
    fn flush(&mut self) {}
}

/// A switch in software with its own table, in the place of a NIC.
#[derive(Clone)]
struct Switch(Arc<Mutex<Datapath>>);

impl Switch {
    fn lock(&self) -> MutexGuard<'_, Datapath> {
        self.0.lock().unwrap()
    }
}

impl Provider for Switch {
    fn name(&self) -> &str {
        "switch"
    }
    fn admission(&self) -> Arc<dyn Admission> {
        self.lock().table().admission()
    }
    fn window(&self) -> usize {
        self.lock().table().window()
    }
    fn submit(&mut self, waiting: &mut VecDeque<Submission>) {
        self.lock().table().submit(waiting);
    }
    fn poll(&mut self, wait: Duration, done: &mut Vec<Completion>) {
        self.lock().table().poll(wait, done);
    }
    fn stats(
        &mut self,
        from: Cursor,
        out: &mut Vec<(Ufid, Stats)>,
    ) -> Result<Option<Cursor>, ProviderError> {
        self.lock().table().stats(from, out)
    }
    fn dump(
        &mut self,
        from: Cursor,
        out: &mut Vec<Dumped>,
    ) -> Result<Option<Cursor>, ProviderError> {
        self.lock().table().dump(from, out)
    }
    fn adopt(&mut self, found: &[Dumped]) -> Vec<Ufid> {
        self.lock().table().adopt(found)
    }
    fn tables(&self) -> Vec<TableUsage> {
        self.lock().table().tables()
    }
    fn events(&mut self) -> Vec<ProviderEvent> {
        Vec::new()
    }
}

fn datapath(flow_limit: usize) -> (Datapath, Vec<MemoryPeer>) {
    let mut datapath =
        Datapath::new(DatapathSettings { flow_limit, ..DatapathSettings::default() });
    let peers = (1..=PORTS).map(|number| {
        let (port, peer) = memory::open(&format!("port{number}"), 1 << 16).unwrap();
        datapath.add_port(PortId(number), Box::new(port)).unwrap();
        peer
    });
    let peers = peers.collect();
    (datapath, peers)
}

struct World {
    dice: Dice,
    time: ManualTime,
    clock: flow::Clock,
    engine: Engine,
    host: Datapath,
    switch: Switch,
    peers: Vec<MemoryPeer>,
    owner: ProviderLoop,
    watch: Watch,
    heard: Receiver<News>,
    /// Commands that the host and the provider's thread have not begun.
    to_host: VecDeque<Command>,
    to_nic: VecDeque<ProviderJob>,
    /// Events of the host for the engine.
    from_host: VecDeque<Event>,
    asked: BTreeMap<u64, UpcallId>,
    version: Arc<Mutex<u32>>,
    replies: BTreeMap<Token, Result<Response, offload::RequestError>>,
    requests: u64,
    sent: u64,
}

impl World {
    fn new(seed: u64, faults: Faults) -> World {
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let version = Arc::new(Mutex::new(0));
        let settings = Settings {
            max_idle: Duration::from_secs(3),
            stats_interval: Duration::from_millis(200),
            ..Settings::default()
        };
        let client = Fickle { version: version.clone(), seen: 0 };
        let mut engine = Engine::new(settings, Box::new(client), Box::new(ByRate));
        let capacity = 4 + usize::try_from(dice.roll(40)).unwrap();
        let (switch, mut peers) = datapath(capacity);
        let switch = Switch(Arc::new(Mutex::new(switch)));
        let (host, more) = datapath(100_000);
        peers.extend(more);
        engine.add_hardware("switch", switch.admission(), Budget::new(2000));
        let time = ManualTime::default();
        let faulty = Faulty::new(Box::new(switch.clone()), faults, seed);
        let (watch, (news, heard)) = (faulty.watch(), unbounded());
        let mut owner = ProviderLoop::new(NIC, Box::new(faulty), time.clock(), news);
        owner.opened();
        World {
            dice,
            clock: time.clock(),
            time,
            engine,
            host,
            switch,
            peers,
            owner,
            watch,
            heard,
            to_host: VecDeque::new(),
            to_nic: VecDeque::new(),
            from_host: VecDeque::new(),
            asked: BTreeMap::new(),
            version,
            replies: BTreeMap::new(),
            requests: 0,
            sent: 0,
        }
    }

    fn step(&mut self, event: Event) {
        let now = self.clock.now();
        let commands = self.engine.step(event, now);
        self.replies.extend(commands.replies);
        for command in commands.commands {
            match command {
                Command::Apply { place: Place::Nic(_), ops } => {
                    self.to_nic.push_back(ProviderJob::Apply(ops, now));
                }
                Command::ReadStats(Place::Nic(_)) => self.to_nic.push_back(ProviderJob::ReadStats),
                Command::Dump(_) => self.to_nic.push_back(ProviderJob::Dump),
                Command::Adopt { found, .. } => self.to_nic.push_back(ProviderJob::Adopt(found)),
                other => self.to_host.push_back(other),
            }
        }
    }

    /// A packet comes in: the switch has it first, then the host.
    fn packet(&mut self) {
        // A few stations get most of the packets.
        let station = self.dice.roll(60).min(self.dice.roll(60));
        let mut frame = vec![2, 0, 0, 0, 0, u8::try_from(station).unwrap(), 2, 0, 0, 0, 1, 1, 8, 0];
        frame.resize(60 + usize::try_from(self.dice.roll(1400)).unwrap(), 0);
        let now = self.clock.now();
        self.sent += 1;
        let missed = {
            let mut switch = self.switch.lock();
            assert!(switch.receive(PortId(1), &frame, now));
            let missed = switch.next_upcalls(1).pop();
            if let Some(id) = missed.as_ref().and_then(|upcall| upcall.id) {
                switch.resolve(id, &Resolution::Drop, now);
            }
            missed.is_some()
        };
        if missed {
            assert!(self.host.receive(PortId(1), &frame, now));
        }
    }

    fn upcalls(&mut self) {
        for upcall in self.host.next_upcalls(3) {
            let id = upcall.id.map(|id| {
                let number = self.asked.len() as u64;
                self.asked.insert(number, id);
                number
            });
            let key = Box::new(Key { in_port: 1, ..extract(&upcall.frame) });
            let (frame, reason) = (upcall.frame, upcall.reason);
            let packet = UpcallPacket { id, key, frame, reason };
            self.from_host.push_back(Event::Upcalls(vec![packet]));
        }
    }

    /// The host carries out its oldest command.
    fn work_of_host(&mut self) {
        let now = self.clock.now();
        match self.to_host.pop_front() {
            Some(Command::Apply { place, ops }) => {
                let table = self.host.table();
                let done = ops.into_iter().map(|submission| {
                    let result = loop {
                        if let Some(result) = table.try_apply(&submission.op) {
                            break result;
                        }
                    };
                    submission.completed(result)
                });
                let completions = done.collect();
                self.from_host.push_back(Event::Completed { place, completions });
            }
            Some(Command::ReadStats(place)) => {
                let mut stats = Vec::new();
                let all = self.host.table().news_slice(Cursor::default(), usize::MAX, &mut stats);
                assert_eq!(all, None);
                let (stats, tables) = (Ok(stats), Vec::new());
                self.from_host.push_back(Event::Stats { place, stats, tables });
            }
            Some(Command::Resolve { id, answer }) => {
                let resolution = match answer {
                    Answered::Reinject => Resolution::Reinject,
                    Answered::Execute(actions) => Resolution::Execute(actions),
                };
                assert!(self.host.resolve(self.asked[&id], &resolution, now), "a packet is lost");
            }
            Some(other) => panic!("{other:?}"),
            None => {}
        }
    }

    fn work_of_nic(&mut self) {
        if self.dice.roll(4) > 0
            && let Some(job) = self.to_nic.pop_front()
        {
            self.owner.begin(job);
        }
        self.owner.work();
        self.owner.look_for_events();
    }

    fn hear(&mut self) -> bool {
        let Ok(news) = self.heard.try_recv() else { return false };
        match news {
            News::Event(event) | News::Traffic(_, _, Some(event)) => self.step(event),
            News::Completed(place, completions, _) => {
                self.step(Event::Completed { place, completions });
            }
            News::Traffic(..) | News::Pass(_) | News::Snapshot(..) | News::Received(..) => {}
        }
        true
    }

    fn random_step(&mut self) {
        match self.dice.roll(100) {
            0..=39 => self.packet(),
            40..=44 => self.upcalls(),
            45..=54 => self.work_of_host(),
            55..=74 => self.work_of_nic(),
            75..=86 => drop(self.hear()),
            87..=92 => {
                if let Some(event) = self.from_host.pop_front() {
                    self.step(event);
                }
            }
            93..=95 if self.engine.has_more() => self.step(Event::Advance),
            96 | 97 => self.tick(),
            98 if self.dice.roll(4) == 0 => self.operator(),
            99 if self.dice.roll(10) == 0 => *self.version.lock().unwrap() += 1,
            _ => {}
        }
    }

    fn tick(&mut self) {
        self.time.pass(Duration::from_millis(10 + self.dice.roll(100)));
        self.step(Event::Tick);
    }

    fn operator(&mut self) {
        let all = self.flows();
        let Some(index) = self.dice.roll(1 + all.len() as u64).checked_sub(1) else { return };
        let ufid = all[usize::try_from(index).unwrap()].flow.ufid;
        let request = match self.dice.roll(12) {
            0 => Request::RemoveAll,
            1..=3 => Request::Replace(ufid, Arc::new([Action::Output(PortId(4))])),
            4 => Request::Reconcile,
            _ => Request::Remove(ufid),
        };
        self.requests += 1;
        self.step(Event::Request { token: Token(1000 + self.requests), request });
    }

    fn flows(&mut self) -> Vec<FlowView> {
        let mut all = Vec::new();
        let mut from = Some(0);
        while let Some(start) = from {
            let (token, request) = (Token(1), Request::Flows { from: start, most: u32::MAX });
            self.step(Event::Request { token, request });
            match self.replies.remove(&token) {
                Some(Ok(Response::Page(page))) => {
                    all.extend(page.flows.into_iter().map(|(_, view)| view));
                    from = page.next;
                }
                other => panic!("{other:?}"),
            }
        }
        all
    }

    /// Lets everything that was begun come to its end, in quiet: without faults and packets.
    fn settle(&mut self) {
        self.watch.set_calm(true);
        for _ in 0..80 {
            for _ in 0..200 {
                self.upcalls();
                self.work_of_host();
                self.work_of_nic();
                while self.hear() {}
                while let Some(event) = self.from_host.pop_front() {
                    self.step(event);
                }
                if self.engine.has_more() {
                    self.step(Event::Advance);
                } else if self.to_host.is_empty() && self.to_nic.is_empty() {
                    break;
                }
            }
            self.time.pass(Duration::from_millis(100));
            self.step(Event::Tick);
        }
        self.watch.set_calm(false);
    }

    /// Checks what holds in quiet: belief is what is there, and every packet is counted once.
    fn check(&mut self, seed: u64) {
        self.settle();
        let answered = self.replies.keys().filter(|token| token.0 > 1000).count();
        assert_eq!(answered as u64, self.requests, "seed {seed}: every request is answered");
        let mut views = self.flows();
        views.sort_unstable_by_key(|view| view.flow.ufid);
        let there = |datapath: &mut Datapath| {
            let all = datapath.table().flows().map(|flow| (flow.ufid, flow.actions.clone()));
            all.collect::<BTreeMap<Ufid, Actions>>()
        };
        let believed = |views: &mut dyn Iterator<Item = &FlowView>| {
            let all = views.map(|view| (view.flow.ufid, view.flow.actions.clone()));
            all.collect::<BTreeMap<Ufid, Actions>>()
        };
        assert_eq!(there(&mut self.host), believed(&mut views.iter()), "seed {seed}: host");
        let mut placed = views.iter().filter(|view| view.placement == Placement::Nic);
        let nic = there(&mut self.switch.lock());
        assert_eq!(nic, believed(&mut placed), "seed {seed}: the switch");
        let (host, nic) = (self.host.ledger(), self.switch.lock().ledger());
        let first = self.engine.first_pass_host();
        assert_eq!(first, host.fresh.hits_first_pass, "seed {seed}: hits on the host");
        let hits = self.engine.hits(NIC).first + self.watch.unreadable();
        assert_eq!(hits, nic.fresh.hits_first_pass, "seed {seed}: hits in the switch");
        assert!(host.is_exact(), "seed {seed}: {host:?}");
        let out: usize = self.peers.iter().map(|peer| peer.drain().len()).sum();
        assert_eq!(out as u64, std::mem::take(&mut self.sent), "seed {seed}: a packet is lost");
    }
}

/// All faults that can be made good.
const ALL: Faults = Faults {
    late: 3,
    full: 5,
    busy: 20,
    broken_off: 20,
    left_out: 50,
    reset: 20,
    gone: 400,
    lost_update: false,
};

/// `MEGAFLOW_SEEDS` seeds from `MEGAFLOW_SEED` on.
#[test]
fn nothing_is_miscounted_or_stuck_behind_a_provider_with_every_fault() {
    let number = |name, usual| std::env::var(name).ok().map_or(usual, |n| n.parse().unwrap());
    let (first, seeds) = (number("MEGAFLOW_SEED", 0), number("MEGAFLOW_SEEDS", 200));
    let (mut hits, mut unreadable) = (Counters::default(), Counters::default());
    for seed in first..first + seeds {
        let mut world = World::new(seed, ALL);
        for round in 1..=2 {
            (0..1000).for_each(|_| world.random_step());
            world.check(seed * 10 + round);
        }
        hits += world.engine.hits(NIC).first;
        unreadable += world.watch.unreadable();
    }
    println!("{} packets hit in the switch, {} can't be read", hits.packets, unreadable.packets);
    assert!(hits.packets > 50 * seeds && unreadable.packets > 0);
}

/// The sums find a fault that nobody can make good, in each world whose switch is read while its
/// counters grow.
#[test]
fn an_update_that_is_never_told_is_found() {
    let faults = Faults { lost_update: true, ..Faults::default() };
    let found = (0..20).filter(|seed| {
        let mut world = World::new(*seed, faults);
        (0..1000).for_each(|_| world.random_step());
        world.settle();
        let truth = world.switch.lock().ledger().fresh.hits_first_pass;
        world.engine.hits(NIC).first != truth
    });
    let found = found.count();
    assert!(found > 5, "only {found} of 20 worlds");
}
