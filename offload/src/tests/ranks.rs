//! Tests the two ranks against a slow reference. Operators act at random, the client's megaflows
//! overlap in every way, tables are slow and refuse every overlap, and packets arrive.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use flow::{
    Action, Actions, Answer, Capabilities, Client, Key, Mask, Match, Megaflow, Moment, Op, PortId,
    PortLink, ProviderError, Stats, Ufid, Upcall, UpcallReason, Verdict,
};

use super::world::Picky;
use super::*;

struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u32) -> u32 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        u32::try_from((self.0 >> 33) % u64::from(sides)).unwrap()
    }

    fn bits(&mut self, of: u16) -> u16 {
        of & u16::try_from(self.roll(0x1_0000)).unwrap()
    }

    fn key(&mut self) -> Key {
        let in_port = 1 + self.roll(2);
        let [tp_src, tp_dst] = [self.bits(0x17), self.bits(0x13)];
        Key { in_port, eth_type: 0x0800, ip_proto: 17, tp_src, tp_dst, ..Key::default() }
    }
}

/// Returns the mask that compares these bits of the ports of UDP.
fn mask(tp_src: u16, tp_dst: u16) -> Mask {
    Mask { eth_type: 0xffff, ip_proto: 0xff, tp_src, tp_dst, ..Mask::default() }
}

/// Returns the client's actions for a packet, which depend on `tp_src` above its lowest bits.
fn clients_actions(key: &Key) -> Actions {
    Arc::new([Action::Output(PortId(2 + u32::from(key.tp_src >> 2)))])
}

/// A client whose masks contain the bits that the actions depend on, and random further bits;
/// without dice, no further bits.
struct Whimsical(Option<Dice>);

impl Client for Whimsical {
    fn name(&self) -> &'static str {
        "whimsical"
    }
    fn ports(&mut self, _ports: &[PortLink]) {}
    fn upcall(&mut self, upcall: Upcall<'_>, _now: Moment) -> Answer {
        let more = self.0.as_mut().map(|dice| (dice.bits(3), dice.bits(0x13)));
        let (tp_src, tp_dst) = more.unwrap_or_default();
        let tp_src = tp_src | 0xfffc;
        let matching = Match::new(upcall.key, &mask(tp_src, tp_dst));
        Answer::Install(Arc::new(Megaflow::new(matching, clients_actions(upcall.key))))
    }
    fn changes(&mut self) -> Vec<flow::Changed> {
        Vec::new()
    }
    fn revalidate(&mut self, _flow: &Megaflow, _now: Moment) -> Verdict {
        Verdict::Keep
    }
    fn used(&mut self, _flow: &Megaflow, _at: Moment) {}
    fn show(&self, _now: Moment) -> String {
        String::new()
    }
    fn flush(&mut self) {}
}

/// A table that refuses overlaps; it compares a new megaflow with each entry in turn.
#[derive(Default)]
struct Slow(BTreeMap<Ufid, Arc<Megaflow>>);

impl Slow {
    fn apply(&mut self, op: &Op) -> Result<Stats, ProviderError> {
        match op {
            Op::Install { flow, .. } => {
                let other = self.0.values().find(|o| o.matching.overlaps(&flow.matching));
                assert_eq!(other, None, "{flow:?} may not come beside it");
                self.0.insert(flow.ufid, flow.clone());
            }
            Op::Replace { flow, .. } => {
                self.0.insert(flow.ufid, flow.clone()).ok_or(ProviderError::NotFound)?;
            }
            Op::Remove { ufid } => {
                self.0.remove(ufid).ok_or(ProviderError::NotFound)?;
            }
        }
        Ok(Stats::default())
    }

    fn hit(&self, key: &Key) -> Option<&Arc<Megaflow>> {
        self.0.values().find(|flow| flow.matching.hits(key))
    }
}

struct Scene {
    dice: Dice,
    engine: Engine,
    now: Moment,
    host: Slow,
    nic: Slow,
    /// The commands that each place has still to carry out, in order.
    to_host: VecDeque<Command>,
    to_nic: VecDeque<Command>,
    /// The operator's megaflows as the operator knows them: asked for, installed, asked to be
    /// removed.
    asked: BTreeMap<Token, Arc<Megaflow>>,
    there: BTreeMap<Ufid, Arc<Megaflow>>,
    going: BTreeMap<Token, Arc<Megaflow>>,
    waiting: Vec<Key>,
    next: u64,
    refused: usize,
    narrowed: usize,
}

