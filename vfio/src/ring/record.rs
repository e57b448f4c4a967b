//! The records that the card writes: completions, events, snapshots.

use flow::Counters;

use super::command::CounterId;
use crate::crc::crc32c;
use crate::layout::layout;

layout! {
    /// The completion record.
    completion "COMPLETION" {
        SEQ 0x00 4;
        STATUS 0x04 1;
        OP 0x05 1;
        BOOT_EPOCH 0x06 2;
        PACKETS 0x08 6;
        BYTES 0x0e 6;
        CNT 0x14 4;
        TS 0x18 4;
        RESERVED 0x1c 4;
    }
}
layout! {
    /// The event record.
    event "EVENT" {
        CAUSE 0x00 1;
        RESERVED 0x01 1;
        BOOT_EPOCH 0x02 2;
        SEQ 0x04 4;
        ARG0 0x08 4;
        ARG1 0x0c 4;
        PACKETS 0x10 6;
        BYTES 0x16 6;
        TS 0x1c 4;
    }
}
layout! {
    /// The header of a snapshot.
    snapshot_header "SNAPSHOT_HEADER" {
        VERSION 0x00 2;
        RESERVED 0x02 2;
        BOOT_EPOCH 0x04 4;
        SEQ 0x08 4;
        T_START 0x0c 4;
        T_END 0x10 4;
        FIRST 0x14 4;
        COUNT 0x18 4;
        CRC 0x1c 4;
    }
}
layout! {
    /// One counter of a snapshot.
    snapshot_word "SNAPSHOT_WORD" {
        CNT 0x00 4;
        PACKETS 0x04 6;
        BYTES 0x0a 6;
    }
}

/// The length in bytes of a completion or event record, and of a snapshot's header.
pub const RECORD_BYTES: usize = 32;
/// The length in bytes of a counter in a snapshot.
pub const WORD_BYTES: usize = 16;

/// The status of a completed command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the names of the text")]
pub enum CommandStatus {
    Ok = 0,
    Exists = 1,
    NoEntry = 2,
    NoSpace = 3,
    Range = 4,
    BadOp = 5,
    Busy = 6,
    Crc = 7,
    Epoch = 8,
    Dma = 9,
    Hash = 10,
    Invalid = 11,
    Ecc = 12,
}

impl CommandStatus {
    /// All statuses, in order.
    pub const ALL: [CommandStatus; 13] = [
        CommandStatus::Ok,
        CommandStatus::Exists,
        CommandStatus::NoEntry,
        CommandStatus::NoSpace,
        CommandStatus::Range,
        CommandStatus::BadOp,
        CommandStatus::Busy,
        CommandStatus::Crc,
        CommandStatus::Epoch,
        CommandStatus::Dma,
        CommandStatus::Hash,
        CommandStatus::Invalid,
        CommandStatus::Ecc,
    ];

    /// Returns the status with this number.
    #[must_use]
    pub fn of(number: u8) -> Option<CommandStatus> {
        CommandStatus::ALL.get(usize::from(number)).copied()
    }
}

/// A completion, decoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CardCompletion {
    /// The sequence number of the command.
    pub sequence: u32,
    /// The status of the command; `Err` holds the number of an unknown status.
    pub status: Result<CommandStatus, u8>,
    /// The low 16 bits of the epoch.
    pub epoch: u32,
    /// The final counter, or the number of records written.
    pub counters: Counters,
    /// The counter's id, or the snapshot's number.
    pub counter: u32,
}

impl CardCompletion {
    /// Decodes a record.
    #[must_use]
    pub fn of(record: &[u8; RECORD_BYTES]) -> CardCompletion {
        let status = completion::STATUS.get8(record);
        CardCompletion {
            sequence: completion::SEQ.get32(record),
            status: CommandStatus::of(status).ok_or(status),
            epoch: completion::BOOT_EPOCH.get32(record),
            counters: Counters {
                packets: completion::PACKETS.get(record),
                bytes: completion::BYTES.get(record),
            },
            counter: completion::CNT.get32(record),
        }
    }
}

/// Causes of events.
pub mod cause {
    /// The card captured an error.
    pub const ERROR: u8 = 3;
    /// A triggered snapshot is in memory.
    pub const SNAP_DONE: u8 = 5;
    /// A wire went up or down.
    pub const LINK: u8 = 6;
}

/// A snapshot's header, decoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SnapshotHeader {
    /// The boot epoch.
    pub epoch: u32,
    /// The number of the snapshot.
    pub sequence: u32,
    /// The first counter in the snapshot.
    pub first: u32,
    /// The number of words that follow.
    pub count: u32,
}

impl SnapshotHeader {
    /// Decodes the bytes of a header; `None` if the version or the CRC is wrong.
    #[must_use]
    pub fn of(record: &[u8; RECORD_BYTES]) -> Option<SnapshotHeader> {
        let crc = crc32c(&record[..snapshot_header::CRC.offset]);
        let right =
            snapshot_header::CRC.get32(record) == crc && snapshot_header::VERSION.get(record) == 1;
        right.then(|| SnapshotHeader {
            epoch: snapshot_header::BOOT_EPOCH.get32(record),
            sequence: snapshot_header::SEQ.get32(record),
            first: snapshot_header::FIRST.get32(record),
            count: snapshot_header::COUNT.get32(record),
        })
    }
}

/// One counter of a snapshot.
#[must_use]
pub fn snapshot_counter(word: &[u8]) -> (CounterId, Counters) {
    let id = CounterId::of(snapshot_word::CNT.get32(word));
    let packets = snapshot_word::PACKETS.get(word);
    (id, Counters { packets, bytes: snapshot_word::BYTES.get(word) })
}
