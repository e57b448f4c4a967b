//! Checksums of a frame from scratch: plain sums, no increments.

use flow::packet::{self, IpPayload};

/// Which checksums are there, can be judged, and are right.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Right {
    /// The IPv4 header's.
    pub(crate) ip: bool,
    /// The transport's: not of fragments, not where a routing header hides the destination.
    pub(crate) transport: bool,
}

pub(crate) fn verify(frame: &[u8]) -> Right {
    let (key, layers) = packet::parse(frame);
    let mut right = Right { ip: false, transport: false };
    let Some(at) = layers.network() else { return right };
    let v4 = key.eth_type == 0x800;
    if v4 {
        let ihl = usize::from(frame[at] & 15) * 4;
        right.ip = sum(&frame[at..at + ihl], 0) == 0xffff;
    }
    let Some(IpPayload { start, end }) = layers.transport() else { return right };
    let addresses = if v4 { at + 12..at + 20 } else { at + 8..at + 40 };
    let message = &frame[start..end];
    let pseudo = sum(&frame[addresses], message.len() as u32 + u32::from(key.ip_proto));
    right.transport = key.ip_frag == 0
        && !layers.routed
        && match key.ip_proto {
            6 => message.len() >= 20 && sum(message, pseudo) == 0xffff,
            17 => message.len() >= 8 && message[6..8] != [0; 2] && sum(message, pseudo) == 0xffff,
            58 if !v4 => message.len() >= 8 && sum(message, pseudo) == 0xffff,
            1 | 58 => message.len() >= 8 && sum(message, 0) == 0xffff,
            132 => message.len() >= 12 && sctp(message),
            _ => false,
        };
    right
}

/// One's complement sum of 16-bit words on top of another sum, an odd last byte padded.
fn sum(bytes: &[u8], start: u32) -> u32 {
    let word = |pair: &[u8]| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
    let mut sum = start + bytes.chunks(2).map(word).sum::<u32>();
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    sum
}

fn sctp(message: &[u8]) -> bool {
    let field = u32::from_le_bytes([message[8], message[9], message[10], message[11]]);
    sctp_crc(message) == field
}

/// CRC-32C bit by bit, the checksum field taken as zero.
pub(crate) fn sctp_crc(message: &[u8]) -> u32 {
    let byte = |(at, byte): (usize, &u8)| if (8..12).contains(&at) { 0 } else { u32::from(*byte) };
    let step = |crc: u32, byte: u32| {
        (0..8).fold(crc ^ byte, |crc, _| crc >> 1 ^ (0x82f6_3b78 & 0u32.wrapping_sub(crc & 1)))
    };
    !message.iter().enumerate().map(byte).fold(u32::MAX, step)
}
