//! Operations in flight: in order for one megaflow, in any order for others, never waited for,
//! bounded, and beside the parts of readings.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::cast_possible_truncation)]

mod common;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use common::{Rig, flow};
use flow::{
    Blocking, Clock, Completion, Cursor, Generation, ManualTime, Megaflow, Op, PART, PortId,
    Provider, ProviderError, Submission, Tag, Ufid,
};
use vfio::model::Vectors;
use vfio::register::{BlockKind, words};
use vfio::sys::{Bar, DmaFault, HostMemory, LocalDma};
use vfio::{Access, CardCapabilities, Driver, DriverConfig, FpgaProvider, MemoryWire, ModelCard};

const LOOK: Duration = Duration::from_millis(1);

/// A seeded generator: splitmix64.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ z >> 31) as usize % bound
    }
}

fn numbered(n: usize) -> Arc<Megaflow> {
    let (high, low) = (n >> 8, n & 255);
    flow(&format!("in_port(10),eth(dst=02:00:00:00:{high:02x}:{low:02x}) actions:10"))
}

/// A random operation on one of the megaflows, of which some are installed.
fn any_op(flows: &[Arc<Megaflow>], dice: &mut Dice) -> Op {
    let flow = flows[dice.below(flows.len())].clone();
    let generation = Generation(dice.below(1 << 30) as u32);
    match dice.below(5) {
        0 | 1 => Op::Install { flow, generation },
        2 => Op::Replace { flow, generation },
        _ => Op::Remove { ufid: flow.ufid },
    }
}

/// What an operation has to answer, by the slow twin: a set of installed megaflows.
fn expected(op: &Op, installed: &mut HashSet<Ufid>) -> Result<(), ProviderError> {
    let is_there = installed.contains(&op.ufid());
    match op {
        Op::Install { .. } if is_there => return Err(ProviderError::Exists),
        Op::Replace { .. } | Op::Remove { .. } if !is_there => return Err(ProviderError::NotFound),
        Op::Install { .. } => drop(installed.insert(op.ufid())),
        Op::Remove { .. } => drop(installed.remove(&op.ufid())),
        Op::Replace { .. } => {}
    }
    Ok(())
}

#[test]
fn operations_on_one_megaflow_end_in_their_order_and_others_in_any() {
    let mut out_of_order = 0;
    for seed in 1..=30 {
        let mut dice = Dice(seed);
        let mut rig = Rig::with(2, CardCapabilities::default(), |config| {
            config.command_log2 = [1, 3, 9][seed as usize % 3];
        });
        rig.card.card.shuffle_completions(seed);
        let flows: Vec<_> = (0..20).map(numbered).collect();
        let ops: Vec<Op> = (0..600).map(|_| any_op(&flows, &mut dice)).collect();
        let mut waiting: VecDeque<_> = Submission::number(ops.iter().cloned()).collect();
        let mut done: Vec<Completion> = Vec::new();
        while done.len() < ops.len() {
            rig.provider.submit(&mut waiting);
            rig.provider.poll(LOOK, &mut done);
        }
        let tags: BTreeSet<Tag> = done.iter().map(|completion| completion.tag).collect();
        assert_eq!(tags.len(), ops.len(), "seed {seed}: exactly one completion each");
        out_of_order += done.windows(2).filter(|pair| pair[0].tag > pair[1].tag).count();
        let mut last: HashMap<Ufid, Tag> = HashMap::new();
        for completion in &done {
            let before = last.insert(completion.ufid, completion.tag);
            assert!(before < Some(completion.tag), "seed {seed}: {completion:?} after {before:?}");
        }
        done.sort_by_key(|completion| completion.tag);
        let mut installed = HashSet::new();
        for (op, completion) in ops.iter().zip(done) {
            let want = expected(op, &mut installed);
            assert_eq!(completion.result.map(drop), want, "seed {seed}: {op:?}");
        }
        let used = rig.card.driver.debug().unwrap().em_used;
        assert_eq!(used as usize, installed.len(), "seed {seed}");
        assert_eq!(rig.provider.counters_in_use() as usize, installed.len(), "seed {seed}");
    }
    assert!(out_of_order > 100, "the card has completed in order");
}

/// The registers of a card that hears of no commands any more.
struct Deaf {
    card: Arc<dyn Bar>,
    is_deaf: AtomicBool,
}

impl Deaf {
    fn doorbell(&self) -> u64 {
        let mut at = 0;
        while self.card.read32(at) != BlockKind::Cmdq.word() {
            at = u64::from(self.card.read32(at + words::header::NEXT.offset as u64));
        }
        at + 0x10 + words::ring::DOORBELL.offset as u64
    }
}

