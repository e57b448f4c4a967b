//! CAP: the card's capabilities, constant while the card is up.

use super::block::Window;
use crate::error::Error;
use crate::key::{KEY_BYTES, PAYLOAD_BYTES};
use crate::layout::layout;

layout! {
    /// The CAP block.
    cap "CAP" {
        ABI 0x10 4;
        KEY_BYTES 0x14 4;
        N_MASK 0x18 4;
        EM_HASHES 0x1c 4;
        EM_BUCKETS 0x20 4;
        EM_WAYS 0x24 4;
        TCAM_ROWS 0x28 4;
        ACT_SLOTS 0x2c 4;
        ACT_BYTES 0x30 4;
        N_CNT 0x34 4;
        CNT_PKT_BITS 0x38 4;
        CNT_BYTE_BITS 0x3c 4;
        MAX_INFLIGHT 0x40 4;
        FEATURE 0x44 4;
        TS_HZ 0x48 4;
        PIPE_DEPTH 0x4c 4;
        N_PORT 0x50 4;
        MAX_FRAME 0x54 4;
        RECIRC_LIMIT 0x58 4;
    }
}

/// The bits of FEATURE.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CardFeatures(pub u32);

impl CardFeatures {
    /// SET_FIELD of Ethernet addresses.
    pub const SET_ETH: CardFeatures = CardFeatures(1 << 0);
    /// SET_FIELD of IPv4 and IPv6.
    pub const SET_IP: CardFeatures = CardFeatures(1 << 1);
    /// SET_FIELD of L4 ports.
    pub const SET_L4: CardFeatures = CardFeatures(1 << 2);
    /// PUSH_VLAN, POP_VLAN and SET_FIELD of a tag.
    pub const VLAN: CardFeatures = CardFeatures(1 << 3);
    /// PUSH_MPLS, POP_MPLS and SET_FIELD of a label stack entry.
    pub const MPLS: CardFeatures = CardFeatures(1 << 4);
    /// RECIRC.
    pub const RECIRC: CardFeatures = CardFeatures(1 << 5);
    /// TO_HOST.
    pub const TO_HOST: CardFeatures = CardFeatures(1 << 6);
    /// SET_FIELD of ARP.
    pub const SET_ARP: CardFeatures = CardFeatures(1 << 7);
    /// The card verifies placement.
    pub const VERIFIES: CardFeatures = CardFeatures(1 << 16);
    /// All features.
    pub const ALL: CardFeatures = CardFeatures(0xff | 1 << 16);

    /// Returns true if this set has all bits of the other set.
    #[must_use]
    pub fn has(self, other: CardFeatures) -> bool {
        self.0 & other.0 == other.0
    }
}

/// The CAP block, read and checked. The model takes its configuration in the same form.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CardCapabilities {
    /// The number of mask slots.
    pub masks: u32,
    /// Buckets per hash, a power of two.
    pub buckets: u32,
    /// Slots per bucket.
    pub ways: u32,
    /// The number of masked rows.
    pub rows: u32,
    /// The number of action lists.
    pub action_slots: u32,
    /// The length of an action list in bytes.
    pub action_bytes: u32,
    /// The number of counters.
    pub counters: u32,
    /// The width of a packet counter.
    pub packet_bits: u32,
    /// The width of a byte counter.
    pub byte_bits: u32,
    /// The size of the largest command ring.
    pub max_inflight: u32,
    /// The features that the card supports.
    pub features: CardFeatures,
    /// Clock ticks per second.
    pub ts_hz: u32,
    /// The number of wire ports.
    pub ports: u32,
    /// The length of the longest frame in bytes.
    pub max_frame: u32,
    /// The largest number of lookups of one packet.
    pub recirc_limit: u32,
}

impl Default for CardCapabilities {
    /// Returns the software model's capabilities: 8,192 exact-match slots under 16 masks, 64
    /// masked rows.
    fn default() -> CardCapabilities {
        CardCapabilities {
            masks: 16,
            buckets: 1024,
            ways: 4,
            rows: 64,
            action_slots: 4096,
            action_bytes: 160,
            counters: 16384,
            packet_bits: 48,
            byte_bits: 48,
            max_inflight: 1024,
            features: CardFeatures::ALL,
            ts_hz: 1_000_000,
            ports: 1,
            max_frame: 9216,
            recirc_limit: 8,
        }
    }
}

impl CardCapabilities {
    /// Returns a model's capabilities with this number of exact-match slots at least, up to
    /// 4,194,304, and two counters for each. The rest is as in the default.
    #[must_use]
    pub fn with_room(slots: u32) -> CardCapabilities {
        let default = CardCapabilities::default();
        let buckets = slots.min(1 << 22).div_ceil(2 * default.ways).next_power_of_two();
        let counters = 4 * buckets * default.ways;
        CardCapabilities { buckets, counters, ..default }
    }

    /// Returns the number of exact-match slots.
    #[must_use]
    pub fn em_slots(&self) -> u32 {
        2 * self.buckets * self.ways
    }

    /// Reads the block, and fails if a value is not allowed by `docs/fpga-abi.md`.
    pub fn read(block: &Window) -> Result<CardCapabilities, Error> {
        let abi = block.read(cap::ABI)?;
        let fixed = [
            ("ABI major", abi >> 16, 1),
            ("KEY_BYTES", block.read(cap::KEY_BYTES)?, crate::int::to_u32(KEY_BYTES)),
            ("EM_HASHES", block.read(cap::EM_HASHES)?, 2),
        ];
        for (name, value, want) in fixed {
            if value != want {
                return Err(Error::Unusable(format!(
                    "{name} is {value}; this driver expects {want}"
                )));
            }
        }
        let ranged = |name, value, low, high| {
            if (low..=high).contains(&value) {
                return Ok(value);
            }
            Err(Error::Unusable(format!("{name} is {value}; expected {low} to {high}")))
        };
        let get =
            |word: crate::layout::Word, low, high| ranged(word.name, block.read(word)?, low, high);
        let buckets = get(cap::EM_BUCKETS, 1, 1 << 22)?;
        if !buckets.is_power_of_two() {
            return Err(Error::Unusable(format!(
                "EM_BUCKETS is {buckets}; expected a power of two"
            )));
        }
        Ok(CardCapabilities {
            masks: get(cap::N_MASK, 1, 256)?,
            buckets,
            ways: get(cap::EM_WAYS, 1, 8)?,
            rows: get(cap::TCAM_ROWS, 0, 1 << 16)?,
            action_slots: get(cap::ACT_SLOTS, 1, 1 << 24)?,
            action_bytes: get(cap::ACT_BYTES, 4, crate::int::to_u32(PAYLOAD_BYTES))?,
            counters: get(cap::N_CNT, 1, 1 << 24)?,
            packet_bits: get(cap::CNT_PKT_BITS, 16, 48)?,
            byte_bits: get(cap::CNT_BYTE_BITS, 24, 48)?,
            max_inflight: get(cap::MAX_INFLIGHT, 2, 1 << 15)?,
            features: CardFeatures(block.read(cap::FEATURE)?),
            ts_hz: get(cap::TS_HZ, 1, u32::MAX - 1)?,
            ports: get(cap::N_PORT, 1, 64)?,
            max_frame: get(cap::MAX_FRAME, 64, 1 << 16)?,
            recirc_limit: get(cap::RECIRC_LIMIT, 1, 255)?,
        })
    }
}
