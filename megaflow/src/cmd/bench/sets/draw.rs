//! Chance that is the same in each run.

use flow::{Field, Key};

/// A seeded generator: splitmix64.
pub(super) struct Draw(u64);

impl Draw {
    pub(super) fn new(seed: u64) -> Draw {
        Draw(seed)
    }

    /// Any number.
    pub(super) fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// One of these, if there are any.
    pub(super) fn one_of<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        of.get(self.below(of.len()))
    }

    /// Puts them into random order.
    pub(super) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }

    /// Sets the bits of a field from its lowest one on to random ones.
    pub(super) fn blur(&mut self, key: &mut Key, field: Field, bits: u32) {
        let low = field.full_mask() & !u128::MAX.checked_shl(bits).unwrap_or(0);
        let random = u128::from(self.number()) << 64 | u128::from(self.number());
        key.set(field, key.get(field) & !low | random & low);
    }

    #[allow(clippy::cast_possible_truncation, reason = "it is below the bound")]
    fn below(&mut self, bound: usize) -> usize {
        (self.number() % bound.max(1) as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shuffling_keeps_every_item() {
        let mut items: Vec<u32> = (0..1000).collect();
        Draw::new(1).shuffle(&mut items);
        assert_ne!(items.first(), Some(&0));
        items.sort_unstable();
        assert!(items.into_iter().eq(0..1000));
    }

    #[test]
    fn only_the_low_bits_of_the_field_are_blurred() {
        let mut draw = Draw::new(1);
        for bits in [0, 5, 32] {
            let mut seen = 0;
            for _ in 0..200 {
                let mut key = Key { ipv4_src: 0x0a01_0203, ..Key::default() };
                draw.blur(&mut key, Field::Ipv4Src, bits);
                seen |= key.ipv4_src ^ 0x0a01_0203;
                assert_eq!(Key { ipv4_src: 0, ..key }, Key::default());
            }
            assert_eq!(u64::from(seen), (1_u64 << bits) - 1);
        }
    }
}