impl Bar for Deaf {
    fn size(&self) -> u64 {
        self.card.size()
    }

    fn read32(&self, offset: u64) -> u32 {
        self.card.read32(offset)
    }

    fn write32(&self, offset: u64, value: u32) {
        if !self.is_deaf.load(Ordering::SeqCst) || offset != self.doorbell() {
            self.card.write32(offset, value);
        }
    }
}

#[test]
fn nothing_waits_for_a_card_that_does_not_answer_and_what_is_in_flight_is_bounded() {
    let (near, _wire) = MemoryWire::pair(8).unwrap();
    let (dma, time) = (Arc::new(LocalDma::default()), ManualTime::default());
    let vectors = Arc::new(Vectors::default());
    let wires: Vec<Box<dyn vfio::Wire>> = vec![Box::new(near)];
    let capabilities = CardCapabilities::default();
    let card = ModelCard::spawn(capabilities, wires, dma.clone(), vectors, time.clock()).unwrap();
    let bar = Arc::new(Deaf { card: card.registers(), is_deaf: AtomicBool::default() });
    let access = Access { bar: bar.clone(), dma, interrupts: Vec::new(), function: Arc::new(()) };
    let config = DriverConfig { command_log2: 4, ..DriverConfig::new(&[PortId(10)], time.clock()) };
    let mut driver = Driver::open(access, &config).unwrap();
    let mut provider = driver.take_provider().unwrap();
    let window = provider.window();
    bar.is_deaf.store(true, Ordering::SeqCst);
    let install = |n| Op::Install { flow: numbered(n), generation: Generation(1) };
    let mut waiting: VecDeque<_> = Submission::number((0..1000).map(install)).collect();
    let mut done = Vec::new();
    for _ in 0..3 {
        provider.submit(&mut waiting);
        assert_eq!(waiting.len(), 1000 - window);
        provider.poll(Duration::ZERO, &mut done);
        provider.poll(LOOK, &mut done);
    }
    assert_eq!((done.len(), provider.events()), (0, vec![]));
    time.pass(config.patience);
    provider.poll(Duration::ZERO, &mut done);
    assert_eq!(done.len(), window);
    provider.submit(&mut waiting);
    assert_eq!(waiting.len(), 1000 - 2 * window, "gone, but still bounded");
    while done.len() < 1000 {
        provider.poll(Duration::ZERO, &mut done);
        provider.submit(&mut waiting);
    }
    let tags: Vec<u64> = done.iter().map(|completion| completion.tag.0).collect();
    assert!(tags.into_iter().eq(0..1000), "one completion for each");
    for completion in done {
        assert!(matches!(completion.result, Err(ProviderError::Gone(_))), "{completion:?}");
    }
    assert_eq!(provider.events().len(), 1);
}

/// Churns through some megaflows while a reading goes on.
struct Churn {
    flows: Vec<Arc<Megaflow>>,
    dice: Dice,
    next: u64,
    /// Operations in flight on each ufid.
    in_flight: BTreeMap<Ufid, u32>,
}

impl Churn {
    fn step(&mut self, provider: &mut FpgaProvider, ops: usize) {
        let mut waiting = VecDeque::new();
        for _ in 0..ops {
            let op = any_op(&self.flows, &mut self.dice);
            *self.in_flight.entry(op.ufid()).or_default() += 1;
            waiting.push_back(Submission { tag: Tag(self.next), op });
            self.next += 1;
        }
        while !waiting.is_empty() {
            provider.submit(&mut waiting);
            self.poll(provider);
        }
    }

    fn poll(&mut self, provider: &mut FpgaProvider) {
        let mut done = Vec::new();
        provider.poll(Duration::ZERO, &mut done);
        for completion in done {
            let left = self.in_flight.get_mut(&completion.ufid).unwrap();
            *left -= 1;
            if *left == 0 {
                self.in_flight.remove(&completion.ufid);
            }
        }
    }
}

