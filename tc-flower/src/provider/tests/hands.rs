//! Beside other hands: whoever else adds, deletes and changes filters, qdiscs and interfaces.

use super::*;

/// Three megaflows whose masks differ, so that each has a priority of its own.
fn three() -> [Arc<Megaflow>; 3] {
    [
        station(1, "2"),
        flow("in_port(1),eth_type(0x0806)", "2"),
        flow("in_port(1),eth_type(0x0800),ipv4(ttl=9)", "2"),
    ]
}

/// The attributes of an action, with another cookie.
fn under(cookie: &(u16, Vec<u8>), actions: &[Vec<(u16, Vec<u8>)>]) -> Vec<Vec<(u16, Vec<u8>)>> {
    let mut actions = actions.to_vec();
    actions[0].retain(|attr| attr.0 != TCA_ACT_COOKIE);
    actions[0].push(cookie.clone());
    actions
}

fn cookie(stored: &Stored) -> (u16, Vec<u8>) {
    stored.actions[0].iter().find(|attr| attr.0 == TCA_ACT_COOKIE).unwrap().clone()
}

/// Makes a filter that drops of the one at `at`, and keeps its cookie.
fn make_it_drop(kernel: &FakeKernel, tc: &mut FakeTc, at: Location) {
    let dropping = station(77, "drop");
    apply(tc, &[install(&dropping, 1)]);
    let all = kernel.lock().filters.clone();
    let dropping_at = *all.iter().find(|(_, stored)| stored.has_action("gact")).unwrap().0;
    let actions = under(&cookie(&all[&at]), &all[&dropping_at].actions);
    apply(tc, &[remove(&dropping)]);
    kernel.alter(at, |stored| {
        stored.actions = actions;
        (stored.packets, stored.bytes) = (100, 10_000);
    });
}

#[test]
fn what_a_listing_leaves_out_is_still_there() {
    let kernel = FakeKernel::new();
    let mut tc = open(&kernel);
    let flows = three();
    install_all(&mut tc, &flows);
    for _ in 0..3 {
        kernel.change(Change::Add(at(FIRST), somebodys()));
        kernel.lock().meanwhile.push_back(Change::Remove(at(FIRST)));
        assert_eq!(ufids(&stats(&mut tc)), of(&flows));
        kernel.change(Change::Add(at(FIRST), somebodys()));
        kernel.lock().meanwhile.push_back(Change::Remove(at(FIRST)));
        assert_eq!(dump(&mut tc).len(), 3);
    }
    let results = apply(&mut tc, &flows.each_ref().map(remove));
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    assert!(kernel.locations().is_empty());
}

#[test]
fn what_a_listing_has_twice_is_one() {
    let kernel = FakeKernel::new();
    let mut tc = open(&kernel);
    let flows = three();
    install_all(&mut tc, &flows);
    kernel.lock().meanwhile.push_back(Change::Add(at(FIRST), somebodys()));
    assert_eq!(ufids(&stats(&mut tc)), of(&flows));
    kernel.steal(at(FIRST));
    kernel.lock().meanwhile.push_back(Change::Add(at(FIRST), somebodys()));
    assert_eq!(dump(&mut tc).len(), 3);
    apply(&mut tc, &[install(&station(9, "2"), 1)]);
    assert_eq!(stats(&mut tc).len(), 4, "none of them was taken for a rest");
}

#[test]
fn a_restart_adopts_all_though_somebody_changes_the_list() {
    let kernel = FakeKernel::new();
    let flows = three();
    install_all(&mut open(&kernel), &flows);
    kernel.change(Change::Add(at(FIRST), somebodys()));
    let mut tc = open(&kernel);
    kernel.lock().meanwhile.push_back(Change::Remove(at(FIRST)));
    let found = dump(&mut tc);
    assert_eq!(tc.adopt(&found).len(), 3);
    assert_eq!(ufids(&stats(&mut tc)), of(&flows));
}

#[test]
fn what_somebody_puts_back_is_behind_ours_and_goes() {
    let kernel = FakeKernel::new();
    let mut tc = open(&kernel);
    install_all(&mut tc, &[station(1, "2"), station(2, "drop")]);
    let before = kernel.locations();
    // Somebody takes them out, and puts them back from a listing of theirs.
    let all = kernel.lock().filters.clone();
    before.iter().for_each(|at| kernel.steal(*at));
    assert!(stats(&mut tc).is_empty());
    all.into_iter().for_each(|(at, stored)| kernel.change(Change::Add(at, stored)));
    kernel.hit(before[0], 3, 300);
    let results = apply(&mut tc, &[install(&station(1, "2"), 5), install(&station(2, "2"), 5)]);
    assert_eq!(results, [Ok(Stats::default()), Ok(Stats::default())]);
    let now = kernel.locations();
    assert!(now.len() == 4 && now[1].priority < before[0].priority, "ours are looked up first");
    let told = stats(&mut tc);
    assert_eq!(told.len(), 2);
    assert!(told.iter().all(|(_, stats)| stats.counters == Counters::default()));
    apply(&mut tc, &[install(&station(3, "2"), 5)]);
    assert!(before.iter().all(|at| !kernel.locations().contains(at)), "the next batch");
}

