//! The card's own thread.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use flow::packet::Packet;
use flow::{Clock, Counters};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::held::HeldCompletions;
use super::ledger::{CardLedger, Drop};
use super::registers::{CMDQ_RING, CTRL, DBG, HASH, Registers, port_window};
use super::rings::CardRing;
use super::tables::{Damage, Tables};
use super::vectors::Vectors;
use super::wire::Wire;
use crate::layout::Word;
use crate::register::words::{ctrl, dbg, err, hash, port};
use crate::register::{CardCapabilities, CardState, CtrlCommand};
use crate::ring::record::cause;
use crate::sys::HostMemory;
use crate::toeplitz::{SECRET_BYTES, Toeplitz};

/// The longest sleep: the heartbeat is due once a second.
const NAP: Duration = Duration::from_millis(250);
/// The sleep while there is a wire without a descriptor, which has to be looked at.
const SHORT_NAP: Duration = Duration::from_millis(1);

#[derive(Default)]
pub(super) struct PortCounts {
    pub(super) rx: Counters,
    pub(super) tx: Counters,
    pub(super) to_host: Counters,
    pub(super) from_host: Counters,
    pub(super) drops: [Counters; Drop::ALL.len()],
}

pub(super) struct WirePort {
    pub(super) wire: Box<dyn Wire>,
    pub(super) broken: bool,
    /// The frames that the wire has taken since its last flush.
    pub(super) taken: Counters,
    link: bool,
    pub(super) counts: PortCounts,
}

#[derive(Default)]
pub(super) struct Counts {
    pub(super) lookups: u64,
    pub(super) hits: u64,
    pub(super) misses: u64,
    pub(super) commands: u64,
    pub(super) commands_failed: u64,
}

/// Everything that the card's thread owns.
pub(super) struct CardCore {
    pub(super) registers: Arc<Registers>,
    pub(super) memory: Arc<dyn HostMemory>,
    pub(super) vectors: Arc<Vectors>,
    pub(super) ledger: CardLedger,
    /// The number of counter updates still to be lost, for tests of the audit.
    pub(super) lost_counts: Arc<AtomicU32>,
    /// The entries still to be damaged, by their cookies, for tests of repair.
    pub(super) damages: Arc<Mutex<Vec<(u128, Damage)>>>,
    pub(super) held: HeldCompletions,
    pub(super) rings: Vec<CardRing>,
    pub(super) tables: Tables,
    pub(super) ports: Vec<WirePort>,
    pub(super) counts: Counts,
    pub(super) epoch: u32,
    pub(super) snapshots: u32,
    pub(super) events: u32,
    pub(super) scratch: Packet,
    pub(super) frame: Vec<u8>,
    secrets_version: u32,
    clock: Clock,
}

impl CardCore {
    pub(super) fn new(
        caps: &CardCapabilities,
        registers: Arc<Registers>,
        memory: Arc<dyn HostMemory>,
        vectors: Arc<Vectors>,
        wires: Vec<Box<dyn Wire>>,
        clock: Clock,
    ) -> CardCore {
        let ledger = CardLedger::default();
        let ports = wires.into_iter().zip(0usize..).map(|(wire, number)| {
            registers.put(port_window(number), port::LINK, 1);
            let (taken, counts) = (Counters::default(), PortCounts::default());
            WirePort { wire, broken: false, taken, link: true, counts }
        });
        let ports: Vec<WirePort> = ports.collect();
        if let Ok(mut state) = ledger.state.lock() {
            state.ports.resize_with(ports.len(), Default::default);
        }
        CardCore {
            rings: (0..registers.rings()).map(CardRing::new).collect(),
            tables: Tables::new(caps),
            registers,
            memory,
            vectors,
            ledger,
            lost_counts: Arc::default(),
            damages: Arc::default(),
            held: HeldCompletions::default(),
            ports,
            counts: Counts::default(),
            epoch: 1,
            snapshots: 0,
            events: 0,
            scratch: Packet::new(&[]),
            frame: Vec::new(),
            secrets_version: 0,
            clock,
        }
    }

    /// Runs until told to stop or until the card is pulled out; gives the wires back.
    pub(super) fn run(mut self) -> Vec<Box<dyn Wire>> {
        loop {
            let stopped = self.registers.stop.load(Ordering::SeqCst);
            if stopped || self.registers.gone.load(Ordering::SeqCst) {
                return self.ports.into_iter().map(|port| port.wire).collect();
            }
            if !self.step() {
                self.sleep();
            }
        }
    }

