//! Tests: what a device held when it was opened, at start or again.

use std::sync::Arc;
use std::time::Duration;

use flow::{
    Capabilities, Dumped, Generation, Key, Mask, Match, Megaflow, Op, OpKind, Owner, Placement,
    ProviderEvent, Stats,
};

use super::desk::{Desk, NIC, OUT, REFUSED, TakesAll, counted, flow_of};
use super::rules::{dumped, unknown};
use super::*;

const A_MINUTE: Duration = Duration::from_secs(60);

fn operators(flow: &Arc<Megaflow>, packets: u64, active: bool) -> Dumped {
    let generation = Generation(4).next(Owner::Operator);
    Dumped { generation, ..dumped(flow, packets, active) }
}

/// Returns a megaflow that overlaps every result of [`flow_of`] in scope 0.
fn wide() -> Arc<Megaflow> {
    let matching = Match::new(&Key { in_port: 1, ..Key::default() }, &Mask::default());
    Arc::new(Megaflow::new(matching, [REFUSED]))
}

/// Returns the kind of each operation in flight to a NIC, and the owner that the device will
/// name.
fn sent(desk: &Desk) -> Vec<(OpKind, Owner)> {
    let queue = desk.nic.values().flatten().map(|waiting| &waiting.op);
    let sent = queue.filter_map(|op| match op {
        Op::Install { generation, .. } | Op::Replace { generation, .. } => {
            Some((op.kind(), generation.owner()))
        }
        Op::Remove { .. } => None,
    });
    sent.collect()
}

#[test]
fn an_operators_megaflow_outlives_a_restart_and_the_idle_time() {
    let (mut desk, provider) = unknown(Budget::new(1_000_000));
    let [mine, clients] = [1, 2].map(|station| flow_of(0, station, &[OUT]));
    let found = vec![dumped(&clients, 9, true), operators(&mine, 7, true)];
    desk.step(Event::Dumped { provider, found });
    desk.settle();
    assert_eq!((desk.placement(&mine), desk.total(&mine)), (Placement::Nic, 7));
    desk.later(A_MINUTE);
    desk.stats(Place::Host, vec![]);
    // Hits in the NIC are not known yet.
    desk.later(Duration::from_millis(10));
    assert_eq!(desk.engine.ufids().len(), 2);
    desk.stats(NIC, vec![(mine.ufid, counted(7)), (clients.ufid, counted(9))]);
    desk.later(Duration::ZERO);
    desk.settle();
    assert_eq!(desk.engine.ufids(), [mine.ufid]);
    assert_eq!(desk.placement(&mine), Placement::Nic);
    // An operator who installs the megaflow again hears that it exists.
    desk.ask(1, Request::Install(mine));
    assert!(matches!(desk.replies.get(&Token(1)), Some(Err(RequestError::Refused(_)))));
}

#[test]
fn an_operators_megaflow_is_adopted_before_what_overlaps_it() {
    let (mut desk, provider) = unknown(Budget::new(1_000_000));
    let mine = flow_of(0, 1, &[OUT]);
    let found = vec![dumped(&wide(), 9, true), operators(&mine, 7, true)];
    desk.step(Event::Dumped { provider, found });
    assert_eq!(desk.done(NIC, Ok(Stats::default())), (OpKind::Remove, wide().ufid));
    desk.settle();
    assert_eq!(desk.engine.ufids(), [mine.ufid]);
}

#[test]
fn what_the_client_asked_for_meanwhile_makes_room() {
    let (mut desk, provider) = unknown(Budget::new(1_000_000));
    desk.upcall(1);
    desk.settle();
    // The client has one narrow megaflow, and the adopted one of an operator overlaps it.
    desk.step(Event::Dumped { provider, found: vec![operators(&wide(), 7, true)] });
    desk.settle();
    assert_eq!(desk.engine.ufids(), [wide().ufid]);
    assert_eq!((desk.placement(&wide()), desk.total(&wide())), (Placement::Nic, 7));
    assert_eq!(desk.engine.record(wide().ufid).host.life, Life::Present);
}

#[test]
fn what_the_client_asked_for_meanwhile_becomes_the_operators() {
    let (mut desk, provider) = unknown(Budget::new(1_000_000));
    desk.upcall(1);
    desk.settle();
    let mine = flow_of(0, 1, &[OUT, OUT]);
    desk.step(Event::Dumped { provider, found: vec![operators(&mine, 7, true)] });
    desk.settle();
    let entry = desk.engine.record(mine.ufid);
    assert_eq!((&entry.flow, entry.owner), (&mine, Owner::Operator));
    assert_eq!(entry.generation.owner(), Owner::Operator);
    assert_eq!(entry.placement(), Placement::Nic);
}

#[test]
fn an_operators_megaflow_that_the_device_has_lost_is_put_in_again() {
    let (mut desk, provider) = unknown(Budget::new(1_000_000));
    let mine = flow_of(0, 1, &[OUT]);
    desk.step(Event::Dumped { provider, found: vec![operators(&mine, 7, false)] });
    desk.settle();
    desk.later(Duration::from_secs(1));
    desk.settle();
    assert_eq!(desk.placement(&mine), Placement::Nic);
}

