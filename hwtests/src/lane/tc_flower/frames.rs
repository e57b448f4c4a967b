//! One frame of every kind that the cases tell apart.

use etherparse::{
    ArpHardwareId, ArpOperation, ArpPacket, EtherType, IpFragOffset, IpHeaders, IpNumber,
    Ipv4Header, Ipv6Header, PacketBuilder, TcpHeader,
};

use crate::frame::{mpls, tag};

const FROM: [u8; 6] = [2, 0, 0, 0, 0, 1];
const TO: [u8; 6] = [2, 0, 0, 0, 0, 2];
const PAYLOAD: &[u8] = b"0123456789";

enum Inner {
    Udp(u16, u16),
    /// With SYN.
    Tcp(u16, u16, bool),
    /// Echo request, ICMP or ICMPv6.
    Echo,
}

/// All of them.
pub(super) fn all() -> Vec<Vec<u8>> {
    let plain = ipv4(Inner::Udp(1000, 2000), |_| {});
    let mut frames = vec![
        plain.clone(),
        ipv4(Inner::Udp(1001, 2001), |h| h.destination = [10, 0, 1, 9]),
        ipv4(Inner::Tcp(1000, 80, true), |_| {}),
        ipv4(Inner::Tcp(1000, 80, false), |_| {}),
        ipv4(Inner::Tcp(1000, 443, false), |h| h.time_to_live = 9),
        ipv4(Inner::Echo, |_| {}),
        ipv4(Inner::Udp(1000, 2000), |h| h.source = [192, 0, 2, 1]),
        patched(15, 0x20),
        patched(15, 0x2e),
        fragment(true),
        fragment(false),
        ipv6(Inner::Udp(1000, 2000), |_| {}),
        ipv6(Inner::Tcp(1000, 80, true), |h| h.hop_limit = 9),
        ipv6(Inner::Tcp(1000, 80, false), |h| h.destination[7] = 1),
        ipv6(Inner::Echo, |_| {}),
        arp(ArpOperation::REQUEST, [10, 0, 0, 2]),
        arp(ArpOperation::REPLY, [10, 0, 0, 9]),
        from_nobody(0x0806, 1, 2),
        from_nobody(0x0806, 3, 99),
        from_nobody(0x8035, 3, 99),
        extension(44, 17, &[0, 0, 0, 1, 0, 0, 0, 7]),
        extension(44, 17, &[0, 0, 0, 8, 0, 0, 0, 7]),
        // An authentication header with nothing behind it, and the same in IPv4.
        extension(51, 59, &[0, 1, 0, 0, 0, 0, 0, 7, 0, 0, 0, 1]),
        patched(23, 51),
        [&TO[..], &FROM, &[0x88, 0xb5], PAYLOAD, PAYLOAD, PAYLOAD, PAYLOAD, PAYLOAD].concat(),
        [&[0xff; 6][..], &FROM, &[0x88, 0xb6], PAYLOAD, PAYLOAD, PAYLOAD, PAYLOAD].concat(),
        mpls(&plain, 16, 0, 64),
        mpls(&plain, 17, 5, 9),
    ];
    for (tpid, tci) in [(0x8100, 5), (0x8100, 0x6005), (0x8100, 0), (0x88a8, 5)] {
        frames.push(tag(&plain, tpid, tci));
    }
    frames.push(tag(&ipv6(Inner::Echo, |_| {}), 0x8100, 6));
    frames.push(tag(&tag(&plain, 0x8100, 6), 0x88a8, 5));
    frames.push(tag(&tag(&plain, 0x8100, 0x4007), 0x8100, 5));
    frames
}

fn ipv4(inner: Inner, change: impl FnOnce(&mut Ipv4Header)) -> Vec<u8> {
    let mut header = Ipv4Header {
        source: [10, 0, 0, 1],
        destination: [10, 0, 0, 2],
        time_to_live: 64,
        ..Default::default()
    };
    change(&mut header);
    finish(IpHeaders::Ipv4(header, Default::default()), inner)
}

