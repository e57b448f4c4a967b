//! The model's BAR0: every register is an atomic word, so that the host's threads never wait for
//! the card's thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crate::error::Error;
use crate::int::{to_u32, to_usize};
use crate::layout::Word;
use crate::register::words::{cap, ctrl, err, fwid, hash, header, port, ports, ring, snap};
use crate::register::{BlockKind, CardCapabilities, CardState, MAGIC};
use crate::ring::{command::COMMAND_BYTES, record::RECORD_BYTES};
use crate::sys::{Bar, Interrupt};

/// The size of BAR0 in bytes.
pub const BAR0_BYTES: u64 = 0x1_0000;

pub(super) const FWID: u64 = 0x0000;
pub(super) const CAP: u64 = 0x0100;
pub(super) const CTRL: u64 = 0x0200;
pub(super) const CMDQ: u64 = 0x0300;
pub(super) const CPLQ: u64 = 0x0340;
pub(super) const EVTQ: u64 = 0x0380;
pub(super) const HASH: u64 = 0x0400;
pub(super) const SNAP: u64 = 0x0600;
pub(super) const ERR: u64 = 0x0640;
pub(super) const DBG: u64 = 0x0680;
/// A block of a type that `docs/fpga-abi.md` does not have: every host skips it.
const UNKNOWN: u64 = 0x0700;
pub(super) const PORTS: u64 = 0x1000;
pub(super) const PORT_FIRST: u64 = 0x100;
pub(super) const PORT_STRIDE: u64 = 0x200;

/// The numbers of rings inside the model.
pub(super) const CMDQ_RING: usize = 0;
pub(super) const CPLQ_RING: usize = 1;
pub(super) const EVTQ_RING: usize = 2;

pub(super) fn rx_ring(port: usize) -> usize {
    3 + 2 * port
}

pub(super) fn tx_ring(port: usize) -> usize {
    4 + 2 * port
}

pub(super) fn port_window(port: usize) -> u64 {
    PORTS + PORT_FIRST + PORT_STRIDE * port as u64
}

/// Returns the offset of a ring's registers.
fn ring_window(number: usize) -> u64 {
    match number {
        CMDQ_RING => CMDQ + 0x10,
        CPLQ_RING => CPLQ + 0x10,
        EVTQ_RING => EVTQ + 0x10,
        packet => {
            let word = if packet % 2 == 1 { port::RX } else { port::TX };
            port_window((packet - 3) / 2) + word.offset as u64
        }
    }
}

/// The effect of a write to a word.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    ReadOnly,
    ReadWrite,
    /// The value is stored; the word reads 0.
    Secret,
    Bank,
    Command,
    Trigger,
    ClearError,
    RingSetup(usize),
    RingEnable(usize),
    Doorbell,
    Arm,
}

/// The BAR0 of a model card. The host accesses it by [`Bar`].
pub struct Registers {
    words: Box<[AtomicU32]>,
    classes: Box<[Class]>,
    /// Counts enables and disables of each ring, so that the card's thread notices them all.
    sessions: Box<[AtomicU32]>,
    pub(super) pending: AtomicU32,
    pub(super) triggers: AtomicU32,
    /// Counts changes of the HASH block.
    pub(super) secrets: AtomicU32,
    pub(super) gone: AtomicBool,
    /// True while nobody reaches the card over the bus, and it reaches nobody.
    pub(super) is_cut_off: AtomicBool,
    pub(super) stop: AtomicBool,
    sleeping: AtomicBool,
    wake: Interrupt,
}

impl Registers {
    pub(super) fn new(caps: &CardCapabilities) -> Result<Arc<Registers>, Error> {
        let count = to_usize(BAR0_BYTES / 4);
        let rings = 3 + 2 * caps.ports as usize;
        let mut registers = Registers {
            words: (0..count).map(|_| AtomicU32::new(0)).collect(),
            classes: vec![Class::ReadOnly; count].into_boxed_slice(),
            sessions: (0..rings).map(|_| AtomicU32::new(0)).collect(),
            pending: AtomicU32::new(0),
            triggers: AtomicU32::new(0),
            secrets: AtomicU32::new(1),
            gone: AtomicBool::new(false),
            is_cut_off: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            sleeping: AtomicBool::new(false),
            wake: Interrupt::new()?,
        };
        registers.lay_out(caps);
        registers.classify(rings);
        Ok(Arc::new(registers))
    }

