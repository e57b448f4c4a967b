//! Tests of the engine's promises, rule by rule.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use flow::{
    Capabilities, Correction, Counters, Dumped, Generation, Megaflow, OpKind, Placement, PortId,
    ProviderError, ProviderEvent, Reason, Refusal, Stats, Subject, TableName, TableUsage,
};

use super::desk::{Desk, NIC, OUT, REFUSED, TakesAll, counted, flow_of, to};
use super::*;
use crate::device::FULL_TRIES;

pub(super) fn dumped(flow: &Arc<Megaflow>, packets: u64, active: bool) -> Dumped {
    let (ufid, flow) = (flow.ufid, Some(flow.clone()));
    Dumped { ufid, generation: Generation(7), flow, stats: counted(packets), active }
}

/// Returns a desk whose NIC has not told yet what it holds.
pub(super) fn unknown(budget: Budget) -> (Desk, ProviderId) {
    let mut desk = Desk::new(0);
    let admission = Arc::new(TakesAll(Capabilities::default()));
    let provider = desk.engine.add_hardware("nic", admission, budget);
    (desk, provider)
}

#[test]
fn what_is_adopted_goes_on_counting_and_what_is_not_goes() {
    let (mut desk, provider) = unknown(Budget::new(1_000_000));
    let [known, asleep, unread, twice] = [1, 2, 3, 4].map(|n| flow_of(0, n, &[OUT]));
    desk.ask(1, Request::Install(twice.clone()));
    let unread = Dumped { flow: None, ..dumped(&unread, 0, true) };
    let found = vec![
        dumped(&known, 100, true),
        dumped(&asleep, 0, false),
        unread.clone(),
        dumped(&twice, 5, true),
    ];
    desk.step(Event::Dumped { provider, found });
    for ufid in [asleep.ufid, unread.ufid, twice.ufid] {
        assert_eq!(desk.done(NIC, Ok(Stats::default())), (OpKind::Remove, ufid));
    }
    desk.settle();
    desk.stats(NIC, vec![(known.ufid, counted(103)), (twice.ufid, counted(1))]);
    assert_eq!((desk.total(&known), desk.total(&twice)), (103, 1));
    assert_eq!(desk.engine.hits(provider).first.packets, 104);
    assert_eq!(desk.engine.planner.flows.len(), 2);
}

#[test]
fn each_life_in_a_nic_has_a_generation_of_its_own() {
    let (mut desk, provider) = unknown(Budget::new(1_000_000));
    let flow = flow_of(0, 1, &[OUT]);
    desk.step(Event::Dumped { provider, found: vec![dumped(&flow, 0, true)] });
    desk.settle();
    for port in [3, 4] {
        desk.ask(1, Request::Replace(flow.ufid, Arc::new([flow::Action::Output(PortId(port))])));
        desk.done(Place::Host, Ok(Stats::default()));
        let op = desk.nic[&provider].front().map(|waiting| waiting.op.clone());
        let of = Generation(port + 5);
        assert!(matches!(op, Some(flow::Op::Replace { generation, .. }) if generation == of));
        desk.settle();
    }
}

/// A leaving megaflow that is wanted again before it is removed stays, with its counts.
#[test]
fn what_is_wanted_again_in_time_stays() {
    let mut desk = Desk::new(1);
    desk.upcall(1);
    desk.settle();
    let flow = flow_of(0, 1, &[OUT]);
    desk.now = desk.now + Duration::from_secs(60);
    desk.stats(NIC, vec![(flow.ufid, counted(3))]);
    desk.now = desk.now + Duration::from_secs(60);
    desk.stats(NIC, vec![(flow.ufid, counted(3))]);
    desk.stats(Place::Host, vec![(flow.ufid, Stats::default())]);
    desk.upcall(1);
    assert_eq!(desk.answers.pop(), Some(Answered::Reinject), "the host table still has it");
    desk.settle();
    desk.later(Duration::from_millis(10));
    desk.settle();
    assert_eq!((desk.placement(&flow), desk.total(&flow)), (Placement::Nic, 3));
}

#[test]
fn beyond_the_limit_packets_go_one_by_one() {
    let mut desk = Desk::new(1);
    desk.engine.settings.flow_limit = 2;
    for station in 1..=3 {
        desk.upcall(station);
    }
    let one = Answered::Execute(Arc::new([OUT]));
    assert_eq!(desk.answers, [Answered::Reinject, Answered::Reinject, one]);
    desk.upcall(2);
    assert_eq!(desk.answers.pop(), Some(Answered::Reinject), "one that is there already");
    desk.ask(1, Request::Install(flow_of(0, 9, &[OUT])));
    assert!(matches!(desk.replies.get(&Token(1)), Some(Err(RequestError::Refused(_)))));
    assert_eq!(desk.engine.planner.flows.len(), 2);
}

