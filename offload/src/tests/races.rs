//! Tests of the engine step by step: orders of events that a simulation meets too rarely.

use std::sync::Arc;
use std::time::Duration;

use flow::{
    Action, Capabilities, Counters, Dumped, Generation, OpKind, Placement, PortId, ProviderError,
    ProviderEvent, Reason, Refusal, Stats, Subject, TableName, TableUsage,
};

use super::desk::{Desk, NIC, OTHER_NIC, OUT, TakesAll, counted, flow_of, to};
use super::*;

/// Operators can write rings and long chains: no removal may run in circles or recurse deeply.
#[test]
fn rings_and_long_chains_can_be_removed() {
    let mut desk = Desk::new(1);
    let (a, b) = (flow_of(5, 1, &[OUT]), flow_of(6, 1, &[to(5)]));
    desk.put(&a);
    desk.put(&b);
    desk.ask(1, Request::Replace(a.ufid, Arc::new([to(6)])));
    desk.settle();
    assert_eq!((desk.placement(&a), desk.placement(&b)), (Placement::Nic, Placement::Nic));
    desk.ask(2, Request::Remove(a.ufid));
    desk.settle();
    assert!(matches!(desk.replies.remove(&Token(2)), Some(Ok(Response::Flows(_)))));

    let mut desk = Desk::new(1);
    let last = flow_of(5_001, 1, &[OUT]);
    desk.put(&last);
    for scope in (1..=5_000).rev() {
        desk.put(&flow_of(scope, 1, &[to(scope + 1)]));
    }
    desk.ask(2, Request::Remove(last.ufid));
    desk.settle();
    assert!(matches!(desk.replies.remove(&Token(2)), Some(Ok(Response::Flows(_)))));
}

/// The actions that the NIC executes count, not the actions that are wanted by now.
#[test]
fn a_child_stays_while_the_nic_still_executes_the_old_actions_of_its_parent() {
    let mut desk = Desk::new(1);
    let (child, parent) = (flow_of(5, 1, &[OUT]), flow_of(0, 1, &[to(5)]));
    desk.put(&child);
    desk.put(&parent);
    assert_eq!(desk.placement(&parent), Placement::Nic);
    desk.ask(1, Request::Replace(parent.ufid, Arc::new([OUT])));
    desk.ask(2, Request::Remove(child.ufid));
    assert!(desk.nic[&ProviderId(0)].is_empty(), "the parent's replacement is on its way");
    desk.done(Place::Host, Ok(Stats::default()));
    assert_eq!(desk.done(NIC, Ok(Stats::default())), (OpKind::Replace, parent.ufid));
    assert_eq!(desk.done(NIC, Ok(Stats::default())), (OpKind::Remove, child.ufid));
    desk.settle();
    assert!(matches!(desk.replies.remove(&Token(2)), Some(Ok(Response::Flows(_)))));
    assert_eq!(desk.placement(&parent), Placement::Nic);
}

#[test]
fn the_last_two_children_do_not_leave_at_once() {
    let mut desk = Desk::new(1);
    let (one, two) = (flow_of(5, 1, &[OUT]), flow_of(5, 2, &[OUT]));
    let parent = flow_of(0, 1, &[to(5)]);
    for flow in [&one, &two, &parent] {
        desk.put(flow);
    }
    desk.ask(1, Request::Remove(one.ufid));
    desk.ask(2, Request::Remove(two.ufid));
    assert_eq!(desk.done(NIC, Ok(Stats::default())), (OpKind::Remove, one.ufid));
    assert_eq!(desk.done(NIC, Ok(Stats::default())), (OpKind::Remove, parent.ufid));
    assert_eq!(desk.done(NIC, Ok(Stats::default())), (OpKind::Remove, two.ufid));
    desk.settle();
    desk.later(Duration::from_millis(10));
    desk.settle();
    assert_eq!(desk.placement(&parent), Placement::Refused);
}

#[test]
fn a_parent_does_not_come_in_while_its_only_child_leaves() {
    let mut desk = Desk::new(1);
    let (child, parent) = (flow_of(5, 1, &[OUT]), flow_of(0, 1, &[to(5)]));
    desk.put(&child);
    desk.ask(1, Request::Remove(child.ufid));
    desk.ask(2, Request::Install(parent.clone()));
    desk.done(Place::Host, Ok(Stats::default()));
    let on_the_way: Vec<OpKind> =
        desk.nic[&ProviderId(0)].iter().map(|waiting| waiting.op.kind()).collect();
    assert_eq!(on_the_way, [OpKind::Remove]);
}

