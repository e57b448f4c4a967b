//! Offload headers: what the kernel left to a device, and what it may do for one.
//!
//! A local sender's frame may come without a transport checksum (`CHECKSUM_PARTIAL`) or as one
//! frame of up to 64 KiB (GSO). Where [`Unfinished`] describes the work, the frame stays so on its
//! way through the datapath, and the port that it leaves by takes it or gets it finished. Any other
//! work is done here, or the frame can't be taken.

#[cfg(test)]
mod tests;

use flow::packet::{Packet, Unfinished, complete_checksum};

/// Bytes of the header (`virtio_net_hdr`) before each frame, both ways.
pub(super) const LENGTH: usize = 10;

/// The error for a frame that its offload header does not fit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Unfinishable;

/// The fields of a `virtio_net_hdr` in host byte order, as packet sockets and TAPs have it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct VnetHeader {
    flags: u8,
    gso_type: u8,
    header_length: u16,
    gso_size: u16,
    csum_start: u16,
    csum_offset: u16,
}

const NEEDS_CHECKSUM: u8 = 1;
const GSO_NONE: u8 = 0;
const GSO_TCP4: u8 = 1;
const GSO_TCP6: u8 = 4;
const GSO_UDP: u8 = 5;
/// A bit beside the GSO type: the frame has the TCP flag CWR, which only its first segment keeps.
const GSO_ECN: u8 = 0x80;

impl VnetHeader {
    /// From the bytes before a frame.
    pub(super) fn read(bytes: [u8; LENGTH]) -> VnetHeader {
        let [flags, gso_type, a, b, c, d, e, f, g, h] = bytes;
        VnetHeader {
            flags,
            gso_type,
            header_length: u16::from_ne_bytes([a, b]),
            gso_size: u16::from_ne_bytes([c, d]),
            csum_start: u16::from_ne_bytes([e, f]),
            csum_offset: u16::from_ne_bytes([g, h]),
        }
    }

    /// The bytes before a frame.
    pub(super) fn write(self) -> [u8; LENGTH] {
        let [a, b] = self.header_length.to_ne_bytes();
        let [c, d] = self.gso_size.to_ne_bytes();
        let [e, f] = self.csum_start.to_ne_bytes();
        let [g, h] = self.csum_offset.to_ne_bytes();
        [self.flags, self.gso_type, a, b, c, d, e, f, g, h]
    }

    /// The header that asks the kernel for what is unfinished in a frame.
    pub(super) fn of(packet: &Packet) -> VnetHeader {
        let Some(unfinished) = packet.unfinished() else { return VnetHeader::default() };
        let (csum_start, csum_offset) = unfinished.checksum();
        let gso_type = match unfinished.size() {
            0 => GSO_NONE,
            _ if unfinished.has_cwr(packet.bytes()) => gso_type(unfinished) | GSO_ECN,
            _ => gso_type(unfinished),
        };
        VnetHeader {
            flags: NEEDS_CHECKSUM,
            gso_type,
            header_length: unfinished.headers(),
            gso_size: unfinished.size(),
            csum_start,
            csum_offset,
        }
    }

    /// Tells the packet, which has the frame behind the header, what is unfinished in it.
    pub(super) fn apply(self, packet: &mut Packet) -> Result<(), Unfinishable> {
        let place = (self.csum_start, self.csum_offset);
        let is_partial = self.flags & NEEDS_CHECKSUM != 0;
        match self.gso_type & !GSO_ECN {
            GSO_NONE if !is_partial => Ok(()),
            GSO_NONE => {
                let unfinished = Unfinished::of(packet.bytes(), 0);
                match unfinished.filter(|unfinished| unfinished.checksum() == place) {
                    Some(unfinished) => {
                        packet.set_unfinished(Some(unfinished));
                        Ok(())
                    }
                    None => {
                        let (start, offset) = (place.0.into(), place.1.into());
                        let is_whole = complete_checksum(packet.bytes_mut(), start, offset);
                        is_whole.then_some(()).ok_or(Unfinishable)
                    }
                }
            }
            GSO_TCP4 | GSO_TCP6 | GSO_UDP if self.gso_size > 0 => {
                let unfinished = Unfinished::of(packet.bytes(), self.gso_size);
                let unfinished = unfinished.ok_or(Unfinishable)?;
                // Of a frame in a tunnel the header is about the inner frame.
                let is_same = gso_type(&unfinished) == self.gso_type & !GSO_ECN
                    && (!is_partial || unfinished.checksum() == place);
                if !is_same {
                    return Err(Unfinishable);
                }
                // The kernel may have left a whole checksum in a frame that it had merged.
                unfinished.begin_checksum(packet.bytes_mut());
                packet.set_unfinished(Some(unfinished));
                Ok(())
            }
            _ => Err(Unfinishable),
        }
    }
}

/// The GSO type of a frame that is cut in segments.
fn gso_type(unfinished: &Unfinished) -> u8 {
    match (unfinished.is_tcp(), unfinished.is_ipv6()) {
        (false, _) => GSO_UDP,
        (true, false) => GSO_TCP4,
        (true, true) => GSO_TCP6,
    }
}
