use flow::packet::extract;
use proptest::prelude::*;

use super::*;
use crate::port::PacketPool;

/// Ethernet, IPv4 or IPv6, TCP (with 12 bytes of options) or UDP, and counting payload bytes.
fn large(is_ipv6: bool, is_tcp: bool, payload: usize) -> (Vec<u8>, usize) {
    let header = if is_tcp { 32 } else { 8 };
    let protocol = if is_tcp { 6 } else { 17 };
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    if is_ipv6 {
        frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
        frame.extend(u16::try_from(header + payload).unwrap().to_be_bytes());
        frame.extend([protocol, 64]);
        frame.extend((0..32).map(|n| n + 1));
    } else {
        frame.extend([0x08, 0x00, 0x45, 0]);
        frame.extend(u16::try_from(20 + header + payload).unwrap().to_be_bytes());
        frame.extend([0xff, 0xff, 0x40, 0, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    }
    let transport = frame.len();
    frame.extend([0x10, 0, 0, 80]);
    if is_tcp {
        frame.extend([0xff, 0xff, 0xff, 0, 0, 0, 0, 9, 0x80, 0x99, 2, 0, 0, 0, 0, 0]);
        frame.extend([1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]);
    } else {
        frame.extend(u16::try_from(8 + payload).unwrap().to_be_bytes());
        frame.extend([0, 0]);
    }
    frame.extend((0..payload).map(|n| (n % 251) as u8));
    (frame, transport)
}

/// The frames that a frame behind a header is on a wire.
fn finish(header: VnetHeader, frame: &[u8]) -> Result<Vec<Vec<u8>>, Unfinishable> {
    let mut packet = Packet::new(frame);
    header.apply(&mut packet)?;
    let (mut out, counters) = (Vec::new(), packet.counters());
    PacketPool::default().finish(packet, |whole| {
        assert_eq!(whole.unfinished(), None);
        out.push(whole.bytes().to_vec());
    });
    let bytes = out.iter().map(|frame| frame.len() as u64).sum();
    assert_eq!(counters, flow::Counters { packets: out.len() as u64, bytes });
    Ok(out)
}

/// Adds bytes, as big-endian words, to a sum.
fn add(sum: u64, bytes: &[u8]) -> u64 {
    let word = |word: &[u8]| u64::from(word[0]) << 8 | word.get(1).map_or(0, |b| u64::from(*b));
    sum + bytes.chunks(2).map(word).sum::<u64>()
}

/// The one's complement sum in 16 bits.
fn fold(sum: u64) -> u16 {
    if sum >> 16 == 0 { sum as u16 } else { fold((sum & 0xffff) + (sum >> 16)) }
}

/// The transport checksum by its definition: the sum over everything, itself included.
fn is_sound(frame: &[u8], transport: usize) -> bool {
    let ip = 14;
    let is_ipv6 = frame[12] == 0x86;
    let (addresses, protocol) =
        if is_ipv6 { (ip + 8..ip + 40, frame[ip + 6]) } else { (ip + 12..ip + 20, frame[ip + 9]) };
    let pseudo = add((frame.len() - transport) as u64 + u64::from(protocol), &frame[addresses]);
    let header_is_sound = is_ipv6 || fold(add(0, &frame[ip..ip + 20])) == 0xffff;
    header_is_sound && fold(add(pseudo, &frame[transport..])) == 0xffff
}

#[test]
fn a_partial_checksum_is_completed() {
    for (is_ipv6, is_tcp) in [(false, false), (false, true), (true, false), (true, true)] {
        let (mut frame, transport) = large(is_ipv6, is_tcp, 33);
        let ip = 14;
        let addresses = if is_ipv6 { ip + 8..ip + 40 } else { ip + 12..ip + 20 };
        let protocol = if is_tcp { 6 } else { 17 };
        let pseudo = fold(add((frame.len() - transport) as u64 + protocol, &frame[addresses]));
        let offset = if is_tcp { 16 } else { 6 };
        frame[transport + offset..transport + offset + 2].copy_from_slice(&pseudo.to_be_bytes());
        if !is_ipv6 {
            let sum = !fold(add(0, &frame[ip..ip + 20]));
            frame[ip + 10..ip + 12].copy_from_slice(&sum.to_be_bytes());
        }
        let header = VnetHeader {
            flags: NEEDS_CHECKSUM,
            csum_start: transport as u16,
            csum_offset: offset as u16,
            ..VnetHeader::default()
        };
        let out = finish(header, &frame).unwrap();
        assert_eq!((out.len(), out[0].len()), (1, frame.len()));
        assert!(is_sound(&out[0], transport), "{is_ipv6} {is_tcp}");
        let beyond = VnetHeader { csum_offset: 9000, ..header };
        assert_eq!(finish(beyond, &frame), Err(Unfinishable));
    }
}

#[test]
fn a_large_frame_becomes_sound_segments() {
    for (is_ipv6, is_tcp, gso_type) in
        [(false, true, GSO_TCP4), (true, true, GSO_TCP6 | GSO_ECN), (false, false, GSO_UDP)]
    {
        let (frame, transport) = large(is_ipv6, is_tcp, 1000);
        let header = VnetHeader { gso_type, gso_size: 300, ..VnetHeader::default() };
        let out = finish(header, &frame).unwrap();
        let start = transport + if is_tcp { 32 } else { 8 };
        let lengths: Vec<usize> = out.iter().map(|segment| segment.len() - start).collect();
        assert_eq!(lengths, [300, 300, 300, 100]);
        let payload: Vec<u8> = out.iter().flat_map(|s| s[start..].to_vec()).collect();
        assert_eq!(payload, frame[start..]);
        for (n, segment) in out.iter().enumerate() {
            assert!(is_sound(segment, transport), "{is_ipv6} {is_tcp} {n}");
            let (key, whole) = (extract(segment), extract(&frame));
            assert_eq!((key.tp_src, key.ipv6_dst), (whole.tp_src, whole.ipv6_dst));
            if is_tcp {
                let at = transport + 4;
                let sequence = u32::from_be_bytes(segment[at..at + 4].try_into().unwrap());
                assert_eq!(sequence, 0xffff_ff00_u32.wrapping_add(300 * n as u32));
                let want = [0x90, 0x10, 0x10, 0x19][n];
                assert_eq!(segment[transport + 13], want, "CWR first, FIN and PSH last");
            }
            if !is_ipv6 {
                let id = u16::from_be_bytes([segment[18], segment[19]]);
                assert_eq!(id, 0xffff_u16.wrapping_add(n as u16));
            }
        }
    }
}

/// Of a frame in a tunnel the header is about the inner frame, which nobody looks for here.
#[test]
fn a_header_about_an_inner_frame_is_refused() {
    let (frame, transport) = large(false, false, 1000);
    let udp = VnetHeader {
        flags: NEEDS_CHECKSUM,
        gso_type: GSO_UDP,
        gso_size: 300,
        csum_start: transport as u16,
        csum_offset: 6,
        ..VnetHeader::default()
    };
    assert_eq!(finish(udp, &frame).unwrap().len(), 4);
    for inner in [
        VnetHeader { gso_type: GSO_TCP4, ..udp },
        VnetHeader { gso_type: GSO_TCP6, ..udp },
        VnetHeader { csum_start: udp.csum_start + 50, ..udp },
        VnetHeader { csum_offset: 16, ..udp },
    ] {
        assert_eq!(finish(inner, &frame), Err(Unfinishable), "{inner:?}");
    }
    let (frame, _) = large(false, true, 60_000);
    let tcp = VnetHeader { gso_type: GSO_TCP4, gso_size: 59, ..VnetHeader::default() };
    assert_eq!(finish(tcp, &frame).unwrap().len(), 1017);
    assert_eq!(finish(VnetHeader { gso_size: 58, ..tcp }, &frame), Err(Unfinishable));
}

/// What is unfinished in a frame is written as it was read, behind a tag too.
#[test]
fn an_unfinished_frame_leaves_as_it_came() {
    // The TCP frame has CWR.
    let tcp = GSO_TCP4 | GSO_ECN;
    for (is_tcp, gso_type, size) in [(true, tcp, 300), (false, GSO_UDP, 300), (true, 0, 0)] {
        let (frame, transport) = large(false, is_tcp, 1000);
        let header = VnetHeader {
            flags: NEEDS_CHECKSUM,
            gso_type,
            header_length: (transport + if is_tcp { 32 } else { 8 }) as u16,
            gso_size: size,
            csum_start: transport as u16,
            csum_offset: if is_tcp { 16 } else { 6 },
        };
        let mut packet = Packet::new(&frame);
        VnetHeader::read(header.write()).apply(&mut packet).unwrap();
        assert_eq!(VnetHeader::of(&packet), header);
        packet.insert(12, [0x81, 0, 0, 5]);
        let (header_length, csum_start) = (header.header_length + 4, header.csum_start + 4);
        assert_eq!(VnetHeader::of(&packet), VnetHeader { header_length, csum_start, ..header });
    }
    assert_eq!(VnetHeader::of(&Packet::new(&[0; 60])), VnetHeader::default());
}

#[test]
fn headers_that_lie_are_refused() {
    let (frame, _) = large(false, true, 100);
    let tcp = VnetHeader { gso_type: GSO_TCP4, gso_size: 50, ..VnetHeader::default() };
    assert_eq!(finish(VnetHeader { gso_size: 0, ..tcp }, &frame), Err(Unfinishable));
    assert_eq!(finish(VnetHeader { gso_type: 3, ..tcp }, &frame), Err(Unfinishable));
    assert_eq!(finish(tcp, &frame[..40]), Err(Unfinishable));
    assert_eq!(finish(tcp, &[]), Err(Unfinishable));
}

proptest! {
    #[test]
    fn any_header_and_frame_are_taken(
        header in prop::array::uniform10(any::<u8>()),
        cut in 0..200_usize,
        flip in prop::option::of((0..120_usize, any::<u8>())),
        is_ipv6: bool,
        is_tcp: bool,
    ) {
        let (mut frame, _) = large(is_ipv6, is_tcp, 60);
        frame.truncate(cut);
        if let Some((at, to)) = flip
            && let Some(byte) = frame.get_mut(at)
        {
            *byte = to;
        }
        for gso_type in [header[1], GSO_NONE, GSO_TCP4, GSO_TCP6, GSO_UDP] {
            // The checksum's place is not looked at where there is none to make.
            let flags = header[0] & if cut % 2 == 0 { 0xff } else { !NEEDS_CHECKSUM };
            let header = VnetHeader { flags, gso_type, ..VnetHeader::read(header) };
            if let Ok(out) = finish(header, &frame) {
                prop_assert!(out.len() <= frame.len().max(1));
            }
        }
    }
}
