//! A card that breaks the rules: whatever it answers, the driver neither panics nor hangs, every
//! operation gets its completion, and what can't be right ends in "gone".
//!
//! The card is the model behind a liar, who stands between it and the driver and changes what
//! comes from the card: register reads, records, indexes. A failing seed is printed and replays
//! alone: `MEGAFLOW_SEED=n cargo test -p megaflow-vfio --test broken_card`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::cast_possible_truncation)]

mod common;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use common::{flow, udp_frame};
use flow::exception::CardPort;
use flow::{
    Blocking, Clock, Generation, Megaflow, Op, PortId, Provider, ProviderError, ProviderEvent,
    Stats,
};
use vfio::model::Vectors;
use vfio::register::{BlockKind, Window, words};
use vfio::ring::{Consumer, Producer, RingConfig};
use vfio::sys::{Bar, DmaFault, DmaSource, HostMemory, LocalDma};
use vfio::{
    Access, CardCapabilities, Driver, DriverConfig, FpgaProvider, MemoryWire, ModelCard, RingPort,
};

/// Steps of the long run: operations, and calls of the rest of the driver.
const STEPS: u64 = 1_000_000;
/// Without a step for so long the driver hangs.
const HANG: Duration = Duration::from_secs(60);

/// A seeded generator that several threads share: splitmix64.
struct Dice(AtomicU64);

impl Dice {
    fn new(seed: u64) -> Dice {
        Dice(AtomicU64::new(seed))
    }

    fn roll(&self) -> u64 {
        let state = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        let mut z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn below(&self, bound: u64) -> u64 {
        self.roll() % bound
    }

    /// True once in `n` times; never for 0.
    fn one_in(&self, n: u64) -> bool {
        n > 0 && self.below(n) == 0
    }
}

/// How often the liar lies, one access in so many; 0 is never.
#[derive(Clone, Copy, Debug, Default)]
struct Lies {
    reads: u64,
    records: u64,
    indexes: u64,
}

/// Stands on both buses between the model and the driver.
struct Liar {
    card: Arc<dyn Bar>,
    dma: Arc<LocalDma>,
    dice: Dice,
    lies: Lies,
    /// Only a card that is up is of interest.
    begun: AtomicBool,
    /// The register that reads one more than it is, by its offset; 0 is none.
    one_more: AtomicU64,
}

impl Liar {
    fn lies_once_in(&self, n: u64) -> bool {
        self.begun.load(Ordering::Relaxed) && self.dice.one_in(n)
    }
}

impl Bar for Liar {
    fn size(&self) -> u64 {
        self.card.size()
    }

    fn read32(&self, offset: u64) -> u32 {
        let value = self.card.read32(offset);
        if offset > 0 && offset == self.one_more.load(Ordering::Relaxed) {
            return value + 1;
        }
        if !self.lies_once_in(self.lies.reads) {
            return value;
        }
        match self.dice.below(4) {
            0 => value ^ 1 << self.dice.below(32),
            1 => value.wrapping_add(1),
            2 => self.dice.roll() as u32,
            _ => 0,
        }
    }

    fn write32(&self, offset: u64, value: u32) {
        self.card.write32(offset, value);
    }
}

/// What the model sees of the host's memory. The liar needs the model's registers, and the model
/// its memory: this one comes first and is empty until the other is there.
#[derive(Default)]
struct LiarsMemory(OnceLock<Arc<Liar>>);

impl LiarsMemory {
    fn liar(&self) -> Result<&Liar, DmaFault> {
        self.0.get().map(|liar| &**liar).ok_or(DmaFault)
    }
}

impl HostMemory for LiarsMemory {
    fn read(&self, iova: u64, out: &mut [u8]) -> Result<(), DmaFault> {
        self.liar()?.dma.read(iova, out)
    }

    fn write(&self, iova: u64, data: &[u8]) -> Result<(), DmaFault> {
        let liar = self.liar()?;
        if !liar.lies_once_in(liar.lies.records) {
            return liar.dma.write(iova, data);
        }
        let mut data = data.to_vec();
        let at = liar.dice.below(data.len() as u64) as usize;
        match liar.dice.below(4) {
            0 => data[at] ^= 1 << liar.dice.below(8),
            1 => data[at] = liar.dice.roll() as u8,
            2 => data.iter_mut().for_each(|byte| *byte = liar.dice.roll() as u8),
            _ => return Ok(()),
        }
        liar.dma.write(iova, &data)
    }

