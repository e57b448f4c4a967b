//! The driver: identifies the card, brings it up and hands out its parts.

use std::io::Read;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use flow::{Clock, PortId};

use crate::admission::CardAdmission;
use crate::channel::Channel;
use crate::error::Error;
use crate::exception::{NextRings, PortRings, RingPort};
use crate::job_time::JobTime;
use crate::open_card::OpenCard;
use crate::provider::{CardParts, FpgaProvider, READBACK, SnapshotBuffer};
use crate::register::{
    BlockKind, Blocks, CardCapabilities, Ctrl, DebugCounters, ErrBlock, HashBlock, PortsBlock,
    RingRegisters, Snap, check_identity,
};
use crate::ring::command::COMMAND_BYTES;
use crate::ring::packet::DESCRIPTOR_BYTES;
use crate::ring::record::{RECORD_BYTES, WORD_BYTES};
use crate::ring::{Consumer, Producer, RingConfig, ring_bytes};
use crate::sys::vfio::VfioCard;
use crate::sys::{Arena, Bar, DmaSource, Interrupt, PciFunction};
use crate::toeplitz::{SECRET_BYTES, Secret};

/// MSI-X vectors as this driver assigns them; port p has `PORT_VECTOR + p`.
const COMPLETION_VECTOR: u32 = 0;
const EVENT_VECTOR: u32 = 1;
const PORT_VECTOR: u32 = 2;
/// The event ring has 2^n records.
const EVENT_LOG2: u32 = 6;

/// The parts through which the driver reaches a card.
pub struct Access {
    /// BAR0.
    pub bar: Arc<dyn Bar>,
    /// The source of memory that the card can reach.
    pub dma: Arc<dyn DmaSource>,
    /// The MSI-X vectors in order; if the card has more, the driver polls for the rest.
    pub interrupts: Vec<Interrupt>,
    /// The card's PCI function; it lives as long as the driver.
    pub function: Arc<dyn PciFunction>,
}

impl Access {
    /// Returns the way to a real card by its PCI address.
    fn by_address(address: &str) -> Result<Access, Error> {
        let card = VfioCard::open(address)?;
        let (bar, dma, interrupts) = (card.bar(), card.dma(), card.interrupts()?);
        Ok(Access { bar, dma, interrupts, function: Arc::new(card) })
    }

    fn again(&self) -> Result<Access, Error> {
        Ok(Access {
            bar: self.bar.clone(),
            dma: self.dma.clone(),
            interrupts: self
                .interrupts
                .iter()
                .map(Interrupt::try_clone)
                .collect::<Result<_, _>>()?,
            function: self.function.clone(),
        })
    }
}

/// The settings of a driver.
#[derive(Clone, Debug)]
pub struct DriverConfig {
    /// The datapath port of each wire port, in the card's order; more ports than the card has
    /// wires are an error.
    pub ports: Vec<PortId>,
    /// At most 2^n commands are in flight (fewer if the card has less room).
    pub command_log2: u32,
    /// Each packet ring has 2^n slots.
    pub packet_log2: u32,
    /// The size of a packet slot in bytes, descriptor included; a longer frame is dropped as
    /// oversize.
    pub packet_stride: usize,
    /// The secrets of the placement hash; `None` takes random ones.
    pub secrets: Option<[Secret; 2]>,
    /// The longest time that a command may take before the card counts as gone.
    pub patience: Duration,
    /// The clock by which the card is waited for.
    pub clock: Clock,
}

impl DriverConfig {
    /// Returns the usual settings: 512 commands, 256 frames of up to 1,984 bytes per direction and
    /// port, and the 2 s of `docs/fpga-abi.md` for a command.
    #[must_use]
    pub fn new(ports: &[PortId], clock: Clock) -> DriverConfig {
        DriverConfig {
            ports: ports.to_vec(),
            command_log2: 9,
            packet_log2: 8,
            packet_stride: 2048,
            secrets: None,
            patience: Duration::from_secs(2),
            clock,
        }
    }

    /// Makes the packet slots large enough for frames of this length.
    pub fn take_frames(&mut self, length: usize) {
        let stride = (length + DESCRIPTOR_BYTES).next_multiple_of(64);
        self.packet_stride = self.packet_stride.max(stride);
    }
}

/// An open card.
pub struct Driver {
    device: Current,
    capabilities: CardCapabilities,
    admission: Arc<CardAdmission>,
    provider: Option<FpgaProvider>,
    ports: Vec<(PortId, Option<RingPort>)>,
}

/// The present life of a card, which its provider's thread replaces.
type Current = Arc<Mutex<Arc<OpenCard>>>;

fn current(device: &Current) -> Arc<OpenCard> {
    device.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// How a card is reached each time that it is opened.
enum Way {
    /// By the same registers and memory.
    Same(Access),
    /// By a function that is opened anew, because it may have been bound to another driver.
    Address(String),
}

impl Way {
    fn access(&self) -> Result<Access, Error> {
        match self {
            Way::Same(access) => access.again(),
            Way::Address(address) => Access::by_address(address),
        }
    }
}

/// The parts of a card while it is being brought up.
struct BringUp<'a> {
    config: &'a DriverConfig,
    blocks: Blocks,
    capabilities: CardCapabilities,
    arena: Arc<Arena>,
    epoch: u32,
    interrupts: Vec<Option<Interrupt>>,
}

