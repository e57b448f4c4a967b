//! Descriptors of the packet rings; the frame follows in the same slot.

use crate::layout::layout;

layout! {
    /// Card → host: the miss descriptor.
    rx "RX" {
        LENGTH 0x00 4;
        ORIGINAL 0x04 4;
        IN_PORT 0x08 2;
        REASON 0x0a 1;
        LOOKUPS 0x0b 1;
        RECIRC_ID 0x0c 4;
        ACT_INDEX 0x10 4;
        BOOT_EPOCH 0x14 4;
        TS 0x18 4;
        CT_ZONE 0x1c 2;
        CT_STATE 0x1e 2;
        COOKIE 0x20 16;
        TUNNEL 0x30 16;
    }
}
layout! {
    /// Host → wire.
    tx "TX" {
        LENGTH 0x00 4;
        OUT_PORT 0x04 2;
        FLAGS 0x06 2;
        RESERVED 0x08 56;
    }
}

/// The length in bytes of a descriptor, which stands before the frame.
pub const DESCRIPTOR_BYTES: usize = 64;

/// The reason why a packet went to the host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ExceptionReason {
    /// No entry matched.
    Miss = 1,
    /// A TO_HOST action.
    ToHost = 2,
    /// The packet had too many lookups.
    RecircLimit = 3,
    /// The card is not looking packets up.
    Quiesced = 4,
}
