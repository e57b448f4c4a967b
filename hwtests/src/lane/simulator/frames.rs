//! The frames that the checks send. `etherparse` makes them, checksums and all, from scratch: a
//! frame that the card edited is compared with one that was made with the new values.

use etherparse::{
    ArpHardwareId, ArpOperation, ArpPacket, EtherType, IpFragOffset, Ipv4Header, Ipv6Header,
    PacketBuilder, TcpHeader,
};

pub(super) const MAC_1: [u8; 6] = [2, 0, 0, 0, 0, 1];
pub(super) const MAC_2: [u8; 6] = [2, 0, 0, 0, 0, 2];
pub(super) const IP6_1: [u8; 16] = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
pub(super) const IP6_2: [u8; 16] = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];

/// The Ethernet and the IPv4 header without options.
const BEHIND_IPV4: usize = 34;

/// What is in the IP packet.
#[derive(Clone, Copy)]
pub(super) enum Inner {
    Udp(u16, u16),
    Tcp(u16, u16, Flags),
    /// Echo request with this id: ICMP or ICMPv6.
    Echo(u16),
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Flags {
    Syn,
    Ack,
}

pub(super) const UDP: Inner = Inner::Udp(1000, 2000);

/// An IPv4 frame from MAC_1 to MAC_2, 10.0.0.1 to 10.0.0.2, ttl 64, after `change`.
pub(super) fn ipv4(inner: Inner, change: impl FnOnce(&mut Ipv4Header)) -> Vec<u8> {
    ipv4_with(inner, b"0123456789", change)
}

fn ipv4_with(inner: Inner, payload: &[u8], change: impl FnOnce(&mut Ipv4Header)) -> Vec<u8> {
    let mut header = Ipv4Header {
        source: [10, 0, 0, 1],
        destination: [10, 0, 0, 2],
        time_to_live: 64,
        ..Default::default()
    };
    change(&mut header);
    let headers = etherparse::IpHeaders::Ipv4(header, Default::default());
    finish(PacketBuilder::ethernet2(MAC_1, MAC_2).ip(headers), inner, payload, false)
}

/// An IPv6 frame from fd00::1 to fd00::2, hop limit 64, after `change`.
pub(super) fn ipv6(inner: Inner, change: impl FnOnce(&mut Ipv6Header)) -> Vec<u8> {
    let mut header =
        Ipv6Header { source: IP6_1, destination: IP6_2, hop_limit: 64, ..Default::default() };
    change(&mut header);
    let headers = etherparse::IpHeaders::Ipv6(header, Default::default());
    finish(PacketBuilder::ethernet2(MAC_1, MAC_2).ip(headers), inner, b"0123456789", true)
}

fn finish(
    ip: etherparse::PacketBuilderStep<etherparse::IpHeaders>,
    inner: Inner,
    payload: &[u8],
    v6: bool,
) -> Vec<u8> {
    let mut frame = Vec::new();
    // Fails only for payloads above 64 kB.
    let _ = match inner {
        Inner::Udp(from, to) => ip.udp(from, to).write_to_vec(&mut frame, payload),
        Inner::Tcp(from, to, flags) => {
            let mut header = TcpHeader::new(from, to, 1, 1024);
            header.syn = flags == Flags::Syn;
            header.ack = flags == Flags::Ack;
            ip.tcp_header(header).write_to_vec(&mut frame, payload)
        }
        Inner::Echo(id) if v6 => ip.icmpv6_echo_request(id, 1).write_to_vec(&mut frame, payload),
        Inner::Echo(id) => ip.icmpv4_echo_request(id, 1).write_to_vec(&mut frame, payload),
    };
    frame
}

/// The plain UDP frame that most checks send.
pub(super) fn udp() -> Vec<u8> {
    ipv4(UDP, |_| {})
}

/// The first fragment, or the last, of a UDP packet of 40 bytes, after `change`.
pub(super) fn fragment(first: bool, change: impl Fn(&mut Ipv4Header)) -> Vec<u8> {
    const CUT: usize = 24;
    let packet = ipv4_with(UDP, &[7; 40], &change);
    let datagram = &packet[BEHIND_IPV4..];
    let piece = if first { &datagram[..CUT] } else { &datagram[CUT..] };
    let mut header = Ipv4Header {
        source: [10, 0, 0, 1],
        destination: [10, 0, 0, 2],
        time_to_live: 64,
        protocol: etherparse::IpNumber::UDP,
        more_fragments: first,
        ..Default::default()
    };
    header.total_len = 44; // of 48 bytes behind the header each piece has half
    if !first {
        // In units of eight bytes: 24 bytes are behind it.
        header.fragment_offset = IpFragOffset::try_new(3).unwrap_or_default();
    }
    change(&mut header);
    header.header_checksum = header.calc_header_checksum();
    [&packet[..14], &header.to_bytes()[..], piece].concat()
}

/// An ARP request of 10.0.0.1 for this address.
pub(super) fn arp(target: [u8; 4]) -> Vec<u8> {
    let packet = ArpPacket::new(
        ArpHardwareId::ETHERNET,
        EtherType::IPV4,
        ArpOperation::REQUEST,
        &MAC_1,
        &[10, 0, 0, 1],
        &[0; 6],
        &target,
    );
    let mut frame = Vec::new();
    if let Ok(packet) = packet {
        // Writing to a vector does not fail.
        let _ = PacketBuilder::ethernet2(MAC_1, [0xff; 6]).arp(packet).write_to_vec(&mut frame);
    }
    frame
}
