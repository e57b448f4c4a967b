//! Tests of the engine in the simulated world of `world.rs`, and longer stories.

mod adoption;
mod changes;
mod desk;
mod explain;
mod fickle;
mod races;
mod ranks;
mod refused;
mod rules;
mod world;

use std::sync::Arc;
use std::time::Duration;

use flow::{
    Action, Answer, Capabilities, Client, Dumped, Generation, Key, Mask, Match, Megaflow, Moment,
    PortId, PortLink, Stats, Ufid, Upcall, UpcallReason,
};

use super::*;
use crate::planner::view;
use crate::record::FlowRecord;
use crate::residence::Life;
use world::{Picky, World};

impl Engine {
    /// Makes a step of a request.
    fn request_at(&mut self, token: Token, request: Request, now: Moment) -> Commands {
        self.step(Event::Request { token, request }, now)
    }

    fn find(&self, ufid: Ufid) -> Option<&FlowRecord> {
        self.planner.flows.get(self.planner.flows.find(ufid)?)
    }

    fn record(&self, ufid: Ufid) -> &FlowRecord {
        self.find(ufid).expect("a known megaflow")
    }

    /// Returns the ufids of all megaflows, in order.
    fn ufids(&self) -> Vec<Ufid> {
        let mut all: Vec<Ufid> = self.planner.flows.iter().map(|(_, r)| r.flow.ufid).collect();
        all.sort_unstable();
        all
    }

    fn view_of(&self, ufid: Ufid, now: Moment) -> FlowView {
        view(&self.planner.placer, self.record(ufid), now)
    }
}

#[test]
fn the_invariants_hold_whatever_happens() {
    for seed in 0..150 {
        let mut world = World::new(seed);
        for round in 0..8 {
            for _ in 0..400 {
                world.random_step();
            }
            if round % 2 == 1 {
                world.check(seed);
            }
        }
        world.check(seed);
    }
}

#[test]
fn idle_flows_leave_and_operators_flows_stay() {
    let mut world = World::new(3);
    world.capacity = 100;
    let key = Key { in_port: 1, tp_src: 2, ..Key::default() };
    let mask = Mask { tp_src: 0xffff, ..Mask::default() };
    let flow = Arc::new(Megaflow::new(Match::new(&key, &mask), [Action::Output(PortId(3))]));
    let commands = world.engine.request_at(Token(9), Request::Install(flow.clone()), world.now);
    world.carry(commands);
    world.drain();
    assert!(matches!(world.replies.remove(&Token(9)), Some(Ok(Response::Done))));
    world.forward(&Key { in_port: 1, tp_src: 3, ..Key::default() }, 60, true);
    world.drain();
    assert_eq!(world.host.entries.len(), 2);
    for _ in 0..100 {
        world.now = world.now + Duration::from_millis(100);
        world.step(Event::Tick);
        world.drain();
    }
    assert_eq!(world.host.entries.keys().copied().collect::<Vec<_>>(), [flow.ufid]);
    assert_eq!(world.nic.entries.keys().copied().collect::<Vec<_>>(), [flow.ufid]);
    let commands = world.engine.request_at(Token(9), Request::Install(flow.clone()), world.now);
    world.carry(commands);
    assert!(world.replies.remove(&Token(9)).is_some_and(|r| r.is_err()));
    let commands = world.engine.request_at(Token(9), Request::Remove(flow.ufid), world.now);
    world.carry(commands);
    world.drain();
    assert!(matches!(world.replies.remove(&Token(9)), Some(Ok(Response::Flows(_)))));
    assert!(world.host.entries.is_empty() && world.nic.entries.is_empty());
}