#[test]
fn a_nic_gets_no_more_installs_than_its_budget() {
    let (mut desk, provider) = unknown(Budget::new(20));
    desk.step(Event::Dumped { provider, found: Vec::new() });
    let in_nic = |desk: &Desk| {
        let views = desk.engine.planner.flows.iter();
        views.filter(|(_, entry)| entry.placement() == Placement::Nic).count()
    };
    for station in 1..=30 {
        desk.put(&flow_of(0, station, &[OUT]));
    }
    assert_eq!(in_nic(&desk), 2);
    for _ in 0..100 {
        desk.later(Duration::from_millis(10));
        desk.settle();
    }
    assert!((20..=23).contains(&in_nic(&desk)), "{}", in_nic(&desk));
}

#[test]
fn a_crowded_nic_takes_nobody_in_until_it_has_room() {
    let mut desk = Desk::new(1);
    let (one, two) = (flow_of(0, 1, &[OUT]), flow_of(0, 2, &[OUT]));
    desk.put(&one);
    let usage = |desk: &mut Desk, entries| {
        let tables = vec![TableUsage {
            table: TableName::ExactMatch,
            holds_megaflows: true,
            entries,
            capacity: Some(16),
        }];
        let stats = Ok(vec![(one.ufid, counted(1))]);
        desk.step(Event::Stats { place: NIC, stats, tables });
    };
    usage(&mut desk, 15);
    desk.put(&two);
    desk.later(Duration::from_millis(10));
    assert_eq!(desk.placement(&two), Placement::Refused);
    let why = &desk.engine.record(two.ufid).refused.as_ref().unwrap().why;
    assert_eq!(why.first.subject, Subject::Crowded);
    usage(&mut desk, 14);
    desk.later(Duration::from_millis(10));
    desk.settle();
    assert_eq!(desk.placement(&two), Placement::Nic);
}

#[test]
fn who_displaces_another_gets_its_seat_in_a_crowded_nic() {
    let mut desk = Desk::new(1);
    let (slow, fast) = (flow_of(0, 1, &[OUT]), flow_of(0, 2, &[OUT]));
    let (chained, end) = (flow_of(0, 3, &[to(7)]), flow_of(7, 1, &[REFUSED]));
    desk.put(&slow);
    let table = || {
        vec![TableUsage {
            table: TableName::ExactMatch,
            holds_megaflows: true,
            entries: 15,
            capacity: Some(16),
        }]
    };
    let there = |packets| Ok(vec![(slow.ufid, counted(packets))]);
    desk.step(Event::Stats { place: NIC, stats: there(1), tables: table() });
    for flow in [&fast, &chained, &end] {
        desk.put(flow);
    }
    let on_host = |fast_has| {
        let zero = [slow.ufid, end.ufid].map(|ufid| (ufid, counted(0)));
        let fast = [(fast.ufid, counted(fast_has)), (chained.ufid, counted(9_999_999))];
        [zero, fast].concat()
    };
    // A megaflow whose next lookup is not in the NIC gets no place there, however fast it is.
    desk.stats(Place::Host, on_host(0));
    desk.step(Event::Stats { place: NIC, stats: there(2), tables: table() });
    desk.settle();
    assert_eq!((desk.placement(&slow), desk.engine.tally().evictions), (Placement::Nic, 0));
    let why = desk.engine.record(chained.ufid).refused.as_ref().unwrap();
    let why = &why.why.first;
    assert_eq!((why.reason, why.subject), (Reason::Recirculation, Subject::Chain));

    desk.stats(Place::Host, on_host(5000));
    desk.step(Event::Stats { place: NIC, stats: there(3), tables: table() });
    assert_eq!(desk.done(NIC, Ok(counted(3))), (OpKind::Remove, slow.ufid));
    assert_eq!(desk.done(NIC, Ok(Stats::default())), (OpKind::Install, fast.ufid));
    desk.settle();
    let places = (desk.placement(&slow), desk.placement(&fast));
    assert_eq!(places, (Placement::Refused, Placement::Nic));
}

