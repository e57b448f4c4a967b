//! Frames on which a device was to do work: to complete a checksum, and to cut a large frame in
//! segments. The kernel hands such frames over, and takes them.
//!
//! An unfinished frame stands for the packets that [`Packet::segment`] makes of it: it counts as
//! these, and whatever is done to it is what would be done to each of them.

#[cfg(test)]
mod tests;

use super::transport::{TCP, TCP_CHECKSUM, TCP_CONTROL, UDP, UDP_CHECKSUM};
use super::{Packet, checksum, ipv4, ipv6, wire};
use crate::stats::Counters;

/// What is unfinished in a frame of TCP or UDP over IP that is no fragment: the field of the
/// transport checksum has only the sum of the pseudo header, with the frame's own length; and the
/// payload may be that of several segments. Offsets are in bytes from the start of the frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unfinished {
    network: u16,
    transport: u16,
    payload: u16,
    /// Most bytes of payload in a segment; 0 if the frame is one packet.
    size: u16,
    is_ipv6: bool,
    is_tcp: bool,
}

/// Most segments of a frame: those of 64 KiB in the shortest segments that senders make. Whoever
/// sends the frame chooses their size.
const MOST: usize = 1024;
/// TCP flags that only the last segment keeps: FIN and PSH.
const LAST_ONLY: u8 = 0x01 | 0x08;
/// The TCP flag that only the first segment keeps: CWR.
const FIRST_ONLY: u8 = 0x80;
/// Offset of the sequence number.
const TCP_SEQUENCE: usize = 4;
const UDP_LENGTH: usize = 4;

impl Unfinished {
    /// The work on a frame whose payload is cut in segments of at most `size` bytes, or which is
    /// one packet if `size` is 0. `None` if the frame is not whole, is a fragment, has another
    /// protocol, a checksum that covers other addresses than its header has, or more than 1,024
    /// segments.
    #[must_use]
    pub fn of(frame: &[u8], size: u16) -> Option<Unfinished> {
        let (key, layers) = super::parse(frame);
        let transport = layers.transport()?;
        let is_tcp = key.ip_proto == TCP;
        let header = match key.ip_proto {
            TCP => usize::from(*frame.get(transport.start + TCP_CONTROL)? >> 4) * 4,
            UDP => 8,
            _ => return None,
        };
        let is_short = is_tcp && header < 20;
        let payload = transport.start + header;
        // Bytes beyond the IP length would be padding, and a frame that is cut has no padding.
        let is_padded = transport.end != frame.len();
        let is_whole = payload <= transport.end && !(is_padded && size > 0);
        if is_short || !is_whole || key.ip_frag != 0 || layers.routed {
            return None;
        }
        let (length, most) = (frame.len() - payload, usize::from(size) * MOST);
        if size > 0 && length > most {
            return None;
        }
        Some(Unfinished {
            network: u16::try_from(layers.network()?).ok()?,
            transport: u16::try_from(transport.start).ok()?,
            payload: u16::try_from(payload).ok()?,
            // A frame with no more payload than a segment is one packet.
            size: if length > usize::from(size) { size } else { 0 },
            is_ipv6: key.eth_type == ipv6::ETH_TYPE,
            is_tcp,
        })
    }

    /// What is unfinished in a frame of which nobody tells: its checksum, if its field has the sum
    /// of the pseudo header, as a local sender leaves it to a device.
    ///
    /// In a complete frame the field can have that value too, by chance: then the sum that is made
    /// is the one that is there. Only a damaged frame of that chance, one in 65,536, is taken for
    /// whole.
    #[must_use]
    pub fn seen(frame: &[u8]) -> Option<Unfinished> {
        let seen = Unfinished::of(frame, 0)?;
        (wire::be16(frame, seen.field()) == Some(seen.pseudo(frame))).then_some(seen)
    }