impl Scene {
    fn new(seed: u64, client: Whimsical) -> Scene {
        let settings = Settings { max_idle: Duration::from_secs(3600), ..Settings::default() };
        let mut engine = Engine::new(settings, Box::new(client), Box::new(ByRate));
        let admission = Arc::new(Picky(Capabilities::default()));
        let provider = engine.add_hardware("nic", admission, Budget::new(1_000_000));
        engine.step(Event::Dumped { provider, found: Vec::new() }, Moment(1));
        Scene {
            dice: Dice(seed),
            engine,
            now: Moment(1),
            host: Slow::default(),
            nic: Slow::default(),
            to_host: VecDeque::new(),
            to_nic: VecDeque::new(),
            asked: BTreeMap::new(),
            there: BTreeMap::new(),
            going: BTreeMap::new(),
            waiting: Vec::new(),
            next: 0,
            refused: 0,
            narrowed: 0,
        }
    }

    fn step(&mut self, event: Event) {
        self.now = self.now + Duration::from_millis(1);
        let commands = self.engine.step(event, self.now);
        self.take(commands);
    }

    fn take(&mut self, commands: Commands) {
        for command in commands.commands {
            match &command {
                Command::Apply { place: Place::Nic(_), .. } => self.to_nic.push_back(command),
                _ => self.to_host.push_back(command),
            }
        }
        for (token, reply) in commands.replies {
            if let Some(flow) = self.asked.remove(&token) {
                match reply {
                    Ok(_) => drop(self.there.insert(flow.ufid, flow)),
                    Err(error) => self.refuse(&flow, &error.to_string()),
                }
            } else if self.going.remove(&token).is_some() {
                assert!(matches!(reply, Ok(Response::Flows(_))), "{reply:?}");
            }
        }
    }

    /// Checks that a refusal names an operator's megaflow that the refused one overlaps.
    fn refuse(&mut self, flow: &Megaflow, error: &str) {
        self.refused += 1;
        let all = self.there.values().chain(self.asked.values()).chain(self.going.values());
        let others: Vec<_> = all.filter(|o| o.matching.overlaps(&flow.matching)).collect();
        assert!(others.iter().any(|o| error.contains(&o.ufid.to_string())), "{error} {others:?}");
    }

    fn token(&mut self) -> Token {
        self.next += 1;
        Token(self.next)
    }

    fn random_step(&mut self) {
        match self.dice.roll(16) {
            0 => self.operator_installs(),
            1 => self.operator_removes(),
            2..7 => self.packet(),
            7..10 => self.work(true),
            10..13 => self.work(false),
            _ => self.step(Event::Tick),
        }
    }

    fn operator_installs(&mut self) {
        let key = self.dice.key();
        let (tp_src, tp_dst) = (self.dice.bits(0x17), self.dice.bits(0x13));
        let matching = Match::new(&key, &mask(tp_src, tp_dst));
        let token = self.token();
        let number = u32::try_from(token.0).unwrap();
        let flow = Arc::new(Megaflow::new(matching, [Action::Output(PortId(1000 + number))]));
        self.asked.insert(token, flow.clone());
        let commands = self.engine.request_at(token, Request::Install(flow), self.now);
        self.take(commands);
    }

    fn operator_removes(&mut self) {
        let count = u32::try_from(self.there.len()).unwrap();
        if count == 0 {
            return;
        }
        let which = self.dice.roll(count) as usize;
        let ufid = *self.there.keys().nth(which).unwrap();
        let token = self.token();
        let flow = self.there.remove(&ufid).unwrap();
        self.going.insert(token, flow);
        let commands = self.engine.request_at(token, Request::Remove(ufid), self.now);
        self.take(commands);
    }

    /// Checks that a packet gets the right actions. While an operator waits for an answer, the
    /// operator's megaflow may or may not count already.
    fn check(&self, key: &Key, actions: &Actions, whose: &str) {
        let hits = |flow: &&Arc<Megaflow>| flow.matching.hits(key);
        if let Some(flow) = self.there.values().find(hits) {
            assert_eq!(*actions, flow.actions, "{whose}: {key:?} is the operator's");
            return;
        }
        let maybe = self.asked.values().chain(self.going.values()).filter(hits);
        let fine = maybe.map(|flow| &flow.actions).any(|fine| fine == actions);
        assert!(fine || *actions == clients_actions(key), "{whose}: {key:?} {actions:?}");
    }

    fn packet(&mut self) {
        let key = self.dice.key();
        match (self.nic.hit(&key), self.host.hit(&key)) {
            (Some(flow), _) => self.check(&key, &flow.actions, "nic"),
            (None, Some(flow)) => self.check(&key, &flow.actions, "host"),
            (None, None) => {
                self.waiting.push(key);
                let id = Some(self.waiting.len() as u64 - 1);
                let (key, frame) = (Box::new(key), vec![0; 60]);
                self.step(Event::Upcalls(vec![UpcallPacket {
                    id,
                    key,
                    frame,
                    reason: UpcallReason::Miss,
                }]));
            }
        }
    }

