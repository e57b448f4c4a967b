//! What the client learns takes effect in the step in which it is learnt.

use std::sync::Arc;
use std::time::Duration;

use flow::{MacAddr, Megaflow, Op, OpKind, Placement, ProviderEvent};

use super::desk::{Desk, TakesAll};
use super::rules::dumped;
use super::*;

/// An engine with a learning switch and the ports 1 to 3.
fn with_switch() -> Desk {
    let switch = pipeline::l2::Switch::new(pipeline::l2::L2Settings::default());
    let mut desk = Desk::new(1);
    desk.engine = Engine::new(Settings::default(), Box::new(switch), Box::new(ByRate));
    desk.step(Event::Ports(links(true)));
    desk
}

/// The links of the ports; that of port 2 as given.
fn links(up: bool) -> Vec<PortLink> {
    [1, 2, 3].map(|port| PortLink { id: PortId(port), up: up || port != 2 }).to_vec()
}

/// The event of a packet that misses.
fn packet(in_port: u32, from: u8, to: u8) -> Event {
    let [eth_src, eth_dst] = [from, to].map(|n| MacAddr([2, 0, 0, 0, 0, n]));
    let key = Box::new(Key { in_port, eth_src, eth_dst, eth_type: 0x0800, ..Key::default() });
    let reason = UpcallReason::Miss;
    Event::Upcalls(vec![UpcallPacket { id: Some(1), key, frame: vec![0; 60], reason }])
}

/// What the host table was asked for, with the new actions.
fn asked(desk: &Desk) -> Vec<(OpKind, Vec<Action>)> {
    let of = |op: &Op| match op {
        Op::Replace { flow, .. } => (op.kind(), flow.actions.to_vec()),
        _ => (op.kind(), Vec::new()),
    };
    desk.host.iter().map(|submission| of(&submission.op)).collect()
}

fn to(ports: &[u32]) -> Vec<Action> {
    ports.iter().map(|n| Action::Output(PortId(*n))).collect()
}

/// A cable is pulled: the same step revalidates the megaflows that come from the port, and those
/// to addresses behind it.
#[test]
fn what_outputs_to_a_port_without_a_link_is_asked_about_at_once() {
    let mut desk = with_switch();
    // Station 1 is behind port 1, and so on; packets from 1 to 3 have nothing to do with port 2.
    for (port, from, to) in [(2, 2, 1), (3, 3, 1), (1, 1, 2), (1, 1, 3)] {
        desk.step(packet(port, from, to));
        desk.settle();
    }
    desk.step(Event::Ports(links(false)));
    let asked = asked(&desk);
    // The megaflow from port 2, whose sources are unknown now, is removed; the one to port 2
    // floods from now on.
    assert_eq!(asked.len(), 2, "{asked:?}");
    assert!(asked.contains(&(OpKind::Remove, Vec::new())), "{asked:?}");
    assert!(asked.contains(&(OpKind::Replace, to(&[2, 3]))), "{asked:?}");
}

/// The step of the packet that shows the move changes the megaflows to the station and those from
/// its old place, and no others. When the station comes back at once, its megaflow is there again.
#[test]
fn a_station_that_moves_is_followed_in_the_same_step() {
    let mut desk = with_switch();
    for (port, from, to) in [(2, 2, 1), (1, 1, 2), (3, 3, 1), (3, 3, 2)] {
        desk.step(packet(port, from, to));
        desk.settle();
    }
    desk.step(packet(3, 1, 2));
    let moved = asked(&desk);
    let install = (OpKind::Install, Vec::new());
    let remove = (OpKind::Remove, Vec::new());
    let replace = |ports: &[u32]| (OpKind::Replace, to(ports));
    // From 2 to 1: by port 3 now. From 3 to 1: both are behind the same port.
    for wanted in [&install, &remove, &replace(&[3]), &replace(&[])] {
        assert!(moved.contains(wanted), "{wanted:?} in {moved:?}");
    }
    assert_eq!(moved.len(), 4, "{moved:?}");
    // Back before the removal is done: the packet is forwarded, and its megaflow will be there.
    desk.step(packet(1, 1, 2));
    desk.settle();
    desk.step(packet(1, 1, 2));
    desk.settle();
    let all = desk.engine.planner.flows.iter();
    let mut all: Vec<_> = all
        .map(|(_, r)| {
            let key = &r.flow.matching.key();
            (key.in_port, key.eth_src.0[5], key.eth_dst.0[5], r.flow.actions.to_vec())
        })
        .collect();
    all.sort_by_key(|(port, from, to, _)| (*port, *from, *to));
    let wanted =
        [(1, 1, 2, to(&[2])), (2, 2, 1, to(&[1])), (3, 3, 1, to(&[1])), (3, 3, 2, to(&[2]))];
    assert_eq!(all, wanted);
}

