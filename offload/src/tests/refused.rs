//! Tests of refusals by the host table: of actions that an operator or the client wants.

use std::sync::Arc;
use std::time::Duration;

use flow::{
    Action, ActionKind, Actions, Mask, Match, Megaflow, Owner, Placement, PortId, ProviderError,
    Reason, Refusal, Stats, Ufid,
};

use super::desk::{Desk, NIC, OUT, REFUSED, flow_of, to};
use super::*;

fn refusal() -> Result<Stats, ProviderError> {
    Err(ProviderError::Unsupported(Refusal::new(Reason::Action, ActionKind::Output)))
}

fn bad() -> Actions {
    Arc::new([REFUSED])
}

fn good() -> Actions {
    Arc::new([Action::Output(PortId(3))])
}

/// Returns a desk with a megaflow of the client's in the NIC.
fn clients() -> (Desk, Ufid) {
    let mut desk = Desk::new(1);
    desk.upcall(1);
    desk.settle();
    let flow = flow_of(0, 1, &[OUT]);
    assert_eq!(desk.placement(&flow), Placement::Nic);
    (desk, flow.ufid)
}

/// Makes the client want other actions.
fn revalidated(desk: &mut Desk, ufid: Ufid, actions: Actions) {
    let id = desk.engine.planner.flows.find(ufid).unwrap();
    desk.engine.planner.change_actions(id, actions);
    desk.engine.planner.plan(id, desk.now);
    desk.step(Event::Ports(Vec::new()));
}

/// Lets a packet come, and time go by.
fn go_on(desk: &mut Desk) {
    desk.upcall(1);
    desk.settle();
    desk.later(Duration::from_secs(1));
    desk.settle();
}

#[test]
fn an_operators_change_is_undone() {
    let mut desk = Desk::new(1);
    let flow = flow_of(0, 1, &[OUT]);
    desk.put(&flow);
    desk.ask(2, Request::Replace(flow.ufid, bad()));
    desk.done(Place::Host, refusal());
    desk.settle();
    assert!(matches!(desk.replies[&Token(2)], Err(RequestError::Refused(_))));
    assert_eq!(desk.placement(&flow), Placement::Nic);
    let entry = desk.engine.record(flow.ufid);
    assert!(entry.leaving.is_none());
    assert_eq!(entry.flow.actions, flow.actions);
    assert!(entry.host.executes(&flow.actions) && entry.nic.executes(&flow.actions));
}

#[test]
fn a_megaflow_that_means_nothing_displaces_nobody() {
    let (mut desk, ufid) = clients();
    let before = desk.engine.record(ufid).flow.clone();
    let wide = Match::new(&before.matching.key(), &Mask::default());
    let short: [Action; 1] = [Action::Trunc(13)];
    for (token, matching) in [(2, before.matching.clone()), (3, wide)] {
        desk.ask(token, Request::Install(Arc::new(Megaflow::new(matching, short.clone()))));
        desk.settle();
        let Some(Err(RequestError::Refused(text))) = desk.replies.get(&Token(token)) else {
            panic!("{:?}", desk.replies)
        };
        assert!(text.starts_with("trunc(13): shorter"), "{text}");
    }
    let entry = desk.engine.record(ufid);
    assert_eq!(
        (desk.engine.planner.flows.len(), entry.owner, &entry.flow),
        (1, Owner::Client, &before)
    );
}

#[test]
fn the_host_table_says_which_megaflow_means_nothing() {
    let mut desk = Desk::new(1);
    let flow = flow_of(0, 1, &[Action::Trunc(13)]);
    let invalid = flow::validate(&flow.matching, &flow.actions).unwrap_err();
    desk.ask(2, Request::Install(flow));
    desk.done(Place::Host, Err(ProviderError::Invalid(invalid.clone())));
    desk.settle();
    let Err(RequestError::Refused(text)) = &desk.replies[&Token(2)] else {
        panic!("{:?}", desk.replies)
    };
    assert_eq!(*text, invalid.to_string());
    assert!(desk.engine.planner.flows.is_empty());
}

