//! A card that answers everything, each time just before its time is over: a job of many commands
//! ends in "gone" all the same, in a time that does not grow without bound, and the card is told to
//! stop. Time is the test's own: it passes only when the card lets it pass.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod common;

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use common::flow;
use flow::exception::CardPort;
use flow::{
    Blocking, Generation, ManualTime, Megaflow, Moment, Op, PortId, Provider, ProviderError,
};
use vfio::model::{Damage, Vectors};
use vfio::register::{BlockKind, words};
use vfio::sys::{Bar, DmaFault, HostMemory, LocalDma, PciFunction};
use vfio::{
    Access, CardCapabilities, Driver, DriverConfig, FpgaProvider, MemoryWire, ModelCard, Wire,
};

/// The time that one command may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// The time of a command that is not yet too slow.
const SLOW: Duration = Duration::from_millis(1900);
const LATE: Duration = Duration::from_millis(2100);
/// The longest time between two looks at the clock of a driver whose thread is late: the card ends
/// the two commands in flight, the driver sees that and gives two more, and the card ends them too.
const FLIGHT: Duration = Duration::from_millis(4 * 1900);
/// The fixed part of a job's time, and the part of each command.
const FIXED: Duration = Duration::from_secs(4);
const COMMAND: Duration = Duration::from_millis(10);
/// A time per register read at which a port's counters take more than a second.
const SLOW_READ: Duration = Duration::from_millis(20);
const PORTS: u32 = 4;

/// Stands on both buses between the model and the driver, and lets time pass.
struct Slow {
    card: Arc<dyn Bar>,
    dma: Arc<LocalDma>,
    time: ManualTime,
    /// The nanoseconds that each completion takes; 0 while the card is a good one.
    per_completion: AtomicU64,
    /// The nanoseconds that each register read takes.
    per_read: AtomicU64,
    /// True if completions never reach the driver.
    is_mute: AtomicBool,
    /// The card's index in the shadow word of the completion ring.
    shown: AtomicU32,
    resets: AtomicU32,
}

impl Slow {
    fn block(&self, kind: BlockKind) -> u64 {
        let mut at = 0;
        while self.card.read32(at) != kind.word() {
            at = u64::from(self.card.read32(at + words::header::NEXT.offset as u64));
        }
        at
    }

    /// The address of the completion ring's shadow word.
    fn completions(&self) -> u64 {
        let ring = self.block(BlockKind::Cplq) + 0x10;
        let half = |word: vfio::Word| u64::from(self.card.read32(ring + word.offset as u64));
        half(words::ring::SHADOW_HI) << 32 | half(words::ring::SHADOW_LO)
    }
}

impl Bar for Slow {
    fn size(&self) -> u64 {
        self.card.size()
    }

    fn read32(&self, offset: u64) -> u32 {
        self.time.pass(Duration::from_nanos(self.per_read.load(Ordering::SeqCst)));
        self.card.read32(offset)
    }

    fn write32(&self, offset: u64, value: u32) {
        let is_command = offset == self.block(BlockKind::Ctrl) + words::ctrl::CMD.offset as u64;
        self.resets.fetch_add(u32::from(is_command && value == 1), Ordering::SeqCst);
        self.card.write32(offset, value);
    }
}

/// What the model sees of the host's memory.
#[derive(Default)]
struct SlowMemory(OnceLock<Arc<Slow>>);

impl SlowMemory {
    fn slow(&self) -> Result<&Slow, DmaFault> {
        self.0.get().map(|slow| &**slow).ok_or(DmaFault)
    }
}

impl HostMemory for SlowMemory {
    fn read(&self, iova: u64, out: &mut [u8]) -> Result<(), DmaFault> {
        self.slow()?.dma.read(iova, out)
    }

    fn write(&self, iova: u64, data: &[u8]) -> Result<(), DmaFault> {
        self.slow()?.dma.write(iova, data)
    }

    /// Completions become visible one by one, each after its time.
    fn store(&self, iova: u64, value: u32) -> Result<(), DmaFault> {
        let slow = self.slow()?;
        let time = Duration::from_nanos(slow.per_completion.load(Ordering::SeqCst));
        if iova != slow.completions() {
            return slow.dma.store(iova, value);
        }
        let index = value & 0xffff;
        let shown = slow.shown.swap(index, Ordering::SeqCst);
        if time.is_zero() {
            return slow.dma.store(iova, value);
        }
        for ahead in 1..=index.wrapping_sub(shown) & 0xffff {
            slow.time.pass(time);
            if !slow.is_mute.load(Ordering::SeqCst) {
                slow.dma.store(iova, value & 0xffff_0000 | (shown + ahead) & 0xffff)?;
            }
        }
        Ok(())
    }
}