/// The actions of each megaflow follow from what the client learns from the other one. The order
/// of revalidation makes no difference.
#[test]
fn what_a_switch_had_in_the_nic_is_adopted_as_it_is() {
    let ports = [1, 2, 3].map(|port| PortLink { id: PortId(port), up: true });
    let stations = [flow::MacAddr([2, 0, 0, 0, 0, 1]), flow::MacAddr([2, 0, 0, 0, 0, 2])];
    let mut before = pipeline::l2::Switch::new(pipeline::l2::L2Settings::default());
    before.ports(&ports);
    let mut flow = |from: usize, to: usize| {
        let (eth_src, eth_dst) = (stations[from - 1], stations[to - 1]);
        let in_port = u32::try_from(from).unwrap();
        let key = Key { in_port, eth_src, eth_dst, eth_type: 0x0800, ..Key::default() };
        let upcall = Upcall { key: &key, frame: &[], reason: &UpcallReason::Miss };
        let Answer::Install(flow) = before.upcall(upcall, Moment(1)) else { panic!("no flow") };
        flow
    };
    flow(1, 2);
    let flows = [flow(2, 1), flow(1, 2)];
    assert_eq!(*flows[1].actions, [Action::Output(PortId(2))]);

    let dumped = |flow: &Arc<Megaflow>| Dumped {
        ufid: flow.ufid,
        generation: Generation(7),
        flow: Some(flow.clone()),
        stats: Stats::default(),
        active: true,
    };
    let parts = [&[0, 1][..], &[1, 0]].map(|whole| vec![whole]);
    let in_parts =
        [&[0][..], &[1]].map(|first| vec![first, if first == [0] { &[1] } else { &[0] }]);
    for parts in parts.into_iter().chain(in_parts) {
        let after = pipeline::l2::Switch::new(pipeline::l2::L2Settings::default());
        let mut engine = Engine::new(Settings::default(), Box::new(after), Box::new(ByRate));
        let admission = Arc::new(Picky(Capabilities::default()));
        let provider = engine.add_hardware("nic", admission, Budget::new(1000));
        engine.step(Event::Ports(ports.to_vec()), Moment(1));
        let (last, earlier) = parts.split_last().unwrap();
        let found = |part: &[usize]| part.iter().map(|n| dumped(&flows[*n])).collect();
        let earlier = earlier.iter().map(|part| Event::DumpedPart { provider, found: found(part) });
        let events: Vec<Event> = earlier
            .chain([Event::Dumped { provider, found: found(last) }, Event::Advance])
            .collect();
        let mut commands: Vec<Command> = Vec::new();
        for event in events {
            let mut more = engine.step(event, Moment(2)).commands;
            // The host has done its part before the next part of the reading comes.
            let of_host = more.iter().filter_map(|command| match command {
                Command::Apply { place: Place::Host, ops } => Some(ops.clone()),
                _ => None,
            });
            let done = of_host.flatten().map(|op| op.completed(Ok(Stats::default())));
            let completed = Event::Completed { place: Place::Host, completions: done.collect() };
            more.extend(engine.step(completed, Moment(2)).commands);
            commands.extend(more);
        }
        let to_nic = |c: &&Command| matches!(c, Command::Apply { place: Place::Nic(_), .. });
        assert_eq!(commands.iter().find(to_nic).map(|c| format!("{c:?}")), None);
        assert!(commands.iter().any(|c| matches!(c, Command::Adopt { .. })));
    }
}

/// Whatever concerns all megaflows is done in slices: no step asks for more operations than a few
/// slices have.
#[test]
fn no_step_grows_with_the_number_of_megaflows() {
    const MANY: u16 = 100;
    let mut desk = desk::Desk::new(1);
    for station in 1..=MANY {
        desk.upcall(station);
        desk.settle();
    }
    let in_nic = |desk: &desk::Desk| {
        let all = desk.engine.planner.flows.iter();
        all.filter(|(_, record)| record.nic.life == Life::Present).count()
    };
    assert_eq!(in_nic(&desk), usize::from(MANY));
    let mut longest = 0;
    let mut steps = |desk: &mut desk::Desk, event: Event| {
        let mut next = Some(event);
        while let Some(event) = next {
            let commands = desk.engine.step(event, desk.now);
            let ops = commands.commands.iter().map(|command| match command {
                Command::Apply { ops, .. } => ops.len(),
                _ => 1,
            });
            longest = longest.max(ops.sum());
            desk.take(commands);
            next = desk.engine.has_more().then_some(Event::Advance);
        }
    };
    // The device lists nothing any more: every rule is lost, and then the device itself.
    let empty = || Event::Stats { place: desk::NIC, stats: Ok(Vec::new()), tables: Vec::new() };
    steps(&mut desk, empty());
    desk.settle();
    assert_eq!(in_nic(&desk), usize::from(MANY), "the rules are back");
    let event = flow::ProviderEvent::Gone("unplugged".to_owned());
    steps(&mut desk, Event::Provider { provider: ProviderId(0), event });
    assert_eq!(in_nic(&desk), 0);
    steps(&mut desk, Event::Request { token: Token(1), request: Request::RemoveAll });
    assert!(desk.replies.is_empty());
    desk.settle();
    assert!(matches!(desk.replies[&Token(1)], Ok(Response::Done)));
    assert!(desk.engine.is_empty());
    assert!(longest > 0 && longest <= 4 * crate::walks::SLICE as usize, "{longest}");
}