    fn store(&self, iova: u64, value: u32) -> Result<(), DmaFault> {
        let liar = self.liar()?;
        if !liar.lies_once_in(liar.lies.indexes) {
            return liar.dma.store(iova, value);
        }
        let index = match liar.dice.below(4) {
            0 => value as u16 ^ 1 << liar.dice.below(16),
            1 => (value as u16).wrapping_add(1),
            2 => (value as u16).wrapping_sub(1),
            _ => liar.dice.roll() as u16,
        };
        liar.dma.store(iova, value & 0xffff_0000 | u32::from(index))
    }
}

/// A driver on a card behind a liar.
struct Rig {
    liar: Arc<Liar>,
    _driver: Driver,
    provider: FpgaProvider,
    port: RingPort,
    wire: MemoryWire,
    _card: ModelCard,
}

/// A card behind a liar, and what a driver needs to open it. No lie has begun.
struct Behind {
    liar: Arc<Liar>,
    access: Access,
    config: DriverConfig,
    wire: MemoryWire,
    card: ModelCard,
}

impl Behind {
    fn new(seed: u64, lies: Lies) -> Behind {
        let capabilities = CardCapabilities {
            buckets: 16,
            ways: 2,
            rows: 8,
            masks: 4,
            action_slots: 16,
            counters: 128,
            // Narrow ones wrap often.
            packet_bits: 16,
            byte_bits: 24,
            ..CardCapabilities::default()
        };
        let (near, wire) = MemoryWire::pair(64).unwrap();
        let (dma, memory) = (Arc::new(LocalDma::default()), Arc::new(LiarsMemory::default()));
        let (vectors, clock) = (Arc::new(Vectors::default()), Clock::start());
        let card = ModelCard::spawn(
            capabilities,
            vec![Box::new(near)],
            memory.clone(),
            vectors,
            clock.clone(),
        );
        let card = card.unwrap();
        let liar = Arc::new(Liar {
            card: card.registers(),
            dma: dma.clone(),
            dice: Dice::new(seed),
            lies,
            begun: AtomicBool::new(false),
            one_more: AtomicU64::new(0),
        });
        assert!(memory.0.set(liar.clone()).is_ok());
        let config = DriverConfig {
            command_log2: 4,
            packet_log2: 3,
            patience: Duration::from_millis(20),
            ..DriverConfig::new(&[PortId(10)], clock)
        };
        let (bar, function) = (liar.clone(), Arc::new(()));
        let access = Access { bar, dma, interrupts: Vec::new(), function };
        Behind { liar, access, config, wire, card }
    }
}

impl Rig {
    fn new(seed: u64, lies: Lies) -> Rig {
        let Behind { liar, access, config, wire, card } = Behind::new(seed, lies);
        let mut driver = Driver::open(access, &config).unwrap();
        let provider = driver.take_provider().unwrap();
        let port = driver.take_port(PortId(10)).unwrap();
        liar.begun.store(true, Ordering::Relaxed);
        Rig { liar, _driver: driver, provider, port, wire, _card: card }
    }

    /// One call of the driver; how many steps it was, and whether the card still counts as there.
    fn step(&mut self, flows: &[Arc<Megaflow>]) -> (u64, Result<(), String>) {
        let gone = |error: ProviderError| match error {
            ProviderError::Gone(why) => why,
            other => panic!("a reading fails with {other:?} and not with the end"),
        };
        let text = |error: std::io::Error| error.to_string();
        let dice = Dice::new(self.liar.dice.roll());
        match dice.below(16) {
            0 => (1, self.provider.all_stats(&mut Vec::new()).map_err(gone)),
            1 => (1, self.provider.all_dumped(&mut Vec::new()).map_err(gone)),
            2 => (1, self.provider.traffic().map(drop).map_err(gone)),
            3 => match self.provider.events().pop() {
                Some(ProviderEvent::Gone(why)) => (1, Err(why)),
                _ => (1, Ok(())),
            },
            4 => (1, self.port.link().map(drop).map_err(text)),
            5 => (1, self.port.arm().map_err(text)),
            6..8 => {
                let _ = vfio::Wire::transmit(&mut self.wire, &udp_frame(1, 2, 3, 100)).unwrap();
                (1, self.port.receive(8, &mut |_, _| {}).map(drop).map_err(text))
            }
            8..10 => {
                while self.wire.take().is_some() {}
                let sent = (0..8).try_for_each(|_| {
                    self.port.transmit(&udp_frame(2, 1, 3, 64))?;
                    self.port.kick()
                });
                (8, sent.map_err(text))
            }
            _ => self.batch(flows, &dice),
        }
    }

