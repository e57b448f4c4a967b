//! What a start finds: the ports, what their drivers take, and filters of an earlier process.

use super::*;

#[test]
fn opening_leaves_no_probe_and_knows_the_ports() {
    let kernel = FakeKernel::new();
    let tc = open(&kernel);
    assert!(kernel.locations().is_empty());
    assert_eq!(kernel.lock().qdiscs.keys().copied().collect::<Vec<_>>(), [11, 12]);
    let ports = tc.ports.reports();
    assert_eq!(ports[0].device.name, "rep0");
    assert_eq!(ports[1].unusable, None);
    let refusal = ports[2].unusable.clone().unwrap();
    assert_eq!(refusal.reason, Reason::Port);
    let refusal =
        tc.ports.admission().admit(&flow("in_port(3),eth_type(0x0800)", "1")).unwrap_err().first;
    assert_eq!(refusal.to_string(), "port in_port 3: eth0 is not a port of a switchdev NIC");
    let capabilities = tc.ports.admission().capabilities();
    assert_eq!(capabilities.ports, [PortId(1), PortId(2)].into());
    assert_eq!(capabilities.fields[&flow::Field::Ipv4Src], flow::FieldSupport::Masked);
    assert!(!capabilities.actions.contains(&flow::ActionKind::Recirc));
}

#[test]
fn what_the_driver_refused_in_the_probe_is_not_admitted() {
    let kernel = FakeKernel::new();
    kernel.lock().refuse_key = Some((73, "can't match the tos"));
    let tc = open(&kernel);
    let tos = flow("in_port(1),eth_type(0x0800),ipv4(tos=0x20)", "2");
    let refusal = tc.ports.admission().admit(&tos).unwrap_err().first;
    assert_eq!((refusal.reason, refusal.subject), (Reason::MatchField, Field::IpTos.into()));
    assert!(refusal.detail.to_string().contains("can't match the tos"), "{refusal}");
    // The refusals have the driver's reason and those of the translation.
    let more = flow("in_port(1),dp_hash(1),eth_type(0x0800),ipv4(tos=0x20)", "trunc(99),9");
    let all = tc.ports.admission().admit(&more).unwrap_err();
    let all: Vec<_> = all.iter().map(|why| format!("{} {}", why.reason, why.subject)).collect();
    let want = ["match-field dp_hash", "action trunc", "port output 9", "match-field ip_tos"];
    assert_eq!(all, want);
    assert_eq!(
        tc.ports.admission().explain(&more),
        tc.ports.admission().admit(&more).map(|()| String::new())
    );
    assert!(
        tc.ports.admission().admit(&flow("in_port(1),eth_type(0x0800),ipv4(ttl=9)", "2")).is_ok()
    );
    assert!(!tc.ports.admission().capabilities().fields.contains_key(&flow::Field::IpTos));
}

#[test]
fn a_card_that_takes_nothing_is_no_error_but_a_reason() {
    let kernel = FakeKernel::new();
    kernel.lock().refuse_key = Some((6, "only BPF"));
    let mut tc = open(&kernel);
    let refusal = tc.ports.admission().admit(&station(1, "2")).unwrap_err().first;
    assert_eq!(refusal.reason, Reason::Device);
    assert!(refusal.detail.to_string().contains("only BPF"), "{refusal}");
    tc.remove_all().unwrap();
    assert!(kernel.lock().qdiscs.is_empty());
}

#[test]
fn a_full_card_at_start_is_believed_to_do_everything() {
    let kernel = FakeKernel::new();
    kernel.lock().capacity = 0;
    let mut tc = open(&kernel);
    tc.ports.admission().admit(&station(1, "2")).unwrap();
    let results = apply(&mut tc, &[install(&station(1, "2"), 1)]);
    assert!(matches!(results[0], Err(ProviderError::Full(_))));
    kernel.lock().capacity = 10;
    assert!(apply(&mut tc, &[install(&station(1, "2"), 1)])[0].is_ok());
}

