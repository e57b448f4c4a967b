//! No call takes longer because there are more megaflows: what concerns many is done in parts.

use super::*;

/// Makes so many megaflows of that EtherType from a port, all under one mask.
fn many(port: u32, protocol: u16, count: u32) -> Vec<Arc<Megaflow>> {
    let make = |n: u32| {
        let (high, low) = (n >> 8, n & 0xff);
        let dst = format!("eth(dst=02:00:00:00:{high:02x}:{low:02x})");
        flow(&format!("in_port({port}),{dst},eth_type({protocol:#06x})"), "drop")
    };
    (0..count).map(make).collect()
}

/// Reads statistics. Returns what they show, and the number of megaflows told to be shadowed.
fn read_and_listen(tc: &mut FakeTc) -> (Vec<Ufid>, Option<u64>) {
    let marked = |tc: &FakeTc| {
        let all = tc.table.from(Location::first_on(11));
        all.filter(|(_, entry)| entry.redo).count()
    };
    let (mut all, mut next) = (Vec::new(), Some(Cursor::default()));
    while let Some(from) = next {
        assert!(!tc.events().iter().any(|event| *event != ProviderEvent::Changed), "at the end");
        let before = marked(tc);
        let (shown, rest) = reading::read(tc, from, false).unwrap();
        assert!(marked(tc) - before <= 64, "a part of them");
        all.extend(shown.into_iter().map(|one| (one.ufid, one.stats)));
        next = rest;
    }
    let events = tc.events();
    let told = events.iter().find_map(|event| match event {
        ProviderEvent::Corrected { kind: Correction::Shadowed, megaflows, .. } => Some(*megaflows),
        _ => None,
    });
    (ufids(&all), told)
}

/// Whatever the kernel's list leaves out, no part of a reading takes more than a datagram's worth.
#[test]
fn a_part_of_a_reading_is_bounded_though_a_whole_priority_is_left_out() {
    let kernel = FakeKernel::new();
    let mut tc = open(&kernel);
    let flows: Vec<_> = (0..=255)
        .flat_map(|n| {
            let dst = format!("eth(dst=02:00:00:00:01:{n:02x})");
            [station(n, "2"), flow(&format!("in_port(1),{dst},eth_type(0x0800)"), "2")]
        })
        .collect();
    install_all(&mut tc, &flows);
    kernel.change(Change::Add(at(FIRST), somebodys()));
    for is_dump in [false, true] {
        kernel.lock().meanwhile.push_back(Change::Remove(at(FIRST)));
        let (mut all, mut next) = (Vec::new(), Some(Cursor::default()));
        while let Some(from) = next {
            let asked = kernel.lock().seen[&RTM_GETTFILTER];
            let (shown, rest) = reading::read(&mut tc, from, is_dump).unwrap();
            let asked = kernel.lock().seen[&RTM_GETTFILTER] - asked;
            assert!(asked <= 64 + 1 && shown.len() <= 64, "{asked} requests for {}", shown.len());
            all.extend(shown.into_iter().map(|one| (one.ufid, one.stats)));
            next = rest;
        }
        assert_eq!(ufids(&all), of(&flows));
        kernel.change(Change::Add(at(FIRST), somebodys()));
    }
}

#[test]
fn what_happens_between_the_parts_of_a_reading_is_told_once() {
    let kernel = FakeKernel::new();
    let mut tc = open(&kernel);
    let first = [1, 2, 3].map(|n| station(n, "2"));
    let second = [1, 2, 3].map(|n| flow(&format!("in_port(2),eth_type(0x080{n})"), "1"));
    install_all(&mut tc, &first);
    install_all(&mut tc, &second);
    let found = |flow: &Megaflow| tc.table.get(flow.ufid).unwrap().placed.at;
    let (stolen, hit) = (found(&second[1]), found(&second[2]));
    let mut out = Vec::new();
    let mut next = Some(Cursor::default());
    while let Some(from) = next.filter(|_| out.len() < 3) {
        let (shown, rest) = reading::read(&mut tc, from, false).unwrap();
        out.extend(shown);
        next = rest;
    }
    assert_eq!(out.len(), 3, "the first interface");
    // The others come, change and go, and so do ours.
    let fourth = station(4, "2");
    apply(&mut tc, &[remove(&first[0]), remove(&second[0]), install(&fourth, 1)]);
    kernel.hit(stolen, 5, 500);
    kernel.steal(stolen);
    kernel.hit(hit, 7, 700);
    while let Some(from) = next {
        let (shown, rest) = reading::read(&mut tc, from, false).unwrap();
        out.extend(shown);
        next = rest;
    }
    let told: Vec<_> = out.iter().map(|one| (one.ufid, one.stats.counters.packets)).collect();
    // What came meanwhile is told because it is there.
    let zero = first.iter().chain([&fourth]).map(|flow| (flow.ufid, 0));
    let all: Vec<_> = zero.chain([(second[2].ufid, 7), (second[1].ufid, 5)]).collect();
    let sorted = |mut told: Vec<(Ufid, u64)>| {
        told.sort_unstable();
        told
    };
    assert_eq!(sorted(told), sorted(all));
    // The next reading is what the kernel holds, whole.
    let whole = ufids(&stats(&mut tc)).len();
    assert_eq!((whole, kernel.locations().len()), (4, 4));
    // A reading that is given up leaves nothing behind.
    reading::read(&mut tc, Cursor::default(), true).unwrap();
    assert_eq!(dump(&mut tc).len(), 4);
}