    /// A batch of operations. Each has one completion, whatever the card does.
    fn batch(&mut self, flows: &[Arc<Megaflow>], dice: &Dice) -> (u64, Result<(), String>) {
        let ops: Vec<Op> = (0..dice.below(48) + 1)
            .map(|_| {
                let flow = flows[dice.below(flows.len() as u64) as usize].clone();
                let generation = Generation(dice.roll() as u32);
                match dice.below(5) {
                    0 | 1 => Op::Install { flow, generation },
                    2 => Op::Replace { flow, generation },
                    _ => Op::Remove { ufid: flow.ufid },
                }
            })
            .collect();
        let mut done = Vec::new();
        self.provider.apply(&ops, &mut done);
        assert_eq!(done.len(), ops.len());
        let mut result = Ok(());
        for (op, completion) in ops.iter().zip(done) {
            assert_eq!((op.ufid(), op.kind()), (completion.ufid, completion.kind));
            match completion.result {
                Ok(Stats { .. }) => {}
                Err(ProviderError::Gone(why)) => result = Err(why),
                Err(_) => {}
            }
        }
        (ops.len() as u64, result)
    }
}

fn flows() -> Vec<Arc<Megaflow>> {
    let masks = ["ipv4(dst=10.0.0.N)", "ipv4(src=10.0.0.N)", "ipv4(ttl=N)", "ipv4(tos=N)"];
    let more = ["ipv4(dst=10.0.0.N,ttl=N)", "ipv4(src=10.0.0.N,ttl=N)", "ipv4(tos=N,ttl=N)"];
    let text = |(number, mask): (usize, &str)| {
        let mask = mask.replace('N', &(number % 60 * 4).to_string());
        format!(
            "in_port(10),eth(),eth_type(0x0800),{mask} actions:set(ipv4(ttl={})),10",
            number % 9
        )
    };
    let all = masks.into_iter().chain(more).cycle().take(120);
    all.enumerate().map(text).map(|text| flow(&text)).collect()
}

/// Aborts the process where nothing goes on: a hang can't be a failed assertion.
fn watch(steps: Arc<AtomicU64>, seed: Arc<AtomicU64>) {
    std::thread::spawn(move || {
        let mut last = u64::MAX;
        loop {
            std::thread::sleep(HANG);
            let now = steps.load(Ordering::Relaxed);
            if now == last {
                eprintln!("the driver hangs: MEGAFLOW_SEED={}", seed.load(Ordering::Relaxed));
                std::process::abort();
            }
            last = now;
        }
    });
}

#[test]
fn a_lying_card_ends_as_gone_and_nothing_else() {
    let flows = flows();
    let only: Option<u64> = std::env::var("MEGAFLOW_SEED").ok().map(|seed| seed.parse().unwrap());
    let (steps, current) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    watch(steps.clone(), current.clone());
    let mut reasons = BTreeSet::new();
    for seed in only.unwrap_or(1).. {
        current.store(seed, Ordering::Relaxed);
        println!("MEGAFLOW_SEED={seed}");
        let dice = Dice::new(seed);
        // Many lies end a card at once; few let it go on with a picture that is wrong.
        let rate = || [0, 0, 3, 40, 500, 4000][dice.below(6) as usize];
        let lies = Lies { reads: rate(), records: rate(), indexes: rate() };
        let mut rig = Rig::new(seed, lies);
        let mut end = Ok(());
        for _ in 0..2000 {
            let (more, result) = rig.step(&flows);
            steps.fetch_add(more, Ordering::Relaxed);
            if result.is_err() {
                end = result;
                break;
            }
        }
        if let Err(why) = end {
            // Without its numbers.
            reasons.insert(why.replace(|c: char| c.is_ascii_digit(), ""));
        }
        if only.is_some() || steps.load(Ordering::Relaxed) >= STEPS {
            break;
        }
    }
    println!("{reasons:#?}");
    if only.is_none() {
        assert!(reasons.len() > 8, "the lies are found in few ways: {reasons:#?}");
        assert!(reasons.iter().any(|why| why.contains("index is")), "{reasons:#?}");
    }
}

/// The card lies while it is opened: its identity, its blocks, its capabilities, its first answers.
#[test]
fn a_card_that_lies_from_the_start_is_refused_or_comes_up() {
    let (steps, current) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    watch(steps.clone(), current.clone());
    let (mut reasons, mut up) = (BTreeSet::new(), 0);
    for seed in 1..=400 {
        current.store(seed, Ordering::Relaxed);
        let rate = [3, 20, 100, 1000][seed as usize % 4];
        let lies = Lies { reads: rate, records: rate, indexes: rate };
        let Behind { liar, access, config, wire: _wire, card: _card } = Behind::new(seed, lies);
        liar.begun.store(true, Ordering::Relaxed);
        match Driver::open(access, &config) {
            Ok(_) => up += 1,
            Err(error) => {
                let without_numbers = |c: char| c.is_ascii_hexdigit();
                reasons.insert(error.to_string().replace(without_numbers, ""));
            }
        }
        steps.fetch_add(1, Ordering::Relaxed);
    }
    println!("{up} came up; the others: {reasons:#?}");
    assert!(up > 20 && reasons.len() > 8, "{up} came up; the others: {reasons:#?}");
}

/// The tables are empty, as is believed, and the card says that they hold an entry.
#[test]
fn a_fill_that_its_tables_contradict_ends_a_card() {
    let mut rig = Rig::new(1, Lies::default());
    let mut stats = Vec::new();
    rig.provider.all_stats(&mut stats).unwrap();
    let mut at = 0;
    while rig.liar.card.read32(at) != BlockKind::Dbg.word() {
        at = u64::from(rig.liar.card.read32(at + words::header::NEXT.offset as u64));
    }
    let fill = at + words::dbg::EM_USED.offset as u64;
    rig.liar.one_more.store(fill, Ordering::Relaxed);
    let _ = rig.provider.all_stats(&mut stats);
    let error = rig.provider.all_stats(&mut stats).unwrap_err().to_string();
    assert!(error.contains("the tables' fill is"), "{error}");
}

/// Registers without a card: what was written is read, but for one that changes at each read.
struct Plain {
    words: Mutex<Vec<u32>>,
    restless: Option<u64>,
}

impl Plain {
    fn new(restless: Option<u64>) -> Arc<Plain> {
        Arc::new(Plain { words: Mutex::new(vec![0; 1024]), restless })
    }
}

impl Bar for Plain {
    fn size(&self) -> u64 {
        4096
    }