/// This also holds if a nested action list recirculates into the child's scope.
#[test]
fn new_actions_wait_for_their_children_outside() {
    let mut desk = Desk::new(1);
    let (child, parent) = (flow_of(5, 1, &[OUT]), flow_of(0, 1, &[OUT]));
    desk.put(&parent);
    let inside = [Action::Sample { probability: u32::MAX, actions: Arc::new([to(5)]) }];
    desk.ask(1, Request::Replace(parent.ufid, Arc::new(inside)));
    desk.done(Place::Host, Ok(Stats::default()));
    assert_eq!(desk.done(NIC, Ok(Stats::default())), (OpKind::Remove, parent.ufid));
    desk.settle();
    assert_eq!(desk.placement(&parent), Placement::Refused);
    desk.put(&child);
    assert_eq!(desk.placement(&parent), Placement::Nic);
}

/// A reading leaves a rule out, as dumps of a busy kernel do.
#[test]
fn a_rule_that_a_reading_left_out_is_not_counted_twice() {
    let mut desk = Desk::new(1);
    let flow = flow_of(0, 1, &[OUT]);
    desk.put(&flow);
    desk.stats(NIC, vec![(flow.ufid, counted(100))]);
    desk.stats(NIC, vec![]);
    assert_eq!(desk.done(NIC, Err(ProviderError::NotFound)), (OpKind::Replace, flow.ufid));
    assert_eq!(desk.done(NIC, Err(ProviderError::Exists)), (OpKind::Install, flow.ufid));
    desk.stats(NIC, vec![(flow.ufid, counted(110))]);
    assert_eq!(desk.total(&flow), 110);
    assert!(desk.nic[&ProviderId(0)].is_empty(), "a device that contradicts itself gets time");
    desk.later(Duration::from_secs(1));
    assert_eq!(desk.done(NIC, Ok(counted(120))), (OpKind::Replace, flow.ufid));
    desk.stats(NIC, vec![(flow.ufid, counted(5))]);
    assert_eq!(desk.total(&flow), 125);
    assert_eq!(desk.engine.hits(ProviderId(0)).first.packets, 125);
}

/// The final counts of a life belong to its own actions, not to those that follow.
#[test]
fn the_last_hits_before_a_replacement_are_of_the_old_actions() {
    let mut desk = Desk::new(1);
    let flow = flow_of(0, 1, &[OUT, OUT, OUT]);
    desk.put(&flow);
    desk.ask(1, Request::Replace(flow.ufid, Arc::new([OUT])));
    desk.done(Place::Host, Ok(Stats::default()));
    assert_eq!(desk.done(NIC, Ok(counted(10))), (OpKind::Replace, flow.ufid));
    desk.stats(NIC, vec![(flow.ufid, counted(5))]);
    let hits = desk.engine.hits(ProviderId(0));
    assert_eq!((hits.all.packets, hits.forks.copies.packets), (15, 20));
}

/// A rule that may still be in the device is not left behind, and its counts are not lost.
#[test]
fn a_rule_that_a_reading_left_out_is_taken_out_when_it_is_to_go() {
    let mut desk = Desk::new(1);
    let flow = flow_of(0, 1, &[OUT]);
    desk.put(&flow);
    desk.stats(NIC, vec![]);
    assert_eq!(desk.done(NIC, Err(ProviderError::Busy("later".to_owned()))).0, OpKind::Replace);
    desk.ask(1, Request::Remove(flow.ufid));
    assert_eq!(desk.done(NIC, Ok(counted(3))), (OpKind::Remove, flow.ufid));
    assert_eq!(desk.engine.hits(ProviderId(0)).first.packets, 3);
    desk.settle();
    assert!(desk.engine.is_empty());
}

