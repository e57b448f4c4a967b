//! The flow table through the driver, on the model: install, replace, remove, statistics, dump.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::cast_possible_truncation)]

mod common;

use std::sync::Arc;

use common::{FIRST_PORT, Rig, flow, udp_frame};
use flow::{
    Blocking, Counters, Generation, Megaflow, Op, PortId, Provider, ProviderError, ProviderEvent,
    Reason, Stats, Subject, TableName,
};
use vfio::CardCapabilities;
use vfio::model::Damage;

const TO_11: &str = "in_port(10),eth(dst=02:00:00:00:00:01),eth_type(0x0800) actions:11";

#[test]
fn a_flow_lives_counts_is_replaced_and_removed_with_final_counters() {
    let mut rig = Rig::new(3);
    let installed = rig.install(TO_11);
    let frame = udp_frame(1, 2, 5000, 50);
    for _ in 0..5 {
        rig.send(0, &frame);
    }
    for _ in 0..5 {
        assert_eq!(rig.receive(1), frame);
    }
    let five = Counters { packets: 5, bytes: 5 * frame.len() as u64 };
    assert_eq!(rig.stats(installed.ufid).counters, five);
    assert_eq!(rig.stats(installed.ufid).counters, five, "reading twice adds nothing");

    let replaced = flow(&TO_11.replace("actions:11", "actions:12"));
    assert_eq!(replaced.ufid, installed.ufid);
    let op = Op::Replace { flow: replaced.clone(), generation: Generation(2) };
    assert_eq!(rig.apply(&[op])[0], Ok(Stats { counters: five, ..Stats::default() }));
    rig.send(0, &frame);
    assert_eq!(rig.receive(2), frame);
    let one = Counters { packets: 1, bytes: frame.len() as u64 };
    assert_eq!(rig.stats(installed.ufid).counters, one, "a new life counts from zero");

    rig.send(0, &frame);
    assert_eq!(rig.receive(2), frame);
    let two = Counters { packets: 2, bytes: 2 * frame.len() as u64 };
    assert_eq!(
        rig.remove(installed.ufid).unwrap().counters,
        two,
        "hits after the last reading too"
    );
    assert_eq!(rig.remove(installed.ufid), Err(ProviderError::NotFound));

    let flows = rig.card.ledger().flows();
    assert_eq!(flows[&(installed.ufid.0, 1)], five);
    assert_eq!(flows[&(installed.ufid.0, 2)], two);
    // The mask slot was cleared behind the removal: the dump waits for commands behind that.
    rig.provider.all_dumped(&mut Vec::new()).unwrap();
    let debug = rig.card.driver.debug().unwrap();
    assert_eq!((debug.em_used, debug.masks_used), (0, 0), "nothing is left in the card");
    assert!(rig.provider.tables().iter().all(|t| t.entries == 0 || t.table == TableName::Counters));
}

#[test]
fn errors_of_one_op_do_not_stop_the_others() {
    let mut rig = Rig::new(2);
    let a = flow(TO_11);
    let b = flow("in_port(11),eth_type(0x0806) actions:10");
    let refused = flow("in_port(10),eth_type(0x86dd) actions:99");
    let install =
        |flow: &Arc<Megaflow>| Op::Install { flow: flow.clone(), generation: Generation(7) };
    let results = rig.apply(&[
        install(&a),
        install(&refused),
        install(&a),
        Op::Remove { ufid: b.ufid },
        install(&b),
        Op::Remove { ufid: a.ufid },
        install(&a),
    ]);
    assert_eq!(results[0], Ok(Stats::default()));
    let Err(ProviderError::Unsupported(refusal)) = &results[1] else { panic!("{results:?}") };
    assert_eq!((refusal.reason, refusal.subject), (Reason::Port, Subject::Output(PortId(99))));
    assert_eq!(results[2], Err(ProviderError::Exists));
    assert_eq!(results[3], Err(ProviderError::NotFound));
    assert!(results[4..].iter().all(Result::is_ok), "{results:?}");
}

