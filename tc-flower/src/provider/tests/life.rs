//! The life of a megaflow: installed, replaced, counted, lost, removed.

use super::*;

#[test]
fn a_megaflow_lives_is_counted_and_ends_with_its_final_counters() {
    let kernel = FakeKernel::new();
    let mut tc = open(&kernel);
    let (one, two) = (station(1, "2"), station(2, "push_vlan(vid=7,pcp=3),2"));
    let results = apply(&mut tc, &[install(&one, 1), install(&two, 1)]);
    assert_eq!(results, [Ok(Stats::default()), Ok(Stats::default())]);
    let at = kernel.locations();
    assert_eq!(at[0].priority, at[1].priority, "one mask, one priority");
    kernel.hit(at[0], 3, 300);
    let all = stats(&mut tc);
    let of = |flow: &Arc<Megaflow>| all.iter().find(|(ufid, _)| *ufid == flow.ufid).unwrap().1;
    assert_eq!(of(&one).counters, counters(3, 300));
    assert_eq!(of(&one).used, Some(Moment(58_000_000_000)), "two seconds ago");
    assert_eq!(of(&two), Stats::default(), "never used");
    assert!(
        dump(&mut tc).iter().all(|d| d.active && d.flow.is_some() && d.generation == Generation(1))
    );
    kernel.hit(at[0], 1, 64);
    let results = apply(&mut tc, &[remove(&one), remove(&one)]);
    assert_eq!(results[0].as_ref().unwrap().counters, counters(4, 364));
    assert_eq!(results[1], Err(ProviderError::NotFound));
    assert_eq!(stats(&mut tc).len(), 1);
    assert!(tc.events().is_empty(), "what we do ourselves is no event");
    apply(&mut tc, &[remove(&two)]);
    assert!(kernel.locations().is_empty());
}

#[test]
fn a_replacement_is_there_before_the_old_one_goes_and_takes_precedence() {
    let kernel = FakeKernel::new();
    let mut tc = open(&kernel);
    let (old, new) = (station(1, "2"), station(1, "drop"));
    apply(&mut tc, &[install(&old, 1)]);
    let before = only(&kernel);
    kernel.hit(before, 5, 500);
    let results = apply(&mut tc, &[replace(&new, 2)]);
    assert_eq!(results[0].as_ref().unwrap().counters, counters(5, 500));
    let after = only(&kernel);
    assert!(after.priority < before.priority);
    let dumped = dump(&mut tc);
    assert_eq!((dumped.len(), dumped[0].generation), (1, Generation(2)));
    assert_eq!(dumped[0].flow.as_deref(), Some(&*new));
    // Two replaces and a removal of one ufid in one batch are done in their order.
    let results = apply(&mut tc, &[replace(&old, 3), replace(&new, 4), remove(&new)]);
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    assert!(kernel.locations().is_empty());
    assert_eq!(apply(&mut tc, &[replace(&new, 5)]), [Err(ProviderError::NotFound)]);
}

#[test]
fn a_refusal_has_the_kernels_words_and_leaves_what_was_there() {
    let kernel = FakeKernel::new();
    let mut tc = open(&kernel);
    apply(&mut tc, &[install(&station(1, "2"), 1)]);
    kernel.lock().refuse_action = Some(("vlan", "swsim: no VLAN today"));
    let results = apply(&mut tc, &[replace(&station(1, "push_vlan(vid=1,pcp=0),2"), 2)]);
    let Err(ProviderError::Unsupported(refusal)) = &results[0] else { panic!("{results:?}") };
    assert_eq!(refusal.to_string(), "device tc: swsim: no VLAN today");
    assert_eq!(dump(&mut tc)[0].generation, Generation(1));
    kernel.lock().capacity = 1;
    let results = apply(&mut tc, &[install(&station(2, "2"), 1), install(&station(1, "2"), 1)]);
    let Err(ProviderError::Full(refusal)) = &results[0] else { panic!("{results:?}") };
    assert_eq!(refusal.to_string(), "table-full tc: flow table full");
    assert_eq!(results[1], Err(ProviderError::Exists));
}

