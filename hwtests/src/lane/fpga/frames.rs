//! The frames that the checks send and expect, made from scratch by `etherparse`.

use etherparse::{IpHeaders, Ipv4Header, PacketBuilder};

/// Addresses that no host has: no kernel answers.
const FROM: [u8; 6] = [2, 0, 0, 0, 0, 0x11];
const TO: [u8; 6] = [2, 0, 0, 0, 0, 0x22];

/// A UDP frame from 10.9.0.1 to 10.9.0.2 with this time to live and payload length.
pub(super) fn udp(ttl: u8, payload: usize) -> Vec<u8> {
    let header = Ipv4Header {
        source: [10, 9, 0, 1],
        destination: [10, 9, 0, 2],
        time_to_live: ttl,
        ..Default::default()
    };
    let mut frame = Vec::new();
    // Fails only for payloads above 64 kB.
    let _ = PacketBuilder::ethernet2(FROM, TO)
        .ip(IpHeaders::Ipv4(header, Default::default()))
        .udp(4000, 4001)
        .write_to_vec(&mut frame, &vec![0xa5; payload]);
    frame
}
