//! The command record.

use crate::crc::crc32c;
use crate::int::{low16, low32};
use crate::key::{CardKey, KEY_BYTES, PAYLOAD_BYTES};
use crate::layout::layout;

layout! {
    /// The command record.
    command "COMMAND" {
        OP 0x00 1;
        FLAGS 0x01 1;
        TABLE 0x02 1;
        MASK_ID 0x03 1;
        SEQ 0x04 4;
        COOKIE 0x08 16;
        SLOT 0x18 4;
        SLOT2 0x1c 4;
        ACT_ID 0x20 4;
        CNT 0x24 4;
        LENGTH 0x28 2;
        PRIORITY 0x2a 2;
        BOOT_EPOCH 0x2c 4;
        KEY 0x30 80;
        MASK 0x80 80;
        ADDRESS 0xd0 8;
        PACKETS 0xd8 6;
        BYTES 0xde 6;
        GENERATION 0xe4 4;
        CRC 0xfc 4;
    }
}

/// The length of a command record in bytes.
pub const COMMAND_BYTES: usize = 256;

/// The operations of the command record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the names of the text")]
pub enum CardOpcode {
    Nop = 0,
    Fence = 1,
    EntryWrite = 2,
    EntryMove = 3,
    EntryReplace = 4,
    EntryClear = 5,
    EntryRead = 6,
    MaskWrite = 7,
    MaskClear = 8,
    MaskRead = 9,
    ActWrite = 10,
    ActRead = 11,
    Flush = 12,
    SnapNow = 13,
}

impl CardOpcode {
    /// All operations, in order.
    pub const ALL: [CardOpcode; 14] = [
        CardOpcode::Nop,
        CardOpcode::Fence,
        CardOpcode::EntryWrite,
        CardOpcode::EntryMove,
        CardOpcode::EntryReplace,
        CardOpcode::EntryClear,
        CardOpcode::EntryRead,
        CardOpcode::MaskWrite,
        CardOpcode::MaskClear,
        CardOpcode::MaskRead,
        CardOpcode::ActWrite,
        CardOpcode::ActRead,
        CardOpcode::Flush,
        CardOpcode::SnapNow,
    ];

    /// Returns the operation with this number.
    #[must_use]
    pub fn of(number: u8) -> Option<CardOpcode> {
        CardOpcode::ALL.get(usize::from(number)).copied()
    }
}

/// The table that a slot belongs to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum CardTable {
    /// The exact-match table under mask slots.
    Exact = 0,
    /// The masked rows.
    Rows = 1,
}

/// A counter's index and generation, which records hold as one word.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CounterId {
    /// The index, below 2^24.
    pub index: u32,
    /// The generation, which tells one life of the index from the next.
    pub generation: u8,
}

impl CounterId {
    /// Returns the word that records hold.
    #[must_use]
    pub fn word(self) -> u32 {
        self.index | u32::from(self.generation) << 24
    }

    /// Decodes the word of a record.
    #[must_use]
    pub fn of(word: u32) -> CounterId {
        CounterId { index: word & 0xff_ffff, generation: word.to_be_bytes()[0] }
    }
}

/// A command record. The setters write into the bytes of the record at once.
#[derive(Clone)]
pub struct CardCommand {
    /// The bytes of the record; CRC, SEQ and BOOT_EPOCH are filled in by [`CardCommand::seal`].
    pub bytes: [u8; COMMAND_BYTES],
}

impl std::fmt::Debug for CardCommand {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl CardCommand {
    /// Creates an empty record of this operation.
    #[must_use]
    pub fn new(op: CardOpcode) -> CardCommand {
        let mut bytes = [0; COMMAND_BYTES];
        bytes[command::OP.offset] = op as u8;
        CardCommand { bytes }
    }

    /// Sets the table and the slot in it.
    #[must_use]
    pub fn slot(mut self, table: CardTable, slot: u32) -> CardCommand {
        self.bytes[command::TABLE.offset] = table as u8;
        command::SLOT.put(&mut self.bytes, u64::from(slot));
        self
    }

