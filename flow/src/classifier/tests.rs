use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use crate::reference::ReferenceTable;
use crate::{Key, Mask, Match, Megaflow};
use proptest::prelude::*;

use super::*;
use crate::hash::split_mix;
use crate::overlap::tests::{matching, packet};

/// A classifier beside a table that looks at every megaflow. Whatever is done to both, they answer
/// alike.
struct Twins {
    fast: Classifier,
    slow: ReferenceTable,
    live: Vec<(u32, Arc<Megaflow>)>,
    next: u32,
}

impl Twins {
    fn new(seed: u64) -> Twins {
        let (slow, live) = (ReferenceTable::default(), Vec::new());
        Twins { fast: Classifier::new(seed), slow, live, next: 0 }
    }

    /// The numbers of all that the match overlaps, and of the first one that is found.
    fn overlapping(&mut self, matching: &Match) -> (Vec<u32>, Option<u32>) {
        let mut answer = |most: usize| {
            let mut found = Vec::new();
            let mut steps = (0..1000).map(|_| self.fast.overlapping(matching, most, &mut found));
            assert!(steps.any(|done| done), "the answer takes few steps");
            found.sort_unstable();
            found
        };
        let first = answer(1).first().copied();
        (answer(usize::MAX), first)
    }

    /// Installs the megaflow if it overlaps no other; whether it does is asked of both.
    fn install(&mut self, matching: Match) -> bool {
        let flow = Arc::new(Megaflow::new(matching, []));
        let (all, first) = self.overlapping(&flow.matching);
        let overlaps = |(_, other): &&(u32, Arc<Megaflow>)| other.matching.overlaps(&flow.matching);
        let mut want: Vec<u32> = self.live.iter().filter(overlaps).map(|(n, _)| *n).collect();
        want.sort_unstable();
        assert_eq!(all, want, "{:?}", flow.matching);
        assert_eq!(first.is_some(), !want.is_empty());
        assert!(first.is_none_or(|first| want.contains(&first)));
        if self.slow.install(flow.clone()).is_err() {
            return false;
        }
        self.fast.insert(&flow.matching, self.next);
        self.live.push((self.next, flow));
        self.next += 1;
        true
    }

    fn remove(&mut self, n: usize) {
        if self.live.is_empty() {
            return;
        }
        let (number, flow) = self.live.swap_remove(n % self.live.len());
        assert!(self.slow.remove(flow.ufid));
        assert_eq!(self.fast.remove(&flow.matching), Some(number));
        assert_eq!(self.fast.remove(&flow.matching), None);
    }

    fn look_up(&mut self, keys: &[Key]) {
        let refs: Vec<&Key> = keys.iter().collect();
        let (mut found, before) = (Vec::new(), self.fast.counters());
        self.fast.lookup(&refs, &mut found);
        assert_eq!(found.len(), keys.len());
        let mut hits = 0;
        for (key, found) in keys.iter().zip(found) {
            let want = self.slow.lookup(key).map(|flow| flow.ufid);
            let is = |number| self.live.iter().find(|(n, _)| *n == number).map(|(_, f)| f.ufid);
            assert_eq!(found.and_then(is), want, "{key:?}");
            hits += u64::from(want.is_some());
        }
        let after = self.fast.counters();
        assert_eq!(after.lookups - before.lookups, keys.len() as u64);
        assert_eq!(after.hits - before.hits, hits);
    }

    /// Every megaflow is found, and at last nothing is left.
    fn end(mut self) {
        let keys: Vec<Key> = self.live.iter().map(|(_, flow)| flow.matching.key()).collect();
        keys.chunks(100).for_each(|keys| self.look_up(keys));
        let scoped = |(_, flow): &(u32, Arc<Megaflow>)| {
            let key = &flow.matching.key();
            (key.in_port, key.recirc_id, *flow.matching.mask())
        };
        let masks: HashSet<_> = self.live.iter().map(scoped).collect();
        assert!(self.fast.masks() >= masks.len());
        while !self.live.is_empty() {
            self.remove(0);
        }
        assert_eq!(self.fast.masks(), 0);
        assert!(self.fast.scopes.values().is_empty() && self.fast.by_key.is_empty());
    }
}