#[test]
fn in_hardware_means_that_the_kernel_says_so_and_shows_what_was_asked() {
    let kernel = FakeKernel::new();
    let mut tc = open(&kernel);
    let tos = flow("in_port(1),eth_type(0x0800),ipv4(tos=0x20)", "2");
    kernel.lock().not_in_hw = true;
    let results = apply(&mut tc, &[install(&tos, 1)]);
    let Err(ProviderError::Unsupported(refusal)) = &results[0] else { panic!("{results:?}") };
    assert_eq!(refusal.subject, Subject::InHardware);
    assert!(kernel.locations().is_empty());
    kernel.lock().not_in_hw = false;
    kernel.lock().distort = true;
    let results = apply(&mut tc, &[install(&tos, 1)]);
    let Err(ProviderError::Unsupported(refusal)) = &results[0] else { panic!("{results:?}") };
    assert_eq!(refusal.reason, Reason::Echo);
    assert!(kernel.locations().is_empty());
}

#[test]
fn a_filter_taken_behind_our_back_is_an_event_and_missing_from_the_statistics() {
    let kernel = FakeKernel::new();
    let mut tc = open(&kernel);
    apply(&mut tc, &[install(&station(1, "2"), 1)]);
    assert!(tc.events().is_empty());
    kernel.steal(only(&kernel));
    assert_eq!(tc.events(), [ProviderEvent::Changed]);
    assert!(stats(&mut tc).is_empty());
    assert!(apply(&mut tc, &[install(&station(1, "2"), 2)])[0].is_ok());
    assert_eq!(stats(&mut tc).len(), 1);
}

#[test]
fn the_last_hits_of_a_filter_taken_behind_our_back_are_told_before_it_is_missing() {
    let kernel = FakeKernel::new();
    let mut tc = open(&kernel);
    apply(&mut tc, &[install(&station(1, "2"), 1), install(&station(2, "2"), 1)]);
    let at = kernel.locations()[0];
    kernel.hit(at, 3, 300);
    assert_eq!(stats(&mut tc).len(), 2);
    kernel.hit(at, 4, 400);
    kernel.steal(at);
    let told = stats(&mut tc);
    assert_eq!(
        told.iter().map(|(_, s)| s.counters).max_by_key(|c| c.packets),
        Some(counters(7, 700))
    );
    assert_eq!(tc.events(), [ProviderEvent::Changed], "a pass is due");
    assert_eq!(stats(&mut tc).len(), 1);
    assert!(tc.events().is_empty());
}

#[test]
fn a_filter_that_the_hardware_lost_is_missing_and_can_be_installed_again() {
    let kernel = FakeKernel::new();
    let mut tc = open(&kernel);
    apply(&mut tc, &[install(&station(1, "2"), 1)]);
    let at = only(&kernel);
    kernel.lock().filters.get_mut(&at).unwrap().lost = true;
    assert!(!dump(&mut open(&kernel))[0].active, "a restart sees it too");
    assert!(stats(&mut tc).is_empty());
    assert!(apply(&mut tc, &[install(&station(1, "2"), 2)])[0].is_ok());
    assert_ne!(only(&kernel), at);
    assert_eq!(stats(&mut tc).len(), 1);
}

#[test]
fn what_lost_answers_would_have_said_is_asked_for() {
    let kernel = FakeKernel::new();
    let mut tc = open(&kernel);
    let (one, two) = (station(1, "2"), station(2, "2"));
    apply(&mut tc, &[install(&one, 1)]);
    kernel.lock().lose_echoes = true;
    kernel.lock().lose_acks = 1;
    let results = apply(&mut tc, &[install(&two, 1)]);
    assert!(results[0].is_ok(), "it is in, so that is what happened: {results:?}");
    assert_eq!(tc.events(), [ProviderEvent::Changed]);
    assert_eq!(stats(&mut tc).len(), 2);
    assert_eq!(kernel.locations().len(), 2);
    kernel.hit(kernel.locations()[0], 4, 400);
    stats(&mut tc);
    kernel.lock().lose_acks = 1;
    let results = apply(&mut tc, &[remove(&one)]);
    assert!(results[0].is_ok(), "it is gone, so that is what happened: {results:?}");
    assert_eq!(kernel.locations().len(), 1);
}

#[test]
fn an_echo_is_as_good_as_the_answer_that_is_lost() {
    let kernel = FakeKernel::new();
    let mut tc = open(&kernel);
    let flow = station(1, "2");
    kernel.lock().lose_acks = 1;
    assert!(apply(&mut tc, &[install(&flow, 1)])[0].is_ok());
    kernel.hit(only(&kernel), 4, 400);
    kernel.lock().lose_acks = 1;
    let results = apply(&mut tc, &[remove(&flow)]);
    assert_eq!(results[0].as_ref().unwrap().counters, counters(4, 400), "no reading had them");
    assert!(tc.events().is_empty());
}

