//! The engine in the simulated world of `world.rs`, and what else is told of it at length.

mod desk;
mod races;
mod refused;
mod rules;
mod world;

use std::sync::Arc;
use std::time::Duration;

use flow::{
    Action, Answer, Capabilities, Client, Dumped, Key, Mask, Match, Megaflow, Moment, PortId,
    Stats, Upcall, UpcallReason,
};

use super::*;
use crate::request::Request;
use world::{Picky, World};

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
fn a_lost_counter_update_is_seen_in_the_sum() {
    let mut world = World::new(7);
    world.engine.settings.fault = Some(Fault::DropCounterUpdate);
    for _ in 0..4000 {
        world.random_step();
    }
    world.drain();
    world.flows();
    assert_eq!(world.engine.settings.fault, None, "the fault was never reached");
    assert_ne!(world.engine.first_pass_nic(ProviderId(0)) + world.unreadable, world.truth[0]);
}

#[test]
fn idle_flows_leave_and_operators_flows_stay() {
    let mut world = World::new(3);
    world.capacity = 100;
    let key = Key { in_port: 1, tp_src: 2, ..Key::default() };
    let mask = Mask { tp_src: 0xffff, ..Mask::default() };
    let flow = Arc::new(Megaflow::new(Match::new(&key, &mask), [Action::Output(PortId(3))]));
    let commands = world.engine.request(Token(9), Request::Install(flow.clone()), world.now);
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
    let commands = world.engine.request(Token(9), Request::Install(flow.clone()), world.now);
    world.carry(commands);
    assert!(world.replies.remove(&Token(9)).is_some_and(|r| r.is_err()));
    let commands = world.engine.request(Token(9), Request::Remove(flow.ufid), world.now);
    world.carry(commands);
    world.drain();
    assert!(matches!(world.replies.remove(&Token(9)), Some(Ok(Response::Flows(_)))));
    assert!(world.host.entries.is_empty() && world.nic.entries.is_empty());
}

/// The actions of each follow from what is learnt from the other: whichever is asked about first.
#[test]
fn what_a_switch_had_in_the_nic_is_adopted_as_it_is() {
    let ports = [PortId(1), PortId(2), PortId(3)];
    let stations = [flow::MacAddr([2, 0, 0, 0, 0, 1]), flow::MacAddr([2, 0, 0, 0, 0, 2])];
    let mut before = pipeline::l2::Switch::new(pipeline::l2::Settings::default());
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
        generation: 7,
        flow: Some(flow.clone()),
        stats: Stats::default(),
        active: true,
    };
    for found in [[0, 1], [1, 0]].map(|order| order.map(|n| dumped(&flows[n])).to_vec()) {
        let after = pipeline::l2::Switch::new(pipeline::l2::Settings::default());
        let mut engine = Engine::new(Settings::default(), Box::new(after), Box::new(ByRate));
        let admission = Arc::new(Picky(Capabilities::default()));
        let provider = engine.add_hardware("nic", admission, Budget::new(1000));
        engine.step(Event::Ports(ports.to_vec()), Moment(1));
        let commands = engine.step(Event::Dumped { provider, found }, Moment(2)).commands;
        let to_nic = |c: &&Command| matches!(c, Command::Apply { place: Place::Nic(_), .. });
        assert_eq!(commands.iter().find(to_nic).map(|c| format!("{c:?}")), None);
        assert!(commands.iter().any(|c| matches!(c, Command::Adopt { .. })));
    }
}
