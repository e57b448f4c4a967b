//! The linked list of register blocks, and the access to registers.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::error::Error;
use crate::layout::{Word, layout};
use crate::sys::Bar;

layout! {
    /// The header of each block.
    header "HEADER" {
        TYPE 0x00 4;
        VERSION 0x04 4;
        NEXT 0x08 4;
        LENGTH 0x0c 4;
    }
}

/// The vendor half of every TYPE: "MF".
pub(crate) const VENDOR: u32 = 0x4d46;
/// The largest number of blocks; a longer list is taken for a loop.
const MAX_BLOCKS: usize = 64;

/// The number of attempts to read both halves of a counter.
const COUNTER_READS: usize = 8;

/// The blocks that this driver knows; the number is the low half of TYPE.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[allow(missing_docs, reason = "the names of the text")]
pub enum BlockKind {
    Fwid = 0x0001,
    Cap = 0x0002,
    Ctrl = 0x0003,
    Cmdq = 0x0010,
    Cplq = 0x0011,
    Evtq = 0x0012,
    Hash = 0x0020,
    Snap = 0x0021,
    Err = 0x0022,
    Dbg = 0x0023,
    Ports = 0x0030,
}

impl BlockKind {
    /// All blocks.
    pub const ALL: [BlockKind; 11] = [
        BlockKind::Fwid,
        BlockKind::Cap,
        BlockKind::Ctrl,
        BlockKind::Cmdq,
        BlockKind::Cplq,
        BlockKind::Evtq,
        BlockKind::Hash,
        BlockKind::Snap,
        BlockKind::Err,
        BlockKind::Dbg,
        BlockKind::Ports,
    ];

    /// Returns the TYPE word.
    #[must_use]
    pub fn word(self) -> u32 {
        VENDOR << 16 | self as u32
    }

    fn of(word: u32) -> Option<BlockKind> {
        BlockKind::ALL.into_iter().find(|kind| kind.word() == word)
    }
}

/// A block or a window in a block, whose registers are accessed by their word.
#[derive(Clone)]
pub struct Window {
    bar: Arc<dyn Bar>,
    base: u64,
}

impl Window {
    /// Returns the window at an offset of a BAR.
    #[must_use]
    pub fn new(bar: Arc<dyn Bar>, base: u64) -> Window {
        Window { bar, base }
    }

    /// Returns a window inside this one.
    #[must_use]
    pub fn at(&self, offset: u64) -> Window {
        Window { bar: self.bar.clone(), base: self.base + offset }
    }

    /// Reads a 32-bit register. All-ones means that no card answers: [`Error::Gone`].
    pub fn read(&self, word: Word) -> Result<u32, Error> {
        match self.bar.read32(self.base + word.offset as u64) {
            u32::MAX => Err(Error::Gone),
            value => Ok(value),
        }
    }

    /// Reads a 64-bit counter: high, low, high, until both high words agree. A counter's high word
    /// changes once in 2^32 counts; a register whose high word keeps changing is not a counter.
    pub fn read64(&self, word: Word) -> Result<u64, Error> {
        let at = self.base + word.offset as u64;
        let mut high = self.bar.read32(at + 4);
        for _ in 0..COUNTER_READS {
            let low = self.bar.read32(at);
            let again = self.bar.read32(at + 4);
            if again == high {
                let value = u64::from(high) << 32 | u64::from(low);
                return if value == u64::MAX { Err(Error::Gone) } else { Ok(value) };
            }
            high = again;
        }
        Err(Error::Unusable(format!("counter {} changes at each read", word.name)))
    }

    /// Writes a 32-bit register.
    pub fn write(&self, word: Word, value: u32) {
        self.bar.write32(self.base + word.offset as u64, value);
    }

    /// Writes a 64-bit address into a pair of registers.
    pub fn write_address(&self, low: Word, address: u64) {
        self.bar.write64(self.base + low.offset as u64, address);
    }

    /// Writes the `index`-th 32-bit word of an array register.
    pub fn write_word(&self, array: Word, index: usize, value: u32) {
        self.bar.write32(self.base + (array.offset + index * 4) as u64, value);
    }
}

/// The blocks that were found on a card.
pub struct Blocks {
    found: BTreeMap<BlockKind, Window>,
}

impl Blocks {
    /// Walks the list. Unknown types are skipped; a wrong major version or a broken list is
    /// refused.
    pub fn walk(bar: &Arc<dyn Bar>) -> Result<Blocks, Error> {
        let mut found = BTreeMap::new();
        let mut at = 0;
        for _ in 0..MAX_BLOCKS {
            let window = Window::new(bar.clone(), at);
            let length = u64::from(window.read(header::LENGTH)?);
            if length < 16 || at + length > bar.size() {
                return Err(Error::Unusable(format!("block at {at:#x} leaves BAR0")));
            }
            let kind = BlockKind::of(window.read(header::TYPE)?);
            if at == 0 && kind != Some(BlockKind::Fwid) {
                return Err(Error::Unusable("the card has no FWID block at offset 0".into()));
            }
            if let Some(kind) = kind {
                let major = window.read(header::VERSION)? >> 24;
                if major != 1 {
                    let why = format!("block {kind:?} has major version {major}; expected 1");
                    return Err(Error::Unusable(why));
                }
                found.entry(kind).or_insert_with(|| window.clone());
            }
            at = u64::from(window.read(header::NEXT)?);
            if at == 0 {
                return Ok(Blocks { found });
            }
            if at % 16 != 0 || at + 16 > bar.size() {
                return Err(Error::Unusable(format!("a block at {at:#x}")));
            }
        }
        Err(Error::Unusable("the list of blocks does not end".into()))
    }

    /// Returns a block, and fails if the card does not have it.
    pub fn need(&self, kind: BlockKind) -> Result<Window, Error> {
        let missing = || Error::Unusable(format!("the card has no {kind:?} block"));
        self.found.get(&kind).cloned().ok_or_else(missing)
    }
}