    fn lay_out(&self, caps: &CardCapabilities) {
        let ports_bytes = PORT_FIRST + PORT_STRIDE * u64::from(caps.ports);
        let blocks = [
            (FWID, BlockKind::Fwid.word(), 0x30),
            (CAP, BlockKind::Cap.word(), 0x60),
            (CTRL, BlockKind::Ctrl.word(), 0x30),
            (CMDQ, BlockKind::Cmdq.word(), 0x40),
            (CPLQ, BlockKind::Cplq.word(), 0x40),
            (EVTQ, BlockKind::Evtq.word(), 0x40),
            (HASH, BlockKind::Hash.word(), 0x1a0),
            (SNAP, BlockKind::Snap.word(), 0x30),
            (ERR, BlockKind::Err.word(), 0x30),
            (DBG, BlockKind::Dbg.word(), 0x50),
            (UNKNOWN, 0x1234_5678, 0x20),
            (PORTS, BlockKind::Ports.word(), ports_bytes),
        ];
        for (i, (at, kind, length)) in blocks.iter().enumerate() {
            self.put(*at, header::TYPE, *kind);
            let minor = if *at == PORTS { 2 << 16 } else { 0 };
            self.put(*at, header::VERSION, 1 << 24 | minor);
            self.put(*at, header::NEXT, blocks.get(i + 1).map_or(0, |b| crate::int::low32(b.0)));
            self.put(*at, header::LENGTH, crate::int::low32(*length));
        }
        self.put(FWID, fwid::MAGIC, MAGIC);
        self.put(FWID, fwid::FW_VERSION, 1 << 24);
        let caps_words = [
            (cap::ABI, 1 << 16),
            (cap::KEY_BYTES, to_u32(crate::key::KEY_BYTES)),
            (cap::N_MASK, caps.masks),
            (cap::EM_HASHES, 2),
            (cap::EM_BUCKETS, caps.buckets),
            (cap::EM_WAYS, caps.ways),
            (cap::TCAM_ROWS, caps.rows),
            (cap::ACT_SLOTS, caps.action_slots),
            (cap::ACT_BYTES, caps.action_bytes),
            (cap::N_CNT, caps.counters),
            (cap::CNT_PKT_BITS, caps.packet_bits),
            (cap::CNT_BYTE_BITS, caps.byte_bits),
            (cap::MAX_INFLIGHT, caps.max_inflight),
            (cap::FEATURE, caps.features.0),
            (cap::TS_HZ, caps.ts_hz),
            (cap::N_PORT, caps.ports),
            (cap::MAX_FRAME, caps.max_frame),
            (cap::RECIRC_LIMIT, caps.recirc_limit),
        ];
        for (word, value) in caps_words {
            self.put(CAP, word, value);
        }
        self.put(CTRL, ctrl::STATE, CardState::Init as u32);
        self.put(CTRL, ctrl::BOOT_EPOCH, 1);
        self.put(PORTS, ports::COUNT, caps.ports);
        self.put(PORTS, ports::FIRST, crate::int::low32(PORT_FIRST));
        self.put(PORTS, ports::STRIDE, crate::int::low32(PORT_STRIDE));
    }