#[test]
fn a_dump_reads_the_card_and_gives_the_megaflows_back() {
    let mut rig = Rig::new(2);
    let texts = [
        TO_11,
        "in_port(10),eth_type(0x0806),arp(sip=10.0.0.1,op=1) actions:drop",
        "in_port(11),eth_type(0x86dd),ipv6(src=fe80::/ffc0::,proto=17),udp(dst=53) actions:10",
        "recirc_id(0x7),in_port(10),eth_type(0x0800),ipv4(ttl=9,proto=6,frag=no),tcp(dst=80/0xff) \
         actions:set(ipv4(src=1.2.3.4,ttl=8)),set(tcp(dst=8080)),push_vlan(vid=5,pcp=1),11",
        "in_port(10),eth_type(0x8100),vlan(vid=5,pcp=0),encap(eth_type(0x0800)) \
         actions:pop_vlan,11",
        "in_port(11),eth_type(0x8847),mpls(label=5,tc=0,ttl=64,bos=1) \
         actions:pop_mpls(eth_type=0x800),recirc(0x7)",
        "in_port(11),eth_type(0x0800) actions:set(eth(src=02:00:00:00:00:09)),10,11",
    ];
    let flows: Vec<_> = texts.iter().map(|text| rig.install(text)).collect();
    let mut found = Vec::new();
    rig.provider.all_dumped(&mut found).unwrap();
    assert_eq!(found.len(), flows.len());
    for expected in &flows {
        let dumped = found.iter().find(|d| d.ufid == expected.ufid).expect("in the dump");
        assert_eq!((dumped.generation, dumped.active), (Generation(1), true));
        assert_eq!(dumped.flow.as_ref(), Some(expected));
    }
    assert_eq!(rig.provider.adopt(&found).len(), flows.len());
    // Without any memory of the driver the same comes back.
    for expected in &flows {
        let admission = rig.card.driver.admission();
        let decoded = admission.decode(&admission.encode(expected).unwrap()).unwrap();
        assert_eq!(decoded, **expected, "{}", flow::odp::format_match(&expected.matching));
    }
}

#[test]
fn ninety_percent_full_then_empty_again_many_times() {
    let small = CardCapabilities { buckets: 128, ..CardCapabilities::default() };
    let slots = small.em_slots();
    let mut rig = Rig::with(2, small, |_| {});
    let flows: Vec<_> = (0..slots * 9 / 10)
        .map(|n| {
            flow(&format!(
                "in_port(10),eth(dst=02:00:00:00:{:02x}:{:02x}) actions:11",
                n >> 8,
                n & 255
            ))
        })
        .collect();
    for round in 1..=20 {
        let ops: Vec<_> = flows
            .iter()
            .map(|flow| Op::Install { flow: flow.clone(), generation: Generation(round) })
            .collect();
        for (op, result) in ops.iter().zip(rig.apply(&ops)) {
            assert_eq!(result, Ok(Stats::default()), "round {round}: {:?}", op.ufid());
        }
        assert_eq!(rig.card.driver.debug().unwrap().em_used, slots * 9 / 10);
        if round == 1 {
            // Each is found by a packet, wherever it was moved.
            for n in 0..slots * 9 / 10 {
                let mut frame = udp_frame(0, 2, 1, 20);
                frame[4..6].copy_from_slice(&(n as u16).to_be_bytes());
                rig.send(0, &frame);
                assert_eq!(rig.receive(1), frame);
            }
        }
        let ops: Vec<_> = flows.iter().map(|flow| Op::Remove { ufid: flow.ufid }).collect();
        let per_flow = u64::from(round == 1);
        for result in rig.apply(&ops) {
            assert_eq!(result.unwrap().counters.packets, per_flow, "round {round}");
        }
    }
    // 20 × 921 counters of 16,384: they went through quarantine and came back.
    assert_eq!(rig.provider.counters_in_use(), 0);
    assert_eq!(rig.card.driver.debug().unwrap().em_used, 0);
}

