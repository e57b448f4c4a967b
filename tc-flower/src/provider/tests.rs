use std::sync::atomic::{AtomicU64, Ordering};

use flow::{
    Counters, Field, Generation, ManualTime, Megaflow, Moment, Op, Owner, Reason, Subject, odp,
};

use super::*;
use crate::encode::Location;
use crate::fake::{FakeKernel, Socket};
use crate::netlink::consts::*;

mod conformance;
mod hands;
mod reopen;
mod witness;

type FakeTc = Tc<Socket>;

fn open_with(kernel: &FakeKernel, options: TcOptions) -> FakeTc {
    let ports = [
        (PortId(1), by_port("pf0vf0")),
        (PortId(2), by_port("pf0vf1")),
        (PortId(3), DeviceSelector::Name("eth0".into())),
    ];
    let (client, monitor) = sockets_of(kernel);
    let time = ManualTime::default();
    time.pass(Duration::from_secs(60));
    Tc::open(client, monitor, &ports, time.clock(), options).unwrap()
}

fn sockets_of(kernel: &FakeKernel) -> (RequestSocket<Socket>, Socket) {
    static PORT: AtomicU64 = AtomicU64::new(100);
    let port = u32::try_from(PORT.fetch_add(2, Ordering::Relaxed)).unwrap();
    (RequestSocket::new(kernel.socket(port)), kernel.monitor(port + 1))
}

fn open(kernel: &FakeKernel) -> FakeTc {
    let mut tc = open_with(kernel, TcOptions::default());
    tc.events();
    tc
}

fn by_port(name: &str) -> DeviceSelector {
    DeviceSelector::Port { switch_id: "abcd".into(), phys_port_name: name.into() }
}

fn flow(text: &str, actions: &str) -> Arc<Megaflow> {
    let matching = odp::parse_match(text).unwrap();
    let actions = match actions {
        "drop" => [].into(),
        actions => odp::parse_actions(actions).unwrap(),
    };
    Arc::new(Megaflow::new(matching, actions))
}

/// Makes a megaflow from port 1 to station `n`.
fn station(n: u8, actions: &str) -> Arc<Megaflow> {
    flow(&format!("in_port(1),eth(dst=02:00:00:00:00:{n:02x}),eth_type(0x0800)"), actions)
}

fn install(flow: &Arc<Megaflow>, generation: u32) -> Op {
    Op::Install { flow: Arc::clone(flow), generation: Generation(generation) }
}

fn replace(flow: &Arc<Megaflow>, generation: u32) -> Op {
    Op::Replace { flow: Arc::clone(flow), generation: Generation(generation) }
}

fn remove(flow: &Arc<Megaflow>) -> Op {
    Op::Remove { ufid: flow.ufid }
}

fn apply(tc: &mut FakeTc, ops: &[Op]) -> Vec<Result<Stats, ProviderError>> {
    let mut done = Vec::new();
    tc.in_flight.extend(Submission::number(ops.iter().cloned()));
    while !tc.in_flight.is_empty() {
        let before = done.len();
        apply::apply(tc, &mut done);
        assert!((1..=64).contains(&(done.len() - before)), "a piece in each call");
    }
    let asked = ops.iter().map(|op| (op.ufid(), op.kind()));
    assert!(asked.eq(done.iter().map(|one| (one.ufid, one.kind))));
    done.into_iter().map(|one| one.result).collect()
}

/// Reads everything.
fn read(tc: &mut FakeTc, is_dump: bool) -> Vec<Dumped> {
    let mut out = Vec::new();
    let mut next = Some(Cursor::default());
    while let Some(from) = next {
        let (shown, rest) = reading::read(tc, from, is_dump).unwrap();
        out.extend(shown);
        next = rest;
    }
    out
}

fn stats(tc: &mut FakeTc) -> Vec<(Ufid, Stats)> {
    read(tc, false).into_iter().map(|one| (one.ufid, one.stats)).collect()
}

fn dump(tc: &mut FakeTc) -> Vec<Dumped> {
    read(tc, true)
}

fn only(kernel: &FakeKernel) -> Location {
    let all = kernel.locations();
    assert_eq!(all.len(), 1);
    all[0]
}

fn counters(packets: u64, bytes: u64) -> Counters {
    Counters { packets, bytes }
}

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
