//! What a port receives in one burst.

use flow::exception::{MissDescriptor, MissReason};
use flow::packet::Packet;
use flow::{Counters, RecircId};

use super::pool::PacketPool;
use crate::drops::DropReason;

/// Packets per burst.
pub const BURST: usize = 32;

/// A frame that came in.
#[derive(Clone, Debug)]
pub struct Frame {
    /// The frame's bytes.
    pub packet: Packet,
    /// The scope of the frame's first lookup; 0 unless a card had begun a chain.
    pub recirc_id: RecircId,
    /// The `dp_hash` that the card computed; 0 if it computed none.
    pub dp_hash: u32,
    /// True if a card has counted the frame on a megaflow, so that the frame is not new here.
    pub continued: bool,
}

impl Frame {
    /// A frame fresh from the wire.
    #[inline]
    #[must_use]
    pub fn fresh(packet: Packet) -> Frame {
        Frame { packet, recirc_id: RecircId(0), dp_hash: 0, continued: false }
    }

    /// A frame that a card handed up. The frame is continued if it hit an entry in the card: it is
    /// in the middle of a chain, or an action sent it.
    #[must_use]
    pub fn from_card(packet: Packet, miss: &MissDescriptor) -> Frame {
        Frame {
            packet,
            recirc_id: miss.recirc_id,
            dp_hash: miss.dp_hash,
            continued: miss.recirc_id.0 != 0 || miss.reason != MissReason::Miss,
        }
    }
}

/// The frames that came in at one port in one burst.
#[derive(Default, Debug)]
pub struct Batch {
    frames: Vec<Frame>,
    dropped: Vec<(DropReason, Counters)>,
    pool: PacketPool,
}

impl Batch {
    /// An empty one.
    #[must_use]
    pub fn new() -> Batch {
        Batch { frames: Vec::with_capacity(BURST), ..Batch::default() }
    }

    /// Adds a frame.
    #[inline]
    pub fn push(&mut self, frame: Frame) {
        self.frames.push(frame);
    }

    /// Counts a frame that came in but can't be processed.
    pub fn drop(&mut self, reason: DropReason, bytes: usize) {
        self.dropped.push((reason, Counters::packet(bytes)));
    }

    /// Number of frames that a port should still add.
    #[inline]
    #[must_use]
    pub fn room(&self) -> usize {
        BURST.saturating_sub(self.frames.len())
    }

    /// The frames so far.
    #[must_use]
    pub fn frames(&self) -> &[Frame] {
        &self.frames
    }

    /// Returns true if the batch has neither a frame nor a drop.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty() && self.dropped.is_empty()
    }

    /// A packet with the bytes of a frame that has come in, in memory that an earlier one had.
    #[inline]
    #[must_use]
    pub fn packet(&mut self, frame: &[u8]) -> Packet {
        self.pool.packet(frame)
    }

    /// The memory of packets.
    pub(super) fn pool(&mut self) -> &mut PacketPool {
        &mut self.pool
    }

    /// Takes everything out. The pool is where packets go when they have come to their end.
    pub fn take(&mut self) -> Taken<'_> {
        Taken {
            frames: self.frames.drain(..),
            dropped: self.dropped.drain(..),
            pool: &mut self.pool,
        }
    }
}

/// The parts of a [`Batch`].
pub struct Taken<'a> {
    /// The frames.
    pub frames: std::vec::Drain<'a, Frame>,
    /// What came in and can't be processed.
    pub dropped: std::vec::Drain<'a, (DropReason, Counters)>,
    /// The memory of packets.
    pub pool: &'a mut PacketPool,
}