#[test]
fn what_is_taken_for_foreign_is_looked_at_again_before_it_goes() {
    let kernel = FakeKernel::new();
    install_all(&mut open(&kernel), &[station(1, "2")]);
    let mut tc = open(&kernel);
    let [(name, _)] = stats(&mut tc)[..] else { panic!("one filter") };
    // Somebody makes it theirs before it is removed.
    let at = only(&kernel);
    kernel.alter(at, |stored| stored.actions[0].retain(|attr| attr.0 != TCA_ACT_COOKIE));
    assert_eq!(apply(&mut tc, &[Op::Remove { ufid: name }]), [Err(ProviderError::NotFound)]);
    assert_eq!(only(&kernel), at);
}

#[test]
fn what_somebody_put_in_the_place_of_ours_is_not_deleted() {
    let kernel = FakeKernel::new();
    let mut tc = open(&kernel);
    let (one, two) = (station(1, "2"), station(2, "2"));
    install_all(&mut tc, &[one.clone(), two.clone()]);
    for at in kernel.locations() {
        kernel.hit(at, 3, 300);
        kernel.alter(at, |stored| {
            stored.actions[0].retain(|attr| attr.0 != TCA_ACT_COOKIE);
            stored.in_hw = false;
        });
    }
    assert_eq!(apply(&mut tc, &[remove(&one)]), [Err(ProviderError::NotFound)]);
    assert_eq!(apply(&mut tc, &[replace(&two, 2)]), [Ok(Stats::default())]);
    assert_eq!(kernel.locations().len(), 3, "theirs, and our new one");
    assert_eq!(ufids(&stats(&mut tc)), [two.ufid]);
}

#[test]
fn a_filter_that_somebody_changed_under_our_cookie_is_lost_and_is_put_right() {
    let kernel = FakeKernel::new();
    let mut tc = open(&kernel);
    let flow = station(1, "2");
    install_all(&mut tc, std::slice::from_ref(&flow));
    let at = only(&kernel);
    kernel.hit(at, 3, 300);
    assert_eq!(stats(&mut tc)[0].1.counters, counters(3, 300));
    make_it_drop(&kernel, &mut tc, at);
    assert!(stats(&mut tc).is_empty(), "what it does now is not ours, nor are its hits");
    let events = tc.events();
    let [ProviderEvent::Corrected { kind, megaflows, first }, ProviderEvent::Changed] = &events[..]
    else {
        panic!("{events:?}")
    };
    assert_eq!((*kind, *megaflows), (Correction::Altered, 1));
    assert!(first.contains(&format!("{} on rep0, chain 0 pref 49151", flow.ufid)), "{first}");
    assert_eq!(apply(&mut tc, &[replace(&flow, 2)]), [Err(ProviderError::NotFound)]);
    assert!(apply(&mut tc, &[install(&flow, 3)])[0].is_ok());
    let now = only(&kernel);
    assert!(!kernel.lock().filters[&now].has_action("gact"));
    assert_eq!(stats(&mut tc).len(), 1);
}

#[test]
fn what_a_changed_filter_counted_is_not_ours_when_it_is_removed() {
    let kernel = FakeKernel::new();
    let mut tc = open(&kernel);
    let flow = station(1, "2");
    install_all(&mut tc, std::slice::from_ref(&flow));
    kernel.hit(only(&kernel), 3, 300);
    stats(&mut tc);
    let at = only(&kernel);
    make_it_drop(&kernel, &mut tc, at);
    assert_eq!(apply(&mut tc, &[remove(&flow)])[0].as_ref().unwrap().counters, counters(3, 300));
    // Nor what it says when somebody deletes it.
    install_all(&mut tc, std::slice::from_ref(&flow));
    let at = only(&kernel);
    make_it_drop(&kernel, &mut tc, at);
    kernel.steal(at);
    assert!(stats(&mut tc).is_empty());
}

