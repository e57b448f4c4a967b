//! TCP, UDP, SCTP, ICMP, ICMPv6 and IGMP.

use std::ops::Range;

use super::checksum::{Delta, crc32c_delta};
use super::{IpPayload, Layers, wire};
use crate::action::SetFields;
use crate::key::Key;

pub(super) const ICMP: u8 = 1;
pub(super) const IGMP: u8 = 2;
pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;
pub(super) const ICMPV6: u8 = 58;
pub(super) const SCTP: u8 = 132;

/// Data offset and the twelve flag bits.
pub(super) const TCP_CONTROL: usize = 12;
pub(super) const TCP_CHECKSUM: usize = 16;
pub(super) const UDP_CHECKSUM: usize = 6;
const ICMP_CHECKSUM: usize = 2;
const SCTP_CHECKSUM: usize = 8;

/// Bytes of a protocol's header without options.
fn header_len(protocol: u8) -> Option<usize> {
    match protocol {
        TCP => Some(20),
        UDP | ICMP | ICMPV6 | IGMP => Some(8),
        SCTP => Some(12),
        _ => None,
    }
}

/// The offset of the header, if the packet has all of it; a TCP header includes its options.
fn whole(frame: &[u8], transport: IpPayload, protocol: u8) -> Option<usize> {
    let need = header_len(protocol)?;
    let have = transport.end.checked_sub(transport.start)?;
    if have < need {
        return None;
    }
    if protocol == TCP {
        let offset = frame.get(transport.start + TCP_CONTROL)? >> 4;
        let need_with_options = usize::from(offset) * 4;
        if need_with_options < need || need_with_options > have {
            return None;
        }
    }
    Some(transport.start)
}

/// Fills in ports, or type and code, and TCP flags.
pub(super) fn parse(frame: &[u8], transport: IpPayload, key: &mut Key) {
    let Some(at) = whole(frame, transport, key.ip_proto) else { return };
    let first = wire::be16(frame, at).unwrap_or_default();
    match key.ip_proto {
        ICMP | ICMPV6 | IGMP => {
            let [kind, code] = first.to_be_bytes();
            key.tp_src = u16::from(kind);
            key.tp_dst = u16::from(code);
        }
        _ => {
            key.tp_src = first;
            key.tp_dst = wire::be16(frame, at + 2).unwrap_or_default();
        }
    }
    if key.ip_proto == TCP {
        key.tcp_flags = wire::be16(frame, at + TCP_CONTROL).unwrap_or_default() & 0xfff;
    }
}

/// Rewrites ports, or type and code, with the checksum. No effect unless the packet has a whole
/// header of the protocol that the action names.
pub(super) fn set(frame: &mut [u8], layers: &Layers, set: &SetFields) {
    let Some(transport) = layers.transport() else { return };
    // OVS has no attribute that sets IGMP.
    if set.protocol != layers.protocol || set.protocol == IGMP {
        return;
    }
    let Some(at) = whole(frame, transport, set.protocol) else { return };
    let ports = |key: &Key| (u32::from(key.tp_src) << 16 | u32::from(key.tp_dst)).to_be_bytes();
    let (value, mask) = (ports(&set.value), ports(&set.mask));
    match set.protocol {
        TCP | UDP | SCTP => set_ports(frame, layers, transport, value, mask),
        // Type and code are the low bytes of `tp_src` and `tp_dst`.
        ICMP | ICMPV6 => {
            let low = |bytes: [u8; 4]| [bytes[1], bytes[3]];
            set_icmp(frame, set.protocol, at..transport.end, low(value), low(mask));
        }
        _ => {}
    }
}

fn set_ports(
    frame: &mut [u8],
    layers: &Layers,
    transport: IpPayload,
    value: [u8; 4],
    mask: [u8; 4],
) {
    let at = transport.start;
    let Some(old) = wire::bytes::<4>(frame, at) else { return };
    let new = wire::merge(old, value, mask);
    wire::put(frame, at, new);
    let mut delta = Delta::default();
    delta.replace(&old, &new);
    match layers.protocol {
        TCP | UDP => ports_changed(frame, layers, at, delta),
        _ => {
            // The CRC covers all fragments of the message, of which a first fragment is only one,
            // so the CRC comes out wrong there, as in the kernel.
            let changed = std::array::from_fn::<u8, 4, _>(|i| old[i] ^ new[i]);
            let tail = transport.end - at - changed.len();
            if let Some(crc) = wire::bytes(frame, at + SCTP_CHECKSUM)
                && changed != [0; 4]
            {
                let crc = u32::from_le_bytes(crc) ^ crc32c_delta(&changed, tail);
                wire::put(frame, at + SCTP_CHECKSUM, crc.to_le_bytes());
            }
        }
    }
}

/// The offset of a TCP or UDP header that is whole.
pub(super) fn start(frame: &[u8], layers: &Layers) -> Option<usize> {
    whole(frame, layers.transport()?, layers.protocol)
}

/// Brings the checksum of TCP or UDP up to date.
pub(super) fn ports_changed(frame: &mut [u8], layers: &Layers, at: usize, delta: Delta) {
    match layers.protocol {
        // The pseudo header has no ports.
        _ if layers.is_partial => {}
        TCP => delta.apply(frame, at + TCP_CHECKSUM),
        _ => delta.apply_udp(frame, at + UDP_CHECKSUM),
    }
}

fn set_icmp(frame: &mut [u8], protocol: u8, message: Range<usize>, value: [u8; 2], mask: [u8; 2]) {
    let at = message.start;
    let Some(old) = wire::bytes::<2>(frame, at) else { return };
    let new = wire::merge(old, value, mask);
    wire::put(frame, at, new);
    let mut delta = Delta::default();
    delta.replace(&old, &new);
    delta.apply(frame, at + ICMP_CHECKSUM);
    // An increment can't tell the two one's complement zeros apart: an all-zero message needs
    // 0xffff.
    let zeros = frame.get(message).is_some_and(|message| message.iter().all(|byte| *byte == 0));
    if zeros && !delta.is_zero() && protocol == ICMP {
        wire::put(frame, at + ICMP_CHECKSUM, [0xff; 2]);
    }
}

/// Brings the checksum that covers the IP addresses up to date. A later fragment has none.
pub(super) fn addresses_changed(frame: &mut [u8], layers: &Layers, is_ipv6: bool, delta: Delta) {
    let Some(IpPayload { start, end }) = layers.transport() else { return };
    let have = end.saturating_sub(start);
    match layers.protocol {
        TCP if layers.is_partial => delta.apply_partial(frame, start + TCP_CHECKSUM),
        UDP if layers.is_partial => delta.apply_partial(frame, start + UDP_CHECKSUM),
        TCP if have >= 20 => delta.apply(frame, start + TCP_CHECKSUM),
        UDP if have >= 8 => delta.apply_udp(frame, start + UDP_CHECKSUM),
        ICMPV6 if have >= 4 && is_ipv6 => delta.apply(frame, start + ICMP_CHECKSUM),
        _ => {}
    }
}