#[derive(Clone, Debug)]
enum Step {
    Install(Box<Match>),
    Remove(usize),
    LookUp(Vec<Key>),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => matching().prop_map(|matching| Step::Install(Box::new(matching))),
        1 => any::<usize>().prop_map(Step::Remove),
        4 => prop::collection::vec(packet(), 1..70).prop_map(Step::LookUp),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// After any installs and removals in any order, keys of all scopes and types.
    #[test]
    fn equals_the_reference(steps in prop::collection::vec(step(), 1..120), seed: u64) {
        let mut twins = Twins::new(seed);
        for step in steps {
            match step {
                Step::Install(matching) => drop(twins.install(*matching)),
                Step::Remove(n) => twins.remove(n),
                Step::LookUp(keys) => twins.look_up(&keys),
            }
        }
        twins.end();
    }

    /// Megaflows that overlap each other may be there too: whatever was added and taken out, those
    /// are found that a look at each finds.
    #[test]
    fn finds_all_that_overlap(
        steps in prop::collection::vec((matching(), 0..4_u8, any::<prop::sample::Index>()), 1..400),
    ) {
        let mut fast = Classifier::new(5);
        let mut all: BTreeMap<u32, Match> = BTreeMap::new();
        for (number, (matching, step, which)) in (0..).zip(steps) {
            let overlaps = all.iter().filter(|(_, other)| other.overlaps(&matching));
            let want: Vec<u32> = overlaps.map(|(number, _)| *number).collect();
            let mut found = Vec::new();
            while !fast.overlapping(&matching, usize::MAX, &mut found) {}
            found.sort_unstable();
            prop_assert_eq!(&found, &want);
            if step == 0 && !all.is_empty() {
                let number = *which.get(&all.keys().copied().collect::<Vec<_>>());
                let gone = all.remove(&number).unwrap();
                prop_assert_eq!(fast.remove(&gone), Some(number));
            } else if !all.values().any(|other| *other == matching) {
                fast.insert(&matching, number);
                all.insert(number, matching);
            }
        }
        for (number, matching) in &all {
            prop_assert_eq!(fast.remove(matching), Some(*number));
        }
        prop_assert!(fast.scopes.values().is_empty() && fast.masks() == 0);
    }

    /// The audit finds exactly the pairs that a comparison of every two megaflows finds.
    #[test]
    fn the_audit_finds_every_overlap(all in prop::collection::vec(matching(), 0..40)) {
        let flow = |matching| Arc::new(Megaflow::new(matching, []));
        let mut flows: Vec<Arc<Megaflow>> = all.into_iter().map(flow).collect();
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

/// Random numbers with few bits, many, prefixes or none.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        split_mix(&mut self.0) % end
    }

    /// A prefix mask of the field's width, whole in most cases.
    fn prefix(&mut self, bits: u32) -> u128 {
        let full = u128::MAX >> (128 - bits);
        match self.below(4) {
            0 => full << self.below(u64::from(bits)) & full,
            1 => 0,
            _ => full,
        }
    }
}

const FIELDS: [crate::Field; 9] = {
    use crate::Field::*;
    [EthDst, EthSrc, VlanTci, Ipv4Src, Ipv4Dst, TpSrc, TpDst, IpProto, Ipv6Dst]
};

/// Makes matches of one kind.
type Kind = fn(&mut Dice) -> Match;

