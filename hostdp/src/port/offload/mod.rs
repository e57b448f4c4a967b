//! Offload headers: the work that the kernel left to a device is done before a frame is forwarded.
//!
//! A local sender's frame may come without a transport checksum (`CHECKSUM_PARTIAL`) or as one
//! frame of up to 64 KiB (GSO). The next hop may be a card, a capture or a peer without offloads,
//! so the checksum and the segments are made here: the datapath sees only frames that a wire could
//! carry.

mod checksum;
mod partial;
mod segment;
#[cfg(test)]
mod tests;

use flow::packet::Packet;

use super::{Batch, Frame};

pub(super) use checksum::Unfinishable;
pub(super) use partial::complete_partial;

/// The fields of a `virtio_net_hdr` in host byte order, as packet sockets have it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct VnetHeader {
    flags: u8,
    gso_type: u8,
    gso_size: u16,
    csum_start: u16,
    csum_offset: u16,
}

const NEEDS_CHECKSUM: u8 = 1;
const GSO_NONE: u8 = 0;
const GSO_TCP4: u8 = 1;
const GSO_TCP6: u8 = 4;
const GSO_UDP: u8 = 5;
/// A bit beside the GSO type: the sender uses explicit congestion notification.
const GSO_ECN: u8 = 0x80;

impl VnetHeader {
    /// From the bytes before a frame; `None` if they are not all there.
    pub(super) fn read(bytes: &[u8]) -> Option<VnetHeader> {
        let word = |at: usize| Some(u16::from_ne_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]));
        Some(VnetHeader {
            flags: *bytes.first()?,
            gso_type: *bytes.get(1)?,
            gso_size: word(4)?,
            csum_start: word(6)?,
            csum_offset: word(8)?,
        })
    }

    /// Adds the frames that the header and the frame stand for to the batch, each whole, with its
    /// checksums and with the VLAN tag that the kernel had taken out.
    pub(super) fn finish(
        self,
        frame: &[u8],
        vlan: Option<(u16, u16)>,
        batch: &mut Batch,
    ) -> Result<(), Unfinishable> {
        let tagged = |batch: &mut Batch, mut packet: Packet| {
            if let Some((tpid, tci)) = vlan {
                let ([a, b], [c, d]) = (tpid.to_be_bytes(), tci.to_be_bytes());
                packet.insert(12, [a, b, c, d]);
            }
            batch.push(Frame::fresh(packet));
        };
        match self.gso_type & !GSO_ECN {
            GSO_NONE if self.flags & NEEDS_CHECKSUM == 0 => {
                let packet = batch.packet(frame);
                tagged(batch, packet);
                Ok(())
            }
            GSO_NONE => {
                let mut packet = batch.packet(frame);
                let (start, offset) = (self.csum_start.into(), self.csum_offset.into());
                checksum::complete(packet.bytes_mut(), start, offset)?;
                tagged(batch, packet);
                Ok(())
            }
            GSO_TCP4 | GSO_TCP6 | GSO_UDP => {
                segment::segment(frame, self.gso_size.into(), &mut |bytes| {
                    let packet = batch.packet(bytes);
                    tagged(batch, packet);
                })
            }
            _ => Err(Unfinishable),
        }
    }
}
