//! An owned frame that headers can be pushed in front of.

use super::{Layers, Unfinished};
use crate::key::Key;

/// Bytes in front of a new packet's frame: room for more tags and labels than anyone pushes.
pub const HEADROOM: usize = 128;

/// An owned Ethernet frame without FCS, with headroom for what actions push. The default is empty
/// and has no memory. A packet is one pointer: it moves from the port to the pool, the batch, the
/// executor and the next port's queue.
#[derive(Default)]
pub struct Packet(Option<Box<Contents>>);

#[derive(Default)]
struct Contents {
    /// All of the packet's memory, which the frame is a part of.
    memory: Vec<u8>,
    start: usize,
    end: usize,
    /// Where the headers were found; `None` if the frame has to be parsed again.
    layers: Option<Layers>,
    /// Where the frame started when they were found. What is pushed in front of them, or popped,
    /// moves the start of the frame and not the headers.
    found_from: usize,
    /// The work that a device was to do on the frame.
    unfinished: Option<Unfinished>,
}

static EMPTY: Contents = Contents {
    memory: Vec::new(),
    start: 0,
    end: 0,
    layers: None,
    found_from: 0,
    unfinished: None,
};

impl Contents {
    /// The frame is another one, and it is here.
    #[inline]
    fn now_is(&mut self, start: usize, end: usize) {
        (self.start, self.end) = (start, end);
        (self.layers, self.unfinished) = (None, None);
    }
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
        Packet(Some(Box::new(Contents { memory: vec![0; bytes], ..Contents::default() })))
    }

    #[inline]
    fn contents(&self) -> &Contents {
        self.0.as_deref().unwrap_or(&EMPTY)
    }

    #[inline]
    fn contents_mut(&mut self) -> &mut Contents {
        self.0.get_or_insert_default()
    }

    /// Makes this a copy of another frame and keeps the memory.
    #[inline]
    pub fn reset(&mut self, frame: &[u8]) {
        let contents = self.contents_mut();
        let end = HEADROOM + frame.len();
        let Some(place) = contents.memory.get_mut(HEADROOM..end) else {
            return self.reset_parts(frame, &[]);
        };
        place.copy_from_slice(frame);
        contents.now_is(HEADROOM, end);
    }

    /// Does the same with a frame in two parts.
    pub(super) fn reset_parts(&mut self, head: &[u8], tail: &[u8]) {
        let contents = self.contents_mut();
        let middle = HEADROOM + head.len();
        let end = middle + tail.len();
        if contents.memory.len() < end {
            contents.memory = vec![0; end];
        }
        if let Some(place) = contents.memory.get_mut(HEADROOM..middle) {
            place.copy_from_slice(head);
        }
        if let Some(place) = contents.memory.get_mut(middle..end) {
            place.copy_from_slice(tail);
        }
        contents.now_is(HEADROOM, end);
    }

    /// The memory behind the headroom, for a frame that is received into it. The packet is not
    /// changed before [`Packet::received`] tells the frame's length.
    #[must_use]
    pub fn room(&mut self) -> &mut [u8] {
        self.contents_mut().memory.get_mut(HEADROOM..).unwrap_or_default()
    }

    /// The packet has a new frame: the first bytes of [`Packet::room`]. The frame is no longer than
    /// that.
    pub fn received(&mut self, length: usize) {
        let contents = self.contents_mut();
        let start = HEADROOM.min(contents.memory.len());
        contents.now_is(start, (start + length).min(contents.memory.len()));
    }

    /// Makes this a copy of another packet and keeps the memory. The copy knows where its headers
    /// are and what is unfinished, as the other packet does.
    pub fn copy_from(&mut self, other: &Packet) {
        self.reset(other.bytes());
        let layers = other.known_layers();
        let (contents, other) = (self.contents_mut(), other.contents());
        (contents.layers, contents.unfinished) = (layers, other.unfinished);
        contents.found_from = contents.start;
    }

    /// Bytes of memory behind this packet.
    #[inline]
    #[must_use]
    pub fn memory(&self) -> usize {
        self.contents().memory.len()
    }

    /// The work that a device was to do on the frame; `None` for a frame as it is on a wire.
    #[inline]
    #[must_use]
    pub fn unfinished(&self) -> Option<&Unfinished> {
        self.contents().unfinished.as_ref()
    }

    /// Says what is unfinished in the frame. A frame with padding is finished at once: other
    /// devices sum the padding, too.
    pub fn set_unfinished(&mut self, unfinished: Option<Unfinished>) {
        let contents = self.contents_mut();
        contents.unfinished = unfinished;
        // A rewrite has to know whether the checksum is partial.
        contents.layers = None;
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
    #[inline]
    pub fn extract_into(&mut self, key: &mut Key) {
        let Contents { memory, start, end, layers, found_from, unfinished } = self.contents_mut();
        let found = super::parse_into(memory.get(*start..*end).unwrap_or_default(), key);
        *layers = Some(found.with_partial(unfinished.is_some()));
        *found_from = *start;
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
        let is_partial = self.unfinished().is_some();
        let parsed = || super::layers(self.bytes()).with_partial(is_partial);
        let layers = self.known_layers().unwrap_or_else(parsed);
        self.set_layers(layers);
        layers
    }

    /// The frame, for a rewrite that moves no header, from where it started when the headers were
    /// found, and where they are in that.
    #[inline]
    pub(super) fn headers_mut(&mut self) -> (&mut [u8], &Layers) {
        let Contents { memory, start, end, layers, found_from, unfinished } = self.contents_mut();
        if layers.is_none() {
            *found_from = *start;
        }
        let frame = memory.get_mut(*found_from..*end).unwrap_or_default();
        let layers =
            layers.get_or_insert_with(|| super::layers(frame).with_partial(unfinished.is_some()));
        (frame, layers)
    }

    /// Finds the headers, if they are not known: later rewrites use them, whatever is pushed or
    /// popped in front of them until then.
    #[inline]
    pub(super) fn find_headers(&mut self) {
        self.headers_mut();
    }

    /// The frame, for a rewrite that moves no header.
    #[inline]
    pub(super) fn frame_mut(&mut self) -> &mut [u8] {
        let contents = self.contents_mut();
        contents.memory.get_mut(contents.start..contents.end).unwrap_or_default()
    }

    /// Where the headers are, if that is known.
    pub(super) fn known_layers(&self) -> Option<Layers> {
        let Contents { layers, start, found_from, .. } = self.contents();
        let by = narrow(*found_from) - narrow(*start);
        layers.map(|layers| if by == 0 { layers } else { layers.moved(i32::from(by)) })
    }

    /// Notes where the headers are behind a change.
    pub(super) fn set_layers(&mut self, layers: Layers) {
        let contents = self.contents_mut();
        (contents.layers, contents.found_from) = (Some(layers), contents.start);
    }

    /// The frame.
    #[inline]
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        let contents = self.contents();
        contents.memory.get(contents.start..contents.end).unwrap_or_default()
    }

    /// The frame, to change in place.
    #[must_use]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        let contents = self.contents_mut();
        contents.layers = None;
        contents.memory.get_mut(contents.start..contents.end).unwrap_or_default()
    }

    /// Bytes of the frame.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        let contents = self.contents();
        contents.end - contents.start
    }

    /// Returns true if the frame has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Inserts `N` bytes at an offset; the bytes in front of the offset move into the headroom. An
    /// offset behind the end of the frame appends.
    pub fn insert<const N: usize>(&mut self, at: usize, new: [u8; N]) {
        self.insert_in_front(at, new);
        self.contents_mut().layers = None;
    }

    /// Does the same in front of all headers whose places are known: they stay where they are.
    pub(super) fn insert_in_front<const N: usize>(&mut self, at: usize, new: [u8; N]) {
        let at = at.min(self.len());
        let contents = self.contents_mut();
        if contents.start < N {
            contents.memory.splice(0..0, [0; HEADROOM]);
            contents.start += HEADROOM;
            contents.end += HEADROOM;
            contents.found_from += HEADROOM;
            debug_assert!(N <= HEADROOM, "nothing that large is ever pushed");
        }
        contents.unfinished = contents.unfinished.map(|unfinished| unfinished.moved(at, narrow(N)));
        let old = contents.start;
        contents.start -= N;
        contents.memory.copy_within(old..old + at, contents.start);
        let place = contents.start + at;
        if let Some(place) = contents.memory.get_mut(place..place + N) {
            place.copy_from_slice(&new);
        }
    }

    /// Removes up to `count` bytes at an offset; the bytes in front of the offset move back.
    pub fn remove(&mut self, at: usize, count: usize) {
        self.remove_in_front(at, count);
        self.contents_mut().layers = None;
    }

    /// Does the same in front of all headers whose places are known.
    pub(super) fn remove_in_front(&mut self, at: usize, count: usize) {
        let at = at.min(self.len());
        let contents = self.contents_mut();
        let count = count.min(contents.end - contents.start - at);
        contents.unfinished =
            contents.unfinished.map(|unfinished| unfinished.moved(at, -narrow(count)));
        let old = contents.start;
        contents.start += count;
        contents.memory.copy_within(old..old + at, contents.start);
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