/// A card that was brought up.
struct Opened {
    device: Arc<OpenCard>,
    capabilities: CardCapabilities,
    parts: CardParts,
    ports: Vec<PortRings>,
}

impl Driver {
    /// Opens a card: walks its blocks, checks that this driver fits, resets the card, sets its
    /// rings up and starts it. The reset empties the card's tables.
    pub fn open(access: Access, config: &DriverConfig) -> Result<Driver, Error> {
        Driver::open_by(Way::Same(access), config)
    }

    /// Opens a real card by its PCI address (bound to `vfio-pci`), such as `0000:03:00.0`.
    pub fn open_vfio(address: &str, config: &DriverConfig) -> Result<Driver, Error> {
        Driver::open_by(Way::Address(address.to_owned()), config)
    }

    fn open_by(way: Way, config: &DriverConfig) -> Result<Driver, Error> {
        let opened = open(&way, config, None)?;
        let capabilities = opened.capabilities;
        let admission = Arc::new(CardAdmission::new(&capabilities, &config.ports));
        let longest = capabilities.max_frame as usize;
        let mut next = Vec::new();
        let rings = (0u16..).zip(&config.ports).zip(opened.ports);
        let ports = rings.map(|((number, id), rings)| {
            let slot = NextRings::default();
            next.push(slot.clone());
            (*id, Some(RingPort::new(number, rings, slot, longest)))
        });
        let ports = ports.collect();
        let device: Current = Arc::new(Mutex::new(opened.device));
        let (life, card, config) = (device.clone(), capabilities.clone(), config.clone());
        let reopen = move || {
            let old = current(&life);
            let opened = open(&way, &config, Some((&old, &card)))?;
            *life.lock().unwrap_or_else(PoisonError::into_inner) = opened.device;
            for (slot, rings) in next.iter().zip(opened.ports) {
                *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(rings);
            }
            Ok(opened.parts)
        };
        let (reopen, admitted) = (Box::new(reopen), admission.clone());
        let provider = FpgaProvider::new(opened.parts, &capabilities, admitted, reopen);
        Ok(Driver { device, capabilities, admission, provider: Some(provider), ports })
    }

    /// Returns the card's capabilities.
    #[must_use]
    pub fn capabilities(&self) -> &CardCapabilities {
        &self.capabilities
    }

    /// Returns the card's decision function.
    #[must_use]
    pub fn admission(&self) -> Arc<CardAdmission> {
        self.admission.clone()
    }

    /// Returns the provider, for the thread that will own it; `None` the second time.
    pub fn take_provider(&mut self) -> Option<FpgaProvider> {
        self.provider.take()
    }

    /// Returns the rings of a port, for the thread that will own them; `None` the second time and
    /// for a port that is not on the card.
    pub fn take_port(&mut self, port: PortId) -> Option<RingPort> {
        self.ports.iter_mut().find(|(id, _)| *id == port)?.1.take()
    }

    /// Fails if the card is gone, has halted or has broken the rules.
    pub fn check(&self) -> Result<(), Error> {
        current(&self.device).check()
    }

    /// Reads the card's debug counters; this is slow and meant for people and tests.
    pub fn debug(&self) -> Result<DebugCounters, Error> {
        DebugCounters::read(&current(&self.device).debug)
    }

    /// Stops lookups: every packet goes to the host from now on, as a miss. The tables stay.
    pub fn quiesce(&self) -> Result<(), Error> {
        let device = current(&self.device);
        device.ctrl.quiesce(&device.clock)
    }

    /// Starts lookups again.
    pub fn resume(&self) -> Result<(), Error> {
        let device = current(&self.device);
        device.ctrl.run(&device.clock)
    }
}

/// Opens a card. If it was open before, its users stop first, and the same card has to be found.
fn open(
    way: &Way,
    config: &DriverConfig,
    before: Option<(&OpenCard, &CardCapabilities)>,
) -> Result<Opened, Error> {
    if let Some((old, _)) = before {
        old.retire();
        if matches!(way, Way::Address(_)) {
            old.let_go();
        }
    }
    let access = way.access()?;
    let blocks = Blocks::walk(&access.bar)?;
    check_identity(&blocks.need(BlockKind::Fwid)?)?;
    let capabilities = CardCapabilities::read(&blocks.need(BlockKind::Cap)?)?;
    let named = config.ports.len();
    if named > capabilities.ports as usize {
        let has = capabilities.ports;
        return Err(Error::Unusable(format!("{named} ports are named; the card has {has}")));
    }
    if before.is_some_and(|(_, known)| *known != capabilities) {
        return Err(Error::Unusable("another card is in its place".into()));
    }
    let ctrl = Ctrl(blocks.need(BlockKind::Ctrl)?);
    ctrl.check_scratch()?;
    let epoch = ctrl.reset(&config.clock)?;
    if let Some((old, _)) = before {
        old.bury();
    }
    let command_log2 = config.command_log2.clamp(1, capabilities.max_inflight.ilog2());
    let arena = access.dma.arena(arena_bytes(config, command_log2, &capabilities))?;
    let err = ErrBlock(blocks.need(BlockKind::Err)?);
    let debug = blocks.need(BlockKind::Dbg)?;
    let clock = config.clock.clone();
    let device = OpenCard::new(ctrl, err, debug, clock, epoch, arena.clone(), access.function);
    let device = Arc::new(device);
    let interrupts = access.interrupts.into_iter().map(Some).collect();
    let mut up = BringUp { config, blocks, capabilities, arena, epoch, interrupts };
    let ports = up.ports(&device)?;
    let parts = up.parts(command_log2, &device, &ports)?;
    device.ctrl.run(&device.clock)?;
    Ok(Opened { device, capabilities: up.capabilities, parts, ports })
}