    fn read32(&self, offset: u64) -> u32 {
        let mut words = self.words.lock().unwrap();
        let word = &mut words[offset as usize / 4];
        *word += u32::from(self.restless == Some(offset));
        *word
    }

    fn write32(&self, offset: u64, value: u32) {
        self.words.lock().unwrap()[offset as usize / 4] = value;
    }
}

#[test]
fn a_counter_that_changes_at_each_read_is_an_error() {
    let counter = words::port::RX_PACKETS;
    let window = Window::new(Plain::new(Some(counter.offset as u64 + 4)), 0);
    let error = window.read64(counter).unwrap_err().to_string();
    assert!(error.contains("RX_PACKETS changes at each read"), "{error}");
    let low = Window::new(Plain::new(Some(counter.offset as u64)), 0);
    assert_eq!(low.read64(counter).unwrap(), 1, "only the high word tells of a carry");
}

/// A ring of four records without a card: its shadow word is written by the test.
fn ring(dma: &LocalDma) -> (Window, Arc<vfio::sys::Arena>, RingConfig) {
    let arena = dma.arena(8192).unwrap();
    let config = RingConfig { log2: 2, stride: 64, vector: 0, epoch: 5 };
    (Window::new(Plain::new(None), 0), arena, config)
}

fn says(dma: &LocalDma, registers: &Window, index: u16) {
    let shadow = registers.read(words::ring::SHADOW_LO).unwrap();
    dma.store(u64::from(shadow), 5 << 16 | u32::from(index)).unwrap();
}

#[test]
fn an_index_ahead_of_the_producers_makes_no_room() {
    let dma = LocalDma::default();
    let (registers, arena, config) = ring(&dma);
    let mut ring = Producer::new(vfio::register::RingRegisters(registers.clone()), &arena, config);
    let ring = ring.as_mut().unwrap();
    for _ in 0..3 {
        assert!(ring.push(&[b"record"]).unwrap());
    }
    ring.ring();
    assert!(ring.push(&[b"not told of"]).unwrap());
    assert!(!ring.push(&[b"full"]).unwrap());
    for wrong in [4, 5, 200, u16::MAX] {
        says(&dma, &registers, wrong);
        let error = ring.push(&[b"overwrites"]).unwrap_err().to_string();
        assert!(error.contains("expected 0 to 3"), "{error}");
    }
    says(&dma, &registers, 2);
    assert_eq!(ring.room().unwrap(), 2);
}

#[test]
fn a_consumer_is_given_no_more_than_it_gave_room_for() {
    let dma = LocalDma::default();
    let (registers, arena, config) = ring(&dma);
    let mut ring = Consumer::new(vfio::register::RingRegisters(registers.clone()), &arena, config);
    let ring = ring.as_mut().unwrap();
    says(&dma, &registers, 4);
    assert_eq!(ring.waiting().unwrap(), 4);
    ring.advance(2);
    says(&dma, &registers, 5);
    assert!(ring.waiting().is_err(), "two were taken, none was given back");
    ring.give_back(true);
    assert_eq!(ring.waiting().unwrap(), 3);
    says(&dma, &registers, 1);
    assert!(ring.waiting().is_err(), "an index does not go back");
}

/// Writes completions of another epoch as fast as there is room for them.
struct Flood {
    card: Arc<dyn Bar>,
    dma: Arc<LocalDma>,
    /// Offset of the completion ring's registers.
    ring: u64,
    on: AtomicBool,
}

impl Flood {
    fn new(card: Arc<dyn Bar>, dma: Arc<LocalDma>) -> Flood {
        let mut at = 0;
        while card.read32(at) != BlockKind::Cplq.word() {
            at = u64::from(card.read32(at + words::header::NEXT.offset as u64));
            assert_ne!(at, 0, "no completion ring");
        }
        Flood { card, dma, ring: at + 0x10, on: AtomicBool::new(false) }
    }