/// The function's bus mastering, as the driver leaves it.
struct Bus(Arc<AtomicBool>);

impl PciFunction for Bus {
    fn stop_dma(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    fn let_go(&self) {}
}

struct Rig {
    slow: Arc<Slow>,
    is_stopped: Arc<AtomicBool>,
    driver: Driver,
    provider: FpgaProvider,
    card: ModelCard,
    _wires: Vec<MemoryWire>,
    flows: Vec<Arc<Megaflow>>,
}

impl Rig {
    /// A card with a hundred megaflows, which is a good one until now.
    fn new() -> Rig {
        let (near, far): (Vec<_>, Vec<_>) =
            (0..PORTS).map(|_| MemoryWire::pair(8).unwrap()).unzip();
        let wires = near.into_iter().map(|wire| Box::new(wire) as Box<dyn Wire>).collect();
        let (dma, memory) = (Arc::new(LocalDma::default()), Arc::new(SlowMemory::default()));
        let time = ManualTime::default();
        let (capabilities, vectors) = (CardCapabilities::default(), Arc::new(Vectors::default()));
        let card = ModelCard::spawn(capabilities, wires, memory.clone(), vectors, time.clock());
        let card = card.unwrap();
        let slow = Arc::new(Slow {
            card: card.registers(),
            dma: dma.clone(),
            time: time.clone(),
            per_completion: AtomicU64::default(),
            per_read: AtomicU64::default(),
            is_mute: AtomicBool::default(),
            shown: AtomicU32::default(),
            resets: AtomicU32::default(),
        });
        assert!(memory.0.set(slow.clone()).is_ok());
        let ids: Vec<PortId> = (10..).take(PORTS as usize).map(PortId).collect();
        let is_stopped = Arc::new(AtomicBool::default());
        let (bar, function) = (slow.clone(), Arc::new(Bus(is_stopped.clone())));
        let access = Access { bar, dma, interrupts: Vec::new(), function };
        // Two commands are in flight at most: the driver waits for most of them.
        let config = DriverConfig { command_log2: 1, ..DriverConfig::new(&ids, time.clock()) };
        let mut driver = Driver::open(access, &config).unwrap();
        let provider = driver.take_provider().unwrap();
        let text = |n: u32| format!("in_port(10),eth(),eth_type(0x0800),ipv4(ttl={n}) actions:11");
        let flows = (0..100).map(|n| flow(&text(n))).collect();
        let mut rig = Rig { slow, is_stopped, driver, provider, card, _wires: far, flows };
        let install = |flow: &Arc<Megaflow>| Op::Install { flow: flow.clone(), generation: LIFE };
        let ops: Vec<Op> = rig.flows.iter().map(install).collect();
        assert_eq!(rig.apply(&ops), Ok(()));
        rig.slow.resets.store(0, Ordering::SeqCst);
        rig
    }

    fn become_slow(&self, time: Duration) {
        let time = u64::try_from(time.as_nanos()).unwrap();
        self.slow.per_completion.store(time, Ordering::SeqCst);
    }

    /// Applies a batch; the error of the last operation, if any.
    fn apply(&mut self, ops: &[Op]) -> Result<(), ProviderError> {
        let mut done = Vec::new();
        self.provider.apply(ops, &mut done);
        assert_eq!(done.len(), ops.len());
        done.pop().unwrap().result.map(drop)
    }

    fn now(&self) -> Moment {
        self.slow.time.clock().now()
    }