    /// Does one round of all work; returns true if there was anything to do.
    fn step(&mut self) -> bool {
        // The card notices that its accesses fail.
        if self.registers.is_cut_off.load(Ordering::SeqCst) && self.state() != CardState::Halted {
            self.halt(CMDQ_RING, 1);
        }
        let mut busy = self.obey();
        // The lock is held until the commands have run: damage requested now precedes any later
        // command.
        let damages = self.damages.clone();
        let mut damages = damages.lock().unwrap_or_else(PoisonError::into_inner);
        for (cookie, damage) in damages.drain(..) {
            self.tables.damage(cookie, damage);
        }
        busy |= self.run_commands();
        drop(damages);
        busy |= self.run_triggers();
        // The registers are updated under the ledger's lock, so that both always show the same
        // numbers.
        let ledger = self.ledger.clone();
        let mut ledger = ledger.state.lock().unwrap_or_else(PoisonError::into_inner);
        busy |= self.run_packets(&mut ledger);
        if busy {
            self.report();
        }
        drop(ledger);
        self.links();
        self.publish();
        let heartbeat = self.registers.get(CTRL, ctrl::HEARTBEAT);
        self.registers.put(CTRL, ctrl::HEARTBEAT, (heartbeat + 1) & 0x7fff_ffff);
        busy
    }

    /// Announces the sleep, looks once more for work, and sleeps if there is none.
    fn sleep(&mut self) {
        self.registers.sleeps();
        if !self.step() && !self.registers.stop.load(Ordering::SeqCst) {
            self.wait();
        }
        self.registers.awake();
    }

    fn wait(&self) {
        let mut nap = NAP;
        let mut fds = vec![PollFd::new(self.registers.waker(), PollFlags::IN)];
        for port in self.ports.iter().filter(|port| !port.broken) {
            match port.wire.fd() {
                Some(fd) => fds.push(PollFd::from_borrowed_fd(fd, PollFlags::IN)),
                None => nap = SHORT_NAP,
            }
        }
        // A signal ends the sleep early; the loop looks again anyway.
        let _ = poll(&mut fds, Timespec::try_from(nap).ok().as_ref());
        // A wire that only reports an error must not turn the sleep into a busy loop. Receiving
        // from the wire shows the error, and a broken wire is not polled any more.
        let failed = PollFlags::ERR | PollFlags::NVAL;
        if fds.iter().skip(1).any(|fd| fd.revents().intersects(failed)) {
            std::thread::sleep(SHORT_NAP);
        }
    }

    pub(super) fn state(&self) -> CardState {
        CardState::of(self.registers.get(CTRL, ctrl::STATE)).unwrap_or(CardState::Halted)
    }

    /// Returns the time in ticks (microseconds), 31 bits.
    pub(super) fn now(&self) -> u32 {
        crate::int::low32(self.clock.now().0 / 1000) & 0x7fff_ffff
    }

    /// Returns true if the ring is enabled.
    pub(super) fn ring(&mut self, number: usize) -> bool {
        self.rings[number].refresh(&self.registers)
    }

    /// Executes the command in CTRL.CMD; returns true if there was one.
    fn obey(&mut self) -> bool {
        let command = self.registers.pending.swap(0, Ordering::SeqCst);
        let state = self.state();
        let next = if command == CtrlCommand::Reset as u32 {
            self.reset();
            None
        } else if command == CtrlCommand::Run as u32 && state == CardState::Init {
            self.refresh_secrets();
            Some(CardState::Ready)
        } else if command == CtrlCommand::Quiesce as u32
            && matches!(state, CardState::Ready | CardState::Degraded)
        {
            Some(CardState::Init)
        } else {
            None
        };
        if let Some(next) = next {
            self.registers.put(CTRL, ctrl::STATE, next as u32);
        }
        command != 0
    }

    /// Prepares the placement hash anew if the host wrote secrets or chose a bank.
    pub(super) fn refresh_secrets(&mut self) {
        let version = self.registers.secrets.load(Ordering::SeqCst);
        if version != self.secrets_version {
            self.secrets_version = version;
            self.tables.toeplitz = Toeplitz::new(&self.secrets());
        }
    }

    fn secrets(&self) -> [[u8; SECRET_BYTES]; 2] {
        let arrays = match self.registers.get(HASH, hash::BANK) {
            0 => [hash::SECRET_0_0, hash::SECRET_0_1],
            _ => [hash::SECRET_1_0, hash::SECRET_1_1],
        };
        arrays.map(|array| {
            let mut secret = [0; SECRET_BYTES];
            for (i, bytes) in secret.chunks_exact_mut(4).enumerate() {
                bytes.copy_from_slice(&self.registers.get_word(HASH, array, i).to_be_bytes());
            }
            secret
        })
    }

    fn reset(&mut self) {
        self.registers.put(CTRL, ctrl::STATE, CardState::Reset as u32);
        for number in 0..self.rings.len() {
            self.registers.reset_ring(number);
            self.rings[number].refresh(&self.registers);
        }
        self.held.clear();
        self.tables.clear();
        // The secrets stay in their registers, as `docs/fpga-abi.md` allows; the hash's tables are
        // made anew.
        self.secrets_version = self.registers.secrets.fetch_add(1, Ordering::SeqCst);
        self.registers.put(HASH, hash::BANK, 0);
        self.registers.triggers.store(0, Ordering::SeqCst);
        (self.snapshots, self.events) = (0, 0);
        self.epoch = if self.epoch == 0xffff { 1 } else { self.epoch + 1 };
        self.report();
        self.registers.put(CTRL, ctrl::STATE, CardState::Init as u32);
        self.registers.put(CTRL, ctrl::BOOT_EPOCH, self.epoch);
    }