#[test]
fn a_full_table_is_named() {
    let tiny = CardCapabilities { buckets: 2, ways: 1, rows: 1, ..CardCapabilities::default() };
    assert_eq!(refused_by(tiny, |n| format!("eth(dst=02:00:00:00:00:{n:02x})")), "exact-match");
    let tiny = CardCapabilities { masks: 2, rows: 1, ..CardCapabilities::default() };
    assert_eq!(refused_by(tiny, |n| format!("eth_type(0x0800/{:#x})", 0x8000 + n)), "masks");
    let tiny = CardCapabilities { counters: 3, ..CardCapabilities::default() };
    assert_eq!(refused_by(tiny, |n| format!("eth(dst=02:00:00:00:00:{n:02x})")), "counters");
    let tiny = CardCapabilities { action_slots: 3, ..CardCapabilities::default() };
    let name = refused_by(tiny, |n| format!("eth(dst=02:00:00:00:00:{n:02x})"));
    assert_eq!(name, "actions");
}

/// Installs until something is full; returns its name. A removal makes room again.
fn refused_by(capabilities: CardCapabilities, matching: impl Fn(u32) -> String) -> String {
    let mut rig = Rig::with(2, capabilities, |_| {});
    let mut installed: Vec<Arc<Megaflow>> = Vec::new();
    for n in 0..100 {
        let text =
            format!("in_port(10),{} actions:set(eth(src=02:00:00:00:00:{n:02x})),11", matching(n));
        let flow = flow(&text);
        let op = Op::Install { flow: flow.clone(), generation: Generation(1) };
        match &rig.apply(std::slice::from_ref(&op))[0] {
            Ok(_) => installed.push(flow),
            Err(ProviderError::Full(refusal)) => {
                assert_eq!(refusal.reason, Reason::TableFull);
                // The same again, behind a removal in the same batch.
                let room = Op::Remove { ufid: installed[0].ufid };
                let results = rig.apply(&[room, op]);
                let moved = refusal.subject == TableName::ExactMatch.into() || results[1].is_ok();
                assert!(results[0].is_ok() && moved, "{results:?}");
                return refusal.subject.to_string();
            }
            Err(other) => panic!("{other}"),
        }
    }
    panic!("never full")
}

#[test]
fn masked_rows_take_over_when_mask_slots_are_out() {
    let caps = CardCapabilities { masks: 1, rows: 4, ..CardCapabilities::default() };
    let mut rig = Rig::with(2, caps, |_| {});
    let first = rig.install("in_port(10),eth(dst=02:00:00:00:00:01) actions:11");
    let second = rig.install("in_port(10),eth_type(0x0806/0x0fff) actions:11");
    let arp = common::ethernet(9, 9, 0x806, &[0; 28]);
    rig.send(0, &arp);
    assert_eq!(rig.receive(1), arp);
    let debug = rig.card.driver.debug().unwrap();
    assert_eq!((debug.em_used, debug.rows_used, debug.masks_used), (1, 1, 1));
    assert_eq!(rig.stats(second.ufid).counters.packets, 1);
    let mut found = Vec::new();
    rig.provider.all_dumped(&mut found).unwrap();
    assert!(found.iter().any(|d| d.flow.as_ref() == Some(&second)));
    assert_eq!(rig.remove(second.ufid).unwrap().counters.packets, 1);
    assert_eq!(rig.remove(first.ufid).unwrap().counters.packets, 0);
}