    /// Where the sum of the checksum begins, and where its field is behind that.
    #[must_use]
    pub fn checksum(&self) -> (u16, u16) {
        let field = if self.is_tcp { TCP_CHECKSUM } else { UDP_CHECKSUM };
        (self.transport, u16::try_from(field).unwrap_or_default())
    }

    /// Most bytes of payload in a segment; 0 if the frame is one packet.
    #[must_use]
    pub fn size(&self) -> u16 {
        self.size
    }

    /// Bytes of the headers, which each segment has.
    #[must_use]
    pub fn headers(&self) -> u16 {
        self.payload
    }

    /// Returns true for TCP, false for UDP.
    #[must_use]
    pub fn is_tcp(&self) -> bool {
        self.is_tcp
    }

    /// Returns true if the frame has the TCP flag CWR.
    #[must_use]
    pub fn has_cwr(&self, frame: &[u8]) -> bool {
        let flags = frame.get(usize::from(self.transport) + TCP_CONTROL + 1);
        self.is_tcp && flags.is_some_and(|flags| flags & FIRST_ONLY != 0)
    }

    /// Returns true for IPv6, false for IPv4.
    #[must_use]
    pub fn is_ipv6(&self) -> bool {
        self.is_ipv6
    }

    /// The same after `by` bytes were inserted at an offset (or removed, if negative).
    pub(super) fn moved(self, at: usize, by: i16) -> Unfinished {
        debug_assert!(at <= self.network.into(), "nothing changes the length behind a tag");
        let moved = |offset: u16| offset.saturating_add_signed(by);
        Unfinished {
            network: moved(self.network),
            transport: moved(self.transport),
            payload: moved(self.payload),
            ..self
        }
    }

    /// Number of packets that a frame of so many bytes stands for.
    fn segments(&self, length: usize) -> usize {
        let payload = length.saturating_sub(self.payload.into());
        match self.size {
            0 => 1,
            size => payload.div_ceil(size.into()).max(1),
        }
    }

    /// Bytes of transport header and payload in a frame that is one packet: less than the rest of
    /// the frame if that is padded.
    fn transport_length(&self, frame: &[u8]) -> usize {
        let network = usize::from(self.network);
        let (at, from) = if self.is_ipv6 { (4, network + 40) } else { (2, network) };
        let length = wire::be16(frame, network + at).unwrap_or_default();
        let start = usize::from(self.transport);
        (from + usize::from(length)).min(frame.len()).saturating_sub(start)
    }

    /// The field of the transport checksum.
    fn field(&self) -> usize {
        let (start, field) = self.checksum();
        usize::from(start) + usize::from(field)
    }

    /// The sum of the pseudo header.
    fn pseudo(&self, frame: &[u8]) -> u16 {
        let network = usize::from(self.network);
        let addresses = if self.is_ipv6 { 8..40 } else { 12..20 };
        let addresses = network + addresses.start..network + addresses.end;
        let protocol = if self.is_tcp { TCP } else { UDP };
        let rest = self.transport_length(frame) as u64 + u64::from(protocol);
        checksum::fold(checksum::add(rest, frame.get(addresses).unwrap_or_default()))
    }

    /// Writes the sum of the pseudo header into the field of the checksum, as the kernel expects it
    /// there.
    pub fn begin_checksum(&self, frame: &mut [u8]) {
        wire::put(frame, self.field(), self.pseudo(frame).to_be_bytes());
    }

    /// Returns true if something follows the IP packet in a frame that is one packet.
    pub(super) fn is_padded(&self, frame: &[u8]) -> bool {
        usize::from(self.transport) + self.transport_length(frame) != frame.len()
    }

    /// Makes the transport checksum of a packet whole.
    fn complete(&self, frame: &mut [u8]) {
        let (start, field) = self.checksum();
        let end = usize::from(start) + self.transport_length(frame);
        let covered = frame.get_mut(..end).unwrap_or_default();
        let is_whole = super::complete_checksum(covered, start.into(), field.into());
        debug_assert!(is_whole, "the headers were found in the frame");
    }

