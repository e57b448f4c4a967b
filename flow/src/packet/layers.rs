//! Where the headers of a frame are.

use std::num::NonZeroU32;

/// The headers of a frame: their offsets in bytes from the start of the frame, and their kinds.
/// They travel with each packet, so they are small.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Layers {
    eth_type: Option<Offset>,
    length: Option<Offset>,
    payload: u32,
    header: Option<Offset>,
    network: Option<Offset>,
    transport: Option<Offset>,
    transport_end: u32,
    /// The EtherType, as in [`Key::eth_type`](crate::Key::eth_type).
    pub kind: u16,
    /// The IP protocol, as in [`Key::ip_proto`](crate::Key::ip_proto).
    pub protocol: u8,
    /// Number of whole label stack entries in the key, 0 to 3; the first is at
    /// [`Layers::payload`].
    pub labels: u8,
    /// True if an IPv6 routing header has segments left: then transport checksums cover another
    /// address than the header's destination.
    pub routed: bool,
    /// True if the field of the transport checksum has only the sum of the pseudo header so far:
    /// [`Unfinished`](super::Unfinished).
    pub is_partial: bool,
}

const _: () = assert!(size_of::<Layers>() <= 36);

/// An offset, which is never 0: no field that anyone looks for is at the start of a frame.
type Offset = NonZeroU32;

/// An IP payload that is not a later fragment. It may be shorter than the protocol's header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IpPayload {
    /// Offset of the first byte.
    pub start: usize,
    /// Offset behind the last byte by the IP header's length. Padding may follow.
    pub end: usize,
}

/// No frame has 4 GiB.
#[inline]
fn narrow(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

#[inline]
fn offset(at: usize) -> Option<Offset> {
    Offset::new(narrow(at))
}

fn wide(at: Option<Offset>) -> Option<usize> {
    at.map(|at| at.get() as usize)
}

impl Layers {
    /// The two bytes of the EtherType behind the tags; in a SNAP frame those of the SNAP type.
    /// `None` for 802.2 without SNAP and for less than a whole Ethernet header.
    #[must_use]
    pub fn eth_type(&self) -> Option<usize> {
        wide(self.eth_type)
    }

    /// The length field of an 802.3 frame.
    #[must_use]
    pub fn length(&self) -> Option<usize> {
        wide(self.length)
    }

    /// The first byte behind the EtherType: the label stack or the network header.
    #[must_use]
    pub fn payload(&self) -> usize {
        self.payload as usize
    }

    /// The IPv4, IPv6 or ARP header that the EtherType announces, if the frame has all its bytes.
    /// Rewrites use this header even if a length in it is false.
    #[must_use]
    pub fn header(&self) -> Option<usize> {
        wide(self.header)
    }

    /// The same header, if the key has fields of it.
    #[must_use]
    pub fn network(&self) -> Option<usize> {
        wide(self.network)
    }

    /// The IP payload behind options and extension headers; `None` in a later fragment.
    #[must_use]
    pub fn transport(&self) -> Option<IpPayload> {
        let start = wide(self.transport)?;
        Some(IpPayload { start, end: self.transport_end as usize })
    }

    #[inline]
    pub(super) fn found_eth_type(&mut self, at: usize) {
        self.eth_type = offset(at);
    }

    pub(super) fn found_length(&mut self, at: usize) {
        self.length = offset(at);
    }

    #[inline]
    pub(super) fn found_payload(&mut self, at: usize) {
        self.payload = narrow(at);
    }

    #[inline]
    pub(super) fn found_header(&mut self, at: usize) {
        self.header = offset(at);
    }

    #[inline]
    pub(super) fn found_network(&mut self, at: usize) {
        self.network = offset(at);
    }

    #[inline]
    pub(super) fn found_transport(&mut self, start: usize, end: usize) {
        (self.transport, self.transport_end) = (offset(start), narrow(end));
    }

    /// The same headers, and whether the transport checksum is partial.
    #[inline]
    pub(super) fn with_partial(self, is_partial: bool) -> Layers {
        Layers { is_partial, ..self }
    }

    /// The same headers in a frame whose IP payload ends elsewhere.
    pub(super) fn with_transport_end(self, end: usize) -> Layers {
        Layers { transport_end: narrow(end), ..self }
    }

    /// The same headers after `by` bytes were inserted in front of them (or removed, if negative).
    pub(super) fn moved(self, by: i32) -> Layers {
        let moved = |at: u32| at.saturating_add_signed(by);
        let found = |at: Option<Offset>| at.and_then(|at| Offset::new(moved(at.get())));
        Layers {
            eth_type: found(self.eth_type),
            length: found(self.length),
            payload: moved(self.payload),
            header: found(self.header),
            network: found(self.network),
            transport: found(self.transport),
            transport_end: moved(self.transport_end),
            ..self
        }
    }
}