    /// Sets the second slot, or the number of slots.
    #[must_use]
    pub fn slot2(mut self, slot: u32) -> CardCommand {
        command::SLOT2.put(&mut self.bytes, u64::from(slot));
        self
    }

    /// Sets the mask slot.
    #[must_use]
    pub fn mask_id(mut self, mask_id: u8) -> CardCommand {
        self.bytes[command::MASK_ID.offset] = mask_id;
        self
    }

    /// Sets the entry's cookie and generation.
    #[must_use]
    pub fn cookie(mut self, cookie: u128, generation: u32) -> CardCommand {
        command::COOKIE.put_be(&mut self.bytes, cookie);
        command::GENERATION.put(&mut self.bytes, u64::from(generation));
        self
    }

    /// Sets the number of an action list.
    #[must_use]
    pub fn action(mut self, id: u32) -> CardCommand {
        command::ACT_ID.put(&mut self.bytes, u64::from(id));
        self
    }

    /// Sets the counter.
    #[must_use]
    pub fn counter(mut self, counter: CounterId) -> CardCommand {
        command::CNT.put(&mut self.bytes, u64::from(counter.word()));
        self
    }

    /// Sets the key.
    #[must_use]
    pub fn key(mut self, key: &CardKey) -> CardCommand {
        self.bytes[command::KEY.offset..][..KEY_BYTES].copy_from_slice(key);
        self
    }

    /// Sets the mask.
    #[must_use]
    pub fn mask(mut self, mask: &CardKey) -> CardCommand {
        self.bytes[command::MASK.offset..][..KEY_BYTES].copy_from_slice(mask);
        self
    }

    /// Sets the bytes of an action list, at most [`PAYLOAD_BYTES`].
    #[must_use]
    pub fn payload(mut self, list: &[u8]) -> CardCommand {
        command::LENGTH.put(&mut self.bytes, list.len() as u64);
        self.bytes[command::KEY.offset..][..list.len()].copy_from_slice(list);
        self
    }

    /// Sets the address that the card writes to.
    #[must_use]
    pub fn address(mut self, address: u64) -> CardCommand {
        command::ADDRESS.put(&mut self.bytes, address);
        self
    }

    /// Fills in sequence number, epoch and CRC; no field may change after that.
    pub fn seal(&mut self, sequence: u32, epoch: u32) {
        command::SEQ.put(&mut self.bytes, u64::from(sequence));
        command::BOOT_EPOCH.put(&mut self.bytes, u64::from(epoch));
        let crc = crc32c(&self.bytes[..command::CRC.offset]);
        command::CRC.put(&mut self.bytes, u64::from(crc));
    }

    /// Returns true if the CRC is right.
    #[must_use]
    pub fn intact(&self) -> bool {
        command::CRC.get32(&self.bytes) == crc32c(&self.bytes[..command::CRC.offset])
    }

    /// Returns the key of the record.
    #[must_use]
    pub fn get_key(&self) -> CardKey {
        self.array(command::KEY.offset)
    }

    /// Returns the mask of the record.
    #[must_use]
    pub fn get_mask(&self) -> CardKey {
        self.array(command::MASK.offset)
    }

    fn array(&self, offset: usize) -> CardKey {
        let mut out = [0; KEY_BYTES];
        out.copy_from_slice(&self.bytes[offset..offset + KEY_BYTES]);
        out
    }

    /// Returns the cookie of the record.
    #[must_use]
    pub fn get_cookie(&self) -> u128 {
        command::COOKIE.get_be(&self.bytes)
    }

    /// Returns a 32-bit word of the record.
    #[must_use]
    pub fn get32(&self, word: crate::layout::Word) -> u32 {
        low32(word.get(&self.bytes))
    }

    /// Returns the action list of the record; `None` if LENGTH is too large.
    #[must_use]
    pub fn get_payload(&self) -> Option<&[u8]> {
        let length = usize::from(low16(command::LENGTH.get(&self.bytes)));
        (length <= PAYLOAD_BYTES).then(|| &self.bytes[command::KEY.offset..][..length])
    }
}