#[test]
fn a_filter_of_somebody_else_that_comes_first_keeps_megaflows_out_of_hardware() {
    for theirs in [in_hardware(0x0800), Stored { flower: false, ..in_hardware(0x0800) }] {
        let kernel = FakeKernel::new();
        let mut tc = open(&kernel);
        let flow = station(1, "2");
        let arp = three()[1].clone();
        install_all(&mut tc, &[flow.clone(), arp.clone()]);
        let of_flow = |at: &Location| kernel.lock().filters[at].protocol == 0x0800;
        kernel.hit(kernel.locations().into_iter().find(of_flow).unwrap(), 3, 300);
        kernel.change(Change::Add(at(FIRST), theirs));
        assert_eq!(tc.events(), [ProviderEvent::Changed]);
        assert_eq!(ufids(&stats(&mut tc)), [arp.ufid], "the caller is to ask for it again");
        let events = tc.events();
        let [ProviderEvent::Corrected { kind, megaflows: 1, first }] = &events[..] else {
            panic!("{events:?}")
        };
        assert_eq!(*kind, Correction::Shadowed);
        assert!(first.contains("rep0") && first.contains("chain 0 pref 5 handle 0x99"), "{first}");
        let results = apply(&mut tc, &[replace(&flow, 2)]);
        let Err(ProviderError::Unsupported(refusal)) = &results[0] else { panic!("{results:?}") };
        assert_eq!(refusal.reason, Reason::Shadowed);
        assert_eq!(tc.ports.admission().explain(&flow), Err(refusal.clone().into()));
        assert!(tc.ports.admission().admit(&arp).is_ok());
        let results = apply(&mut tc, &[remove(&flow)]);
        assert_eq!(results[0].as_ref().unwrap().counters, counters(3, 300));
        kernel.steal(at(FIRST));
        assert_eq!(tc.events(), [ProviderEvent::Changed], "what was refused is tried again");
        assert!(tc.ports.admission().admit(&flow).is_ok());
        install_all(&mut tc, &[flow]);
    }
}

#[test]
fn one_that_comes_later_or_is_in_no_hardware_shadows_nothing() {
    let kernel = FakeKernel::new();
    let mut tc = open(&kernel);
    let flow = station(1, "2");
    install_all(&mut tc, std::slice::from_ref(&flow));
    kernel.change(Change::Add(at(0xc000), in_hardware(0x0800)));
    kernel.change(Change::Add(at(FIRST), Stored { in_hw: false, ..in_hardware(0x0800) }));
    assert!(tc.events().is_empty());
    assert_eq!(stats(&mut tc).len(), 1);
    assert!(tc.ports.admission().admit(&flow).is_ok());
}

#[test]
fn one_with_our_key_at_our_priority_is_evaded_unless_it_is_in_hardware() {
    let kernel = FakeKernel::new();
    let mut tc = open(&kernel);
    let flow = station(1, "2");
    install_all(&mut tc, &[station(2, "2"), flow.clone()]);
    let ours = *kernel.locations().last().unwrap();
    let keys = kernel.lock().filters[&ours].keys.clone();
    apply(&mut tc, &[remove(&flow)]);
    let theirs = Stored { keys, in_hw: false, ..in_hardware(0x0800) };
    kernel.change(Change::Add(at(ours.priority), theirs.clone()));
    assert!(apply(&mut tc, &[install(&flow, 2)])[0].is_ok());
    assert_eq!(kernel.locations()[0].priority, ours.priority - 1);
    assert_eq!(stats(&mut tc).len(), 2);
    kernel.alter(at(ours.priority), |stored| stored.in_hw = true);
    assert_eq!(stats(&mut tc).len(), 1, "one may be behind it");
    let results = apply(&mut tc, &[replace(&flow, 3)]);
    assert!(matches!(&results[0], Err(ProviderError::Unsupported(_))), "{results:?}");
}

#[test]
fn a_qdisc_that_goes_in_the_midst_of_a_batch_refuses_nothing_for_good() {
    let kernel = FakeKernel::new();
    let mut tc = open(&kernel);
    let flows: Vec<_> = (0..200).map(|n| station(n, "2")).collect();
    kernel.lock().cut = [(50, 11), (60, 11), (70, 11)].into();
    let ops: Vec<Op> = flows.iter().map(|flow| install(flow, 1)).collect();
    let results = apply(&mut tc, &ops);
    assert!(
        results.iter().all(|r| matches!(r, Ok(_) | Err(ProviderError::Busy(_)))),
        "{results:?}"
    );
    // What went in before the qdisc went is missing in the next pass; all is put in again.
    for generation in 2.. {
        let there = ufids(&stats(&mut tc));
        let missing = flows.iter().filter(|flow| !there.contains(&flow.ufid));
        let ops: Vec<Op> = missing.map(|flow| install(flow, generation)).collect();
        if ops.is_empty() {
            break;
        }
        assert!(generation < 5);
        apply(&mut tc, &ops);
    }
    assert_eq!(kernel.locations().len(), 200);
}