#[test]
fn what_megaflows_share_does_not_crowd_a_nic_and_one_table_with_room_is_enough() {
    let mut desk = Desk::new(1);
    let table = |table, holds_megaflows, entries| TableUsage {
        table,
        holds_megaflows,
        entries,
        capacity: Some(16),
    };
    let mut crowded = |tables| {
        desk.step(Event::Stats { place: NIC, stats: Ok(Vec::new()), tables });
        desk.engine.planner.placer.device(ProviderId(0)).unwrap().crowded
    };
    assert!(!crowded(vec![table(TableName::Masks, false, 16)]));
    assert!(!crowded(vec![
        table(TableName::Masks, false, 16),
        table(TableName::ExactMatch, true, 16),
        table(TableName::MaskedRows, true, 1)
    ]));
    assert!(crowded(vec![
        table(TableName::Masks, false, 1),
        table(TableName::ExactMatch, true, 16),
        table(TableName::MaskedRows, true, 15)
    ]));
}

#[test]
fn a_refusal_is_for_the_actions_that_were_refused() {
    let mut desk = Desk::new(1);
    let flow = flow_of(0, 1, &[OUT]);
    desk.put(&flow);
    desk.ask(1, Request::Replace(flow.ufid, Arc::new([REFUSED])));
    desk.done(Place::Host, Ok(Stats::default()));
    assert_eq!(desk.done(NIC, Ok(counted(4))), (OpKind::Remove, flow.ufid));
    assert_eq!((desk.placement(&flow), desk.total(&flow)), (Placement::Refused, 4));
    desk.later(Duration::from_secs(60));
    assert!(desk.nic[&ProviderId(0)].is_empty());
    desk.ask(2, Request::Replace(flow.ufid, Arc::new([OUT])));
    desk.settle();
    desk.later(Duration::from_millis(10));
    desk.settle();
    assert_eq!(desk.placement(&flow), Placement::Nic);
}

#[test]
fn a_device_that_can_do_more_is_asked_again() {
    let mut desk = Desk::new(1);
    let flow = flow_of(0, 1, &[REFUSED]);
    desk.put(&flow);
    assert_eq!(desk.placement(&flow), Placement::Refused);
    let more = Capabilities { max_actions: 1, ..Capabilities::default() };
    let admission = Arc::new(TakesAll(more));
    desk.step(Event::Admission { provider: ProviderId(0), admission });
    desk.later(Duration::from_millis(10));
    desk.settle();
    assert_eq!(desk.placement(&flow), Placement::Nic);
}

#[test]
fn what_a_device_refused_is_tried_again_under_other_conditions() {
    let mut desk = Desk::new(1);
    let flow = flow_of(0, 1, &[OUT]);
    desk.ask(1, Request::Install(flow.clone()));
    desk.done(Place::Host, Ok(Stats::default()));
    let refusal = Refusal::new(Reason::Device, Subject::Tc).said("its offload is off");
    desk.done(NIC, Err(ProviderError::Unsupported(refusal)));
    desk.later(Duration::from_secs(5));
    desk.settle();
    assert_eq!(desk.placement(&flow), Placement::Refused);
    // The new snapshot has the same capabilities.
    let admission = Arc::new(TakesAll(Capabilities::default()));
    desk.step(Event::Admission { provider: ProviderId(0), admission });
    desk.later(Duration::from_millis(10));
    desk.settle();
    assert_eq!(desk.placement(&flow), Placement::Nic);
}

#[test]
fn what_others_did_to_megaflows_is_counted_by_kind() {
    let mut desk = Desk::new(1);
    let event = ProviderEvent::Corrected {
        kind: Correction::Altered,
        megaflows: 3,
        first: "one on rep0".to_owned(),
    };
    desk.step(Event::Provider { provider: ProviderId(0), event });
    let corrections = &desk.engine.tally().providers["nic0"].corrections;
    assert_eq!((corrections["altered"], corrections["shadowed"]), (3, 0));
}

#[test]
fn what_a_lost_nic_had_counted_stays_counted() {
    let mut desk = Desk::new(1);
    let flow = flow_of(0, 1, &[OUT]);
    desk.put(&flow);
    desk.stats(NIC, vec![(flow.ufid, counted(8))]);
    let event = ProviderEvent::Gone("unplugged".to_owned());
    desk.step(Event::Provider { provider: ProviderId(0), event });
    desk.later(Duration::from_secs(1));
    desk.settle();
    assert_eq!((desk.placement(&flow), desk.total(&flow)), (Placement::Refused, 8));
    assert_eq!(desk.engine.hits(ProviderId(0)).first, Counters { packets: 8, bytes: 480 });
    assert_eq!(desk.reads, [Place::Host], "nobody reads it any more");
}