#[test]
fn the_removal_of_what_was_not_ours_says_nothing_of_ours() {
    let mut desk = Desk::new(1);
    let flow = flow_of(0, 1, &[OUT]);
    desk.ask(1, Request::Install(flow.clone()));
    // The NIC holds a leftover rule: the rule is removed, and the megaflow is installed after it.
    desk.stats(NIC, vec![(flow.ufid, counted(7))]);
    desk.done(Place::Host, Ok(Stats::default()));
    assert_eq!(desk.done(NIC, Ok(counted(7))), (OpKind::Remove, flow.ufid));
    assert_eq!(desk.placement(&flow), Placement::Host, "its install is still on its way");
    assert_eq!(desk.done(NIC, Ok(Stats::default())), (OpKind::Install, flow.ufid));
    assert_eq!((desk.placement(&flow), desk.total(&flow)), (Placement::Nic, 0));
    assert!(desk.nic[&ProviderId(0)].is_empty());
}

#[test]
fn one_nic_says_nothing_of_what_lives_in_another() {
    let mut desk = Desk::new(2);
    let flow = flow_of(0, 1, &[OUT]);
    desk.put(&flow);
    desk.stats(NIC, vec![(flow.ufid, counted(10))]);
    desk.stats(OTHER_NIC, vec![(flow.ufid, counted(1000))]);
    assert_eq!(desk.total(&flow), 10);
    assert_eq!(desk.done(OTHER_NIC, Ok(counted(1000))), (OpKind::Remove, flow.ufid));
    assert_eq!((desk.placement(&flow), desk.total(&flow)), (Placement::Nic, 10));
    assert!(desk.nic[&ProviderId(0)].is_empty());
}

#[test]
fn what_was_done_before_a_device_went_is_counted() {
    let mut desk = Desk::new(1);
    let (one, two) = (flow_of(0, 1, &[OUT]), flow_of(0, 2, &[OUT]));
    desk.put(&one);
    desk.put(&two);
    desk.ask(1, Request::RemoveAll);
    let gone = Err(ProviderError::Gone("unplugged".to_owned()));
    let results = [(one.ufid, gone), (two.ufid, Ok(counted(9)))];
    let removals = std::mem::take(desk.queue(NIC));
    let completions = results.into_iter().zip(removals).map(|((ufid, result), removal)| {
        assert_eq!((removal.op.kind(), removal.op.ufid()), (OpKind::Remove, ufid));
        removal.completed(result)
    });
    let completions = completions.collect();
    desk.step(Event::Completed { place: NIC, completions });
    assert_eq!(desk.engine.hits(ProviderId(0)).first.packets, 9);
    assert!(desk.replies.is_empty(), "they are still on the host");
    desk.settle();
    assert!(matches!(desk.replies.remove(&Token(1)), Some(Ok(Response::Done))));
    assert!(desk.engine.is_empty());
}

/// What the device held before it went is known to be on the host alone before anybody asks what
/// the device holds now.
#[test]
fn a_device_that_is_back_is_asked_for_its_content_and_used() {
    let mut desk = Desk::new(1);
    let provider = ProviderId(0);
    let flows: Vec<_> = (1..=20).map(|station| flow_of(0, station, &[OUT])).collect();
    flows.iter().for_each(|flow| desk.put(flow));
    let event = ProviderEvent::Gone("unplugged".to_owned());
    let now = desk.now;
    let gone = desk.engine.step(Event::Provider { provider, event }, now);
    desk.take(gone);
    let admission = Arc::new(TakesAll(Capabilities::default()));
    let opened = desk.engine.step(Event::Opened { provider, admission }, now);
    desk.take(opened);
    assert!(desk.dumps.is_empty(), "its megaflows are not all called back yet");
    desk.step(Event::Advance);
    assert_eq!(desk.dumps, [provider]);
    assert!(flows.iter().all(|flow| desk.placement(flow) != Placement::Nic));
    desk.step(Event::Tick);
    assert!(!desk.reads.contains(&NIC), "nothing is known of it yet");
    desk.step(Event::Dumped { provider, found: Vec::new() });
    desk.later(Duration::from_secs(3));
    desk.settle();
    assert!(flows.iter().all(|flow| desk.placement(flow) == Placement::Nic));
}