fn ipv6(inner: Inner, change: impl FnOnce(&mut Ipv6Header)) -> Vec<u8> {
    let address = |last| {
        let mut address = [0; 16];
        (address[0], address[15]) = (0xfd, last);
        address
    };
    let mut header = Ipv6Header {
        source: address(1),
        destination: address(2),
        hop_limit: 64,
        ..Default::default()
    };
    change(&mut header);
    finish(IpHeaders::Ipv6(header, Default::default()), inner)
}

fn finish(ip: IpHeaders, inner: Inner) -> Vec<u8> {
    let v6 = matches!(ip, IpHeaders::Ipv6(..));
    let packet = PacketBuilder::ethernet2(FROM, TO).ip(ip);
    let mut frame = Vec::new();
    // Writing fails only for payloads above 64 kB.
    let _ = match inner {
        Inner::Udp(from, to) => packet.udp(from, to).write_to_vec(&mut frame, PAYLOAD),
        Inner::Tcp(from, to, syn) => {
            let mut header = TcpHeader::new(from, to, 1, 1024);
            (header.syn, header.ack) = (syn, !syn);
            packet.tcp_header(header).write_to_vec(&mut frame, PAYLOAD)
        }
        Inner::Echo if v6 => packet.icmpv6_echo_request(7, 1).write_to_vec(&mut frame, PAYLOAD),
        Inner::Echo => packet.icmpv4_echo_request(7, 1).write_to_vec(&mut frame, PAYLOAD),
    };
    frame
}

/// The plain frame with another byte in its IPv4 header.
fn patched(at: usize, byte: u8) -> Vec<u8> {
    let mut frame = ipv4(Inner::Udp(1000, 2000), |_| {});
    frame[at] = byte;
    let header = Ipv4Header::from_slice(&frame[14..]).map(|(header, _)| header);
    if let Ok(header) = header {
        frame[24..26].copy_from_slice(&header.calc_header_checksum().to_be_bytes());
    }
    frame
}

/// The first or the last half of a UDP packet.
fn fragment(first: bool) -> Vec<u8> {
    let mut header = Ipv4Header {
        source: [10, 0, 0, 1],
        destination: [10, 0, 0, 2],
        time_to_live: 64,
        protocol: IpNumber::UDP,
        more_fragments: first,
        total_len: 44,
        ..Default::default()
    };
    if !first {
        header.fragment_offset = IpFragOffset::try_new(3).unwrap_or_default();
    }
    header.header_checksum = header.calc_header_checksum();
    let piece = [3, 232, 7, 208, 0, 48, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3, 4, 5, 6, 7];
    [&TO[..], &FROM, &[8, 0], &header.to_bytes(), &piece].concat()
}

/// An ARP or RARP frame whose sender has no IP address.
fn from_nobody(eth_type: u16, operation: u16, target: u8) -> Vec<u8> {
    let mut frame = arp(ArpOperation(operation), [10, 0, 0, target]);
    frame[12..14].copy_from_slice(&eth_type.to_be_bytes());
    // The hardware address too is one that no case asks for.
    frame[27] = target;
    frame[28..32].fill(0);
    frame
}

/// An IPv6 packet with one extension header, whose first byte is to name `next`.
fn extension(kind: u8, next: u8, header: &[u8]) -> Vec<u8> {
    let mut frame = ipv6(Inner::Udp(1000, 2000), |_| {});
    frame[20] = kind;
    frame.truncate(54);
    frame.push(next);
    frame.extend(&header[1..]);
    frame.extend([3, 232, 7, 208, 0, 8, 0, 0]);
    let length = u16::try_from(frame.len() - 54).unwrap_or_default();
    frame[18..20].copy_from_slice(&length.to_be_bytes());
    frame
}

fn arp(operation: ArpOperation, target: [u8; 4]) -> Vec<u8> {
    let hardware = ArpHardwareId::ETHERNET;
    let packet = ArpPacket::new(
        hardware,
        EtherType::IPV4,
        operation,
        &FROM,
        &[10, 0, 0, 1],
        &[0; 6],
        &target,
    );
    let mut frame = Vec::new();
    if let Ok(packet) = packet {
        let _ = PacketBuilder::ethernet2(FROM, [0xff; 6]).arp(packet).write_to_vec(&mut frame);
    }
    frame
}