/// Many megaflows under few masks, which become tables; prefixes of all lengths; any bits.
const KINDS: [(&str, Kind); 5] = [
    ("tables", |dice| {
        let (key, mut mask) = (random_key(dice, 60_000), Mask { eth_type: !0, ..Mask::default() });
        match key.ipv4_dst % 3 {
            0 => (mask.ipv4_dst, mask.tp_src) = (!0, !0),
            1 => (mask.ipv4_dst, mask.tp_dst) = (!0 << 4, !0),
            _ => (mask.ipv4_dst, mask.ipv4_src) = (!0, !0),
        }
        Match::new(&Key { ipv4_src: key.ipv4_dst % 3, ..key }, &mask)
    }),
    ("crowds", |dice| {
        let key = random_key(dice, 300);
        let mask =
            Mask { eth_type: !0, ipv4_dst: !0, tp_dst: !0 << dice.below(16), ..Mask::default() };
        Match::new(&key, &mask)
    }),
    ("prefixes", |dice| {
        let key = random_key(dice, 1 << 20);
        let mut mask = Mask { eth_type: !0, ..Mask::default() };
        FIELDS.iter().for_each(|field| mask.set(*field, dice.prefix(field.bits())));
        Match::new(&key, &mask)
    }),
    ("wide", |dice| {
        let key = random_key(dice, 1 << 20);
        let mut mask = Mask { arp_sip: dice.prefix(32) as u32, mpls2: !0, ..Mask::default() };
        crate::Field::ALL.iter().filter(|_| dice.below(2) == 0).for_each(|field| {
            mask.set(*field, field.full_mask());
        });
        Match::new(&key, &mask)
    }),
    ("bits", |dice| {
        let key = random_key(dice, 1 << 12);
        let mut mask = Mask::default();
        for field in FIELDS {
            mask.set(field, u128::from(split_mix(&mut dice.0) & split_mix(&mut dice.0)));
        }
        Match::new(&key, &mask)
    }),
];

/// A key of one port whose fields have `values` values each.
fn random_key(dice: &mut Dice, values: u64) -> Key {
    let mut key = Key { in_port: 1, eth_type: 0x800, ..Key::default() };
    for field in FIELDS {
        let value = u128::from(dice.below(values));
        // Half of the values differ in the last bits, half in the first ones.
        let shift = if value % 2 == 0 { 0 } else { field.bits().saturating_sub(20) };
        key.set(field, value << shift);
    }
    key
}

/// The sizes of all tables, and the number of their views.
fn tables(classifier: &Classifier) -> (Vec<usize>, usize) {
    let all: Vec<_> = classifier.scopes.values().iter().map(|(_, scope)| scope.tables()).collect();
    let views = all.iter().map(|(_, views)| views).sum();
    (all.into_iter().flat_map(|(sizes, _)| sizes).collect(), views)
}

/// Up to some thousand megaflows, down and up again. Tables come and go, and classes move.
#[test]
fn equals_the_reference_with_many_megaflows() {
    let (mut came, mut went, mut viewed) = (0, 0, 0);
    for (name, kind) in KINDS {
        let (mut twins, mut dice, mut most) = (Twins::new(3), Dice(17), 0);
        let mut before = 0;
        for round in 0..6 {
            let growing = round % 3 != 2;
            for n in 0..900 {
                if growing {
                    twins.install(kind(&mut dice));
                } else {
                    twins.remove(dice.below(1 << 30) as usize);
                }
                most = most.max(twins.live.len());
                let (sizes, views) = tables(&twins.fast);
                came += sizes.len().saturating_sub(before);
                went += before.saturating_sub(sizes.len());
                (before, viewed) = (sizes.len(), viewed.max(views));
                if n % 16 == 0 {
                    let keys = (0..40).map(|n| match twins.live.len() {
                        live if live > 0 && n % 3 > 0 => {
                            twins.live[dice.below(live as u64) as usize].1.matching.key()
                        }
                        _ => random_key(&mut dice, 300),
                    });
                    let keys: Vec<Key> = keys.collect();
                    twins.look_up(&keys);
                }
            }
        }
        assert!(most > 60, "{name}: {most}");
        twins.end();
    }
    assert!(came > 5 && went > 1 && viewed > 1, "{came} {went} {viewed}");
}

/// Megaflows under a mask of their own, which differ in one field; `kind` tells their masks apart.
fn of_kind(kind: u8, n: u32) -> Match {
    let field = FIELDS[usize::from(kind)];
    let mut mask = Mask { eth_type: !0, ip_tos: !0, ..Mask::default() };
    mask.set(field, field.full_mask());
    let mut key = Key { in_port: 1, eth_type: 0x800, ip_tos: kind, ..Key::default() };
    key.set(field, u128::from(n.wrapping_mul(0x9e37_79b9)) << field.bits().saturating_sub(32));
    Match::new(&key, &mask)
}

