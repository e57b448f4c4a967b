//! Partial checksums without an offload header: AF_XDP does not say that a checksum is still to be
//! made.

use flow::packet::{self, Packet};

use super::checksum::{add, complete, fold};

const TCP: u8 = 6;
const UDP: u8 = 17;

/// Completes the checksum of a TCP or UDP packet if the checksum's field has the sum of the pseudo
/// header, as a local sender leaves it to a device.
///
/// In a complete frame the field can have that value too, by chance: then all other words add up to
/// nothing, and the sum made here is the one that is there. Only a damaged frame of that chance, one
/// in 65,536, is taken for whole.
pub(in crate::port) fn complete_partial(packet: &mut Packet) {
    if let Some((start, end, offset)) = partial(packet.bytes()) {
        // Padding behind the IP packet is not part of the sum. The field is in the frame.
        let _ = complete(packet.bytes_mut().get_mut(..end).unwrap_or_default(), start, offset);
    }
}

/// Start and end of the part with a partial checksum, and the place of the field in it.
fn partial(frame: &[u8]) -> Option<(usize, usize, usize)> {
    let (key, layers) = packet::parse(frame);
    let offset = match layers.protocol {
        TCP => 16,
        UDP => 6,
        _ => return None,
    };
    let (network, payload) = (layers.network()?, layers.transport()?);
    let field = payload.start + offset;
    let found = frame.get(field..field + 2)?;
    let addresses = if layers.kind == 0x86dd { 8..40 } else { 12..20 };
    let addresses = frame.get(network + addresses.start..network + addresses.end)?;
    let length = payload.end.checked_sub(payload.start)? as u64;
    let pseudo = fold(add(u64::from(layers.protocol) + length, addresses));
    let is_partial = found == pseudo.to_be_bytes();
    // The sum of a first fragment would cover the other fragments, too.
    let is_whole = payload.end <= frame.len() && key.ip_frag == 0 && !layers.routed;
    (is_partial && is_whole).then_some((payload.start, payload.end, offset))
}