#[test]
fn counters_that_wrap_still_add_up() {
    let caps = CardCapabilities { packet_bits: 16, byte_bits: 24, ..CardCapabilities::default() };
    let mut rig = Rig::with(2, caps, |_| {});
    let installed = rig.install(TO_11);
    let frame = udp_frame(1, 2, 5000, 1400);
    let mut sent = 0;
    // 16 million bytes wrap the 24 bits once; read at least every half wrap.
    for _ in 0..5 {
        for _ in 0..2000 {
            rig.send(0, &frame);
        }
        sent += 2000;
        rig.settle(sent);
        while rig.wires[1].take().is_some() {}
        rig.stats(installed.ufid);
    }
    let expected = Counters { packets: sent, bytes: sent * frame.len() as u64 };
    assert!(expected.bytes > 1 << 23);
    assert_eq!(rig.stats(installed.ufid).counters, expected);
    assert_eq!(rig.remove(installed.ufid).unwrap().counters, expected);
}

#[test]
fn a_lost_counter_update_shows_against_the_ledger() {
    let mut rig = Rig::new(2);
    let installed = rig.install(TO_11);
    let frame = udp_frame(1, 2, 5000, 50);
    rig.card.card.lose_counts(1);
    for _ in 0..3 {
        rig.send(0, &frame);
        rig.receive(1);
    }
    assert_eq!(rig.stats(installed.ufid).counters.packets, 2);
    assert_eq!(rig.card.ledger().flow(installed.ufid.0).packets, 3);
}

#[test]
fn what_the_card_has_lost_is_told_and_can_be_installed_again() {
    let mut rig = Rig::new(2);
    let installed = rig.install(TO_11);
    let counters = rig.provider.counters_in_use();
    let remove = Op::Remove { ufid: installed.ufid };
    let replace = Op::Replace { flow: installed.clone(), generation: Generation(2) };
    for op in [remove, replace] {
        rig.card.card.damage(installed.ufid.0, Damage::Lost);
        assert_eq!(rig.apply(std::slice::from_ref(&op)), [Err(ProviderError::NotFound)]);
        assert_eq!(rig.provider.counters_in_use(), counters - 1, "{op:?}");
        rig.install(TO_11);
        rig.send(0, &udp_frame(1, 2, 5000, 50));
        rig.receive(1);
        assert_eq!(rig.stats(installed.ufid).counters.packets, 1);
    }
}

#[test]
fn a_statistics_pass_finds_what_the_card_has_lost_after_its_last_count() {
    let mut rig = Rig::new(2);
    let (lost, kept) = (rig.install(TO_11), rig.install(&TO_11.replace("00:01)", "00:02)")));
    rig.send(0, &udp_frame(1, 2, 5000, 50));
    rig.receive(1);
    rig.card.card.damage(lost.ufid.0, Damage::Lost);
    let first = rig.pass();
    assert_eq!(first.len(), 2);
    assert_eq!(first[&lost.ufid].counters.packets, 1);
    assert_eq!(rig.pass().into_keys().collect::<Vec<_>>(), [kept.ufid]);
    assert_eq!(rig.install(TO_11).ufid, lost.ufid);
    assert_eq!(rig.pass().len(), 2);
}

#[test]
fn an_entry_of_nobody_is_cleared() {
    let mut rig = Rig::new(2);
    let installed = rig.install(TO_11);
    rig.card.card.damage(installed.ufid.0, Damage::Renamed);
    assert_eq!(rig.remove(installed.ufid), Err(ProviderError::NotFound));
    assert_eq!(rig.card.driver.debug().unwrap().em_used, 1, "it is in the way");
    assert!(rig.pass().is_empty());
    assert_eq!(rig.card.driver.debug().unwrap().em_used, 0);
    rig.install(TO_11);
    rig.send(0, &udp_frame(1, 2, 5000, 50));
    rig.receive(1);
    assert_eq!(rig.stats(installed.ufid).counters.packets, 1);
}

