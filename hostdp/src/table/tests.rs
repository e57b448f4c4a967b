use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use flow::{
    Action, Blocking, Completion, Counters, Generation, Key, Mask, Match, Megaflow, Moment, Op,
    PortId, Provider, ProviderError, Reason, Stats,
};
use proptest::prelude::*;

use super::*;
use crate::testing::{key, mask, meaningful};

fn table() -> FlowTable {
    FlowTable::new(1, 1000)
}

fn flow(port: u32, actions: &[Action]) -> Arc<Megaflow> {
    let key = Key { in_port: port, ..Key::default() };
    Arc::new(Megaflow::new(Match::new(&key, &Mask::default()), actions))
}

fn apply(table: &mut FlowTable, op: Op) -> Result<Stats, ProviderError> {
    let mut done = Vec::new();
    table.apply(std::slice::from_ref(&op), &mut done);
    let Completion { ufid, kind, result, .. } = done.remove(0);
    assert_eq!((ufid, kind, done.len()), (op.ufid(), op.kind(), 0));
    result
}

fn look_up(table: &mut FlowTable, key: &Key) -> Option<u32> {
    let mut found = Vec::new();
    table.lookup(&[key], &mut found);
    found.pop().unwrap()
}

fn install(flow: &Arc<Megaflow>) -> Op {
    Op::Install { flow: flow.clone(), generation: Generation(1) }
}

#[test]
fn a_life_from_install_to_remove() {
    let mut table = table();
    let one = flow(1, &[]);
    let key = one.matching.key();
    assert_eq!(apply(&mut table, install(&one)), Ok(Stats::default()));
    let slot = look_up(&mut table, &key).unwrap();
    let hit = Counters { packets: 2, bytes: 120 };
    let program = table.hit(slot, hit, 0x12, Moment(7)).unwrap();
    assert_eq!(table.program(program).unwrap().actions().len(), 0);

    let new = flow(1, &[Action::Output(PortId(2))]);
    let old =
        apply(&mut table, Op::Replace { flow: new.clone(), generation: Generation(2) }).unwrap();
    assert_eq!(old, Stats { counters: hit, used: Some(Moment(7)), tcp_flags: 0x12 });
    let slot = look_up(&mut table, &key).unwrap();
    let program = table.hit(slot, Counters::packet(60), 2, Moment(9)).unwrap();
    assert_eq!(table.program(program).unwrap().actions(), &new.actions);

    let mut dump = Vec::new();
    table.all_dumped(&mut dump).unwrap();
    assert_eq!(
        (dump.len(), dump[0].generation, dump[0].flow.clone()),
        (1, Generation(2), Some(new))
    );
    assert_eq!(table.adopt(&dump), [one.ufid]);
    dump[0].generation = Generation(1);
    assert_eq!(table.adopt(&dump), []);

    let last = apply(&mut table, Op::Remove { ufid: one.ufid }).unwrap();
    assert_eq!(last.counters, Counters::packet(60));
    assert_eq!(look_up(&mut table, &key), None);
    assert_eq!(apply(&mut table, Op::Remove { ufid: one.ufid }), Err(ProviderError::NotFound));
    assert!(table.is_empty());
}

#[test]
fn refused_installs_change_nothing() {
    let mut table = FlowTable::new(1, 2);
    let wide = flow(1, &[]);
    apply(&mut table, install(&wide)).unwrap();
    assert_eq!(apply(&mut table, install(&wide)), Err(ProviderError::Exists));

    let mask = Mask { eth_type: 0xffff, ..Mask::default() };
    let narrow = Key { in_port: 1, eth_type: 0x0806, ..Key::default() };
    let narrow = Arc::new(Megaflow::new(Match::new(&narrow, &mask), []));
    assert_eq!(apply(&mut table, install(&narrow)), Err(ProviderError::Overlap(wide.ufid)));

    let mut taken = Megaflow::clone(&narrow);
    taken.ufid = wide.ufid;
    let taken = Arc::new(taken);
    assert_eq!(apply(&mut table, install(&taken)), Err(ProviderError::Exists));
    let other = Op::Replace { flow: taken, generation: Generation(3) };
    assert_eq!(apply(&mut table, other), Err(ProviderError::NotFound));
    // The order narrow, then wide is refused too; the kernel's check misses that order.
    let mut other = FlowTable::new(1, 10);
    apply(&mut other, install(&narrow)).unwrap();
    assert_eq!(apply(&mut other, install(&wide)), Err(ProviderError::Overlap(narrow.ufid)));
    apply(&mut other, Op::Remove { ufid: narrow.ufid }).unwrap();
    apply(&mut other, install(&wide)).unwrap();
    let absent = Op::Replace { flow: narrow, generation: Generation(3) };
    assert_eq!(apply(&mut table, absent), Err(ProviderError::NotFound));

    apply(&mut table, install(&flow(2, &[]))).unwrap();
    let full = apply(&mut table, install(&flow(3, &[]))).unwrap_err();
    assert!(matches!(&full, ProviderError::Full(r) if r.reason == Reason::TableFull), "{full}");
    assert_eq!((table.len(), table.masks()), (2, 2));
}