/// As many operations wait as the limit says; the rest is begun when they are done.
#[test]
fn a_provider_that_is_slow_holds_the_engine_back() {
    let mut desk = Desk::new(1);
    let stations = u16::try_from(QUEUE_LIMIT + 100).unwrap();
    for station in 1..=stations {
        desk.ask(1, Request::Install(flow_of(0, station, &[OUT])));
        desk.done(Place::Host, Ok(Stats::default()));
    }
    let most = |desk: &Desk| desk.nic[&ProviderId(0)].len();
    assert_eq!(most(&desk), QUEUE_LIMIT);
    assert_eq!(desk.engine.devices().next().unwrap().queued, QUEUE_LIMIT as u64);
    desk.done(NIC, Ok(Stats::default()));
    desk.later(Duration::from_millis(10));
    assert_eq!(most(&desk), QUEUE_LIMIT);
    desk.settle();
    desk.ask(2, Request::RemoveAll);
    let bound = QUEUE_LIMIT + 2 * crate::walks::SLICE as usize;
    assert!((QUEUE_LIMIT..bound).contains(&most(&desk)), "{}", most(&desk));
    desk.settle();
    assert!(desk.engine.is_empty());
}

#[test]
fn reconciliations_are_answered_by_a_round_that_began_later_and_by_a_loss() {
    let mut desk = Desk::new(1);
    let answered = |desk: &Desk| desk.replies.keys().map(|token| token.0).collect::<Vec<_>>();
    desk.ask(1, Request::Reconcile);
    desk.stats(Place::Host, vec![]);
    desk.ask(2, Request::Reconcile);
    desk.ask(3, Request::Reconcile);
    assert_eq!(desk.reads.len(), 2, "one round at a time: {:?}", desk.reads);
    desk.stats(NIC, vec![]);
    assert_eq!((answered(&desk), desk.reads.len()), (vec![1], 4));
    desk.stats(NIC, vec![]);
    desk.ask(4, Request::Reconcile);
    desk.stats(Place::Host, vec![]);
    assert_eq!(answered(&desk), [1, 2, 3]);
    let gone = Err(ProviderError::Gone("unplugged".to_owned()));
    desk.step(Event::Stats { place: NIC, stats: gone, tables: Vec::new() });
    assert_eq!(answered(&desk), [1, 2, 3], "the host was not read yet");
    desk.stats(Place::Host, vec![]);
    assert_eq!(answered(&desk), [1, 2, 3, 4]);
    assert!(!desk.engine.planner.waiters.waits_for_statistics());
}

/// A table without a known capacity shows that it is full by refusing an install.
#[test]
fn a_fast_megaflow_displaces_a_slow_one_where_the_table_only_says_full() {
    let mut desk = Desk::new(1);
    let (slow, fast) = (flow_of(0, 1, &[OUT]), flow_of(0, 2, &[OUT]));
    desk.put(&slow);
    desk.ask(1, Request::Install(fast.clone()));
    desk.done(Place::Host, Ok(Stats::default()));
    let full = ProviderError::Full(Refusal::new(Reason::TableFull, Subject::Tc));
    desk.done(NIC, Err(full));
    assert_eq!(desk.placement(&fast), Placement::Refused);
    desk.stats(Place::Host, vec![(slow.ufid, counted(0)), (fast.ufid, counted(5000))]);
    desk.stats(NIC, vec![(slow.ufid, counted(1))]);
    assert_eq!(desk.done(NIC, Ok(counted(1))), (OpKind::Remove, slow.ufid));
    desk.later(Duration::from_millis(10));
    desk.settle();
    assert_eq!(
        (desk.placement(&slow), desk.placement(&fast)),
        (Placement::Refused, Placement::Nic)
    );
}

/// The removal of all megaflows makes room in the NIC long before it reaches the last of those that
/// wait for room.
#[test]
fn nobody_takes_the_place_of_what_is_removed_with_all() {
    let mut desk = Desk::new(1);
    // More than a slice is in the NIC.
    (1..10).for_each(|station| desk.put(&flow_of(0, station, &[OUT])));
    for station in 10..20 {
        desk.ask(u64::from(station), Request::Install(flow_of(0, station, &[OUT])));
        desk.done(Place::Host, Ok(Stats::default()));
        while !desk.queue(NIC).is_empty() {
            let full = ProviderError::Full(Refusal::new(Reason::TableFull, Subject::Tc));
            desk.done(NIC, Err(full));
        }
    }
    // Whoever waits may be tried by now.
    desk.now = desk.now + Duration::from_secs(60);
    let request = Event::Request { token: Token(1), request: Request::RemoveAll };
    let commands = desk.engine.step(request, desk.now);
    desk.take(commands);
    let mut removed = 0;
    while !desk.engine.is_empty() {
        for place in [NIC, Place::Host] {
            let ops = std::mem::take(desk.queue(place));
            assert!(ops.iter().all(|op| op.op.kind() == OpKind::Remove), "{ops:?}");
            removed += usize::from(place == NIC) * ops.len();
            let completions = ops.iter().map(|op| op.completed(Ok(Stats::default()))).collect();
            let commands = desk.engine.step(Event::Completed { place, completions }, desk.now);
            desk.take(commands);
        }
        let commands = desk.engine.step(Event::Advance, desk.now);
        desk.take(commands);
    }
    assert_eq!(removed, 9);
}