    /// Corrects lengths, numbers, flags and checksums in the headers of one of `count` segments.
    fn finish(&self, frame: &mut [u8], index: usize, count: usize) {
        // What does not fit was longer than a frame can be.
        let narrow = |length: usize| u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes();
        let (network, transport) = (usize::from(self.network), usize::from(self.transport));
        if self.is_tcp {
            let before = u32::try_from(index * usize::from(self.size)).unwrap_or(u32::MAX);
            let sequence = wire::be32(frame, transport + TCP_SEQUENCE).unwrap_or_default();
            let sequence = sequence.wrapping_add(before);
            wire::put(frame, transport + TCP_SEQUENCE, sequence.to_be_bytes());
            if let Some(flags) = frame.get_mut(transport + TCP_CONTROL + 1) {
                *flags &= !(if index + 1 == count { 0 } else { LAST_ONLY });
                *flags &= !(if index == 0 { 0 } else { FIRST_ONLY });
            }
        } else {
            wire::put(frame, transport + UDP_LENGTH, narrow(frame.len() - transport));
        }
        if self.is_ipv6 {
            wire::put(frame, network + 4, narrow(frame.len() - network - 40));
        } else {
            wire::put(frame, network + 2, narrow(frame.len() - network));
            // Each segment is a datagram of its own: the identification counts up, as in the
            // kernel.
            let id = wire::be16(frame, network + 4).unwrap_or_default();
            let id = id.wrapping_add(u16::try_from(index).unwrap_or_default());
            wire::put(frame, network + 4, id.to_be_bytes());
            ipv4::complete(frame, network);
        }
        self.begin_checksum(frame);
    }
}

impl Packet {
    /// The packets and bytes that the frame is on a wire.
    #[inline]
    #[must_use]
    pub fn counters(&self) -> Counters {
        let Some(unfinished) = self.unfinished() else { return Counters::packet(self.len()) };
        let count = unfinished.segments(self.len());
        let more = (count - 1) * usize::from(unfinished.payload);
        Counters { packets: count as u64, bytes: (self.len() + more) as u64 }
    }

    /// Bytes of the longest frame that this one is on a wire.
    #[inline]
    #[must_use]
    pub fn longest(&self) -> usize {
        match self.unfinished() {
            Some(Unfinished { size, payload, .. }) if *size > 0 => {
                usize::from(*payload) + usize::from(*size)
            }
            _ => self.len(),
        }
    }

    /// Number of frames that this one is on a wire.
    #[inline]
    #[must_use]
    pub fn segments(&self) -> usize {
        self.unfinished().map_or(1, |unfinished| unfinished.segments(self.len()))
    }

    /// Makes another packet the frame that this one is on a wire, or one of several: their indices
    /// end at [`Packet::segments`].
    pub fn segment(&self, index: usize, into: &mut Packet) {
        let Some(unfinished) = self.unfinished().filter(|unfinished| unfinished.size > 0) else {
            into.copy_from(self);
            return into.complete();
        };
        let (headers, size) = (usize::from(unfinished.payload), usize::from(unfinished.size));
        let (head, payload) = self.bytes().split_at(headers.min(self.len()));
        let start = (index * size).min(payload.len());
        let end = (start + size).min(payload.len());
        into.reset_parts(head, payload.get(start..end).unwrap_or_default());
        unfinished.finish(into.bytes_mut(), index, unfinished.segments(self.len()));
        into.set_unfinished(Some(Unfinished { size: 0, ..*unfinished }));
        if let Some(layers) = self.known_layers() {
            into.set_layers(layers.with_transport_end(into.len()));
        }
        into.complete();
    }

    /// Finishes a frame that is one packet, in place.
    pub fn complete(&mut self) {
        let Some(unfinished) = self.unfinished().copied() else { return };
        let layers = self.known_layers();
        unfinished.complete(self.bytes_mut());
        self.set_unfinished(None);
        if let Some(layers) = layers {
            self.set_layers(layers.with_partial(false));
        }
    }
}
