//! Large frames cut in segments, as the kernel would have done for a device without offloads.

use flow::packet;

use super::checksum::{Unfinishable, add, fold, not_zero};

/// A large frame, with the places and kinds of its headers.
struct Large<'a> {
    frame: &'a [u8],
    network: usize,
    is_ipv6: bool,
    transport: usize,
    is_tcp: bool,
    payload: usize,
}

const TCP: u8 = 6;
const UDP: u8 = 17;
/// TCP flags that only the last segment keeps: FIN and PSH.
const LAST_ONLY: u8 = 0x01 | 0x08;
/// The TCP flag that only the first segment keeps: CWR.
const FIRST_ONLY: u8 = 0x80;

/// Cuts a TCP or UDP frame so that each segment has at most `size` bytes of payload.
pub(super) fn segment(
    frame: &[u8],
    size: usize,
    sink: &mut dyn FnMut(&[u8]),
) -> Result<(), Unfinishable> {
    if size == 0 {
        return Err(Unfinishable);
    }
    let large = Large::parse(frame).ok_or(Unfinishable)?;
    let payload = &frame[large.payload..];
    let count = payload.len().div_ceil(size).max(1);
    let mut bytes = Vec::new();
    for n in 0..count {
        let start = n * size;
        let end = payload.len().min(start + size);
        bytes.clear();
        bytes.extend_from_slice(&frame[..large.payload]);
        bytes.extend_from_slice(&payload[start..end]);
        large.finish(&mut bytes, n, start, n + 1 == count).ok_or(Unfinishable)?;
        sink(&bytes);
    }
    Ok(())
}

impl Large<'_> {
    fn parse(frame: &[u8]) -> Option<Large<'_>> {
        let (key, layers) = packet::parse(frame);
        let (network, transport) = (layers.network()?, layers.transport()?.start);
        let is_ipv6 = key.eth_type == 0x86dd;
        let is_tcp = key.ip_proto == TCP;
        let header = match key.ip_proto {
            TCP => usize::from(*frame.get(transport + 12)? >> 4) * 4,
            UDP => 8,
            _ => return None,
        };
        let is_short = is_tcp && header < 20;
        let payload = transport + header;
        // Bytes beyond the IP length would be padding, and a large frame has no padding.
        let is_whole = layers.transport()?.end == frame.len() && payload <= frame.len();
        let is_fragment = key.ip_frag != 0;
        if is_short || !is_whole || is_fragment || layers.routed {
            return None;
        }
        Some(Large { frame, network, is_ipv6, transport, is_tcp, payload })
    }

    /// Corrects the lengths and checksums in a segment's headers; `None` if a length does not fit.
    fn finish(&self, bytes: &mut [u8], n: usize, start: usize, is_last: bool) -> Option<()> {
        let transport_length = bytes.len() - self.transport;
        if self.is_tcp {
            let sequence = u32::from_be_bytes(self.read(self.transport + 4)?);
            let sequence = sequence.wrapping_add(u32::try_from(start).ok()?);
            put(bytes, self.transport + 4, sequence.to_be_bytes());
            let flags = bytes.get_mut(self.transport + 13)?;
            *flags &= !(if is_last { 0 } else { LAST_ONLY } | if n == 0 { 0 } else { FIRST_ONLY });
        } else {
            put(bytes, self.transport + 4, u16::try_from(transport_length).ok()?.to_be_bytes());
        }
        if self.is_ipv6 {
            let length = u16::try_from(bytes.len() - self.network - 40).ok()?;
            put(bytes, self.network + 4, length.to_be_bytes());
        } else {
            self.finish_ipv4(bytes, n)?;
        }
        let field = self.transport + if self.is_tcp { 16 } else { 6 };
        put(bytes, field, [0, 0]);
        let addresses = if self.is_ipv6 { 8..40 } else { 12..20 };
        let addresses = self.network + addresses.start..self.network + addresses.end;
        let protocol = if self.is_tcp { TCP } else { UDP };
        let pseudo = add(u64::from(protocol) + transport_length as u64, bytes.get(addresses)?);
        let sum = !fold(add(pseudo, bytes.get(self.transport..)?));
        put(bytes, field, if self.is_tcp { sum } else { not_zero(sum) }.to_be_bytes());
        Some(())
    }

    fn finish_ipv4(&self, bytes: &mut [u8], n: usize) -> Option<()> {
        let length = u16::try_from(bytes.len() - self.network).ok()?;
        put(bytes, self.network + 2, length.to_be_bytes());
        // Each segment is a datagram of its own: the identification counts up, as in the kernel.
        let id = u16::from_be_bytes(self.read(self.network + 4)?);
        let id = id.wrapping_add(u16::try_from(n).ok()?);
        put(bytes, self.network + 4, id.to_be_bytes());
        put(bytes, self.network + 10, [0, 0]);
        let header = usize::from(bytes.get(self.network)? & 0xf) * 4;
        let sum = !fold(add(0, bytes.get(self.network..self.network + header)?));
        put(bytes, self.network + 10, sum.to_be_bytes());
        Some(())
    }

    fn read<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        self.frame.get(at..at + N)?.try_into().ok()
    }
}

/// Writes bytes at an offset within the headers, which [`Large::parse`] found whole.
fn put<const N: usize>(bytes: &mut [u8], at: usize, new: [u8; N]) {
    if let Some(place) = bytes.get_mut(at..at + N) {
        place.copy_from_slice(&new);
    }
}
