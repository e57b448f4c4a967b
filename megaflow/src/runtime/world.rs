//! The engine, the thread around a provider and a device, stepped by dice in one thread, with a
//! provider that has every fault which the contract allows. The device is a switch in software, tc
//! on an imitation of the kernel, or the card's model. The seed determines the whole run, but for
//! the card, which has a thread of its own.

mod hosts;
mod nic;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crossbeam_channel::{Receiver, unbounded};
use flow::testing::faulty::{Faults, Faulty, Watch};
use flow::{
    Action, Actions, Answer, Changed, Client, Counters, Dumped, Field, Key, ManualTime, Match,
    Megaflow, Placement, PortId, PortLink, Ufid, Upcall, Verdict,
};
use hostdp::Datapath;
use hostdp::port::memory::MemoryPeer;
use offload::{
    Budget, ByRate, Command, Engine, Event, FlowView, Place, ProviderId, Request, Response,
    Settings, Token,
};

use super::provider::{News, ProviderJob, ProviderLoop};
use hosts::SeveralHosts;
use nic::{MakeNic, Nic};

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
        // tc asks for the number of tags.
        let mask = Key::mask_of(&[Field::EthDst, Field::EthType, Field::VlanTci]);
        let matching = Match::new(upcall.key, &mask);
        Answer::Install(Arc::new(Megaflow::new(matching, actions(upcall.key, self.seen))))
    }
    fn tick(&mut self, _now: flow::Moment) {}
    fn changes(&mut self) -> Vec<Changed> {
        let version = *self.version.lock().unwrap();
        let is_new = std::mem::replace(&mut self.seen, version) != version;
        is_new.then_some(Changed::Everything).into_iter().collect()
    }
    fn revalidate(&mut self, flow: &Megaflow, _now: flow::Moment) -> Verdict {
        match actions(&flow.matching.key(), self.seen) {
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

struct World {
    dice: Dice,
    time: ManualTime,
    clock: flow::Clock,
    engine: Engine,
    host: SeveralHosts,
    nic: Box<dyn Nic>,
    peers: Vec<MemoryPeer>,
    owner: ProviderLoop,
    watch: Watch,
    heard: Receiver<News>,
    /// Commands that the provider's thread has not begun.
    to_nic: VecDeque<ProviderJob>,
    /// Events of the host for the engine.
    from_host: VecDeque<Event>,
    version: Arc<Mutex<u32>>,
    replies: BTreeMap<Token, Result<Response, offload::RequestError>>,
    requests: u64,
    sent: u64,
}

impl World {
    fn new(seed: u64, faults: Faults, make: MakeNic) -> World {
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
        let time = ManualTime::default();
        let (nic, provider) = make(capacity, time.clock());
        // The host has one worker, or three.
        let (host, peers) = SeveralHosts::new(if seed.is_multiple_of(2) { 1 } else { 3 });
        engine.add_hardware(provider.name(), provider.admission(), Budget::new(2000));
        let faulty = Faulty::new(provider, faults, seed);
        let (watch, (news, heard)) = (faulty.watch(), unbounded());
        let mut owner = ProviderLoop::new(NIC, Box::new(faulty), time.clock(), news);
        owner.opened();
        World {
            dice,
            clock: time.clock(),
            time,
            engine,
            host,
            nic,
            peers,
            owner,
            watch,
            heard,
            to_nic: VecDeque::new(),
            from_host: VecDeque::new(),
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
                other => self.host.begin(other),
            }
        }
    }

    /// A packet comes in: the device has it first, then the host.
    fn packet(&mut self) {
        // A few stations get most of the packets.
        let station = self.dice.roll(60).min(self.dice.roll(60));
        let mut frame = vec![2, 0, 0, 0, 0, u8::try_from(station).unwrap(), 2, 0, 0, 0, 1, 1, 8, 0];
        frame.resize(60 + usize::try_from(self.dice.roll(1400)).unwrap(), 0);
        let now = self.clock.now();
        self.sent += 1;
        if self.nic.receive(&frame, now) {
            self.host.receive(station, &frame, now);
        }
    }

    fn upcalls(&mut self, worker: usize) {
        for packet in self.host.upcalls(worker) {
            self.from_host.push_back(Event::Upcalls(vec![packet]));
        }
    }

    fn work_of_host(&mut self, worker: usize) {
        let now = self.clock.now();
        self.from_host.extend(self.host.work(worker, now));
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
            40..=44 => {
                let worker = self.worker();
                self.upcalls(worker);
            }
            45..=54 => {
                // Each of several workers has as much time as a single one.
                for _ in 0..self.host.count() {
                    let worker = self.worker();
                    self.work_of_host(worker);
                }
            }
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
            98 if self.dice.roll(4) == 0 => self.nic.disturb(self.dice.roll(1000)),
            99 if self.dice.roll(10) == 0 => *self.version.lock().unwrap() += 1,
            _ => {}
        }
    }

    fn worker(&mut self) -> usize {
        usize::try_from(self.dice.roll(self.host.count() as u64)).unwrap()
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
                for worker in 0..self.host.count() {
                    self.upcalls(worker);
                    self.work_of_host(worker);
                }
                self.work_of_nic();
                while self.hear() {}
                while let Some(event) = self.from_host.pop_front() {
                    self.step(event);
                }
                if self.engine.has_more() {
                    self.step(Event::Advance);
                } else if self.host.is_idle() && self.to_nic.is_empty() {
                    break;
                }
            }
            self.time.pass(Duration::from_millis(100));
            self.step(Event::Tick);
        }
        self.watch.set_calm(false);
    }

    /// Reads what the device holds.
    fn dump(&mut self) -> BTreeMap<Ufid, Actions> {
        let (reply, parts) = unbounded();
        self.watch.set_calm(true);
        self.owner.begin(ProviderJob::Audit(reply));
        let mut found: Vec<Dumped> = Vec::new();
        loop {
            self.owner.work();
            let Ok(part) = parts.try_recv() else { continue };
            let (more, is_last) = part.unwrap();
            found.extend(more);
            if is_last {
                break;
            }
        }
        self.watch.set_calm(false);
        let all = found.into_iter().map(|one| (one.ufid, one.flow.unwrap().actions.clone()));
        all.collect()
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
        let on_host = believed(&mut views.iter());
        for datapath in self.host.datapaths() {
            assert_eq!(there(datapath), on_host, "seed {seed}: host");
        }
        let mut placed = views.iter().filter(|view| view.placement == Placement::Nic);
        let in_nic = self.dump();
        assert_eq!(in_nic, believed(&mut placed), "seed {seed}: the NIC");
        assert_eq!(in_nic.len(), self.nic.megaflows(), "seed {seed}: the NIC by its own count");
        let ledgers: Vec<_> = self.host.datapaths().map(|host| host.ledger()).collect();
        let host_hits = ledgers.iter().map(|ledger| ledger.fresh.hits_first_pass).sum();
        let first: Counters = self.engine.first_pass_host();
        assert_eq!(first, host_hits, "seed {seed}: hits on the host");
        let hits = self.engine.hits(NIC).first + self.watch.unreadable();
        assert_eq!(hits, self.nic.hits(), "seed {seed}: hits in the NIC");
        assert!(ledgers.iter().all(hostdp::Ledger::is_exact), "seed {seed}: {ledgers:?}");
        let out: usize = self.peers.iter().map(|peer| peer.drain().len()).sum();
        let out = out + self.nic.sent();
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

/// A number that says how much a test does.
fn number(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().map_or(usual, |n| n.parse().unwrap())
}

/// Runs `MEGAFLOW_SEEDS` seeds from `MEGAFLOW_SEED` on, with `MEGAFLOW_STEPS` steps each.
fn run(make: MakeNic, usual: u64) {
    let (first, seeds) = (number("MEGAFLOW_SEED", 0), number("MEGAFLOW_SEEDS", usual));
    let steps = number("MEGAFLOW_STEPS", 2000);
    let (mut hits, mut unreadable) = (Counters::default(), Counters::default());
    for seed in first..first + seeds {
        let mut world = World::new(seed, ALL, make);
        for round in 1..=2 {
            (0..steps / 2).for_each(|_| world.random_step());
            world.check(seed * 10 + round);
        }
        hits += world.engine.hits(NIC).first;
        unreadable += world.watch.unreadable();
    }
    println!("{seeds} seeds: {} packets hit in the NIC", hits.packets);
    println!("{} of them can't be read", unreadable.packets);
    assert!(hits.packets > 50 * seeds && unreadable.packets > 0);
}

#[test]
fn nothing_is_miscounted_or_stuck_behind_a_switch_with_every_fault() {
    run(nic::switch, 200);
}

#[test]
fn nothing_is_miscounted_or_stuck_behind_tc_with_every_fault() {
    run(nic::tc, 200);
}

#[test]
fn nothing_is_miscounted_or_stuck_behind_a_card_with_every_fault() {
    run(nic::card, 100);
}

/// The sums find a fault that nobody can make good, in each world whose switch is read while its
/// counters grow.
#[test]
fn an_update_that_is_never_told_is_found() {
    let faults = Faults { lost_update: true, ..Faults::default() };
    let found = (0..20).filter(|seed| {
        let mut world = World::new(*seed, faults, nic::switch);
        (0..1000).for_each(|_| world.random_step());
        world.settle();
        world.engine.hits(NIC).first != world.nic.hits()
    });
    let found = found.count();
    assert!(found > 5, "only {found} of 20 worlds");
}