    fn classify(&mut self, rings: usize) {
        let mut set = |block: u64, word: Word, class: Class| {
            for at in (word.offset..word.offset + word.width).step_by(4) {
                self.classes[to_usize(block) / 4 + at / 4] = class;
            }
        };
        set(CTRL, ctrl::CMD, Class::Command);
        set(CTRL, ctrl::SCRATCH, Class::ReadWrite);
        set(HASH, hash::BANK, Class::Bank);
        for secret in [hash::SECRET_0_0, hash::SECRET_0_1, hash::SECRET_1_0, hash::SECRET_1_1] {
            set(HASH, secret, Class::Secret);
        }
        for word in [snap::DST_LO, snap::DST_HI, snap::FIRST, snap::COUNT] {
            set(SNAP, word, Class::ReadWrite);
        }
        set(SNAP, snap::TRIGGER, Class::Trigger);
        set(ERR, err::FIRST_CODE, Class::ClearError);
        for number in 0..rings {
            let window = ring_window(number);
            for word in [
                ring::BASE_LO,
                ring::BASE_HI,
                ring::LOG2,
                ring::STRIDE,
                ring::SHADOW_LO,
                ring::SHADOW_HI,
                ring::VECTOR,
            ] {
                set(window, word, Class::RingSetup(number));
            }
            set(window, ring::ENABLE, Class::RingEnable(number));
            set(window, ring::DOORBELL, Class::Doorbell);
            set(window, ring::ARM, Class::Arm);
        }
    }

    /// Returns a register's value as the card's thread sees it.
    pub(super) fn get(&self, block: u64, word: Word) -> u32 {
        self.words[to_usize(block) / 4 + word.offset / 4].load(Ordering::SeqCst)
    }

    /// Writes a register from the card's side.
    pub(super) fn put(&self, block: u64, word: Word, value: u32) {
        self.words[to_usize(block) / 4 + word.offset / 4].store(value, Ordering::SeqCst);
    }

    /// Writes a counter from the card's side, low word first.
    pub(super) fn put64(&self, block: u64, word: Word, value: u64) {
        let at = to_usize(block) / 4 + word.offset / 4;
        // With the high word first, a reader could twice pair a new high word with an old low
        // word.
        self.words[at].store(crate::int::low32(value), Ordering::SeqCst);
        self.words[at + 1].store(crate::int::low32(value >> 32), Ordering::SeqCst);
    }

    /// Returns a word of an array register; the secrets are such arrays.
    pub(super) fn get_word(&self, block: u64, array: Word, index: usize) -> u32 {
        self.words[to_usize(block) / 4 + array.offset / 4 + index].load(Ordering::SeqCst)
    }

    pub(super) fn ring(&self, number: usize, word: Word) -> u32 {
        self.get(ring_window(number), word)
    }

    pub(super) fn put_ring(&self, number: usize, word: Word, value: u32) {
        self.put(ring_window(number), word, value);
    }

    pub(super) fn session(&self, number: usize) -> u32 {
        self.sessions[number].load(Ordering::SeqCst)
    }

    pub(super) fn rings(&self) -> usize {
        self.sessions.len()
    }

