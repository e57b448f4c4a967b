//! A host that knows nothing but register offsets: the smallest possible driver.
#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test helpers")]

use std::sync::Arc;
use std::time::Duration;

use flow::Clock;
use vfio::sys::{Bar, DmaSource, LocalDma, Region};
use vfio::{CardCapabilities, MemoryWire, ModelCard, Wire};

pub(crate) const CTRL: u64 = 0x200;
pub(crate) const CMDQ: u64 = 0x310;
pub(crate) const CPLQ: u64 = 0x350;
pub(crate) const EVTQ: u64 = 0x390;
pub(crate) const SNAP: u64 = 0x600;
pub(crate) const ERR: u64 = 0x640;
pub(crate) const RX0: u64 = 0x1110;
pub(crate) const TX0: u64 = 0x1140;

/// A model card of two wires and its host.
pub(crate) struct Bench {
    pub(crate) card: ModelCard,
    pub(crate) host: Host,
    pub(crate) wires: Vec<MemoryWire>,
}

impl Bench {
    /// Reset (epoch 2), all-zero secrets, rings of 8, running.
    pub(crate) fn new(caps: CardCapabilities) -> Bench {
        let dma = Arc::new(LocalDma::default());
        let (near0, far0) = MemoryWire::pair(64).unwrap();
        let (near1, far1) = MemoryWire::pair(64).unwrap();
        let wires: Vec<Box<dyn Wire>> = vec![Box::new(near0), Box::new(near1)];
        let card = ModelCard::spawn(caps, wires, dma.clone(), Arc::default(), Clock::start());
        let card = card.unwrap();
        let arena = dma.arena(1 << 20).unwrap();
        let bar: Arc<dyn Bar> = card.registers();
        let region = |bytes| arena.allocate(bytes).unwrap();
        let host = Host {
            commands: region(2048),
            completions: region(256),
            events: region(256),
            packets: region(8 * 2048),
            frames: region(8 * 2048),
            scratch: region(1 << 16),
            shadows: region(512),
            bar: bar.clone(),
            sent: 0,
        };
        bar.write32(CTRL + 0x14, 1);
        host.wait("the reset", || bar.read32(CTRL + 0x18) == 2);
        host.ring(CPLQ, &host.completions, 64, 32);
        host.ring(CMDQ, &host.commands, 0, 256);
        host.ring(RX0, &host.packets, 128, 2048);
        host.ring(EVTQ, &host.events, 192, 32);
        host.ring(TX0, &host.frames, 256, 2048);
        bar.write32(CTRL + 0x14, 3);
        host.wait("running", || bar.read32(CTRL + 0x10) == 3);
        Bench { card, host, wires: vec![far0, far1] }
    }
}

/// The host's side, by offsets and bytes.
pub(crate) struct Host {
    pub(crate) bar: Arc<dyn Bar>,
    commands: Region,
    completions: Region,
    pub(crate) events: Region,
    pub(crate) packets: Region,
    pub(crate) frames: Region,
    pub(crate) scratch: Region,
    /// Shadow words: CMDQ 0, CPLQ 64, RX0 128, EVTQ 192, TX0 256.
    pub(crate) shadows: Region,
    sent: u32,
}

impl Host {
    fn ring(&self, at: u64, base: &Region, shadow: u64, stride: u32) {
        self.bar.write64(at, base.iova());
        self.bar.write32(at + 0x08, 3);
        self.bar.write32(at + 0x0c, stride);
        self.bar.write64(at + 0x14, self.shadows.iova() + shadow);
        self.bar.write32(at + 0x10, 1);
        assert_eq!(self.bar.read32(at + 0x10), 1);
    }

    pub(crate) fn wait(&self, what: &str, done: impl Fn() -> bool) {
        let start = Clock::start();
        while !done() {
            assert!(start.elapsed() < Duration::from_secs(2), "{what}");
            std::thread::sleep(Duration::from_micros(100));
        }
    }

    /// Puts a command into the ring; returns its completion with TS 0.
    pub(crate) fn send(&mut self, record: &[u8]) -> Vec<u8> {
        let slot = (self.sent % 8) as usize;
        self.commands.write(slot * 256, record);
        self.sent += 1;
        self.bar.write32(CMDQ + 0x1c, self.sent);
        let shown = 2 << 16 | self.sent;
        self.wait("a completion", || self.shadows.load(64) == shown);
        let mut completion = vec![0; 32];
        self.completions.read(slot * 32, &mut completion);
        completion[0x18..0x1c].fill(0);
        self.bar.write32(CPLQ + 0x1c, self.sent);
        completion
    }

    /// Commands sent so far: the next one's SEQ.
    pub(crate) fn sequence(&self) -> u32 {
        self.sent
    }
}
