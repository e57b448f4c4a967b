//! An owned frame that headers can be pushed in front of.

use super::Layers;
use crate::key::Key;

/// Bytes in front of a new packet's frame: room for more tags and labels than anyone pushes.
pub const HEADROOM: usize = 128;

/// An owned Ethernet frame without FCS, with headroom for what actions push. The default is empty
/// and has no memory.
#[derive(Clone, Default)]
pub struct Packet {
    buffer: Vec<u8>,
    start: usize,
    /// Where the headers were found; `None` if the frame has to be parsed again.
    layers: Option<Layers>,
}

impl Packet {
    /// A copy of the frame behind [`HEADROOM`] bytes.
    #[must_use]
    pub fn new(frame: &[u8]) -> Packet {
        let buffer = Vec::with_capacity(HEADROOM + frame.len());
        let mut packet = Packet { buffer, start: 0, layers: None };
        packet.reset(frame);
        packet
    }

    /// An empty packet with this number of bytes of memory.
    #[must_use]
    pub fn with_memory(bytes: usize) -> Packet {
        Packet { buffer: Vec::with_capacity(bytes), start: 0, layers: None }
    }

    /// Makes this a copy of another frame and keeps the allocation.
    pub fn reset(&mut self, frame: &[u8]) {
        // What the headroom holds does not matter.
        self.buffer.resize(HEADROOM.max(self.buffer.len()), 0);
        self.buffer.truncate(HEADROOM);
        self.buffer.extend_from_slice(frame);
        self.start = HEADROOM;
        self.layers = None;
    }

    /// Makes this a copy of another packet and keeps the allocation. The copy knows where its
    /// headers are, as the other packet does.
    pub fn copy_from(&mut self, other: &Packet) {
        self.reset(other.bytes());
        self.layers = other.layers;
    }

    /// Bytes of memory behind this packet.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.buffer.capacity()
    }

    /// The key of the frame, see [`super::extract`]. As in OVS and the kernel, later rewrites use
    /// the headers that this call found, whatever is pushed in front of them or popped. So a header
    /// that a match saw can be rewritten even behind a third tag.
    pub fn extract(&mut self) -> Key {
        let mut key = Key::default();
        self.extract_into(&mut key);
        key
    }

    /// Does the same, and adds the fields to a key in which they are zero: metadata stays.
    pub fn extract_into(&mut self, key: &mut Key) {
        self.layers = Some(super::parse_into(self.bytes(), key));
    }

    /// Makes `key` the key of the frame as it is now; `in_port`, `recirc_id` and `dp_hash` stay.
    /// Rewrites go on with the headers that they have used so far.
    pub fn key_again(&self, key: &mut Key) {
        let Key { in_port, recirc_id, dp_hash, .. } = *key;
        *key = Key { in_port, recirc_id, dp_hash, ..Key::default() };
        super::parse_into(self.bytes(), key);
    }

    /// Where the headers are: as the last [`Packet::extract`] found them. The frame is parsed now
    /// if there was no such call since the frame came, or since a change other than a rewrite or a
    /// pushed or popped VLAN tag.
    pub fn layers(&mut self) -> Layers {
        let layers = self.layers.unwrap_or_else(|| super::layers(self.bytes()));
        self.layers = Some(layers);
        layers
    }

    /// Notes where the headers are behind a change.
    pub(super) fn set_layers(&mut self, layers: Layers) {
        self.layers = Some(layers);
    }

    /// The frame.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.buffer.get(self.start..).unwrap_or_default()
    }

    /// The frame, to change in place.
    #[must_use]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.layers = None;
        self.buffer.get_mut(self.start..).unwrap_or_default()
    }

    /// Bytes of the frame.
    #[must_use]
    pub fn len(&self) -> usize {
        self.buffer.len() - self.start
    }

    /// Returns true if the frame has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Inserts `N` bytes at an offset; the bytes in front of the offset move into the headroom. An
    /// offset behind the end of the frame appends.
    pub fn insert<const N: usize>(&mut self, at: usize, new: [u8; N]) {
        self.layers = None;
        let at = at.min(self.len());
        if self.start < N {
            self.buffer.splice(0..0, [0; HEADROOM]);
            self.start += HEADROOM;
            debug_assert!(N <= HEADROOM, "nothing that large is ever pushed");
        }
        let old = self.start;
        self.start -= N;
        self.buffer.copy_within(old..old + at, self.start);
        let place = self.start + at;
        if let Some(place) = self.buffer.get_mut(place..place + N) {
            place.copy_from_slice(&new);
        }
    }

    /// Removes up to `count` bytes at an offset; the bytes in front of the offset move back.
    pub fn remove(&mut self, at: usize, count: usize) {
        self.layers = None;
        let at = at.min(self.len());
        let count = count.min(self.len() - at);
        let old = self.start;
        self.start += count;
        self.buffer.copy_within(old..old + at, self.start);
    }
}

impl PartialEq for Packet {
    fn eq(&self, other: &Packet) -> bool {
        self.bytes() == other.bytes()
    }
}

impl Eq for Packet {}

impl std::fmt::Debug for Packet {
    /// The frame in hex digits.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.bytes().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
