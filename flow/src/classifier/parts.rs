//! The fields of a key as bits of its words.

use std::sync::LazyLock;

use crate::key::WORDS;
use crate::{Field, Key};

/// At most 48 bits of one word that belong to one field; a wider field has several parts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct FieldPart {
    /// The word: of a key, or of a projection.
    pub(super) word: u8,
    shift: u8,
    width: u8,
    steps: Steps,
}

/// The lengths that prefixes of a part are relaxed to, so that few masks are left of many.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Steps {
    /// The whole part or nothing.
    Whole,
    /// Multiples of eight bits.
    Eights,
    /// Multiples of sixteen bits.
    Sixteens,
    /// An IPv4 address: octets, but not the last one.
    Octets,
    /// A MAC address, whole or nothing. Its first byte is the lowest one of the word on most
    /// machines.
    Mac,
}

/// How far masks are relaxed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Grain {
    /// To the steps of each field: masks that are alike become one.
    Coarse,
    /// To multiples of four bits, of fields whose prefixes mean something.
    Nibbles,
}

/// The parts of each word of a key.
static PARTS: LazyLock<Vec<Vec<FieldPart>>> = LazyLock::new(|| {
    let mut parts = vec![Vec::new(); WORDS];
    for field in Field::ALL {
        let mut whole = Key::default();
        whole.set(*field, field.full_mask());
        for (word, bits) in (0..).zip(whole.words()).filter(|(_, bits)| **bits != 0) {
            let (mut shift, mut left) = (bits.trailing_zeros(), bits.count_ones());
            while left > 0 {
                let width = if left > MOST_BITS { HALF } else { left };
                let [shift_bits, width_bits] = [shift, width].map(|n| u8::try_from(n).unwrap_or(0));
                let steps = steps_of(*field);
                parts[usize::from(word)].push(FieldPart {
                    word,
                    shift: shift_bits,
                    width: width_bits,
                    steps,
                });
                shift += width;
                left -= width;
            }
        }
    }
    parts
});

/// Bits of the widest part: a bitmap of all lengths has one bit more.
const MOST_BITS: u32 = 48;
/// Bits of the parts of wider fields.
const HALF: u32 = 32;

fn steps_of(field: Field) -> Steps {
    match field {
        Field::Ipv4Src | Field::Ipv4Dst | Field::ArpSip | Field::ArpTip => Steps::Octets,
        Field::Ipv6Src | Field::Ipv6Dst => Steps::Sixteens,
        Field::TpSrc | Field::TpDst => Steps::Eights,
        Field::EthSrc | Field::EthDst | Field::ArpSha | Field::ArpTha => Steps::Mac,
        _ => Steps::Whole,
    }
}

