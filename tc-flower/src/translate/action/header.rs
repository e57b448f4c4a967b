//! The places of a key's fields in their headers.

use flow::{Field, Key, Mask};

use crate::rule::{Header, PeditWord};

/// A field's place: its lowest bit is `shift` bits above the lowest of the bytes from `offset`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PeditPlace {
    pub(crate) field: Field,
    pub(crate) header: Header,
    pub(crate) offset: usize,
    pub(crate) bytes: usize,
    pub(crate) shift: u32,
}

const fn place(field: Field, header: Header, offset: usize, bytes: usize) -> PeditPlace {
    PeditPlace { field, header, offset, bytes, shift: 0 }
}

/// All places that a `set` can reach.
pub(crate) const PLACES: &[PeditPlace] = &[
    place(Field::EthDst, Header::Ethernet, 0, 6),
    place(Field::EthSrc, Header::Ethernet, 6, 6),
    place(Field::IpTos, Header::Ipv4, 1, 1),
    place(Field::IpTtl, Header::Ipv4, 8, 1),
    place(Field::Ipv4Src, Header::Ipv4, 12, 4),
    place(Field::Ipv4Dst, Header::Ipv4, 16, 4),
    // IPv6 begins with 4 bits of version, 8 of traffic class and 20 of flow label.
    PeditPlace { field: Field::IpTos, header: Header::Ipv6, offset: 0, bytes: 2, shift: 4 },
    place(Field::IpTtl, Header::Ipv6, 7, 1),
    place(Field::Ipv6Src, Header::Ipv6, 8, 16),
    place(Field::Ipv6Dst, Header::Ipv6, 24, 16),
    place(Field::TpSrc, Header::Tcp, 0, 2),
    place(Field::TpDst, Header::Tcp, 2, 2),
    place(Field::TpSrc, Header::Udp, 0, 2),
    place(Field::TpDst, Header::Udp, 2, 2),
];

/// The length of the longest of these headers.
pub(crate) const IMAGE: usize = 40;

/// Returns the words of one header that the mask covers, by ascending offset.
pub(super) fn words(header: Header, value: &Key, mask: &Mask) -> Vec<PeditWord> {
    let (mut bytes, mut bits) = ([0u8; IMAGE], [0u8; IMAGE]);
    for place in PLACES.iter().filter(|place| place.header == header) {
        let field_mask = mask.get(place.field);
        put(&mut bits, place, field_mask);
        put(&mut bytes, place, value.get(place.field) & field_mask);
    }
    let words = bytes.chunks_exact(4).zip(bits.chunks_exact(4));
    (0u32..)
        .step_by(4)
        .zip(words)
        .filter(|(_, (_, bits))| bits.iter().any(|byte| *byte != 0))
        .map(|(offset, (bytes, bits))| PeditWord {
            header,
            offset,
            value: [bytes[0], bytes[1], bytes[2], bytes[3]],
            mask: [bits[0], bits[1], bits[2], bits[3]],
        })
        .collect()
}

fn put(image: &mut [u8; IMAGE], place: &PeditPlace, value: u128) {
    let value = (value << place.shift).to_be_bytes();
    let from = value.len() - place.bytes;
    let to = &mut image[place.offset..place.offset + place.bytes];
    to.iter_mut().zip(&value[from..]).for_each(|(to, from)| *to |= from);
}

/// Returns the fields that the words rewrite, as value and mask; `None` if a word has bits that
/// belong to no field.
pub(crate) fn fields(words: &[PeditWord]) -> Option<(Key, Mask)> {
    let header = words.first()?.header;
    let (mut bytes, mut bits) = ([0u8; IMAGE], [0u8; IMAGE]);
    for word in words {
        let at = usize::try_from(word.offset).ok()?;
        let end = at.checked_add(4).filter(|end| *end <= IMAGE)?;
        if word.header != header || !at.is_multiple_of(4) {
            return None;
        }
        bytes[at..end].copy_from_slice(&word.value);
        bits[at..end].copy_from_slice(&word.mask);
    }
    let (mut value, mut mask) = (Key::default(), Mask::default());
    for place in PLACES.iter().filter(|place| place.header == header) {
        mask.set(place.field, get(&bits, place));
        value.set(place.field, get(&bytes, place));
    }
    let again = self::words(header, &value, &mask);
    (again == words).then_some((value, mask))
}

fn get(image: &[u8; IMAGE], place: &PeditPlace) -> u128 {
    let bytes = &image[place.offset..place.offset + place.bytes];
    let value = bytes.iter().fold(0u128, |value, byte| value << 8 | u128::from(*byte));
    value >> place.shift
}

/// The IP header that a `set` can reach.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum L3 {
    Ipv4,
    Ipv6,
    /// Another protocol, or the match does not say which.
    Unknown,
}

/// Returns the IP header that the packet has, if that is known.
pub(super) fn of(l3: L3) -> Option<Header> {
    match l3 {
        L3::Ipv4 => Some(Header::Ipv4),
        L3::Ipv6 => Some(Header::Ipv6),
        L3::Unknown => None,
    }
}