/// Many megaflows go to a station that moves again and again: each step visits a slice of them.
#[test]
fn a_station_with_many_megaflows_is_followed_in_slices() {
    let mut desk = with_switch();
    desk.step(packet(1, 1, 2));
    for from in 10..110 {
        desk.step(packet(2, from, 1));
        desk.settle();
    }
    let mut next = Some(packet(3, 1, 2));
    let (mut steps, mut operations) = (0, 0);
    while let Some(event) = next {
        let commands = desk.engine.step(event, desk.now).commands;
        let of = |command: &Command| match command {
            Command::Apply { ops, .. } => ops.len(),
            _ => 0,
        };
        let in_step: usize = commands.iter().map(of).sum();
        assert!(in_step <= 2 * crate::walks::SLICE as usize, "{in_step}");
        operations += in_step;
        steps += 1;
        next = desk.engine.has_more().then_some(Event::Advance);
    }
    // One is installed and one is removed, beside those to the station.
    assert_eq!(operations, 102);
    assert!(steps > 100 / crate::walks::SLICE, "{steps}");
}

/// Returns the megaflows between stations 1 and 2, behind the ports of these numbers.
fn between_two() -> Vec<Arc<Megaflow>> {
    let mut desk = with_switch();
    for (port, from, to) in [(2, 2, 1), (1, 1, 2), (2, 2, 1)] {
        desk.step(packet(port, from, to));
        desk.settle();
    }
    let flows = desk.engine.planner.flows.iter().map(|(_, record)| record.flow.clone());
    let flows: Vec<Arc<Megaflow>> = flows.collect();
    assert_eq!(flows.len(), 2);
    flows
}

/// Returns an engine with a switch and a NIC that has not told yet what it holds.
fn with_switch_and_nic() -> (Desk, ProviderId) {
    let mut desk = with_switch();
    let admission = Arc::new(TakesAll(flow::Capabilities::default()));
    let provider = desk.engine.add_hardware("nic", admission, Budget::new(1_000_000));
    (desk, provider)
}

/// A device that goes before it has told all: what it told is asked about after all.
#[test]
fn what_a_device_told_before_it_went_is_asked_about() {
    for flow in between_two() {
        let (mut desk, provider) = with_switch_and_nic();
        desk.step(Event::DumpedPart { provider, found: vec![dumped(&flow, 5, true)] });
        desk.settle();
        let event = ProviderEvent::Gone("unplugged".to_owned());
        desk.step(Event::Provider { provider, event });
        desk.later(Duration::from_secs(1));
        desk.settle();
        // Nobody knows where its destination is.
        let port = flow.matching.key().in_port;
        let others: Vec<u32> = [1, 2, 3].into_iter().filter(|other| *other != port).collect();
        assert_eq!(desk.engine.record(flow.ufid).flow.actions.to_vec(), to(&others));
    }
}

/// What a device holds comes in parts. The first part has a megaflow whose destination is learnt
/// from the second one: as long as it is not known, the client would flood.
#[test]
fn nothing_adopted_is_asked_about_before_all_of_it_is_there() {
    let flows = between_two();
    for first in 0..2 {
        let (mut desk, provider) = with_switch_and_nic();
        for flow in [&flows[first], &flows[1 - first]] {
            desk.step(Event::DumpedPart { provider, found: vec![dumped(flow, 5, true)] });
            desk.settle();
            desk.later(Duration::from_secs(1));
        }
        desk.step(Event::Dumped { provider, found: Vec::new() });
        desk.later(Duration::from_secs(1));
        desk.settle();
        for flow in &flows {
            let record = desk.engine.record(flow.ufid);
            assert_eq!(record.flow.actions, flow.actions);
            assert_eq!(record.generation, dumped(flow, 5, true).generation, "not replaced");
            assert_eq!(record.placement(), Placement::Nic);
        }
    }
}