    /// Lets one place carry out its next command.
    fn work(&mut self, host: bool) {
        let queue = if host { &mut self.to_host } else { &mut self.to_nic };
        match queue.pop_front() {
            Some(Command::Apply { place, ops }) => {
                let table = if host { &mut self.host } else { &mut self.nic };
                let done = ops.iter().map(|sent| sent.completed(table.apply(&sent.op)));
                let completions = done.collect();
                self.step(Event::Completed { place, completions });
            }
            Some(Command::Resolve { id, answer }) => {
                let key = self.waiting[usize::try_from(id).unwrap()];
                match answer {
                    Answered::Execute(actions) => self.check(&key, &actions, "executed"),
                    Answered::Reinject => {
                        let flow = self.host.hit(&key).expect("it was to be there");
                        self.check(&key, &flow.actions, "again");
                    }
                }
            }
            _ => {}
        }
    }

    fn settle(&mut self) {
        for _ in 0..20 {
            while !self.to_host.is_empty() || !self.to_nic.is_empty() {
                self.work(true);
                self.work(false);
            }
            self.step(Event::Tick);
        }
        assert!(self.asked.is_empty() && self.going.is_empty(), "somebody still waits");
    }

    /// Checks, at rest, that both tables are right for every possible packet and agree with the
    /// engine.
    fn at_rest(&mut self) {
        self.settle();
        for ufid in self.there.keys() {
            assert!(self.host.0.contains_key(ufid), "{ufid} is not there");
        }
        for ufid in self.nic.0.keys() {
            assert!(self.host.0.contains_key(ufid), "{ufid} is in the NIC alone");
        }
        let known: Vec<Ufid> = self.engine.ufids();
        assert_eq!(known, self.host.0.keys().copied().collect::<Vec<_>>());
        for (in_port, src, dst) in
            (1..3).flat_map(|p| (0..0x18).flat_map(move |s| (0..0x14).map(move |d| (p, s, d))))
        {
            let key = Key { in_port, tp_src: src, tp_dst: dst, ..Key::default() };
            for (table, whose) in [(&self.host, "host"), (&self.nic, "nic")] {
                if let Some(flow) = table.hit(&key) {
                    self.check(&key, &flow.actions, whose);
                }
            }
        }
        let whole = |flow: &&Arc<Megaflow>| flow.matching.mask().tp_dst & 0x13 == 0x13;
        self.narrowed += self.host.0.values().filter(whole).count();
    }
}

#[test]
fn an_operator_outranks_a_client_and_nothing_overlaps() {
    let (mut refused, mut narrowed, mut in_nic) = (0, 0, 0);
    for seed in 0..120 {
        println!("seed {seed}");
        let mut scene = Scene::new(seed, Whimsical(Some(Dice(seed ^ 0x5555))));
        for _ in 0..4 {
            for _ in 0..250 {
                scene.random_step();
            }
            scene.at_rest();
        }
        refused += scene.refused;
        narrowed += scene.narrowed;
        in_nic += scene.nic.0.len();
    }
    assert!(refused > 100 && narrowed > 100 && in_nic > 100, "{refused} {narrowed} {in_nic}");
}

/// When a wide megaflow of an operator goes, the client's narrowed megaflows do not stay behind.
#[test]
fn what_was_narrowed_is_asked_for_again() {
    let mut scene = Scene::new(1, Whimsical(None));
    let key = |tp_dst: u16| Key { in_port: 1, tp_dst, ..Key::default() };
    let mask = Mask { tp_dst: u16::MAX, ..Mask::default() };
    let rule = Arc::new(Megaflow::new(Match::new(&key(80), &mask), []));
    let token = scene.token();
    scene.asked.insert(token, rule.clone());
    let commands = scene.engine.request_at(token, Request::Install(rule.clone()), scene.now);
    scene.take(commands);
    scene.settle();
    for tp_dst in [81, 82, 84] {
        let key = Box::new(key(tp_dst));
        scene.waiting.push(*key);
        let id = Some(scene.waiting.len() as u64 - 1);
        scene.step(Event::Upcalls(vec![UpcallPacket {
            id,
            key,
            frame: vec![0; 60],
            reason: UpcallReason::Miss,
        }]));
        scene.settle();
    }
    assert_eq!(scene.host.0.len(), 4, "{:?}", scene.host.0);
    let commands = scene.engine.request_at(token, Request::Remove(rule.ufid), scene.now);
    scene.take(commands);
    scene.settle();
    assert_eq!(scene.host.0.len(), 0, "{:?}", scene.host.0);
    assert_eq!(scene.nic.0.len(), 0);
}