    /// Disarms the ring if it is armed for another index than this; true means the caller raises.
    pub(super) fn take_arm(&self, number: usize, index: u16) -> bool {
        let word = &self.words[to_usize(ring_window(number)) / 4 + ring::ARM.offset / 4];
        let arm = word.load(Ordering::SeqCst);
        let due = arm & 1 << 16 != 0 && arm & 0xffff != u32::from(index);
        due && word.compare_exchange(arm, 0, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// Turns a ring off from the card's side (reset).
    pub(super) fn reset_ring(&self, number: usize) {
        for word in [ring::ENABLE, ring::DOORBELL, ring::ARM, ring::INDEX] {
            self.put_ring(number, word, 0);
        }
        self.sessions[number].fetch_add(1, Ordering::SeqCst);
    }

    /// Captures an error: the first error's code stays, and the counter goes up.
    pub(super) fn error(&self, code: u32, info: u32, ts: u32, counter: Word) {
        let first = &self.words[to_usize(ERR) / 4 + err::FIRST_CODE.offset / 4];
        if first.compare_exchange(0, code, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
            self.put(ERR, err::FIRST_INFO, info);
            self.put(ERR, err::FIRST_TS, ts);
        }
        self.put(ERR, counter, (self.get(ERR, counter) + 1) & 0x7fff_ffff);
    }

    fn enable(&self, number: usize, value: u32) {
        if value == 0 {
            self.put_ring(number, ring::ENABLE, 0);
        } else if self.ring(number, ring::ENABLE) == 0 {
            let stride = self.ring(number, ring::STRIDE);
            let stride_fits = match number {
                CMDQ_RING => stride == to_u32(COMMAND_BYTES),
                CPLQ_RING | EVTQ_RING => stride == to_u32(RECORD_BYTES),
                _ => stride.is_multiple_of(32) && (128..=1 << 17).contains(&stride),
            };
            let log2 = self.ring(number, ring::LOG2);
            let deepest = self.get(CAP, cap::MAX_INFLIGHT).ilog2();
            let log2_fits = (1..=15).contains(&log2) && (number != CMDQ_RING || log2 <= deepest);
            let aligned = self.ring(number, ring::BASE_LO).is_multiple_of(64)
                && self.ring(number, ring::SHADOW_LO).is_multiple_of(4);
            if !(stride_fits && log2_fits && aligned) {
                self.error(4, to_u32(number), 0, err::RING_ERRORS);
                return;
            }
            self.put_ring(number, ring::DOORBELL, 0);
            self.put_ring(number, ring::INDEX, 0);
            self.put_ring(number, ring::ARM, 0);
            self.put_ring(number, ring::ENABLE, 1);
        }
        self.sessions[number].fetch_add(1, Ordering::SeqCst);
    }

    /// Wakes the card's thread if it sleeps.
    pub(super) fn wake(&self) {
        if self.sleeping.swap(false, Ordering::SeqCst) {
            self.wake.raise();
        }
    }

    /// Marks the card's thread as about to sleep; any write from now on wakes it.
    pub(super) fn sleeps(&self) {
        self.sleeping.store(true, Ordering::SeqCst);
    }

    /// Marks the card's thread as awake.
    pub(super) fn awake(&self) {
        self.sleeping.store(false, Ordering::SeqCst);
        self.wake.clear();
    }

    pub(super) fn waker(&self) -> &Interrupt {
        &self.wake
    }
}

impl Registers {
    fn answers(&self, offset: u64) -> bool {
        let is_there = !self.gone.load(Ordering::SeqCst) && !self.is_cut_off.load(Ordering::SeqCst);
        is_there && offset.is_multiple_of(4) && offset < BAR0_BYTES
    }
}

impl Bar for Registers {
    fn size(&self) -> u64 {
        BAR0_BYTES
    }

    fn read32(&self, offset: u64) -> u32 {
        if !self.answers(offset) {
            return u32::MAX;
        }
        let at = to_usize(offset / 4);
        match self.classes[at] {
            Class::Command | Class::Trigger | Class::Secret => 0,
            _ => self.words[at].load(Ordering::SeqCst),
        }
    }

    fn write32(&self, offset: u64, value: u32) {
        if !self.answers(offset) {
            return;
        }
        let at = to_usize(offset / 4);
        let store = || self.words[at].store(value, Ordering::SeqCst);
        match self.classes[at] {
            Class::ReadOnly => {}
            Class::ReadWrite => store(),
            Class::Secret | Class::Bank => {
                store();
                self.secrets.fetch_add(1, Ordering::SeqCst);
            }
            Class::Command => {
                self.pending.store(value, Ordering::SeqCst);
                self.wake();
            }
            Class::Trigger => {
                self.triggers.fetch_add(value & 1, Ordering::SeqCst);
                self.wake();
            }
            Class::ClearError => {
                if value & 1 == 1 {
                    for word in [err::FIRST_INFO, err::FIRST_TS, err::FIRST_CODE] {
                        self.put(ERR, word, 0);
                    }
                }
            }
            Class::RingSetup(number) => {
                if self.ring(number, ring::ENABLE) == 0 {
                    store();
                }
            }
            Class::RingEnable(number) => {
                self.enable(number, value);
                self.wake();
            }
            Class::Doorbell | Class::Arm => {
                store();
                self.wake();
            }
        }
    }
}
