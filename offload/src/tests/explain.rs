//! Tests: an explanation agrees with what the engine does, and has the numbers and the time.

use flow::{
    ActionKind, Placement, PortId, ProviderError, Reason, Refusal, Subject, TableName, TableUsage,
};

use super::desk::{Desk, NIC, OTHER_NIC, OUT, REFUSED, counted, flow_of, to};
use super::*;

impl Desk {
    fn explained(&self, flow: &Megaflow) -> Vec<Explanation> {
        self.engine.planner.placer.explain(&self.engine.planner.flows, flow, self.now)
    }

    /// Returns the standing with the first provider, as a word and its reasons.
    fn standing(&self, flow: &Megaflow) -> (&'static str, Vec<String>) {
        let explanation = self.explained(flow).swap_remove(0);
        let (word, why) = match explanation.standing {
            Standing::Holds => ("holds", None),
            Standing::Takes => ("takes", None),
            Standing::Waits(why) => ("waits", Some(why)),
            Standing::Refuses(why) => ("refuses", Some(why)),
        };
        (word, why.iter().flat_map(|why| why.iter()).map(ToString::to_string).collect())
    }

    /// Returns the number of seconds since the megaflow was refused.
    fn lasting(&mut self, flow: &Megaflow) -> u64 {
        let view = self.engine.view_of(flow.ufid, self.now);
        view.refused.unwrap().lasting.as_secs()
    }

    fn usage(&mut self, there: &Megaflow, entries: u64) {
        let table = |table, holds_megaflows, entries, capacity| TableUsage {
            table,
            holds_megaflows,
            entries,
            capacity: Some(capacity),
        };
        let tables = vec![
            table(TableName::Masks, false, 3, 8),
            table(TableName::ExactMatch, true, entries, 16),
            table(TableName::MaskedRows, true, 4, 4),
        ];
        let stats = Ok(vec![(there.ufid, counted(1))]);
        self.step(Event::Stats { place: NIC, stats, tables });
    }
}

#[test]
fn a_full_table_is_no_table_that_can_hold_it() {
    let mut desk = Desk::new(1);
    let (one, two, asked) = (flow_of(0, 1, &[OUT]), flow_of(0, 2, &[OUT]), flow_of(0, 3, &[OUT]));
    desk.put(&one);
    assert_eq!(desk.standing(&one), ("holds", vec![]));
    assert_eq!(desk.standing(&two), ("takes", vec![]));
    desk.usage(&one, 15);
    desk.put(&two);
    let why = |entries| {
        vec![format!(
            "table-full crowded: waiting for room, or to be faster than a megaflow that is in the \
             table; in use: exact-match {entries} of 16, masked-rows 4 of 4"
        )]
    };
    // The answer is the same for an installed megaflow and for one that is only asked about.
    assert_eq!(desk.standing(&two), ("waits", why(15)));
    assert_eq!(desk.standing(&asked), ("waits", why(15)));
    assert_eq!(desk.explained(&two)[0].plan.as_deref(), Some("plan"));
    // The numbers are current, and the time counts from the moment of the refusal.
    desk.later(Duration::from_secs(5));
    desk.usage(&one, 16);
    assert_eq!(desk.standing(&two), ("waits", why(16)));
    assert_eq!(desk.lasting(&two), 5);
    desk.usage(&one, 14);
    desk.later(Duration::from_millis(10));
    desk.settle();
    assert_eq!(desk.standing(&two), ("holds", vec![]));
    assert!(desk.engine.view_of(two.ufid, desk.now).refused.is_none());
}

#[test]
fn what_a_device_says_is_told_until_it_is_tried_again() {
    let mut desk = Desk::new(1);
    let (one, two) = (flow_of(0, 1, &[OUT]), flow_of(0, 2, &[OUT]));
    desk.put(&one);
    desk.usage(&one, 9);
    desk.ask(1, Request::Install(two.clone()));
    desk.done(Place::Host, Ok(Stats::default()));
    let full = || ProviderError::Full(Refusal::new(Reason::TableFull, TableName::Masks));
    desk.done(NIC, Err(full()));
    let why = "table-full masks: in use: masks 3 of 8, masked-rows 4 of 4".to_owned();
    assert_eq!(desk.standing(&two), ("waits", vec![why.clone()]));
    // The next tries find the same refusal, so its time goes on.
    for _ in 0..3 {
        desk.later(crate::planner::RETRY_FULL);
        assert_eq!(desk.standing(&two), ("takes", vec![]), "on its way");
        assert_eq!(desk.placement(&two), Placement::Host);
        desk.done(NIC, Err(full()));
    }
    assert_eq!(desk.standing(&two), ("waits", vec![why]));
    assert_eq!(desk.lasting(&two), 6);
    // Another reason starts its own time.
    desk.later(crate::planner::RETRY_FULL);
    let never = Refusal::new(Reason::Device, Subject::Card).said("the card answers Invalid");
    desk.done(NIC, Err(ProviderError::Unsupported(never.clone())));
    assert_eq!(desk.standing(&two), ("refuses", vec![never.to_string()]));
    desk.later(Duration::from_secs(60));
    assert_eq!(desk.standing(&two), ("refuses", vec![never.to_string()]));
    assert_eq!(desk.lasting(&two), 60);
    desk.step(Event::Provider {
        provider: ProviderId(0),
        event: flow::ProviderEvent::Gone("it was pulled out".to_owned()),
    });
    let gone = vec!["device-gone device: it was pulled out".to_owned()];
    assert_eq!(desk.standing(&one), ("refuses", gone.clone()));
    assert_eq!(desk.standing(&flow_of(0, 3, &[OUT])), ("refuses", gone));
}

