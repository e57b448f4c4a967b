use std::sync::Arc;

use flow::reference::ReferenceTable;
use flow::{Key, Mask, Match, Megaflow};
use proptest::prelude::*;

use super::*;
use crate::testing::{flow_matching, key, mask};

#[derive(Clone, Debug)]
enum Step {
    Install(Key, Mask),
    Remove(usize),
    Lookup(Key),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (key(), mask()).prop_map(|(key, mask)| Step::Install(key, mask)),
        1 => any::<usize>().prop_map(Step::Remove),
        6 => key().prop_map(Step::Lookup),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// After any installs and removals in any order, the classifier hits the same megaflows as a
    /// table that looks at every megaflow.
    #[test]
    fn equals_the_reference(steps in prop::collection::vec(step(), 1..120), seed: u64) {
        let mut slow = ReferenceTable::default();
        let mut fast = Classifier::new(seed);
        let mut live: Vec<(u32, Arc<Megaflow>)> = Vec::new();
        let mut next = 0;
        for step in steps {
            match step {
                Step::Install(key, mask) => {
                    let flow = Arc::new(Megaflow::new(Match::new(&key, &mask), []));
                    if slow.install(flow.clone()).is_ok() {
                        fast.insert(&flow, next);
                        live.push((next, flow));
                        next += 1;
                    }
                }
                Step::Remove(n) if !live.is_empty() => {
                    let (slot, flow) = live.swap_remove(n % live.len());
                    prop_assert!(slow.remove(flow.ufid));
                    prop_assert_eq!(fast.remove(&flow.matching), Some(slot));
                    prop_assert_eq!(fast.remove(&flow.matching), None);
                }
                Step::Remove(_) => {}
                Step::Lookup(key) => {
                    let want = slow.lookup(&key).map(|flow| flow.ufid);
                    let number = |slot| live.iter().find(|(n, _)| *n == slot).map(|(_, f)| f.ufid);
                    prop_assert_eq!(fast.lookup(&key).and_then(number), want);
                    prop_assert_eq!(fast.lookup(&key).and_then(number), want);
                }
            }
        }
        for (slot, flow) in live {
            prop_assert_eq!(fast.lookup(flow.matching.key()), Some(slot));
            prop_assert_eq!(fast.remove(&flow.matching), Some(slot));
        }
        prop_assert_eq!(fast.subtables(), 0);
        prop_assert!(fast.partitions.is_empty());
        prop_assert_eq!(fast.wild, 0);
    }

    /// The audit finds exactly the pairs that a comparison of every two megaflows finds.
    #[test]
    fn the_audit_finds_every_overlap(all in prop::collection::vec((key(), mask()), 0..40)) {
        let mut flows: Vec<Arc<Megaflow>> = all
            .iter()
            .map(|(key, mask)| Arc::new(Megaflow::new(Match::new(key, mask), [])))
            .collect();
        flows.sort_by_key(|flow| flow.ufid);
        flows.dedup_by_key(|flow| flow.ufid);
        let mut want = Vec::new();
        for (n, one) in flows.iter().enumerate() {
            for other in &flows[n + 1..] {
                if one.matching.overlaps(&other.matching) {
                    want.push((one.ufid, other.ufid));
                }
            }
        }
        want.sort_unstable();
        prop_assert_eq!(overlaps(&flows), want);
    }
}

#[test]
fn a_busy_mask_is_found_at_once_whatever_others_make() {
    let mut classifier = Classifier::new(3);
    for n in 0..1000_u32 {
        // A different mask each, and a key that no traffic has.
        let mask = Mask { ipv4_src: n + 1, ipv4_dst: u32::MAX, ..Mask::default() };
        let key = Key { in_port: 1, ipv4_src: n + 1, ipv4_dst: 9, ..Key::default() };
        classifier.insert(&flow_matching(&key, &mask), n);
    }
    let busy = Key { in_port: 1, ipv4_dst: 7, ..Key::default() };
    let mask = Mask { ipv4_dst: u32::MAX, ip_proto: 0xff, ..Mask::default() };
    classifier.insert(&flow_matching(&busy, &mask), 5000);
    for _ in 0..20 {
        assert_eq!(classifier.lookup(&busy), Some(5000));
    }
    let before = classifier.counters().visited;
    for _ in 0..100 {
        assert_eq!(classifier.lookup(&busy), Some(5000));
    }
    assert_eq!(classifier.counters().visited - before, 100, "one subtable a lookup");
}

#[test]
fn masks_elsewhere_are_not_visited() {
    let mut classifier = Classifier::new(3);
    for n in 0..500_u32 {
        let mask = Mask { ipv4_src: n + 1, eth_type: 0xffff, ..Mask::default() };
        let here = Key { in_port: 1, eth_type: 0x800, ipv4_src: n + 1, ..Key::default() };
        classifier.insert(&flow_matching(&Key { in_port: 2, ..here }, &mask), n);
        classifier.insert(&flow_matching(&Key { recirc_id: 1, ..here }, &mask), n);
        classifier.insert(&flow_matching(&Key { eth_type: 0x86dd, ..here }, &mask), n);
    }
    let mask = Mask { eth_type: 0xffff, tp_dst: 0xffff, ..Mask::default() };
    let mine = Key { in_port: 1, eth_type: 0x800, tp_dst: 80, ..Key::default() };
    classifier.insert(&flow_matching(&mine, &mask), 9999);
    assert_eq!(classifier.lookup(&mine), Some(9999));
    assert_eq!(classifier.lookup(&Key { tp_dst: 81, ..mine }), None);
    assert_eq!(classifier.counters().visited, 2);
    assert_eq!(classifier.subtables(), 1501);
}

#[test]
fn the_filter_survives_growth_and_removal() {
    let mask = Mask { ipv4_src: !0, ipv6_src: !0, tp_src: !0, arp_sip: !0, ..Mask::default() };
    let key = |n: u32| Key { ipv4_src: n, ipv6_src: u128::from(n) << 70, ..Key::default() };
    let mut classifier = Classifier::new(11);
    let flows: Vec<_> = (0..3000).map(|n| flow_matching(&key(n), &mask)).collect();
    for (n, flow) in (0..).zip(&flows) {
        classifier.insert(flow, n);
    }
    for (n, flow) in flows.iter().enumerate().filter(|(n, _)| n % 2 == 0) {
        assert_eq!(classifier.remove(&flow.matching), Some(n as u32));
    }
    for n in 0..3000 {
        assert_eq!(classifier.lookup(&key(n)), (n % 2 == 1).then_some(n));
    }
}