/// Eight kinds of a few megaflows have the tables; then one of many comes, and gets one. When its
/// megaflows go, so does its table.
#[test]
fn a_small_table_gives_way() {
    let mut twins = Twins::new(5);
    for kind in 0..8 {
        (0..64).for_each(|n| assert!(twins.install(of_kind(kind, n))));
    }
    // Moves go on with other changes.
    let others = |twins: &mut Twins, count: u32| {
        for n in 0..count {
            assert!(twins.install(of_kind(8, n)));
        }
    };
    others(&mut twins, 40);
    assert_eq!(tables(&twins.fast).0.len(), 8);
    let many = |n: u32| {
        let mask = Mask { eth_type: !0, ip_tos: !0, ip_ttl: !0, arp_sip: !0, ..Mask::default() };
        let key = Key { in_port: 1, eth_type: 0x800, ip_tos: 99, arp_sip: n, ..Key::default() };
        Match::new(&key, &mask)
    };
    (0..1500).for_each(|n| assert!(twins.install(many(n << 8))));
    let largest = *tables(&twins.fast).0.iter().max().unwrap();
    assert!(largest > 1000, "{:?}", tables(&twins.fast));
    let keys: Vec<Key> = twins.live.iter().map(|(_, flow)| flow.matching.key()).collect();
    keys.chunks(50).for_each(|keys| twins.look_up(keys));
    let last = twins.live.len() - 1;
    (0..1500).for_each(|n| twins.remove(last - n));
    assert!(*tables(&twins.fast).0.iter().max().unwrap() < 100);
    twins.end();
}

/// Megaflows of more EtherTypes than have partitions of their own, of one type in both kinds of
/// partition, and under wide and narrow masks.
#[test]
fn any_number_of_types_and_words() {
    let mut twins = Twins::new(9);
    let of_type = |eth_type: u16, n: u16, is_wide: bool| {
        let mut mask = Mask { eth_type: !0, tp_dst: !0, ipv6_src: !0, ..Mask::default() };
        if is_wide {
            mask = Mask { arp_sip: !0, mpls0: !0, mpls1: !0, ipv6_dst: !0, vlan_tpid: !0, ..mask };
        }
        let key = Key { in_port: 1, eth_type, tp_dst: n, ipv6_src: 7, ..Key::default() };
        Match::new(&key, &mask)
    };
    let install = |twins: &mut Twins, types: std::ops::Range<u16>, from: u16| {
        for eth_type in types {
            for n in from..from + 4 {
                assert!(twins.install(of_type(0x8000 | eth_type, n, n % 2 == 0)));
            }
        }
    };
    install(&mut twins, 0..20, 0);
    // A type goes, and one that is among the others gets its place.
    (0..4).for_each(|_| twins.remove(0));
    twins.live.sort_by_key(|(number, _)| *number);
    while let Some(n) = twins.live.iter().position(|(_, f)| f.matching.key().eth_type < 0x8002) {
        twins.remove(n);
    }
    install(&mut twins, 18..20, 4);
    let keys: Vec<Key> = twins.live.iter().map(|(_, flow)| flow.matching.key()).collect();
    keys.chunks(30).for_each(|keys| twins.look_up(keys));
    let any_type = Mask { tp_dst: !0, ..Mask::default() };
    for (n, overlaps) in [(0, true), (5, true), (40, false)] {
        let matching = Match::new(&Key { in_port: 1, tp_dst: n, ..Key::default() }, &any_type);
        assert_eq!(!twins.overlapping(&matching).0.is_empty(), overlaps);
        assert_eq!(twins.install(matching), !overlaps);
    }
    twins.end();
}