#[test]
fn a_child_in_another_nic_is_no_child() {
    let mut desk = Desk::new(1);
    let more = Capabilities { max_actions: 1, ..Capabilities::default() };
    let other = Arc::new(TakesAll(more));
    let other = desk.engine.add_hardware("other", other, Budget::new(1_000_000));
    desk.step(Event::Dumped { provider: other, found: Vec::new() });
    let (child, parent) = (flow_of(5, 1, &[REFUSED]), flow_of(0, 1, &[to(5)]));
    desk.put(&child);
    desk.put(&parent);
    desk.later(Duration::from_millis(10));
    desk.settle();
    assert_eq!(desk.engine.record(child.ufid).provider, Some(other));
    assert_eq!(desk.placement(&parent), Placement::Refused);
}

#[test]
fn a_parent_does_not_come_back_beside_a_child_that_waits_to_leave() {
    let mut desk = Desk::new(1);
    let (child, parent) = (flow_of(5, 1, &[OUT]), flow_of(0, 1, &[to(5)]));
    desk.put(&child);
    desk.put(&parent);
    desk.ask(1, Request::Remove(child.ufid));
    assert_eq!(desk.done(NIC, Ok(Stats::default())), (OpKind::Remove, parent.ufid));
    assert_eq!(desk.done(NIC, Err(ProviderError::Busy("later".to_owned()))).1, child.ufid);
    desk.later(Duration::from_millis(10));
    assert!(desk.nic[&ProviderId(0)].is_empty(), "the parent would have to go again");
}

#[test]
fn the_fastest_of_those_that_wait_comes_first_and_nobody_goes_for_nothing() {
    let (mut desk, provider) = unknown(Budget::new(10));
    let [slow, fast, other] = [1, 2, 3].map(|station| flow_of(0, station, &[OUT]));
    for flow in [&slow, &fast, &other] {
        desk.put(flow);
    }
    let rates = [(&slow, 1), (&fast, 1000), (&other, 2)];
    let stats = rates.map(|(flow, packets)| (flow.ufid, counted(packets))).to_vec();
    desk.stats(Place::Host, stats.clone());
    desk.step(Event::Dumped { provider, found: Vec::new() });
    desk.later(Duration::from_secs(1));
    assert_eq!(desk.nic[&provider].front().map(|waiting| waiting.op.ufid()), Some(fast.ufid));
    // A table that was full once does not count as full forever.
    let full = Refusal::new(Reason::TableFull, TableName::ExactMatch);
    desk.done(NIC, Err(ProviderError::Full(full)));
    desk.stats(NIC, Vec::new());
    desk.stats(Place::Host, stats);
    desk.later(Duration::from_secs(1));
    desk.settle();
    assert!(!desk.engine.planner.placer.device(ProviderId(0)).unwrap().short_of_room());
}

/// The numbers of its tables don't say that it is full, and each refusal costs it a long search.
#[test]
fn a_nic_that_says_full_is_tried_a_few_times_until_the_next_pass() {
    let mut desk = Desk::new(1);
    let full = || Err(ProviderError::Full(Refusal::new(Reason::TableFull, TableName::ExactMatch)));
    let flows: Vec<_> = (1..=100).map(|station| flow_of(0, station, &[OUT])).collect();
    desk.put(&flows[0]);
    let refused = |desk: &mut Desk| {
        let mut tries = 0;
        while desk.nic.values().any(|queue| !queue.is_empty()) {
            desk.done(NIC, full());
            tries += 1;
        }
        tries
    };
    let (mut tried, most) = (0, FULL_TRIES as usize);
    for (token, flow) in (0..).zip(&flows[1..]) {
        desk.ask(token, Request::Install(flow.clone()));
        desk.done(Place::Host, Ok(Stats::default()));
        tried += refused(&mut desk);
    }
    assert_eq!(tried, most);
    for flow in &flows[1..] {
        let why = &desk.engine.record(flow.ufid).refused.as_ref().unwrap().why.first;
        assert_eq!(why.reason, Reason::TableFull);
    }
    // After the next pass as many are tried again, and not all at once.
    desk.stats(NIC, vec![(flows[0].ufid, counted(0))]);
    desk.stats(Place::Host, Vec::new());
    desk.later(Duration::from_secs(3));
    assert_eq!(desk.nic.values().map(VecDeque::len).sum::<usize>(), most);
    assert_eq!(refused(&mut desk), most);
    // What leaves makes room for one.
    desk.ask(1000, Request::Remove(flows[0].ufid));
    desk.done(NIC, Ok(Stats::default()));
    desk.later(Duration::from_millis(1));
    assert_eq!(desk.nic.values().map(VecDeque::len).sum::<usize>(), 1);
}