#[test]
fn offload_that_is_switched_off_and_on_is_noticed() {
    let kernel = FakeKernel::new();
    kernel.set_offload(11, false);
    let mut tc = open(&kernel);
    let flow = station(1, "2");
    let words = "TC offload is disabled on net device";
    assert!(tc.ports.admission().admit(&flow).unwrap_err().to_string().contains(words));
    for _ in 0..2 {
        kernel.set_offload(11, true);
        assert_eq!(tc.events(), [ProviderEvent::Changed]);
        install_all(&mut tc, std::slice::from_ref(&flow));
        apply(&mut tc, &[remove(&flow)]);
        kernel.set_offload(11, false);
        assert_eq!(tc.events(), [ProviderEvent::Changed]);
        assert!(tc.ports.admission().admit(&flow).unwrap_err().to_string().contains(words));
    }
}

#[test]
fn what_was_refused_while_offload_was_off_for_a_moment_is_tried_again() {
    let kernel = FakeKernel::new();
    let mut tc = open(&kernel);
    let before = tc.ports.admission().clone();
    kernel.lock().offload_off.insert(11);
    let results = apply(&mut tc, &[install(&station(1, "2"), 1)]);
    assert!(matches!(results[0], Err(ProviderError::Unsupported(_))), "{results:?}");
    // Both notifications come when it is on again.
    kernel.set_offload(11, false);
    kernel.set_offload(11, true);
    assert_eq!(tc.events(), [ProviderEvent::Changed]);
    assert!(!Arc::ptr_eq(&before, tc.ports.admission()));
    install_all(&mut tc, &[station(1, "2")]);
}

#[test]
fn a_full_card_is_asked_again_without_forgetting_what_it_can_do() {
    let kernel = FakeKernel::new();
    kernel.lock().refuse_key = Some((73, "can't match the tos"));
    let mut tc = open(&kernel);
    kernel.lock().capacity = 0;
    kernel.set_offload(11, true);
    assert!(tc.events().is_empty());
    let tos = flow("in_port(1),eth_type(0x0800),ipv4(tos=0x20)", "2");
    assert_eq!(tc.ports.admission().admit(&tos).unwrap_err().first.reason, Reason::MatchField);
}

#[test]
fn what_a_bridge_tells_of_its_ports_is_not_about_the_interface() {
    let kernel = FakeKernel::new();
    let mut tc = open(&kernel);
    let (to, other) = (station(1, "2"), station(2, "drop"));
    install_all(&mut tc, &[to, other]);
    kernel.bridge_port(11);
    assert!(tc.events().is_empty());
    assert_eq!(stats(&mut tc).len(), 2, "the megaflows are where they were");
    assert!(apply(&mut tc, &[install(&station(3, "2"), 1)])[0].is_ok(), "the port takes more");
}

#[test]
fn a_port_that_comes_back_is_sent_to_again() {
    // The kernel may give a new interface the number of the old one.
    [22, 12].into_iter().for_each(comes_back_as);
}

fn comes_back_as(ifindex: u32) {
    let kernel = FakeKernel::new();
    let mut tc = open(&kernel);
    let (to, other) = (station(1, "2"), station(2, "drop"));
    install_all(&mut tc, &[to.clone(), other.clone()]);
    let sends = |at: &Location| kernel.lock().filters[at].has_action("mirred");
    kernel.hit(kernel.locations().into_iter().find(sends).unwrap(), 3, 300);
    kernel.recreate(12, ifindex);
    assert_eq!(tc.events(), [ProviderEvent::Changed]);
    assert_eq!(ufids(&stats(&mut tc)), [other.ufid], "the caller is to ask for it again");
    let results = apply(&mut tc, &[replace(&to, 2)]);
    assert_eq!(results[0].as_ref().unwrap().counters, counters(3, 300), "all hits are kept");
    assert_eq!(stats(&mut tc).len(), 2);
    let found = dump(&mut tc);
    assert!(found.iter().any(|dumped| dumped.flow.as_deref() == Some(&*to)), "{found:?}");
    assert!(!tc.events().iter().any(|event| matches!(event, ProviderEvent::Corrected { .. })));
}

#[test]
fn a_replacement_without_an_answer_keeps_the_counts_of_a_filter_that_others_touched() {
    let kernel = FakeKernel::new();
    let mut tc = open(&kernel);
    let flow = station(1, "2");
    apply(&mut tc, &[install(&flow, 1)]);
    let old = only(&kernel);
    kernel.hit(old, 4, 400);
    kernel.alter(old, |_| {});
    kernel.lock().lose_echoes = true;
    kernel.lock().lose_acks = 1;
    let results = apply(&mut tc, &[replace(&flow, 2)]);
    assert_eq!(results[0].as_ref().unwrap().counters, counters(4, 400));
    apply(&mut tc, &[install(&station(2, "2"), 1)]);
    assert!(!kernel.locations().contains(&old), "the old filter is removed by the next batch");
}
