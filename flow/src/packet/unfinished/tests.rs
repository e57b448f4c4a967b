//! Partial checksums of which nobody tells.

use proptest::prelude::*;

use super::*;

/// Completes what looks partial.
fn complete(packet: &mut Packet) {
    packet.set_unfinished(Unfinished::seen(packet.bytes()));
    packet.complete();
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

/// Ethernet, a tag, IPv4 or IPv6, TCP or UDP with a payload; and padding, which is no part of
/// any sum. The second is the place of the checksum, the third is where the transport header
/// starts.
fn frame(is_ipv6: bool, is_tcp: bool, payload: &[u8], padding: usize) -> (Vec<u8>, usize, usize) {
    let (protocol, header) = if is_tcp { (TCP, 20) } else { (UDP, 8) };
    let length = u16::try_from(header + payload.len()).unwrap();
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x81, 0x00, 0x00, 0x05];
    if is_ipv6 {
        frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
        frame.extend(length.to_be_bytes());
        frame.extend([protocol, 64]);
        frame.extend((0..32).map(|n| n * 7));
    } else {
        frame.extend([0x08, 0x00, 0x45, 0]);
        frame.extend((length + 20).to_be_bytes());
        frame.extend([0, 1, 0, 0, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    }
    let start = frame.len();
    frame.extend([0x10, 0, 0, 80]);
    if is_tcp {
        frame.extend([0, 0, 0, 1, 0, 0, 0, 9, 0x50, 0x18, 2, 0, 0, 0, 0, 0]);
    } else {
        frame.extend(length.to_be_bytes());
        frame.extend([0, 0]);
    }
    frame.extend(payload);
    frame.extend(std::iter::repeat_n(0xa5, padding));
    (frame, start + if is_tcp { 16 } else { 6 }, start)
}

/// The sum of the pseudo header, by its definition, and the checksum that belongs in the frame.
fn sums(frame: &[u8], (start, end): (usize, usize), is_ipv6: bool, is_tcp: bool) -> [u16; 2] {
    let addresses = if is_ipv6 { start - 32..start } else { start - 8..start };
    let protocol = if is_tcp { 6 } else { 17 };
    let pseudo = add(protocol + (end - start) as u64, &frame[addresses]);
    let sum = !fold(add(pseudo, &frame[start..end]));
    [fold(pseudo), if sum == 0 { 0xffff } else { sum }]
}

proptest! {
    #[test]
    fn a_partial_checksum_is_completed_and_no_other_is_touched(
        (is_ipv6, is_tcp) in any::<(bool, bool)>(),
        payload in proptest::collection::vec(any::<u8>(), 0..90),
        padding in 0_usize..9,
        other in any::<u16>(),
    ) {
        let (mut frame, field, start) = frame(is_ipv6, is_tcp, &payload, padding);
        let range = (start, frame.len() - padding);
        let [pseudo, whole] = sums(&frame, range, is_ipv6, is_tcp);
        let mut with = |sum: u16| {
            frame[field..field + 2].copy_from_slice(&sum.to_be_bytes());
            let mut packet = Packet::new(&frame);
            complete(&mut packet);
            (frame.clone(), packet.bytes().to_vec())
        };
        let (complete, passed) = with(whole);
        prop_assert_eq!(&passed, &complete, "an intact frame");
        prop_assert_eq!(with(pseudo).1, complete);
        let (damaged, passed) = with(other);
        prop_assert!(other == pseudo || passed == damaged);
    }

    #[test]
    fn any_bytes_have_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
        complete(&mut Packet::new(&bytes));
    }
}

#[test]
fn a_complete_sum_that_looks_partial_stays() {
    for (is_ipv6, is_tcp) in [(false, false), (false, true), (true, false), (true, true)] {
        let (mut bytes, field, start) = frame(is_ipv6, is_tcp, &[0, 0], 0);
        let range = (start, bytes.len());
        let [pseudo, _] = sums(&bytes, range, is_ipv6, is_tcp);
        // With this payload the checksum of the packet is the sum of its pseudo header.
        let rest = add(2 * u64::from(pseudo), &bytes[start..]);
        let last = bytes.len() - 2;
        bytes[last..].copy_from_slice(&(!fold(rest)).to_be_bytes());
        assert_eq!(sums(&bytes, range, is_ipv6, is_tcp), [pseudo, pseudo]);
        bytes[field..field + 2].copy_from_slice(&pseudo.to_be_bytes());
        let mut packet = Packet::new(&bytes);
        complete(&mut packet);
        assert_eq!(packet.bytes(), bytes);
    }
}

#[test]
fn fragments_are_left_alone() {
    let (mut bytes, field, start) = frame(false, false, &[1; 32], 0);
    let [pseudo, _] = sums(&bytes, (start, bytes.len()), false, false);
    bytes[field..field + 2].copy_from_slice(&pseudo.to_be_bytes());
    bytes[18 + 6] = 0x20;
    let mut packet = Packet::new(&bytes);
    complete(&mut packet);
    assert_eq!(packet.bytes(), bytes);
}
