//! Frames to measure with.

use flow::{Field, Key, PortId};

/// The port that receives the traffic, and the port that sends it.
pub(super) const IN: PortId = PortId(1);
pub(super) const OUT: PortId = PortId(2);

/// The key of a UDP packet to UDP port `to`.
pub(super) fn key(to: u16) -> Key {
    let mut key = flow::packet::extract(&frame(UDP, [10, 1, 2, 3], [10, 4, 5, 6], [12345, to]));
    key.in_port = IN.0;
    key
}

const TCP: u8 = 6;
const UDP: u8 = 17;

/// The frame of such a packet, or of one of TCP, with other IPv4 addresses and ports.
pub(super) fn frame_of(key: &Key) -> Vec<u8> {
    let ports = [Field::TpSrc, Field::TpDst].map(|field| key.get(field));
    let ports = ports.map(|port| u16::try_from(port).unwrap_or_default());
    frame(key.ip_proto, key.ipv4_src.to_be_bytes(), key.ipv4_dst.to_be_bytes(), ports)
}

/// A frame of 60 bytes: UDP without a checksum, or TCP without flags.
fn frame(protocol: u8, from: [u8; 4], to: [u8; 4], ports: [u16; 2]) -> Vec<u8> {
    let mut header = vec![0x45, 0, 0, 46, 0, 0, 0x40, 0, 64, protocol, 0, 0];
    header.extend(from);
    header.extend(to);
    let words = header.chunks_exact(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]));
    let sum = words.sum::<u32>();
    let sum = (sum & 0xffff) + (sum >> 16);
    let [a, b] = (!(sum + (sum >> 16))).to_be_bytes()[2..] else { return header };
    (header[10], header[11]) = (a, b);
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0];
    frame.extend(header);
    ports.iter().for_each(|port| frame.extend(port.to_be_bytes()));
    match protocol {
        // Numbers, and a header of five words.
        TCP => frame.extend([0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0]),
        _ => frame.extend([0, 26, 0, 0]),
    }
    frame.resize(60, 0);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Megaflow 12,345 of mask 7, as the script that measures the peers makes it.
    const PRINTED: &str = "0200000000020200000000010800\
         4500002e0000400040111e2c400c0e40c0070e40\
         343907d7001a0000000000000000000000000000000000000000";

    #[test]
    fn frames_are_those_of_the_peers_and_have_the_keys_they_were_made_of() {
        let mut packet = key(2007);
        (packet.ipv4_src, packet.ipv4_dst) = (0x400c_0e40, 0xc007_0e40);
        packet.set(Field::TpSrc, 13369);
        let frame = frame_of(&packet);
        let hex: String = frame.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, PRINTED);
        for protocol in [UDP, TCP] {
            packet.ip_proto = protocol;
            let mut again = flow::packet::extract(&frame_of(&packet));
            again.in_port = IN.0;
            assert_eq!(again, packet);
        }
    }
}
