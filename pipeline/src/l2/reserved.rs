//! Destinations that a switch never forwards to.

use flow::MacAddr;

/// Link-local protocols: their frames are for the neighbour on the cable alone, so they are
/// dropped and nothing is learnt from them. The same addresses as OVS's `NORMAL` without
/// `forward-bpdu`.
pub(super) fn is_reserved(mac: MacAddr) -> bool {
    match mac.0 {
        // IEEE 802.1D: STP, pause, LACP, 802.1X, LLDP and the rest of the block.
        [0x01, 0x80, 0xc2, 0, 0, 0..=0x0f]
        // Extreme's EDP and EAPS, which are no groups.
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