#[test]
fn interrupted_dumps_are_read_again_and_give_up_in_the_end() {
    let kernel = FakeKernel::new();
    let mut tc = open(&kernel);
    apply(&mut tc, &[install(&station(1, "2"), 1)]);
    kernel.lock().interrupt = 3;
    assert_eq!(stats(&mut tc).len(), 1);
    kernel.lock().interrupt = 100;
    let mut next = Ok(Some(Cursor::default()));
    while let Ok(Some(from)) = next {
        next = reading::read(&mut tc, from, false).map(|(_, next)| next);
    }
    assert!(matches!(next, Err(ProviderError::Busy(_))));
}

#[test]
fn a_qdisc_that_was_taken_away_comes_back() {
    let kernel = FakeKernel::new();
    let mut tc = open(&kernel);
    apply(&mut tc, &[install(&station(1, "2"), 1)]);
    {
        let mut state = kernel.lock();
        state.qdiscs.remove(&11);
        state.filters.clear();
    }
    assert!(apply(&mut tc, &[install(&station(2, "2"), 1)])[0].is_ok(), "there is a new one");
    assert_eq!(tc.events(), [ProviderEvent::Changed]);
    kernel.lock().qdiscs.remove(&11);
    kernel.notify(RTM_DELQDISC, 77, |w| w.tcmsg(11, TC_H_INGRESS_MAJOR, TC_H_CLSACT, 0));
    assert_eq!(tc.events(), [ProviderEvent::Changed]);
    assert!(kernel.lock().qdiscs.contains_key(&11));
}

#[test]
fn a_representor_that_goes_takes_its_megaflows_and_comes_back_under_another_number() {
    let kernel = FakeKernel::new();
    let mut tc = open(&kernel);
    apply(
        &mut tc,
        &[install(&station(1, "2"), 1), install(&flow("in_port(2),eth_type(0x0806)", "1"), 1)],
    );
    let link = {
        let mut state = kernel.lock();
        state.filters.retain(|at, _| at.ifindex != 11);
        state.filters.values_mut().for_each(|stored| stored.cut_off(11));
        state.qdiscs.remove(&11);
        state.links.remove(0)
    };
    let shown = |ifindex: u32| {
        move |w: &mut crate::netlink::Writer| {
            w.raw(&[0; 4]);
            w.raw(&ifindex.to_ne_bytes());
            w.raw(&[0; 8]);
        }
    };
    kernel.notify(RTM_DELLINK, 0, shown(11));
    assert_eq!(tc.events(), [ProviderEvent::Changed]);
    assert!(stats(&mut tc).is_empty(), "the other one sends into nothing");
    let refusal = tc.ports.admission().admit(&station(1, "2")).unwrap_err().first;
    assert_eq!(refusal.to_string(), "port in_port 1: the port's interface is gone");
    kernel.lock().links.push((21, "renamed".into(), link.2, link.3));
    kernel.notify(RTM_NEWLINK, 0, shown(21));
    assert_eq!(tc.events(), [ProviderEvent::Changed]);
    assert!(apply(&mut tc, &[install(&station(1, "2"), 2)])[0].is_ok());
    assert_eq!(kernel.locations().iter().filter(|at| at.ifindex == 21).count(), 1);
    kernel.lock().links.clear();
    kernel.notify(RTM_DELLINK, 0, shown(21));
    kernel.notify(RTM_DELLINK, 0, shown(12));
    kernel.notify(RTM_DELLINK, 0, shown(13));
    assert!(matches!(tc.events()[..], [ProviderEvent::Changed, ProviderEvent::Gone(_)]));
    assert!(tc.events().is_empty(), "once");
}

#[test]
fn a_batch_of_hundreds_goes_in_few_datagrams_and_comes_out_whole() {
    let kernel = FakeKernel::new();
    let mut tc = open(&kernel);
    let flows: Vec<_> = (0..=255).map(|n| station(n, "2")).collect();
    let ops: Vec<Op> = flows.iter().map(|flow| install(flow, 1)).collect();
    assert!(apply(&mut tc, &ops).iter().all(Result::is_ok));
    assert_eq!(stats(&mut tc).len(), 256);
    let ops: Vec<Op> = flows.iter().map(|flow| replace(flow, 2)).collect();
    assert!(apply(&mut tc, &ops).iter().all(Result::is_ok));
    tc.remove_all().unwrap();
    assert!(kernel.locations().is_empty() && kernel.lock().qdiscs.is_empty());
    assert!(stats(&mut tc).is_empty());
}