#[test]
fn a_clients_change_is_its_own() {
    let (mut desk, ufid) = clients();
    revalidated(&mut desk, ufid, bad());
    desk.ask(2, Request::Replace(ufid, good()));
    desk.done(Place::Host, refusal());
    desk.settle();
    assert_eq!(desk.engine.record(ufid).flow.actions, good());
    assert!(matches!(desk.replies[&Token(2)], Ok(Response::Done)));
}

#[test]
fn what_the_client_wants_by_now_is_not_undone() {
    let (mut desk, ufid) = clients();
    desk.ask(2, Request::Replace(ufid, bad()));
    revalidated(&mut desk, ufid, good());
    desk.done(Place::Host, refusal());
    desk.settle();
    assert_eq!(desk.engine.record(ufid).flow.actions, good());
}

#[test]
fn a_removal_is_not_answered_by_a_refused_change() {
    let (mut desk, ufid) = clients();
    revalidated(&mut desk, ufid, bad());
    desk.ask(2, Request::Remove(ufid));
    desk.done(Place::Host, refusal());
    go_on(&mut desk);
    assert!(matches!(desk.replies[&Token(2)], Ok(Response::Flows(_))));
}

#[test]
fn the_removal_of_all_ends_although_a_change_is_refused() {
    let (mut desk, ufid) = clients();
    desk.ask(2, Request::Replace(ufid, bad()));
    desk.ask(3, Request::RemoveAll);
    desk.done(Place::Host, refusal());
    go_on(&mut desk);
    assert!(matches!(desk.replies[&Token(3)], Ok(Response::Done)));
}

#[test]
fn a_removal_that_fails_is_tried_again_before_it_is_answered() {
    let mut desk = Desk::new(1);
    let flow = flow_of(0, 1, &[OUT]);
    desk.put(&flow);
    desk.ask(2, Request::Remove(flow.ufid));
    desk.done(NIC, Ok(Stats::default()));
    desk.done(Place::Host, Err(ProviderError::Busy("later".into())));
    assert!(!desk.replies.contains_key(&Token(2)));
    go_on(&mut desk);
    assert!(matches!(desk.replies[&Token(2)], Ok(Response::Flows(_))));
}

/// A removal goes on failing. The operator who asked is told why, and an operator who asks again
/// waits for the same end. No answer says that the megaflow is gone while it is there.
#[test]
fn a_removal_that_goes_on_failing_is_told_and_goes_on() {
    let (mut desk, ufid) = clients();
    desk.ask(1, Request::Remove(ufid));
    let busy = || Err(ProviderError::Busy("interrupted".to_owned()));
    let text = |desk: &mut Desk, token: u64| match desk.replies.remove(&Token(token)) {
        Some(Err(error)) => error.to_string(),
        other => panic!("{other:?}"),
    };
    for _ in 0..5 {
        assert!(!desk.replies.contains_key(&Token(1)));
        desk.done(NIC, busy());
        desk.later(Duration::from_millis(200));
    }
    let told = text(&mut desk, 1);
    assert!(told.contains("could not be removed yet: busy: interrupted"), "{told}");
    desk.ask(2, Request::Replace(ufid, good()));
    assert!(text(&mut desk, 2).contains("is being removed"));
    desk.ask(3, Request::Install(flow_of(0, 1, &[OUT])));
    assert!(text(&mut desk, 3).contains("is being removed"));
    desk.ask(4, Request::Remove(ufid));
    go_on(&mut desk);
    assert!(matches!(desk.replies.remove(&Token(4)), Some(Ok(Response::Flows(_)))));
    desk.ask(5, Request::Remove(ufid));
    assert!(text(&mut desk, 5).contains("no such flow"));
}

#[test]
fn a_parent_whose_change_is_undone_lets_its_child_go() {
    let mut desk = Desk::new(1);
    let (child, parent) = (flow_of(5, 1, &[OUT]), flow_of(0, 1, &[to(5)]));
    desk.put(&child);
    desk.put(&parent);
    desk.later(Duration::from_millis(10));
    desk.settle();
    assert_eq!(desk.placement(&parent), Placement::Nic);
    desk.ask(2, Request::Replace(parent.ufid, Arc::new([OUT])));
    desk.ask(3, Request::Remove(child.ufid));
    desk.done(Place::Host, refusal());
    desk.settle();
    assert!(matches!(desk.replies[&Token(3)], Ok(Response::Flows(_))));
}