impl BringUp<'_> {
    fn ring(&self, kind: BlockKind) -> Result<RingRegisters, Error> {
        Ok(RingRegisters(self.blocks.need(kind)?.at(0x10)))
    }

    fn interrupt(&mut self, vector: u32) -> Option<Interrupt> {
        self.interrupts.get_mut(vector as usize).and_then(Option::take)
    }

    fn ports(&mut self, device: &Arc<OpenCard>) -> Result<Vec<PortRings>, Error> {
        let windows = PortsBlock::read(self.blocks.need(BlockKind::Ports)?)?;
        let (log2, stride) = (self.config.packet_log2, self.config.packet_stride);
        let mut ports = Vec::new();
        for number in (0u16..).take(self.config.ports.len()) {
            let window = windows.port(number);
            let vector = PORT_VECTOR + u32::from(number);
            let ring = RingConfig { log2, stride, vector, epoch: self.epoch };
            let rx = Consumer::new(window.rx(), &self.arena, ring)?;
            let tx = Producer::new(window.tx(), &self.arena, ring)?;
            let interrupt = self.interrupt(vector);
            ports.push(PortRings { rx, tx, interrupt, window, device: device.clone() });
        }
        Ok(ports)
    }

    fn parts(
        &mut self,
        log2: u32,
        device: &Arc<OpenCard>,
        ports: &[PortRings],
    ) -> Result<CardParts, Error> {
        let secrets = match self.config.secrets {
            Some(secrets) => secrets,
            None => random_secrets()?,
        };
        HashBlock(self.blocks.need(BlockKind::Hash)?).set(&secrets);
        let (arena, epoch) = (self.arena.clone(), self.epoch);
        let ring = |log2, stride, vector| RingConfig { log2, stride, vector, epoch };
        let completed = ring(log2, RECORD_BYTES, COMPLETION_VECTOR);
        let completions = Consumer::new(self.ring(BlockKind::Cplq)?, &arena, completed)?;
        let happened = ring(EVENT_LOG2, RECORD_BYTES, EVENT_VECTOR);
        let events = Consumer::new(self.ring(BlockKind::Evtq)?, &arena, happened)?;
        let wanted = ring(log2, COMMAND_BYTES, COMPLETION_VECTOR);
        let commands = Producer::new(self.ring(BlockKind::Cmdq)?, &arena, wanted)?;
        let interrupt = self.interrupt(COMPLETION_VECTOR);
        let time = JobTime::new(device.clock.clone(), self.config.patience);
        let channel = Channel::new(commands, completions, interrupt, device.clone(), epoch, time);
        let snapshot = SnapshotBuffer {
            block: Snap(self.blocks.need(BlockKind::Snap)?),
            memory: arena.allocate(snapshot_bytes(&self.capabilities))?,
            reach: 0,
        };
        let readback = arena.allocate(READBACK as usize * COMMAND_BYTES)?;
        let windows = self.config.ports.iter().zip(ports);
        let windows = windows.map(|(id, port)| (*id, port.window.clone())).collect();
        Ok(CardParts { channel, events, snapshot, readback, secrets, windows })
    }
}

fn snapshot_bytes(card: &CardCapabilities) -> usize {
    RECORD_BYTES + card.counters as usize * WORD_BYTES
}

fn arena_bytes(config: &DriverConfig, command_log2: u32, card: &CardCapabilities) -> usize {
    let packets = 2 * ring_bytes(config.packet_log2, config.packet_stride);
    ring_bytes(command_log2, COMMAND_BYTES)
        + ring_bytes(command_log2, RECORD_BYTES)
        + ring_bytes(EVENT_LOG2, RECORD_BYTES)
        + packets * config.ports.len()
        + snapshot_bytes(card).next_multiple_of(64)
        + READBACK as usize * COMMAND_BYTES
}

fn random_secrets() -> Result<[Secret; 2], Error> {
    let mut secrets = [[0; SECRET_BYTES]; 2];
    let mut random =
        std::fs::File::open("/dev/urandom").map_err(|e| Error::host("/dev/urandom", e))?;
    for secret in &mut secrets {
        random.read_exact(secret).map_err(|e| Error::host("/dev/urandom", e))?;
    }
    Ok(secrets)
}
