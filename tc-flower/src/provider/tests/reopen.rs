//! A device that is gone and comes back.

use super::*;
use crate::netlink::Transport;

fn told_gone(tc: &mut FakeTc) -> bool {
    matches!(tc.events().last(), Some(ProviderEvent::Gone(_)))
}

#[test]
fn interfaces_that_all_went_and_came_back_are_made_ready_again() {
    let kernel = FakeKernel::new();
    let mut tc = open(&kernel);
    apply(&mut tc, &[install(&station(1, "2"), 1)]);
    let mut links = kernel.unload();
    assert!(told_gone(&mut tc) && !told_gone(&mut tc), "once");
    let results = apply(&mut tc, &[install(&station(2, "2"), 1), remove(&station(1, "2"))]);
    assert!(results.iter().all(|end| matches!(end, Err(ProviderError::Gone(_)))), "{results:?}");
    assert!(matches!(tc.check(), Err(ProviderError::Gone(_))));
    let error = tc.reopen().unwrap_err();
    assert_eq!(error.to_string(), "there is no interface pf0vf0 of switch abcd");
    assert!(tc.check().is_err() && tc.events().is_empty());
    // One of them is missing still, another has a new number.
    let missing = links.remove(1);
    links[0].0 = 21;
    kernel.lock().links = links;
    tc.reopen().unwrap();
    assert!(tc.check().is_ok() && !told_gone(&mut tc));
    assert!(dump(&mut tc).is_empty());
    assert!(tc.ports.admission().admit(&station(1, "drop")).is_ok());
    let refusal = tc.ports.admission().admit(&flow("in_port(2)", "drop")).unwrap_err().first;
    assert_eq!(refusal.to_string(), "port in_port 2: the port's interface is gone");
    assert!(apply(&mut tc, &[install(&station(1, "drop"), 2)])[0].is_ok());
    assert_eq!(kernel.lock().qdiscs.keys().copied().collect::<Vec<_>>(), [21]);
    kernel.lock().links.push(missing.clone());
    kernel.set_switch(missing.0, missing.2);
    assert_eq!(tc.events(), [ProviderEvent::Changed]);
    assert!(apply(&mut tc, &[install(&station(2, "2"), 1)])[0].is_ok());
    tc.remove_all().unwrap();
    assert!(kernel.lock().qdiscs.is_empty() && kernel.locations().is_empty());
}

#[test]
fn filters_outlive_broken_sockets_and_go_on() {
    let kernel = FakeKernel::new();
    let mut tc = open(&kernel);
    let (one, two) = (station(1, "2"), station(2, "drop"));
    apply(&mut tc, &[install(&one, 1), install(&two, 1)]);
    for at in kernel.locations() {
        kernel.hit(at, 3, 300);
    }
    kernel.break_sockets();
    let results = apply(&mut tc, &[replace(&one, 2), remove(&two), install(&station(3, "2"), 1)]);
    assert!(results.iter().all(|end| matches!(end, Err(ProviderError::Gone(_)))), "{results:?}");
    assert!(told_gone(&mut tc) && tc.events().is_empty(), "once");
    tc.reopen().unwrap();
    let found = dump(&mut tc);
    assert_eq!(found.len(), 2);
    assert!(found.iter().all(|one| one.active && one.stats.counters == counters(3, 300)));
    assert_eq!(tc.adopt(&found).len(), 2);
    assert_eq!(stats(&mut tc).len(), 2);
    assert_eq!(apply(&mut tc, &[remove(&one)])[0].as_ref().unwrap().counters, counters(3, 300));
    tc.remove_all().unwrap();
    assert!(kernel.lock().qdiscs.is_empty() && kernel.locations().is_empty());
}

#[test]
fn a_broken_monitor_is_noticed_as_well() {
    let kernel = FakeKernel::new();
    let mut tc = open(&kernel);
    let monitor = tc.monitor.port();
    kernel.lock().broken.insert(monitor);
    assert!(told_gone(&mut tc));
    tc.reopen().unwrap();
    assert!(apply(&mut tc, &[install(&station(1, "2"), 1)])[0].is_ok());
}

/// A card's mode is toggled: its interface stays and is no port of a switch for a while.
#[test]
fn an_interface_that_leaves_its_switch_for_a_while_is_used_again() {
    let kernel = FakeKernel::new();
    let mut tc = open(&kernel);
    let flow = station(1, "2");
    let switch = kernel.lock().links[0].2.clone();
    kernel.set_switch(11, None);
    assert_eq!(tc.events(), [ProviderEvent::Changed]);
    let refusal = tc.ports.admission().admit(&flow).unwrap_err().first;
    assert_eq!(refusal.to_string(), "port in_port 1: rep0 is not a port of a switchdev NIC");
    kernel.set_switch(11, switch);
    assert_eq!(tc.events(), [ProviderEvent::Changed]);
    assert!(apply(&mut tc, &[install(&flow, 1)])[0].is_ok());
    tc.remove_all().unwrap();
    assert!(kernel.lock().qdiscs.is_empty(), "the qdisc is still ours");
}
