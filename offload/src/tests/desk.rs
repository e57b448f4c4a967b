//! A desk for tests: every operation of the engine waits until the test answers it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use flow::{
    Action, ActionKind, Actions, Admission, Answer, Capabilities, Client, Counters, Key, Mask,
    Match, Megaflow, Moment, OpKind, Placement, PortId, PortLink, ProviderError, Reason, RecircId,
    Refusal, Refusals, Stats, Submission, Ufid, Upcall, UpcallReason, Verdict,
};

use super::*;

pub(super) struct TakesAll(pub(super) Capabilities);

impl Admission for TakesAll {
    fn capabilities(&self) -> &Capabilities {
        &self.0
    }
    fn admit(&self, flow: &Megaflow) -> Result<(), Refusals> {
        let refused = flow.actions.contains(&REFUSED) && self.0.max_actions == 0;
        if refused { Err(Refusal::new(Reason::Action, ActionKind::Output).into()) } else { Ok(()) }
    }
    fn explain(&self, flow: &Megaflow) -> Result<String, Refusals> {
        self.admit(flow).map(|()| "plan".to_owned())
    }
}

/// A client that answers each station with an output and keeps every megaflow.
pub(super) struct Outputs;

impl Client for Outputs {
    fn name(&self) -> &'static str {
        "outputs"
    }
    fn ports(&mut self, _ports: &[PortLink]) {}
    fn upcall(&mut self, upcall: Upcall<'_>, _now: Moment) -> Answer {
        Answer::Install(flow_of(upcall.key.recirc_id, upcall.key.tp_src, &[OUT]))
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

/// An action that no NIC admits.
pub(super) const REFUSED: Action = Action::Output(PortId(13));
pub(super) const OUT: Action = Action::Output(PortId(2));
pub(super) const NIC: Place = Place::Nic(ProviderId(0));
pub(super) const OTHER_NIC: Place = Place::Nic(ProviderId(1));

pub(super) fn to(scope: u32) -> Action {
    Action::Recirc(RecircId(scope))
}

pub(super) fn key_of(scope: u32, station: u16) -> Key {
    let key = Key { in_port: 1, recirc_id: scope, tp_src: station, ..Key::default() };
    Key { eth_type: 0x0800, ip_proto: 17, ..key }
}

pub(super) fn flow_of(scope: u32, station: u16, actions: &[Action]) -> Arc<Megaflow> {
    let mask = Mask { eth_type: 0xffff, ip_proto: 0xff, tp_src: 0xffff, ..Mask::default() };
    let actions: Actions = Arc::from(actions);
    Arc::new(Megaflow::new(Match::new(&key_of(scope, station), &mask), actions))
}

pub(super) fn counted(packets: u64) -> Stats {
    let counters = Counters { packets, bytes: packets * 60 };
    Stats { counters, ..Stats::default() }
}

/// An engine whose operations wait until the test answers them.
pub(super) struct Desk {
    pub(super) engine: Engine,
    pub(super) now: Moment,
    pub(super) host: VecDeque<Submission>,
    pub(super) nic: BTreeMap<ProviderId, VecDeque<Submission>>,
    pub(super) reads: Vec<Place>,
    pub(super) dumps: Vec<ProviderId>,
    pub(super) answers: Vec<Answered>,
    pub(super) replies: BTreeMap<Token, Result<Response, RequestError>>,
}

impl Desk {
    pub(super) fn new(nics: usize) -> Desk {
        let mut engine = Engine::new(Settings::default(), Box::new(Outputs), Box::new(ByRate));
        for index in 0..nics {
            let admission = Arc::new(TakesAll(Capabilities::default()));
            engine.add_hardware(&format!("nic{index}"), admission, Budget::new(1_000_000));
        }
        let mut desk = Desk {
            engine,
            now: Moment(1),
            host: VecDeque::new(),
            nic: (0..nics).map(|index| (ProviderId(index), VecDeque::new())).collect(),
            reads: Vec::new(),
            dumps: Vec::new(),
            answers: Vec::new(),
            replies: BTreeMap::new(),
        };
        for index in 0..nics {
            desk.step(Event::Dumped { provider: ProviderId(index), found: Vec::new() });
        }
        desk
    }

    pub(super) fn take(&mut self, commands: Commands) {
        self.replies.extend(commands.replies);
        for command in commands.commands {
            match command {
                Command::Apply { place: Place::Host, ops } => self.host.extend(ops),
                Command::Apply { place: Place::Nic(id), ops } => {
                    self.nic.entry(id).or_default().extend(ops);
                }
                Command::ReadStats(place) => self.reads.push(place),
                Command::Dump(provider) => self.dumps.push(provider),
                Command::Resolve { answer, .. } => self.answers.push(answer),
                Command::Adopt { .. } | Command::Execute { .. } => {}
            }
        }
    }

    /// Makes a step, and whatever the engine has begun with it.
    pub(super) fn step(&mut self, event: Event) {
        let commands = self.engine.step(event, self.now);
        self.take(commands);
        while self.engine.has_more() {
            let commands = self.engine.step(Event::Advance, self.now);
            self.take(commands);
        }
    }

    pub(super) fn ask(&mut self, token: u64, request: Request) {
        self.step(Event::Request { token: Token(token), request });
    }

    pub(super) fn later(&mut self, time: Duration) {
        self.now = self.now + time;
        self.step(Event::Tick);
    }

    pub(super) fn upcall(&mut self, station: u16) {
        let key = Box::new(key_of(0, station));
        self.step(Event::Upcalls(vec![UpcallPacket {
            id: Some(1),
            key,
            frame: vec![0; 60],
            reason: UpcallReason::Miss,
        }]));
    }

    pub(super) fn queue(&mut self, place: Place) -> &mut VecDeque<Submission> {
        match place {
            Place::Host => &mut self.host,
            Place::Nic(id) => self.nic.entry(id).or_default(),
        }
    }

    /// Completes the oldest operation of a place, and returns its kind and its ufid.
    pub(super) fn done(
        &mut self,
        place: Place,
        result: Result<Stats, ProviderError>,
    ) -> (OpKind, Ufid) {
        let submission = self.queue(place).pop_front().expect("an operation in flight");
        let done = submission.completed(result);
        let (kind, ufid) = (done.kind, done.ufid);
        self.step(Event::Completed { place, completions: vec![done] });
        (kind, ufid)
    }

    /// Completes everything in flight, and whatever follows from it.
    pub(super) fn settle(&mut self) {
        for _ in 0..10_000 {
            let places = [Place::Host, NIC, OTHER_NIC];
            let Some(place) = places.into_iter().find(|p| !self.queue(*p).is_empty()) else {
                return;
            };
            self.done(place, Ok(Stats::default()));
        }
        panic!("never quiet");
    }

    pub(super) fn stats(&mut self, place: Place, stats: Vec<(Ufid, Stats)>) {
        self.step(Event::Stats { place, stats: Ok(stats), tables: Vec::new() });
    }

    /// Installs an operator's megaflow, which goes into the NIC if possible.
    pub(super) fn put(&mut self, flow: &Arc<Megaflow>) {
        self.ask(1000, Request::Install(flow.clone()));
        self.settle();
        assert!(matches!(self.replies.remove(&Token(1000)), Some(Ok(Response::Done))));
    }

    pub(super) fn placement(&self, flow: &Megaflow) -> Placement {
        self.engine.record(flow.ufid).placement()
    }

    pub(super) fn total(&self, flow: &Megaflow) -> u64 {
        self.engine.record(flow.ufid).nic_account.total().packets
    }
}
