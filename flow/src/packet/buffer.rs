//! An owned frame that headers can be pushed in front of.

use super::{Layers, Unfinished};
use crate::key::Key;

/// Bytes in front of a new packet's frame: room for more tags and labels than anyone pushes.
pub const HEADROOM: usize = 128;

/// An owned Ethernet frame without FCS, with headroom for what actions push. The default is empty
/// and has no memory.
#[derive(Default)]
pub struct Packet {
    /// All of the packet's memory, which the frame is a part of.
    memory: Vec<u8>,
    start: usize,
    end: usize,
    /// Where the headers were found; `None` if the frame has to be parsed again.
    layers: Option<Layers>,
    /// The work that a device was to do on the frame.
    unfinished: Option<Unfinished>,
}

impl Packet {
    /// A copy of the frame behind [`HEADROOM`] bytes.
    #[must_use]
    pub fn new(frame: &[u8]) -> Packet {
        let mut packet = Packet::with_memory(HEADROOM + frame.len());
        packet.reset(frame);
        packet
    }

    /// An empty packet with this number of bytes of memory.
    #[must_use]
    pub fn with_memory(bytes: usize) -> Packet {
        Packet { memory: vec![0; bytes], ..Packet::default() }
    }

    /// Makes this a copy of another frame and keeps the memory.
    pub fn reset(&mut self, frame: &[u8]) {
        self.reset_parts(frame, &[]);
    }

    /// Does the same with a frame in two parts.
    pub(super) fn reset_parts(&mut self, head: &[u8], tail: &[u8]) {
        let middle = HEADROOM + head.len();
        let end = middle + tail.len();
        if self.memory.len() < end {
            self.memory = vec![0; end];
        }
        if let Some(place) = self.memory.get_mut(HEADROOM..middle) {
            place.copy_from_slice(head);
        }
        if let Some(place) = self.memory.get_mut(middle..end) {
            place.copy_from_slice(tail);
        }
        (self.start, self.end) = (HEADROOM, end);
        (self.layers, self.unfinished) = (None, None);
    }

    /// The memory behind the headroom, for a frame that is received into it. The packet is not
    /// changed before [`Packet::received`] tells the frame's length.
    #[must_use]
    pub fn room(&mut self) -> &mut [u8] {
        self.memory.get_mut(HEADROOM..).unwrap_or_default()
    }

    /// The packet has a new frame: the first bytes of [`Packet::room`]. The frame is no longer than
    /// that.
    pub fn received(&mut self, length: usize) {
        (self.layers, self.unfinished) = (None, None);
        self.start = HEADROOM.min(self.memory.len());
        self.end = (self.start + length).min(self.memory.len());
    }

    /// Makes this a copy of another packet and keeps the memory. The copy knows where its headers
    /// are and what is unfinished, as the other packet does.
    pub fn copy_from(&mut self, other: &Packet) {
        self.reset(other.bytes());
        (self.layers, self.unfinished) = (other.layers, other.unfinished);
    }

    /// Bytes of memory behind this packet.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.memory.len()
    }

    /// The work that a device was to do on the frame; `None` for a frame as it is on a wire.
    #[must_use]
    pub fn unfinished(&self) -> Option<&Unfinished> {
        self.unfinished.as_ref()
    }

    /// Says what is unfinished in the frame. A frame with padding is finished at once: other
    /// devices sum the padding, too.
    pub fn set_unfinished(&mut self, unfinished: Option<Unfinished>) {
        self.unfinished = unfinished;
        // A rewrite has to know whether the checksum is partial.
        self.layers = None;
        if unfinished.is_some_and(|unfinished| unfinished.is_padded(self.bytes())) {
            self.complete();
        }
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
        let layers = super::parse_into(self.bytes(), key);
        self.layers = Some(layers.with_partial(self.unfinished.is_some()));
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
        let parsed = || super::layers(self.bytes()).with_partial(self.unfinished.is_some());
        let layers = self.layers.unwrap_or_else(parsed);
        self.layers = Some(layers);
        layers
    }

    /// Where the headers are, if that is known.
    pub(super) fn known_layers(&self) -> Option<Layers> {
        self.layers
    }

    /// Notes where the headers are behind a change.
    pub(super) fn set_layers(&mut self, layers: Layers) {
        self.layers = Some(layers);
    }

    /// The frame.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.memory.get(self.start..self.end).unwrap_or_default()
    }

    /// The frame, to change in place.
    #[must_use]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.layers = None;
        self.memory.get_mut(self.start..self.end).unwrap_or_default()
    }

    /// Bytes of the frame.
    #[must_use]
    pub fn len(&self) -> usize {
        self.end - self.start
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
            self.memory.splice(0..0, [0; HEADROOM]);
            self.start += HEADROOM;
            self.end += HEADROOM;
            debug_assert!(N <= HEADROOM, "nothing that large is ever pushed");
        }
        self.unfinished = self.unfinished.map(|unfinished| unfinished.moved(at, narrow(N)));
        let old = self.start;
        self.start -= N;
        self.memory.copy_within(old..old + at, self.start);
        let place = self.start + at;
        if let Some(place) = self.memory.get_mut(place..place + N) {
            place.copy_from_slice(&new);
        }
    }

    /// Removes up to `count` bytes at an offset; the bytes in front of the offset move back.
    pub fn remove(&mut self, at: usize, count: usize) {
        self.layers = None;
        let at = at.min(self.len());
        let count = count.min(self.len() - at);
        self.unfinished = self.unfinished.map(|unfinished| unfinished.moved(at, -narrow(count)));
        let old = self.start;
        self.start += count;
        self.memory.copy_within(old..old + at, self.start);
    }
}

/// The length of a header that is pushed or popped.
fn narrow(length: usize) -> i16 {
    i16::try_from(length).unwrap_or(i16::MAX)
}

impl Clone for Packet {
    /// A copy that takes no more memory than it needs.
    fn clone(&self) -> Packet {
        let mut packet = Packet::default();
        packet.copy_from(self);
        packet
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