#[test]
fn a_restart_adopts_what_is_right_and_can_remove_the_rest() {
    let kernel = FakeKernel::new();
    let mut first = open(&kernel);
    let (one, two) = (station(1, "2"), flow("in_port(2),eth_type(0x0806)", "1"));
    let operators = Generation(7).next(Owner::Operator);
    let install_operators = Op::Install { flow: one.clone(), generation: operators };
    apply(&mut first, &[install_operators, install(&two, 9)]);
    kernel.hit(kernel.locations()[0], 2, 128);
    // Another tool changed the action of the second filter, which still has our cookie.
    let at = kernel.locations()[1];
    let drop_it = station(3, "drop");
    apply(&mut first, &[install(&drop_it, 1)]);
    let dropping =
        kernel.locations().into_iter().find(|l| kernel.lock().filters[l].has_action("gact"));
    let actions = kernel.lock().filters[&dropping.unwrap()].actions.clone();
    let cookie = kernel.lock().filters[&at].actions[0]
        .iter()
        .find(|attr| attr.0 == TCA_ACT_COOKIE)
        .cloned()
        .unwrap();
    {
        let mut state = kernel.lock();
        let changed = state.filters.get_mut(&at).unwrap();
        changed.actions = actions;
        changed.actions[0].retain(|attr| attr.0 != TCA_ACT_COOKIE);
        changed.actions[0].push(cookie);
        changed.actions[0].retain(|attr| attr.0 != TCA_ACT_KIND);
        changed.actions[0].push((TCA_ACT_KIND, b"skbedit\0".to_vec()));
    }
    drop(first);
    let mut second = open(&kernel);
    let found = dump(&mut second);
    assert_eq!(found.len(), 3);
    let of = |ufid| found.iter().find(|d| d.ufid == ufid).unwrap();
    assert_eq!(of(one.ufid).flow.as_deref(), Some(&*one));
    assert_eq!(
        (of(one.ufid).generation, of(one.ufid).stats.counters),
        (operators, counters(2, 128))
    );
    let odd = found.iter().find(|d| d.flow.is_none()).unwrap();
    assert_eq!((operators.owner(), odd.generation.owner()), (Owner::Operator, Owner::Client));
    assert_eq!((odd.generation, odd.ufid.0 >> 64), (Generation(9), two.ufid.0 >> 64));
    assert_eq!(second.adopt(&found).len(), 3);
    assert_eq!(second.adopt(&found).len(), 0, "once");
    let ops = [remove(&one), Op::Remove { ufid: odd.ufid }, replace(&station(3, "2"), 2)];
    let results = apply(&mut second, &ops);
    assert_eq!(results[0].as_ref().unwrap().counters, counters(2, 128));
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    assert_eq!(kernel.locations().len(), 1);
}

#[test]
fn what_was_found_but_not_adopted_can_be_removed_or_replaced() {
    let kernel = FakeKernel::new();
    apply(&mut open(&kernel), &[install(&station(1, "2"), 1), install(&station(2, "2"), 1)]);
    let mut tc = open(&kernel);
    assert_eq!(dump(&mut tc).len(), 2);
    let results = apply(&mut tc, &[install(&station(1, "drop"), 5), remove(&station(2, "2"))]);
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    let dumped = dump(&mut tc);
    assert_eq!((dumped.len(), dumped[0].generation), (1, Generation(5)));
}

#[test]
fn filters_and_priorities_of_others_are_left_alone() {
    let kernel = FakeKernel::new();
    let theirs = Location { ifindex: 11, chain: 0, priority: 0xbfff, handle: 1 };
    let foreign = crate::fake::Stored { protocol: 0x0800, ..Default::default() };
    kernel.lock().filters.insert(theirs, foreign);
    kernel.lock().qdiscs.insert(11, "ingress");
    let mut tc = open(&kernel);
    apply(&mut tc, &[install(&station(1, "2"), 1)]);
    let ours = *kernel.locations().iter().find(|at| **at != theirs).unwrap();
    assert_eq!(ours.priority, theirs.priority - 1);
    assert_eq!(dump(&mut tc).len(), 1);
    tc.remove_all().unwrap();
    assert_eq!(kernel.locations(), [theirs]);
    assert_eq!(kernel.lock().qdiscs.keys().copied().collect::<Vec<_>>(), [11], "theirs stays");
}

#[test]
fn recirculation_is_chains_where_it_is_asked_for() {
    let kernel = FakeKernel::new();
    let mut tc = open_with(&kernel, TcOptions { recirculation: true });
    let child = flow("recirc_id(0x5),in_port(1),eth_type(0x0800)", "2");
    let parent = flow("in_port(1),eth_type(0x0806)", "recirc(5)");
    let results = apply(&mut tc, &[install(&child, 1), install(&parent, 1)]);
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    assert!(kernel.locations().iter().any(|at| at.chain == 5));
    assert!(dump(&mut tc).iter().all(|d| d.flow.is_some()));
    let kernel = FakeKernel::new();
    let refusal = open(&kernel).ports.admission().admit(&parent).unwrap_err().first;
    assert_eq!(refusal.reason, Reason::Recirculation);
}