impl FieldPart {
    /// The parts of a word of a key.
    pub(super) fn of_word(word: usize) -> &'static [FieldPart] {
        PARTS.get(word).map_or(&[], Vec::as_slice)
    }

    /// The same part in another word.
    pub(super) fn moved(self, word: u8) -> FieldPart {
        FieldPart { word, ..self }
    }

    /// The part's bits in its word.
    pub(super) fn all(self) -> u64 {
        (u64::MAX >> (64 - self.width())) << self.shift
    }

    /// Number of bits.
    pub(super) fn width(self) -> u32 {
        u32::from(self.width)
    }

    /// The part's bits of its word, the first one highest.
    pub(super) fn bits(self, word: u64) -> u64 {
        let bits = (word >> self.shift) << (64 - self.width());
        if self.steps == Steps::Mac && cfg!(target_endian = "little") {
            return (bits >> (64 - self.width())).swap_bytes();
        }
        bits
    }

    /// The length of the prefix that a mask has in its word.
    pub(super) fn prefix(self, mask: u64) -> u32 {
        self.bits(mask).leading_ones().min(self.width())
    }

    /// The bits in the mask's word that are left of it when it is relaxed.
    pub(super) fn relaxed(self, mask: u64, grain: Grain) -> u64 {
        let length = self.prefix(mask);
        let kept = match (self.steps, grain) {
            (Steps::Whole | Steps::Mac, _) if length < self.width() => 0,
            (Steps::Whole | Steps::Mac, _) => length,
            (_, Grain::Nibbles) => length - length % 4,
            (Steps::Octets, Grain::Coarse) => length.min(24) / 8 * 8,
            (Steps::Eights, Grain::Coarse) => length - length % 8,
            (Steps::Sixteens, Grain::Coarse) => length - length % 16,
        };
        let prefix = u64::MAX.checked_shl(64 - kept).unwrap_or(0);
        (prefix >> (64 - self.width())) << self.shift
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The parts are the key, each bit once.
    #[test]
    fn parts_cover_every_field() {
        let mut whole = Key::default();
        Field::ALL.iter().for_each(|field| whole.set(*field, field.full_mask()));
        for (word, bits) in whole.words().iter().enumerate() {
            let parts = FieldPart::of_word(word).iter().map(|part| part.all());
            let both = parts.fold(0_u64, |all, part| {
                assert_eq!(all & part, 0);
                all | part
            });
            assert_eq!(both, *bits, "word {word}");
        }
    }

    #[test]
    fn prefixes_are_relaxed_by_field() {
        let relaxed = |field: Field, bits: u128, grain: Grain| {
            let mut mask = Key::default();
            mask.set(field, bits);
            let mut words = [0_u64; WORDS];
            for (word, bits) in mask.words().iter().enumerate() {
                let parts = FieldPart::of_word(word).iter();
                words[word] = parts.map(|part| part.relaxed(*bits, grain)).fold(0, |a, b| a | b);
            }
            let key: Key = zerocopy_key(words);
            key.get(field)
        };
        let coarse = |field, bits| relaxed(field, bits, Grain::Coarse);
        assert_eq!(coarse(Field::Ipv4Src, 0xffff_ffff), 0xffff_ff00);
        assert_eq!(coarse(Field::Ipv4Src, 0xffff_fc00), 0xffff_0000);
        assert_eq!(coarse(Field::Ipv4Src, 0x0fff_ffff), 0, "no prefix");
        assert_eq!(coarse(Field::TpDst, 0xffff), 0xffff);
        assert_eq!(coarse(Field::TpDst, 0xfff0), 0xff00);
        assert_eq!(coarse(Field::IpTtl, 0xf0), 0);
        assert_eq!(coarse(Field::EthDst, 0xffff_ffff_ffff), 0xffff_ffff_ffff);
        assert_eq!(coarse(Field::Ipv6Dst, !0 << 60), !0 << 64);
        assert_eq!(coarse(Field::ArpSha, 0xffff_ff00_0000), 0);
        assert_eq!(relaxed(Field::Ipv4Src, 0xffff_fc00, Grain::Nibbles), 0xffff_f000);
        assert_eq!(relaxed(Field::Ipv4Src, 0xffff_ffff, Grain::Nibbles), 0xffff_ffff);
    }

    /// The first bits of a field are the first ones here, whatever their place in the word.
    #[test]
    fn the_first_bit_of_a_field_is_the_highest() {
        for field in Field::ALL.iter().filter(|field| field.bits() <= MOST_BITS) {
            let mut mask = Key::default();
            mask.set(*field, field.full_mask() << (field.bits() - 3) & field.full_mask());
            let (word, bits) = (0..).zip(mask.words()).find(|(_, bits)| **bits != 0).unwrap();
            let prefix = |part: &FieldPart| part.prefix(*bits);
            let lengths: Vec<u32> = FieldPart::of_word(word).iter().map(prefix).collect();
            assert_eq!(lengths.iter().sum::<u32>(), 3, "{field:?}");
        }
    }

    /// A key of these words.
    fn zerocopy_key(words: [u64; WORDS]) -> Key {
        let mut key = Key::default();
        for field in Field::ALL {
            let mut one = Key::default();
            for bit in 0..field.bits() {
                one.set(*field, 1 << bit);
                let set = one.words().iter().zip(&words).any(|(a, b)| a & b != 0);
                if set {
                    key.set(*field, key.get(*field) | 1 << bit);
                }
            }
        }
        key
    }
}