#[test]
fn shadowed_megaflows_are_found_in_parts_and_once() {
    let kernel = FakeKernel::new();
    let mut tc = open(&kernel);
    let (ip, arp, other) = (many(1, 0x0800, 300), many(1, 0x0806, 3), many(2, 0x0800, 3));
    [&ip, &arp, &other].into_iter().for_each(|flows| install_all(&mut tc, flows));
    kernel.change(Change::Add(at(FIRST), in_hardware(0x0800)));
    assert_eq!(tc.events(), [ProviderEvent::Changed], "none is looked at before a reading");
    let (shown, told) = read_and_listen(&mut tc);
    assert_eq!((shown, told), (of(&[&arp[..], &other].concat()), Some(300)));
    let (shown, told) = read_and_listen(&mut tc);
    assert_eq!((shown.len(), told), (6, None), "each is told once");
    // They stay out until they are installed again, and those of another shadow follow.
    kernel.steal(at(FIRST));
    kernel.change(Change::Add(at(FIRST + 1), in_hardware(0x0806)));
    assert_eq!(read_and_listen(&mut tc), (of(&other), Some(3)));
    assert!(apply(&mut tc, &[replace(&ip[0], 2)])[0].is_ok());
    assert_eq!(read_and_listen(&mut tc).0.len(), 4);
    // An adopted one is compared by the first reading.
    let mut tc = open(&kernel);
    let found = dump(&mut tc);
    assert_eq!(tc.adopt(&found).len(), 306);
    assert_eq!(read_and_listen(&mut tc).1, Some(3));
}

#[test]
fn an_interface_that_is_back_before_all_of_it_was_taken_away_is_a_new_one() {
    let kernel = FakeKernel::new();
    let mut tc = open(&kernel);
    let (gone, stay) = (many(1, 0x0800, 900), many(2, 0x0800, 3));
    install_all(&mut tc, &gone);
    install_all(&mut tc, &stay);
    let first = tc.table.get(gone[0].ufid).unwrap().placed.at;
    kernel.recreate(11, 11);
    assert_eq!(tc.events(), [ProviderEvent::Changed]);
    let left = tc.table.leftovers();
    assert!((1..900).contains(&left), "{left}");
    // Whoever asks learns that they are gone, all at once.
    assert_eq!(tc.table.len(), 3);
    assert!(gone.iter().all(|flow| tc.table.get(flow.ufid).is_none()));
    assert!(tc.table.at(&first).is_none());
    assert_eq!(tc.table.from(Location::first_on(11)).count(), 0);
    assert_eq!(ufids(&stats(&mut tc)), of(&stay));
    let results = apply(&mut tc, &[remove(&gone[1]), replace(&gone[2], 2)]);
    assert_eq!(results, [Err(ProviderError::NotFound), Err(ProviderError::NotFound)]);
    // Some come again: the first and the last, of which the old ones are still in memory.
    let again = [&gone[..10], &gone[890..]].concat();
    let ops: Vec<Op> = again.iter().map(|flow| install(flow, 2)).collect();
    assert!(apply(&mut tc, &ops).iter().all(Result::is_ok));
    let now = tc.table.get(gone[0].ufid).unwrap().placed.at;
    assert_eq!((now.ifindex, now.priority), (11, first.priority), "priorities are free again");
    assert_ne!(now, first);
    kernel.hit(now, 3, 300);
    let all = of(&[&again[..], &stay].concat());
    for _ in 0..10 {
        assert_eq!(ufids(&stats(&mut tc)), all);
        let before = tc.table.leftovers();
        tc.events();
        let left = tc.table.leftovers();
        assert!(before - left <= flow::PART && (left == 0 || left < before), "{before}, {left}");
    }
    assert_eq!((tc.table.leftovers(), tc.table.len()), (0, 23));
    assert!(again.iter().all(|flow| tc.table.get(flow.ufid).is_some()));
    let results = apply(&mut tc, &[remove(&gone[0]), remove(&gone[500])]);
    assert_eq!(results[0].as_ref().unwrap().counters, counters(3, 300));
    assert_eq!(results[1], Err(ProviderError::NotFound));
}