    /// Does a job of so many commands at most, which has to end as gone within its time; then no
    /// part of the driver uses the card, and the card can't write to memory any more.
    ///
    /// `look` is the longest time that passes between two looks at the card. A look counts at most
    /// what one command may take, so a longer one stretches the job's time by as much; and the look
    /// that finds the time over comes after it.
    fn ends(
        &mut self,
        commands: u32,
        look: Duration,
        job: impl FnOnce(&mut Rig) -> Result<(), ProviderError>,
    ) {
        let mut port = self.driver.take_port(PortId(10)).unwrap();
        let epoch = self.slow.block(BlockKind::Ctrl) + words::ctrl::BOOT_EPOCH.offset as u64;
        let (start, life) = (self.now(), self.slow.card.read32(epoch));
        let error = job(self).unwrap_err();
        let (took, limit) = (self.now().since(start), FIXED + COMMAND * commands);
        let limit = (limit + look).mul_f64(look.div_duration_f64(PATIENCE).max(1.0));
        assert!(matches!(&error, ProviderError::Gone(why) if why.contains("in time")), "{error}");
        assert!(took <= limit, "{took:?}, limit {limit:?}");
        assert!(self.is_stopped.load(Ordering::SeqCst), "the card still masters the bus");
        assert_eq!(self.slow.resets.load(Ordering::SeqCst), 1, "the card was not told to reset");
        while self.slow.card.read32(epoch) == life {
            std::thread::yield_now();
        }
        assert!(matches!(self.driver.check(), Err(vfio::Error::Timeout(_))));
        assert!(port.receive(1, &mut |_, _| {}).is_err(), "a port still uses the card");
        assert!(port.transmit(&[0; 64]).is_err(), "a port still uses the card");
        let before = self.now();
        assert!(self.provider.all_stats(&mut Vec::new()).is_err());
        assert!(self.provider.all_dumped(&mut Vec::new()).is_err());
        assert_eq!(self.now(), before, "a card that is gone is not asked again");
    }
}

const LIFE: Generation = Generation(1);

#[test]
fn a_dump_has_one_limit_for_all_its_commands() {
    let mut rig = Rig::new();
    rig.become_slow(SLOW);
    rig.ends(400, FLIGHT, |rig| rig.provider.all_dumped(&mut Vec::new()));
}

#[test]
fn a_batch_has_one_limit_for_all_its_commands() {
    let mut rig = Rig::new();
    rig.become_slow(SLOW);
    let remove = |flow: &Arc<Megaflow>| Op::Remove { ufid: flow.ufid };
    let ops: Vec<Op> = rig.flows.iter().map(remove).collect();
    rig.ends(100, FLIGHT, |rig| rig.apply(&ops));
}

#[test]
fn a_statistics_pass_has_one_limit_for_all_its_commands() {
    let mut rig = Rig::new();
    let lost = rig.flows[0].ufid.0;
    rig.card.damage(lost, Damage::Lost);
    rig.become_slow(SLOW);
    rig.ends(400, FLIGHT, |rig| {
        // The snapshot itself comes in time, so its statistics count. The pass then reads both
        // tables, to find what was lost, and the next one tells that the card is gone.
        let mut stats = Vec::new();
        assert_eq!(rig.provider.all_stats(&mut stats), Ok(()));
        assert_eq!(stats.len(), 100);
        rig.provider.all_stats(&mut stats)
    });
}

#[test]
fn the_counters_of_many_ports_have_one_limit() {
    let mut rig = Rig::new();
    let time = u64::try_from(SLOW_READ.as_nanos()).unwrap();
    rig.slow.per_read.store(time, Ordering::SeqCst);
    rig.ends(0, SLOW_READ * 100, |rig| {
        let traffic = rig.provider.traffic().map(drop);
        rig.slow.per_read.store(0, Ordering::SeqCst);
        traffic
    });
}

#[test]
fn a_command_without_a_completion_ends_the_card() {
    let mut rig = Rig::new();
    rig.slow.is_mute.store(true, Ordering::SeqCst);
    rig.become_slow(LATE);
    rig.ends(1, LATE, |rig| rig.provider.all_stats(&mut Vec::new()));
}

/// A card at the edge of what is worth using is not given up: a command takes as long as it adds
/// to its job.
#[test]
fn a_card_that_is_merely_slow_stays() {
    let mut rig = Rig::new();
    rig.become_slow(COMMAND);
    let mut found = Vec::new();
    assert_eq!(rig.provider.all_dumped(&mut found), Ok(()));
    assert_eq!(found.len(), 100);
    let remove = |flow: &Arc<Megaflow>| Op::Remove { ufid: flow.ufid };
    let ops: Vec<Op> = rig.flows.iter().map(remove).collect();
    assert_eq!(rig.apply(&ops), Ok(()));
    assert_eq!(rig.provider.all_stats(&mut Vec::new()), Ok(()));
    assert!(!rig.is_stopped.load(Ordering::SeqCst) && rig.driver.check().is_ok());
}