#[test]
fn a_device_is_told_when_a_megaflow_becomes_an_operators() {
    let mut desk = Desk::new(1);
    desk.upcall(1);
    desk.done(Place::Host, Ok(Stats::default()));
    assert_eq!(sent(&desk), [(OpKind::Install, Owner::Client)]);
    desk.settle();
    // The operator's megaflow has the same actions.
    desk.ask(1, Request::Install(flow_of(0, 1, &[OUT])));
    assert_eq!(sent(&desk), [(OpKind::Replace, Owner::Operator)]);
    assert!(desk.replies.is_empty(), "answered before the device has it");
    desk.settle();
    assert!(matches!(desk.replies.get(&Token(1)), Some(Ok(Response::Done))));
}

fn lose(desk: &mut Desk) {
    let event = ProviderEvent::Gone("unplugged".to_owned());
    desk.step(Event::Provider { provider: ProviderId(0), event });
    desk.settle();
}

/// The device is back with these entries.
fn back(desk: &mut Desk, found: Vec<Dumped>) {
    let (provider, admission) = (ProviderId(0), Arc::new(TakesAll(Capabilities::default())));
    desk.step(Event::Opened { provider, admission });
    assert_eq!(desk.dumps.pop(), Some(provider));
    desk.step(Event::Dumped { provider, found });
}

fn why(desk: &Desk, flow: &Megaflow) -> Option<String> {
    let record = desk.engine.record(flow.ufid);
    record.refusal().map(|refused| refused.why.first.to_string())
}

#[test]
fn what_stayed_in_a_lost_device_counts_on_from_its_last_reading() {
    let mut desk = Desk::new(1);
    let [flow, changed] = [1, 2].map(|station| flow_of(0, station, &[OUT]));
    desk.put(&flow);
    desk.put(&changed);
    desk.stats(NIC, vec![(flow.ufid, counted(8)), (changed.ufid, counted(1))]);
    let lives = [&flow, &changed].map(|flow| desk.engine.record(flow.ufid).generation);
    // The device carries the replacement out, and nobody hears of that.
    desk.ask(1, Request::Replace(changed.ufid, [OUT, OUT].into()));
    desk.done(Place::Host, Ok(Stats::default()));
    desk.nic.clear();
    lose(&mut desk);
    let replaced = flow_of(0, 2, &[OUT, OUT]);
    let of = |flow, packets, generation| Dumped { generation, ..dumped(flow, packets, true) };
    let found = vec![
        of(&flow, 11, lives[0]),
        of(&replaced, 5, lives[1].next(Owner::Operator)),
        // It is not what was there: somebody else put it in.
        of(&flow_of(0, 3, &[OUT]), 7, lives[0]),
    ];
    back(&mut desk, found);
    assert_eq!((desk.placement(&flow), desk.total(&flow)), (Placement::Nic, 11));
    assert_eq!((desk.placement(&changed), desk.total(&changed)), (Placement::Nic, 6));
    let stranger = flow_of(0, 3, &[OUT]).ufid;
    assert_eq!(desk.done(NIC, Ok(counted(7))), (OpKind::Remove, stranger));
    assert!(desk.nic.values().all(std::collections::VecDeque::is_empty), "the rest stays");
    assert_eq!(desk.engine.hits(ProviderId(0)).all.packets, 17);
}

#[test]
fn an_entry_of_another_life_is_put_in_anew() {
    let mut desk = Desk::new(1);
    let flow = flow_of(0, 1, &[OUT]);
    desk.put(&flow);
    desk.stats(NIC, vec![(flow.ufid, counted(8))]);
    lose(&mut desk);
    let generation = Generation(77);
    back(&mut desk, vec![Dumped { generation, ..dumped(&flow, 90, true) }]);
    assert_eq!(desk.done(NIC, Ok(counted(90))), (OpKind::Remove, flow.ufid));
    assert_eq!(desk.done(NIC, Ok(Stats::default())), (OpKind::Install, flow.ufid));
    assert_eq!((desk.placement(&flow), desk.total(&flow)), (Placement::Nic, 8));
}

#[test]
fn whoever_waits_for_a_device_that_is_gone_hears_so() {
    let (mut desk, provider) = unknown(Budget::new(1_000_000));
    let [before, after] = [1, 2].map(|station| flow_of(0, station, &[OUT]));
    desk.put(&before);
    assert_eq!(why(&desk, &before), None, "the device has not told yet what it holds");
    lose(&mut desk);
    desk.put(&after);
    let gone = Some("device-gone device: unplugged".to_owned());
    assert_eq!([&before, &after].map(|flow| why(&desk, flow)), [gone.clone(), gone]);
    let admission = Arc::new(TakesAll(Capabilities::default()));
    desk.step(Event::Opened { provider, admission });
    desk.step(Event::Dumped { provider, found: Vec::new() });
    desk.later(Duration::from_secs(1));
    desk.settle();
    assert_eq!([&before, &after].map(|flow| desk.placement(flow)), [Placement::Nic; 2]);
}