/// A table that was granted to a class whose megaflows all went before they came to it goes too.
#[test]
fn a_table_that_nothing_came_to_goes() {
    let mut twins = Twins::new(6);
    let crowd = |n: u32| {
        let mask = Mask { eth_type: !0, ip_tos: !0, tp_src: !0 << (n % 16), ..Mask::default() };
        let tos = (n / 16) as u8 | 0x80;
        let key = Key {
            in_port: 1,
            eth_type: 0x800,
            ip_tos: tos,
            tp_src: 1 << (n % 16),
            ..Key::default()
        };
        Match::new(&key, &mask)
    };
    for n in 0..2000 {
        twins.install(crowd(n));
    }
    let before = tables(&twins.fast).0.len();
    (0..64).for_each(|n| assert!(twins.install(of_kind(3, n))));
    assert!(tables(&twins.fast).0.contains(&0), "{:?}", tables(&twins.fast));
    (0..64).for_each(|_| twins.remove(twins.live.len() - 1));
    (0..600).for_each(|n| twins.remove(n));
    assert!(tables(&twins.fast).0.len() <= before);
    assert!(!tables(&twins.fast).0.contains(&0));
    twins.end();
}

/// A match that lacks the bits by which a table has its megaflows is compared with those that it
/// may overlap, in steps that do not depend on the number of megaflows, and whatever its bits.
#[test]
fn wide_matches_are_answered_in_short_steps() {
    let mut classifier = Classifier::new(7);
    let mask = Mask { eth_type: !0, ip_proto: !0, ipv4_dst: !0, tp_dst: !0, ..Mask::default() };
    let key = |n: u32| {
        let ip_proto = if n.is_multiple_of(2) { 6 } else { 17 };
        Key {
            in_port: 1,
            eth_type: 0x800,
            ip_proto,
            ipv4_dst: n * 77,
            tp_dst: n as u16,
            ..Key::default()
        }
    };
    for n in 0..20_000 {
        classifier.insert(&Match::new(&key(n), &mask), n);
    }
    let mut answer = |key: &Key, mask: &Mask| {
        let mask = Mask { eth_type: 0xffff, ..*mask };
        let matching = Match::new(key, &mask);
        let mut found = Vec::new();
        let mut steps = 0;
        while !classifier.overlapping(&matching, 1, &mut found) {
            steps += 1;
        }
        (steps, found.first().copied())
    };
    let proto = |bits| Mask { ip_proto: bits, ..Mask::default() };
    for (ip_proto, bits, overlaps) in
        [(1, 0xff, false), (6, 0xff, true), (2, 0x02, true), (8, 8, false)]
    {
        let key = Key { ip_proto, ..key(0) };
        let (steps, other) = answer(&key, &proto(bits));
        assert_eq!(other.is_some(), overlaps, "{ip_proto}/{bits}");
        let (again, _) = answer(&key, &proto(bits));
        assert!(again <= steps && again < 200, "{again} of {steps}");
    }
    // One of the megaflows, but for a port, and any that has its port.
    let port = Mask { ip_proto: !0, tp_dst: !0, ..Mask::default() };
    assert_eq!(answer(&key(77), &port).1, Some(77));
    assert_eq!(answer(&Key { tp_dst: 20_001, ..key(77) }, &port).1, None);
}

/// Up to some hundred megaflows of which many overlap many others.
#[test]
fn finds_all_of_many_that_overlap() {
    for (name, kind) in KINDS {
        let (mut fast, mut dice) = (Classifier::new(3), Dice(23));
        let (mut all, mut most): (BTreeMap<u32, Match>, usize) = (BTreeMap::new(), 0);
        for number in 0..1500 {
            let matching = kind(&mut dice);
            // Each other one lacks a part of what it compares, and overlaps more.
            let mut mask = *matching.mask();
            for field in FIELDS {
                if number % 2 == 0 || dice.below(3) == 0 {
                    continue;
                }
                mask.set(field, mask.get(field) & !0 << dice.below(u64::from(field.bits())));
            }
            let matching = Match::new(&matching.key(), &mask);
            let overlaps = all.iter().filter(|(_, other)| other.overlaps(&matching));
            let want: Vec<u32> = overlaps.map(|(number, _)| *number).collect();
            let mut found = Vec::new();
            while !fast.overlapping(&matching, usize::MAX, &mut found) {}
            found.sort_unstable();
            assert_eq!(found, want, "{name}");
            most = most.max(want.len());
            if dice.below(4) == 0 && !all.is_empty() {
                let number = *all.keys().nth(dice.below(all.len() as u64) as usize).unwrap();
                assert_eq!(fast.remove(&all.remove(&number).unwrap()), Some(number), "{name}");
            } else if !all.values().any(|other| *other == matching) {
                fast.insert(&matching, number);
                all.insert(number, matching);
            }
        }
        assert!(most > 20, "{name}: {most}");
        for (number, matching) in &all {
            assert_eq!(fast.remove(matching), Some(*number));
        }
        assert!(fast.scopes.values().is_empty() && fast.masks() == 0);
    }
}