#[test]
fn the_mask_slot_of_a_lost_entry_is_there_for_the_next() {
    let small = CardCapabilities { masks: 1, rows: 4, ..CardCapabilities::default() };
    let mut rig = Rig::with(2, small, |_| {});
    let lost = rig.install(TO_11);
    rig.card.card.damage(lost.ufid.0, Damage::Lost);
    rig.pass();
    rig.install("in_port(10),eth(src=02:00:00:00:00:01),eth_type(0x0800) actions:11");
    let used = rig.card.driver.debug().unwrap();
    assert_eq!((used.em_used, used.rows_used), (1, 0));
}

#[test]
fn a_lost_entry_that_is_to_move_is_found_missing() {
    let tiny = CardCapabilities { buckets: 2, ways: 1, rows: 0, ..CardCapabilities::default() };
    let mut found = 0;
    for seed in 0..60 {
        let secret = |factor: u8| std::array::from_fn(|i| (i as u8 ^ seed).wrapping_mul(factor));
        let secrets = [secret(37), secret(101)];
        let mut rig = Rig::with(2, tiny.clone(), |config| config.secrets = Some(secrets));
        let text = |n| format!("in_port(10),eth(dst=02:00:00:00:{n:02x}:{seed:02x}) actions:11");
        let lost = rig.install(&text(1));
        rig.card.card.damage(lost.ufid.0, Damage::Lost);
        let mut there = 0;
        for n in 2..4 {
            match &rig.apply(&[Op::Install { flow: flow(&text(n)), generation: Generation(1) }])[0]
            {
                Ok(_) => there += 1,
                Err(ProviderError::Full(_)) => {}
                Err(error) => panic!("{error}"),
            }
        }
        found += u32::from(rig.provider.counters_in_use() == there);
    }
    assert!(found > 0, "none was to move");
}

#[test]
fn a_card_that_is_pulled_out_is_gone_cleanly() {
    let mut rig = Rig::new(2);
    let installed = rig.install(TO_11);
    assert_eq!(rig.provider.events(), vec![]);
    rig.card.card.pull_out();
    let gone =
        |result: &Result<Stats, ProviderError>| matches!(result, Err(ProviderError::Gone(_)));
    let ops = [
        Op::Remove { ufid: installed.ufid },
        Op::Install { flow: installed, generation: Generation(2) },
    ];
    assert!(rig.apply(&ops).iter().all(gone));
    assert!(matches!(rig.provider.all_stats(&mut vec![]), Err(ProviderError::Gone(_))));
    assert!(matches!(rig.provider.all_dumped(&mut vec![]), Err(ProviderError::Gone(_))));
    assert!(matches!(rig.provider.events()[..], [ProviderEvent::Gone(_)]));
    assert_eq!(rig.provider.events(), vec![], "told once");
    use flow::exception::CardPort;
    assert!(rig.ports[0].arm().is_err());
    assert!(matches!(rig.card.driver.check(), Err(vfio::Error::Gone)));
}

#[test]
fn traffic_of_ports_is_what_the_ledger_says() {
    let mut rig = Rig::new(2);
    rig.install(TO_11);
    let (hit, miss) = (udp_frame(1, 2, 5000, 50), udp_frame(7, 2, 5000, 60));
    for frame in [&hit, &miss, &hit] {
        rig.send(0, frame);
    }
    rig.receive(1);
    rig.receive(1);
    rig.settle(3);
    let traffic = rig.provider.traffic().unwrap();
    let ledger = rig.card.ledger().ports();
    for (number, (port, truth)) in traffic.iter().zip(&ledger).enumerate() {
        assert_eq!(port.port.0, FIRST_PORT + number as u32);
        assert_eq!(port.received, truth.rx);
        assert_eq!(port.sent, truth.tx + truth.from_host);
        assert_eq!((port.to_host, port.from_host), (truth.host, truth.from_host));
    }
    let sizes = (hit.len() * 2, miss.len());
    assert_eq!(ledger[0].nic, Counters { packets: 2, bytes: sizes.0 as u64 });
    assert_eq!(ledger[0].host, Counters { packets: 1, bytes: sizes.1 as u64 });
}