#[test]
fn parts_show_each_resting_megaflow_exactly_once_while_others_come_and_go() {
    let capabilities = CardCapabilities { buckets: 256, ways: 2, ..CardCapabilities::default() };
    for seed in 1..=6 {
        let mut rig = Rig::with(2, capabilities.clone(), |_| {});
        rig.card.card.shuffle_completions(seed);
        let resting: Vec<_> = (0..850).map(numbered).collect();
        let ops: Vec<_> = resting
            .iter()
            .map(|flow| Op::Install { flow: flow.clone(), generation: Generation(1) })
            .collect();
        assert!(rig.apply(&ops).iter().all(Result::is_ok));
        let flows = (1000..1120).map(numbered).collect();
        let mut churn = Churn { flows, dice: Dice(seed), next: 0, in_flight: BTreeMap::new() };
        for round in 0..12 {
            let is_dump = round % 2 == 0;
            let mut shown: HashMap<Ufid, u32> = HashMap::new();
            let (mut next, mut parts) = (Some(Cursor::default()), 0);
            while let Some(from) = next {
                churn.step(&mut rig.provider, 40);
                let told: Vec<Ufid> = if is_dump {
                    let mut out = Vec::new();
                    next = rig.provider.dump(from, &mut out).unwrap();
                    out.into_iter().map(|dumped| dumped.ufid).collect()
                } else {
                    let mut out = Vec::new();
                    next = rig.provider.stats(from, &mut out).unwrap();
                    out.into_iter().map(|(ufid, _)| ufid).collect()
                };
                parts += 1;
                assert!(told.len() <= 2 * PART, "a part of {}", told.len());
                for ufid in told {
                    assert!(!churn.in_flight.contains_key(&ufid), "told before its completion");
                    *shown.entry(ufid).or_default() += 1;
                }
            }
            assert!(parts >= 4, "{parts} parts");
            for flow in &resting {
                let times = shown.get(&flow.ufid).copied().unwrap_or(0);
                assert_eq!(times, 1, "seed {seed}, round {round}, dump {is_dump}");
            }
        }
        while !churn.in_flight.is_empty() {
            churn.poll(&mut rig.provider);
        }
        let mut found = Vec::new();
        rig.provider.all_dumped(&mut found).unwrap();
        let used = rig.card.driver.debug().unwrap();
        assert_eq!(found.len() as u32, used.em_used + used.rows_used);
    }
}

/// Host memory in which one completion is not what the card wrote.
struct Forger {
    dma: Arc<LocalDma>,
    /// Bytes of the last completion, and how many are still to come before it is forged.
    last: std::sync::Mutex<Vec<u8>>,
    left: AtomicU64,
    /// True to repeat the last one; false to change the number.
    is_copy: bool,
}

impl HostMemory for Forger {
    fn read(&self, iova: u64, out: &mut [u8]) -> Result<(), DmaFault> {
        self.dma.read(iova, out)
    }

    fn write(&self, iova: u64, data: &[u8]) -> Result<(), DmaFault> {
        if data.len() != 32 {
            return self.dma.write(iova, data);
        }
        let mut last = self.last.lock().unwrap();
        let mut data = data.to_vec();
        if self.left.fetch_sub(1, Ordering::SeqCst) == 1 {
            match self.is_copy {
                true => data.clone_from(&last),
                false => data[1] ^= 0x40,
            }
        }
        last.clone_from(&data);
        self.dma.write(iova, &data)
    }

    fn store(&self, iova: u64, value: u32) -> Result<(), DmaFault> {
        self.dma.store(iova, value)
    }
}

#[test]
fn a_completion_that_comes_twice_or_for_no_command_ends_a_card() {
    for is_copy in [true, false] {
        let (near, _wire) = MemoryWire::pair(8).unwrap();
        let dma = Arc::new(LocalDma::default());
        let memory = Forger { dma: dma.clone(), last: Default::default(), left: 5.into(), is_copy };
        let wires: Vec<Box<dyn vfio::Wire>> = vec![Box::new(near)];
        let (vectors, clock) = (Arc::new(Vectors::default()), Clock::start());
        let capabilities = CardCapabilities::default();
        let card = ModelCard::spawn(capabilities, wires, Arc::new(memory), vectors, clock.clone());
        let card = card.unwrap();
        let (bar, function) = (card.registers(), Arc::new(()));
        let access = Access { bar, dma, interrupts: Vec::new(), function };
        let mut driver = Driver::open(access, &DriverConfig::new(&[PortId(10)], clock)).unwrap();
        let mut provider = driver.take_provider().unwrap();
        let ops: Vec<_> =
            (0..20).map(|n| Op::Install { flow: numbered(n), generation: Generation(1) }).collect();
        let mut done = Vec::new();
        provider.apply(&ops, &mut done);
        let error = done.pop().unwrap().result.unwrap_err().to_string();
        assert!(error.contains("no such command is in flight"), "{error}");
        assert!(driver.check().is_err());
    }
}