/// An interface whose filters were to be removed is deleted, and its number has another one.
#[test]
fn strays_of_an_interface_that_went_hurt_nobody() {
    let kernel = FakeKernel::new();
    let mut tc = open(&kernel);
    let flows = many(1, 0x0800, 100);
    install_all(&mut tc, &flows);
    kernel.locations().iter().for_each(|at| {
        kernel.lock().filters.get_mut(at).unwrap().lost = true;
    });
    assert!(stats(&mut tc).is_empty());
    assert_eq!(tc.strays.len(), 100);
    kernel.recreate(11, 11);
    assert_eq!(tc.events(), [ProviderEvent::Changed]);
    install_all(&mut tc, &flows);
    assert_eq!((tc.strays.len(), kernel.locations().len()), (0, 100));
    assert_eq!(ufids(&stats(&mut tc)), of(&flows));
}

#[test]
fn what_an_earlier_dump_found_counts_no_more_and_is_taken_away_in_parts() {
    let kernel = FakeKernel::new();
    let flows = many(1, 0x0800, 600);
    install_all(&mut open(&kernel), &flows);
    let mut tc = open(&kernel);
    let found = dump(&mut tc);
    assert_eq!((found.len(), tc.found.leftovers()), (600, 0));
    kernel.locations()[1..].iter().for_each(|at| kernel.steal(*at));
    assert_eq!(dump(&mut tc).len(), 1);
    assert_eq!(tc.found.leftovers(), 600);
    let adopted = tc.adopt(&found);
    assert_eq!(adopted.len(), 1, "what the last dump did not show is not adopted");
    for left in [344, 88, 0, 0] {
        tc.events();
        assert_eq!(tc.found.leftovers(), left);
    }
    assert_eq!(ufids(&stats(&mut tc)), adopted);
}

#[test]
fn opening_again_takes_away_in_parts_what_was_known_before() {
    let kernel = FakeKernel::new();
    let mut tc = open(&kernel);
    let flows = many(1, 0x0800, 600);
    install_all(&mut tc, &flows);
    // One of them is to be removed, and stays so.
    let stray = kernel.locations()[0];
    kernel.lock().filters.get_mut(&stray).unwrap().lost = true;
    assert_eq!(stats(&mut tc).len(), 599);
    kernel.break_sockets();
    assert!(matches!(tc.events()[..], [.., ProviderEvent::Gone(_)]));
    tc.reopen().unwrap();
    assert_eq!((tc.table.len(), tc.table.leftovers()), (0, 599));
    let found = dump(&mut tc);
    assert_eq!(tc.adopt(&found).len(), 599);
    for most in [350, 100, 0] {
        let before = tc.table.leftovers();
        tc.events();
        let left = tc.table.leftovers();
        assert!(before - left <= flow::PART && left <= most, "{before}, {left}");
        assert_eq!(tc.table.len(), 599);
    }
    assert_eq!(stats(&mut tc).len(), 599);
    assert!(apply(&mut tc, &[install(&many(1, 0x0806, 1)[0], 2)])[0].is_ok());
    assert!(!kernel.locations().contains(&stray));
}

/// Ours may be many there, so the interface is not listed again.
#[test]
fn an_interface_that_leaves_its_switch_for_a_while_is_not_listed_again() {
    let kernel = FakeKernel::new();
    let mut tc = open(&kernel);
    let flows = many(1, 0x0800, 3);
    install_all(&mut tc, &flows[..2]);
    let switch = kernel.lock().links[0].2.clone();
    let asked = kernel.lock().seen[&RTM_GETTFILTER];
    kernel.set_switch(11, None);
    assert_eq!(tc.events(), [ProviderEvent::Changed]);
    kernel.change(Change::Add(at(0x1000), somebodys()));
    kernel.change(Change::Add(at(FIRST), in_hardware(0x0806)));
    kernel.set_switch(11, switch);
    assert_eq!(tc.events(), [ProviderEvent::Changed]);
    assert_eq!(kernel.lock().seen[&RTM_GETTFILTER], asked);
    // What others did meanwhile is known.
    let refusal = tc.ports.admission().admit(&many(1, 0x0806, 1)[0]).unwrap_err().first;
    assert_eq!(refusal.reason, Reason::Shadowed);
    install_all(&mut tc, &flows[2..]);
    assert_eq!(ufids(&stats(&mut tc)), of(&flows));
}

/// Whoever adopts what a part has shown does so before the next part is read.
#[test]
fn a_dump_shows_what_is_adopted_meanwhile_once() {
    let kernel = FakeKernel::new();
    let flows = [many(1, 0x0800, 100), many(2, 0x0800, 3)].concat();
    install_all(&mut open(&kernel), &flows);
    let mut tc = open(&kernel);
    let (mut all, mut next) = (Vec::new(), Some(Cursor::default()));
    while let Some(from) = next {
        let (shown, rest) = reading::read(&mut tc, from, true).unwrap();
        assert_eq!(tc.adopt(&shown).len(), shown.len());
        all.extend(shown.into_iter().map(|one| (one.ufid, one.stats)));
        next = rest;
    }
    assert_eq!((all.len(), ufids(&all)), (103, of(&flows)));
    assert_eq!(ufids(&stats(&mut tc)), of(&flows));
}