#[test]
fn a_megaflow_that_means_nothing_is_refused_by_name() {
    let mut table = table();
    let fine = flow(1, &[Action::Output(PortId(2))]);
    apply(&mut table, install(&fine)).unwrap();
    let bad = flow(2, &[Action::Trunc(13)]);
    let worse = Op::Replace { flow: flow(1, &[Action::Trunc(13)]), generation: Generation(2) };
    let text = "trunc(13): shorter than an Ethernet header of 14 bytes";
    for op in [install(&bad), worse] {
        let error = apply(&mut table, op).unwrap_err();
        assert_eq!((error.name(), error.to_string().as_str()), ("invalid", text));
    }
    let key = Key { in_port: 2, tp_dst: 80, ..Key::default() };
    let loose = Match::new(&key, &Mask { tp_dst: 0xffff, ..Mask::default() });
    let error =
        apply(&mut table, install(&Arc::new(Megaflow::new(loose.clone(), [])))).unwrap_err();
    assert!(error.to_string().starts_with("tp_dst: needs an exact match on eth_type"), "{error}");
    // All three faults are told at once.
    let actions = [Action::Trunc(13), Action::Output(PortId(70_000))];
    let worst = Arc::new(Megaflow::new(loose, actions));
    let ProviderError::Invalid(why) = apply(&mut table, install(&worst)).unwrap_err() else {
        panic!("it means something")
    };
    let subjects: Vec<_> = why.faults().iter().map(|fault| fault.subject.as_str()).collect();
    assert_eq!(subjects, ["tp_dst", "trunc(13)", "70000"]);
    assert_eq!((table.len(), table.get(fine.ufid).unwrap().0), (1, &fine));
}

#[test]
fn what_the_host_cannot_carry_out_is_refused_by_name() {
    let mut table = table();
    let nested =
        |count| Action::Sample { probability: 1, actions: vec![Action::PopVlan; count].into() };
    let long = flow(1, &[nested(4000), nested(95)]);
    let error = apply(&mut table, install(&long)).unwrap_err();
    assert!(matches!(error, ProviderError::Unsupported(_)), "{error:?}");
    assert_eq!(error.to_string(), "action-list number of actions: 4097 actions, at most 4096");
    let explained = table.admission().explain(&long).map_err(|refusal| refusal.to_string());
    assert_eq!(explained, Err(error.to_string()));
    let plan = table.admission().explain(&flow(1, &[Action::Output(PortId(2))])).unwrap();
    assert_eq!(plan, "host: recirc_id(0),in_port(1),eth(),vlan(cfi=0/0) actions:2");
    let fine = flow(1, &[nested(4000), nested(94)]);
    assert!(table.admission().admit(&fine).is_ok());
    assert!(table.is_empty());
    apply(&mut table, install(&fine)).unwrap();
}

/// The megaflow of one host.
fn station(n: u16) -> Arc<Megaflow> {
    let mask = Mask { eth_type: 0xffff, ..Mask::default() };
    let key = Key { in_port: u32::from(n), eth_type: 0x0806, ..Key::default() };
    Arc::new(Megaflow::new(Match::new(&key, &mask), []))
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Install(u16),
    Remove(u16),
    Hit(u16, u64),
    Slice(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (1..40_u16).prop_map(Step::Install),
        2 => (1..40_u16).prop_map(Step::Remove),
        3 => (1..40_u16, 1..9_u64).prop_map(|(n, packets)| Step::Hit(n, packets)),
        3 => (1..12_usize).prop_map(Step::Slice),
    ];
    prop::collection::vec(step, 1..200)
}

/// A table with a plain map beside it, and a pass over both that is under way.
struct Twins {
    fast: FlowTable,
    slow: BTreeMap<Ufid, Counters>,
    /// Those that have lived since the pass began.
    survivors: BTreeSet<Ufid>,
    /// Those that were hit since their statistics were last told.
    news: BTreeSet<Ufid>,
    seen: BTreeMap<Ufid, u32>,
    cursor: Cursor,
    /// Hits of all, and the last counters of those that went.
    hits: Counters,
    gone: Counters,
    /// What was told.
    told: Counters,
}

