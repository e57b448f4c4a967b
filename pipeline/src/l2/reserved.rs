//! Destinations that a switch never forwards to.

use flow::MacAddr;

/// Returns true for a destination of a link-local protocol. Such frames are meant for the
/// neighbour on the cable alone, so the switch drops them and learns nothing from them. The
/// addresses are those that OVS's `NORMAL` drops without `forward-bpdu`.
pub(super) fn is_reserved(mac: MacAddr) -> bool {
    match mac.0 {
        // IEEE 802.1D: STP, pause, LACP, 802.1X, LLDP and the rest of the block.
        [0x01, 0x80, 0xc2, 0, 0, 0..=0x0f]
        // Extreme's EDP and EAPS, whose addresses lack the group bit.
        | [0x00, 0xe0, 0x2b, 0, 0, 0 | 4 | 6]
        // Cisco's ISL.
        | [0x01, 0x00, 0x0c, 0, 0, 0]
        // Cisco's CFM; PAgP, UDLD, CDP, DTP and VTP; PVST+.
        | [0x01, 0x00, 0x0c, 0xcc, 0xcc, 0xc0..=0xc7 | 0xcc | 0xcd]
        // Cisco's STP Uplink Fast and FlexLink.
        | [0x01, 0x00, 0x0c, 0xcd, 0xcd, 0xcd] => true,
        _ => false,
    }
}