fn visited(classifier: &mut Classifier, keys: &[&Key], hits: bool) -> u64 {
    let (mut found, before) = (Vec::new(), classifier.counters().visited);
    classifier.lookup(keys, &mut found);
    assert!(found.iter().all(|found| found.is_some() == hits));
    classifier.counters().visited - before
}

/// What others make costs a flow nothing, or a few steps: masks of its own type and port, and any
/// number elsewhere.
#[test]
fn a_lookup_does_not_visit_mask_after_mask() {
    let mut classifier = Classifier::new(3);
    let mask = Mask { eth_type: !0, ipv4_dst: !0, ip_proto: 0xff, ..Mask::default() };
    let busy = Key { in_port: 1, eth_type: 0x800, ipv4_dst: 7, ..Key::default() };
    classifier.insert(&Match::new(&busy, &mask), 5000);
    assert_eq!(visited(&mut classifier, &[&busy], true), 1);
    for n in 0..1000_u32 {
        // A different mask each, as somebody makes them who varies the bits of an address.
        let mask = Mask { ipv4_src: n + 1, ipv4_dst: !0, eth_type: !0, ..Mask::default() };
        let key = Key { ipv4_src: n + 1, ipv4_dst: 9, ..busy };
        classifier.insert(&Match::new(&Key { in_port: 2, ..key }, &mask), n);
        classifier.insert(&Match::new(&Key { recirc_id: 1, ..key }, &mask), n);
        classifier.insert(&Match::new(&Key { eth_type: 0x86dd, ..key }, &mask), n);
    }
    assert_eq!(classifier.masks(), 3001);
    assert_eq!(visited(&mut classifier, &[&busy], true), 1);
    for bit in 0..32 {
        for port in 0..16_u32 {
            let mask = Mask {
                eth_type: !0,
                ipv4_dst: !0,
                ipv4_src: !0 << bit,
                tp_dst: !0 << port,
                ..Mask::default()
            };
            let key = Key { ipv4_dst: 8, ipv4_src: 1 << bit, tp_dst: 1 << port, ..busy };
            classifier.insert(&Match::new(&key, &mask), 6000 + bit * 16 + port);
        }
    }
    assert_eq!(classifier.masks(), 3001 + 512);
    assert!(visited(&mut classifier, &[&busy], true) <= 6);
    let theirs = Key { ipv4_dst: 8, ipv4_src: 1 << 3, tp_dst: 1 << 9, ..busy };
    assert!(visited(&mut classifier, &[&theirs], true) <= 12);
    let nobody = Key { ipv4_dst: 8, ipv4_src: 0, tp_dst: 1, ..busy };
    assert!(visited(&mut classifier, &[&nobody], false) <= 12);
}

/// Many megaflows that spread under few masks are found in tables, one place each.
#[test]
fn many_megaflows_are_in_tables() {
    let mut classifier = Classifier::new(3);
    let key = |n: u32| Key { in_port: 1, ipv4_src: n * 7, ipv4_dst: !n, ..Key::default() };
    let mask = Mask { ipv4_src: !0, ipv4_dst: !0, ..Mask::default() };
    for n in 0..20_000 {
        classifier.insert(&Match::new(&key(n), &mask), n);
    }
    let keys: Vec<Key> = (0..20_000).map(key).collect();
    let keys: Vec<&Key> = keys.iter().collect();
    assert_eq!(visited(&mut classifier, &keys, true), 20_000);
    for n in 0..20_000 {
        assert_eq!(classifier.remove(&Match::new(&key(n), &mask)), Some(n));
    }
}