impl Twins {
    fn step(&mut self, step: Step) -> Result<(), TestCaseError> {
        match step {
            Step::Install(n) => {
                let flow = station(n);
                let done = apply(&mut self.fast, install(&flow));
                prop_assert_eq!(done.is_ok(), !self.slow.contains_key(&flow.ufid));
                self.slow.entry(flow.ufid).or_default();
            }
            Step::Remove(n) => {
                let ufid = station(n).ufid;
                let last = apply(&mut self.fast, Op::Remove { ufid }).ok();
                prop_assert_eq!(last.map(|stats| stats.counters), self.slow.remove(&ufid));
                self.survivors.remove(&ufid);
                self.news.remove(&ufid);
                self.gone += last.unwrap_or_default().counters;
            }
            Step::Hit(n, packets) => {
                let flow = station(n);
                let slot = look_up(&mut self.fast, &flow.matching.key());
                prop_assert_eq!(slot.is_some(), self.slow.contains_key(&flow.ufid));
                let Some(counters) = self.slow.get_mut(&flow.ufid) else { return Ok(()) };
                let what = Counters { packets, bytes: packets * 60 };
                prop_assert!(self.fast.hit(slot.unwrap(), what, 0, Moment(1)).is_some());
                *counters += what;
                self.hits += what;
                self.news.insert(flow.ufid);
            }
            Step::Slice(most) => self.slice(most)?,
        }
        Ok(())
    }

    fn slice(&mut self, most: usize) -> Result<(), TestCaseError> {
        let (mut stats, mut dump) = (Vec::new(), Vec::new());
        let next = self.fast.stats_slice(self.cursor, most, &mut stats);
        prop_assert_eq!(self.fast.dump_slice(self.cursor, most, &mut dump), next);
        prop_assert!(stats.len() <= most);
        let mut news = Vec::new();
        prop_assert_eq!(self.fast.news_slice(self.cursor, most, &mut news), next);
        let is_news = |(ufid, _): &&(Ufid, Stats)| self.news.remove(ufid);
        let expected: Vec<_> = stats.iter().filter(is_news).copied().collect();
        prop_assert_eq!(news, expected);
        let dumped = dump.iter().map(|dumped| (dumped.ufid, dumped.stats));
        prop_assert!(dumped.eq(stats.iter().copied()));
        for (ufid, stats) in stats {
            let left = self.slow.get_mut(&ufid).map(std::mem::take);
            prop_assert_eq!(Some(stats.counters), left);
            self.told += stats.counters;
            *self.seen.entry(ufid).or_default() += 1;
        }
        self.cursor = next.unwrap_or_default();
        if next.is_none() {
            for ufid in &self.survivors {
                prop_assert_eq!(self.seen.get(ufid), Some(&1));
            }
            self.survivors = self.slow.keys().copied().collect();
            self.seen.clear();
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// A pass in slices sees each megaflow that lives through it once, whatever comes and goes
    /// between the slices, with the counters of that moment; and every hit was told once, or is in
    /// the end in the counters of one that lives or in the last ones of one that went.
    #[test]
    fn a_pass_sees_each_survivor_once(steps in steps()) {
        let mut twins = Twins {
            fast: table(),
            slow: BTreeMap::new(),
            survivors: BTreeSet::new(),
            news: BTreeSet::new(),
            seen: BTreeMap::new(),
            cursor: Cursor::default(),
            hits: Counters::default(),
            gone: Counters::default(),
            told: Counters::default(),
        };
        for step in steps {
            twins.step(step)?;
        }
        let mut last = Vec::new();
        prop_assert_eq!(twins.fast.stats_slice(Cursor::default(), usize::MAX, &mut last), None);
        let there: Counters = last.iter().map(|(_, stats)| stats.counters).sum();
        prop_assert_eq!(there + twins.gone + twins.told, twins.hits);
        prop_assert_eq!(last.len(), twins.slow.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// An install is refused exactly if it overlaps, and the refusal names a megaflow that it
    /// overlaps. Lookups hit what they should.
    #[test]
    fn an_install_is_refused_exactly_if_it_overlaps(
        steps in prop::collection::vec((0..4_u8, key(), mask(), any::<usize>()), 1..150),
    ) {
        let mut table = FlowTable::new(1, 1000);
        for (step, key, mask, n) in steps {
            match step {
                0 => {
                    let flow = meaningful(&key, &mask, &[]);
                    let overlaps = |other: &&Arc<Megaflow>| other.matching.overlaps(&flow.matching);
                    let slow: Vec<Ufid> = table.flows().filter(overlaps).map(|f| f.ufid).collect();
                    match apply(&mut table, install(&flow)) {
                        Ok(_) => prop_assert!(slow.is_empty()),
                        Err(ProviderError::Overlap(ufid)) => prop_assert!(slow.contains(&ufid)),
                        Err(error) => {
                            prop_assert_eq!(&error, &ProviderError::Exists);
                            prop_assert!(slow.contains(&flow.ufid));
                        }
                    }
                }
                1 if !table.is_empty() => {
                    let ufid = table.flows().nth(n % table.len()).unwrap().ufid;
                    let removed = apply(&mut table, Op::Remove { ufid });
                    prop_assert!(removed.is_ok());
                }
                _ => {
                    let hit = table.flows().find(|flow| flow.matching.hits(&key));
                    let slow = hit.map(|flow| flow.ufid);
                    let fast = look_up(&mut table, &key).and_then(|slot| table.slots.ufid(slot));
                    prop_assert_eq!(fast, slow);
                }
            }
        }
    }
}