    /// Captures an error and tells the host.
    pub(super) fn error(&mut self, code: u32, info: u32, counter: Word) {
        self.registers.error(code, info, self.now(), counter);
        self.event(cause::ERROR, code, info);
    }

    /// Handles a DMA error on a ring: the card halts until a reset.
    pub(super) fn halt(&mut self, ring: usize, code: u32) {
        let info = crate::int::to_u32(ring);
        self.registers.error(code, info, self.now(), err::DMA_ERRORS);
        self.registers.put(CTRL, ctrl::STATE, CardState::Halted as u32);
        // A thread that waits for a ring wakes up and finds the state in STATE.
        self.vectors.raise_all();
    }

    /// Writes the shadow words and raises interrupts that are due.
    fn publish(&mut self) {
        let halted = self.state() == CardState::Halted;
        for number in 0..self.rings.len() {
            if halted || !self.ring(number) {
                continue;
            }
            let ring = &mut self.rings[number];
            if ring.publish(&*self.memory, &self.registers, self.epoch).is_err() {
                return self.halt(number, 2);
            }
            if let Some(vector) = self.rings[number].interrupt(&self.registers) {
                self.vectors.raise(vector);
            }
        }
    }

    fn links(&mut self) {
        for number in 0..self.ports.len() {
            let port = &mut self.ports[number];
            let is_up = !port.broken && port.wire.is_up();
            if is_up != port.link {
                port.link = is_up;
                self.registers.put(port_window(number), port::LINK, u32::from(is_up));
                self.event(cause::LINK, crate::int::to_u32(number), u32::from(is_up));
            }
        }
    }

    /// Writes the counters into the registers.
    fn report(&self) {
        let regs = &self.registers;
        for (word, value) in [
            (dbg::LOOKUPS, self.counts.lookups),
            (dbg::HITS, self.counts.hits),
            (dbg::MISSES, self.counts.misses),
            (dbg::COMMANDS, self.counts.commands),
            (dbg::COMMANDS_FAILED, self.counts.commands_failed),
        ] {
            regs.put64(DBG, word, value);
        }
        for (word, value) in [
            (dbg::EM_USED, self.tables.exact_used),
            (dbg::TCAM_USED, self.tables.rows_used),
            (dbg::MASKS_USED, self.tables.masks_used()),
            (dbg::EM_HIGH_WATER, self.tables.high_water),
        ] {
            regs.put(DBG, word, value);
        }
        for (number, port) in self.ports.iter().enumerate() {
            let at = port_window(number);
            let counts = &port.counts;
            let drops = |reason: Drop| counts.drops[reason as usize];
            for (frames, bytes, value) in [
                (port::RX_PACKETS, port::RX_BYTES, counts.rx),
                (port::TX_PACKETS, port::TX_BYTES, counts.tx),
                (port::TO_HOST_PACKETS, port::TO_HOST_BYTES, counts.to_host),
                (port::FROM_HOST_PACKETS, port::FROM_HOST_BYTES, counts.from_host),
                (port::DROP_RX_WIRE, port::DROP_RX_WIRE_BYTES, drops(Drop::RxWire)),
                (port::DROP_RX_RING_FULL, port::DROP_RX_RING_FULL_BYTES, drops(Drop::RxRingFull)),
                (port::DROP_RX_RING_OFF, port::DROP_RX_RING_OFF_BYTES, drops(Drop::RxRingOff)),
                (port::DROP_OVERSIZE, port::DROP_OVERSIZE_BYTES, drops(Drop::Oversize)),
                (port::DROP_HALTED, port::DROP_HALTED_BYTES, drops(Drop::Halted)),
                (port::DROP_TX_WIRE, port::DROP_TX_WIRE_BYTES, drops(Drop::TxWire)),
                (port::DROP_TX_TOO_LONG, port::DROP_TX_TOO_LONG_BYTES, drops(Drop::TxTooLong)),
                (port::DROP_TX_BAD, port::DROP_TX_BAD_BYTES, drops(Drop::TxBad)),
            ] {
                regs.put64(at, frames, value.packets);
                regs.put64(at, bytes, value.bytes);
            }
        }
    }

    /// Returns true if a test wants this counter update lost, to see that the audit finds the
    /// loss.
    pub(super) fn fault_drops_count(&self) -> bool {
        let left = self.lost_counts.load(Ordering::Relaxed);
        left > 0 && self.lost_counts.fetch_sub(1, Ordering::Relaxed) > 0
    }
}