/// Only a megaflow that is not in the NIC yet may displace another one.
#[test]
fn nobody_is_displaced_for_what_is_in_already() {
    let mut desk = Desk::new(1);
    let (slow, fast) = (flow_of(0, 1, &[OUT]), flow_of(0, 2, &[OUT]));
    desk.put(&slow);
    desk.put(&fast);
    let tables = || {
        vec![TableUsage {
            table: TableName::ExactMatch,
            holds_megaflows: true,
            entries: 2,
            capacity: Some(2),
        }]
    };
    let there = || Ok(vec![(slow.ufid, counted(1)), (fast.ufid, counted(5000))]);
    desk.step(Event::Stats { place: NIC, stats: there(), tables: tables() });
    desk.stats(Place::Host, vec![(slow.ufid, counted(0)), (fast.ufid, counted(0))]);
    desk.ask(1, Request::Replace(fast.ufid, Arc::new([Action::Output(PortId(3))])));
    desk.step(Event::Stats { place: NIC, stats: there(), tables: tables() });
    desk.settle();
    assert_eq!((desk.placement(&slow), desk.placement(&fast)), (Placement::Nic, Placement::Nic));
}

/// Upcalls and completions come by two channels: the engine may hear of the packet that found the
/// table empty before it hears of the removal.
#[test]
fn a_packet_that_comes_while_its_megaflow_leaves_is_not_sent_into_the_gap() {
    let mut desk = Desk::new(1);
    desk.upcall(1);
    assert_eq!(desk.answers.pop(), Some(Answered::Reinject));
    desk.settle();
    desk.later(Duration::from_secs(60));
    desk.stats(NIC, vec![(flow_of(0, 1, &[OUT]).ufid, Stats::default())]);
    desk.stats(Place::Host, vec![(flow_of(0, 1, &[OUT]).ufid, Stats::default())]);
    desk.later(Duration::ZERO);
    assert_eq!(desk.done(NIC, Ok(Stats::default())).0, OpKind::Remove);
    assert_eq!(desk.host[0].op.kind(), OpKind::Remove);
    desk.upcall(1);
    assert_eq!(desk.answers.pop(), Some(Answered::Execute(Arc::new([OUT]))));
    desk.settle();
    desk.upcall(1);
    assert_eq!(desk.answers.pop(), Some(Answered::Reinject));
    desk.settle();
    assert_eq!(desk.placement(&flow_of(0, 1, &[OUT])), Placement::Nic);
}

#[test]
fn an_operators_word_is_not_undone_by_a_packet() {
    let mut desk = Desk::new(1);
    let dropping = flow_of(0, 1, &[]);
    desk.ask(1, Request::Install(dropping.clone()));
    // The packet missed before the install took effect.
    desk.upcall(1);
    desk.settle();
    assert!(desk.engine.record(dropping.ufid).flow.actions.is_empty());
    desk.ask(2, Request::Remove(dropping.ufid));
    desk.upcall(1);
    assert_eq!(desk.answers.pop(), Some(Answered::Execute(Arc::new([OUT]))));
    desk.settle();
    assert!(matches!(desk.replies.remove(&Token(2)), Some(Ok(Response::Flows(_)))));
    assert!(desk.engine.is_empty());
}