#[test]
fn a_parent_says_which_lookup_it_waits_for_and_what_else() {
    let mut desk = Desk::new(1);
    let parent = flow_of(0, 1, &[to(7), to(8)]);
    let children = [flow_of(7, 1, &[OUT]), flow_of(8, 1, &[OUT])];
    let missing = |scope: u32| {
        format!(
            "recirculation chain: waiting: no megaflow with recirc_id {scope:#x} is in hardware yet"
        )
    };
    assert_eq!(desk.standing(&parent), ("waits", vec![missing(7), missing(8)]));
    desk.put(&parent);
    assert_eq!(desk.standing(&parent), ("waits", vec![missing(7), missing(8)]));
    desk.put(&children[0]);
    assert_eq!(desk.standing(&parent), ("waits", vec![missing(8)]));
    desk.usage(&children[0], 16);
    let (word, why) = desk.standing(&parent);
    assert_eq!((word, why.len()), ("waits", 2), "{why:?}");
    assert!(why[0] == missing(8) && why[1].starts_with("table-full crowded: "), "{why:?}");
    desk.usage(&children[0], 1);
    desk.put(&children[1]);
    desk.later(Duration::from_millis(10));
    desk.settle();
    assert_eq!(desk.standing(&parent), ("holds", vec![]));
}

/// If a child leaves while its parent's install is in flight, the parent goes into the NIC again
/// with the next child.
#[test]
fn a_parent_that_was_called_back_on_its_way_comes_again() {
    let mut desk = Desk::new(1);
    let (parent, child) = (flow_of(0, 1, &[to(7)]), flow_of(7, 1, &[OUT]));
    desk.put(&parent);
    desk.ask(1, Request::Install(child.clone()));
    desk.done(Place::Host, Ok(Stats::default()));
    desk.done(NIC, Ok(Stats::default()));
    assert_eq!(desk.queue(NIC).len(), 1, "the parent is on its way");
    desk.ask(2, Request::Remove(child.ufid));
    desk.settle();
    assert_eq!(desk.placement(&parent), Placement::Refused);
    desk.put(&child);
    desk.later(Duration::from_millis(10));
    desk.settle();
    assert_eq!(desk.standing(&parent), ("holds", vec![]));
}

#[test]
fn each_of_two_providers_speaks_for_itself() {
    let mut desk = Desk::new(2);
    let flow = flow_of(0, 1, &[OUT]);
    desk.put(&flow);
    let standings = |desk: &Desk, flow: &Megaflow| {
        let explained = desk.explained(flow).into_iter();
        explained.map(|e| (e.provider, e.standing)).collect::<Vec<_>>()
    };
    let both = |first, second| vec![("nic0".to_owned(), first), ("nic1".to_owned(), second)];
    assert_eq!(standings(&desk, &flow), both(Standing::Holds, Standing::Takes));
    let no = Standing::Refuses(Refusal::new(Reason::Action, ActionKind::Output).into());
    let refused = flow_of(0, 2, &[REFUSED]);
    assert_eq!(standings(&desk, &refused), both(no.clone(), no));
    // A refusal by the first provider's device does not count for the second provider.
    let full = flow_of(0, 3, &[Action::Output(PortId(3))]);
    desk.ask(1, Request::Install(full.clone()));
    desk.done(Place::Host, Ok(Stats::default()));
    let why = Refusal::new(Reason::TableFull, Subject::Tc).said("full");
    desk.done(NIC, Err(ProviderError::Full(why.clone())));
    assert!(desk.queue(OTHER_NIC).is_empty());
    assert_eq!(standings(&desk, &full), both(Standing::Waits(why.into()), Standing::Takes));
}