    fn register(&self, word: vfio::Word) -> u32 {
        self.card.read32(self.ring + word.offset as u64)
    }

    fn fill(&self, given_back: u32) {
        let entries = 1 << self.register(words::ring::LOG2);
        let base = u64::from(self.register(words::ring::BASE_LO));
        self.dma.write(base, &vec![0x77; 32 * entries as usize]).unwrap();
        let epoch = self.card.read32(self.control() + words::ctrl::BOOT_EPOCH.offset as u64);
        let index = (given_back + entries) & 0xffff;
        let shadow = u64::from(self.register(words::ring::SHADOW_LO));
        self.dma.store(shadow, epoch << 16 | index).unwrap();
    }

    fn control(&self) -> u64 {
        let mut at = 0;
        while self.card.read32(at) != BlockKind::Ctrl.word() {
            at = u64::from(self.card.read32(at + words::header::NEXT.offset as u64));
        }
        at
    }
}

impl Bar for Flood {
    fn size(&self) -> u64 {
        self.card.size()
    }

    fn read32(&self, offset: u64) -> u32 {
        self.card.read32(offset)
    }

    fn write32(&self, offset: u64, value: u32) {
        let is_doorbell = offset == self.ring + words::ring::DOORBELL.offset as u64;
        match self.on.load(Ordering::Relaxed) {
            // The card itself gets nothing more to do.
            true if is_doorbell => self.fill(value),
            true => {}
            false => self.card.write32(offset, value),
        }
    }
}

#[test]
fn completions_of_another_epoch_end_sometime() {
    watch(Arc::default(), Arc::default());
    let (near, _wire) = MemoryWire::pair(8).unwrap();
    let dma = Arc::new(LocalDma::default());
    let capabilities = CardCapabilities::default();
    let (vectors, clock) = (Arc::new(Vectors::default()), Clock::start());
    let wires: Vec<Box<dyn vfio::Wire>> = vec![Box::new(near)];
    let card = ModelCard::spawn(capabilities, wires, dma.clone(), vectors, clock.clone()).unwrap();
    let flood = Arc::new(Flood::new(card.registers(), dma.clone()));
    let config = DriverConfig { command_log2: 4, ..DriverConfig::new(&[PortId(10)], clock) };
    let (bar, function) = (flood.clone(), Arc::new(()));
    let access = Access { bar, dma, interrupts: Vec::new(), function };
    let mut driver = Driver::open(access, &config).unwrap();
    let mut provider = driver.take_provider().unwrap();
    flood.on.store(true, Ordering::Relaxed);
    flood.fill(0);
    let error = provider.all_stats(&mut Vec::new()).unwrap_err().to_string();
    assert!(error.contains("another epoch"), "{error}");
    assert!(driver.check().is_err(), "no part of the driver uses the card any more");
}