#[test]
fn nothing_comes_in_while_it_closes() {
    let mut desk = Desk::new(0);
    let admission = Arc::new(TakesAll(Capabilities::default()));
    let provider = desk.engine.add_hardware("nic", admission, Budget::new(1_000));
    let (waits, flow) = (flow_of(0, 1, &[OUT]), flow_of(0, 2, &[OUT]));
    desk.ask(1, Request::Install(waits.clone()));
    desk.settle();
    assert_eq!(desk.placement(&waits), Placement::Host, "what the NIC holds is not known yet");
    desk.ask(2, Request::Close);
    desk.ask(3, Request::Install(flow.clone()));
    assert!(matches!(desk.replies.get(&Token(3)), Some(Err(RequestError::Stopping))));
    let (ufid, stats) = (flow.ufid, Stats::default());
    let found =
        vec![Dumped { ufid, generation: Generation(1), flow: Some(flow), stats, active: true }];
    desk.step(Event::Dumped { provider, found });
    desk.settle();
    assert!(desk.engine.is_empty());
}

#[test]
fn a_removal_that_fails_is_tried_again_after_a_while() {
    let mut desk = Desk::new(1);
    let flow = flow_of(0, 1, &[OUT]);
    desk.put(&flow);
    desk.ask(1, Request::Remove(flow.ufid));
    desk.done(NIC, Err(ProviderError::Busy("later".to_owned())));
    assert!(desk.nic[&ProviderId(0)].is_empty(), "at once");
    desk.later(Duration::from_secs(1));
    desk.settle();
    assert!(desk.replies.contains_key(&Token(1)) && desk.engine.is_empty());
}

#[test]
fn what_was_not_read_for_a_while_is_not_idle() {
    let mut desk = Desk::new(1);
    desk.upcall(1);
    desk.settle();
    let flow = flow_of(0, 1, &[OUT]);
    desk.now = desk.now + Duration::from_secs(60);
    desk.stats(Place::Host, vec![(flow.ufid, Stats::default())]);
    assert!(desk.nic[&ProviderId(0)].is_empty(), "the NIC may have counted");
    desk.stats(NIC, vec![(flow.ufid, counted(1000))]);
    desk.stats(Place::Host, vec![(flow.ufid, Stats::default())]);
    assert_eq!(desk.placement(&flow), Placement::Nic);
    assert!(desk.nic[&ProviderId(0)].is_empty());
}

#[test]
fn a_device_that_counts_nonsense_stops_nothing() {
    let mut desk = Desk::new(1);
    let flow = flow_of(0, 1, &[OUT]);
    desk.put(&flow);
    for packets in [u64::MAX, 0, u64::MAX, 5] {
        let counters = Counters { packets, bytes: packets };
        desk.stats(NIC, vec![(flow.ufid, Stats { counters, ..Stats::default() })]);
    }
    assert_eq!(desk.total(&flow), u64::MAX);
}

#[test]
fn a_megaflow_goes_on_in_the_next_nic_when_its_own_goes() {
    let mut desk = Desk::new(2);
    let flow = flow_of(0, 1, &[OUT]);
    desk.put(&flow);
    desk.stats(NIC, vec![(flow.ufid, counted(10))]);
    desk.ask(1, Request::Replace(flow.ufid, Arc::new([Action::Output(PortId(3))])));
    desk.done(Place::Host, Ok(Stats::default()));
    let event = ProviderEvent::Gone("unplugged".to_owned());
    desk.step(Event::Provider { provider: ProviderId(0), event });
    desk.later(Duration::from_millis(10));
    // The completion of the lost device comes late.
    assert_eq!(desk.done(NIC, Ok(counted(3))).0, OpKind::Replace);
    assert_eq!((desk.placement(&flow), desk.total(&flow)), (Placement::Host, 10));
    assert_eq!(desk.done(OTHER_NIC, Ok(Stats::default())).0, OpKind::Install);
    desk.stats(OTHER_NIC, vec![(flow.ufid, counted(2))]);
    assert_eq!((desk.placement(&flow), desk.total(&flow)), (Placement::Nic, 12));
}

/// One of the host's threads may have a megaflow before the others, and tell of its packets before
/// the install is complete.
#[test]
fn the_hosts_news_of_a_megaflow_that_is_being_installed_are_counted() {
    let mut desk = Desk::new(1);
    let flow = flow_of(0, 1, &[OUT]);
    desk.ask(1, Request::Install(flow.clone()));
    desk.stats(Place::Host, vec![(flow.ufid, counted(3)), (flow.ufid, counted(2))]);
    desk.settle();
    desk.stats(Place::Host, vec![(flow.ufid, counted(4))]);
    let record = desk.engine.record(flow.ufid);
    assert_eq!(record.host_hits.packets, 9);
    assert_eq!(desk.engine.first_pass_host().packets, 9);
}
