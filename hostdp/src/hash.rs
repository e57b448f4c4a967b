//! The seeded hash of the cache and the classifier. Anybody who sends packets chooses keys, so each
//! process has a secret seed of its own: without the seed nobody can aim at one bucket.

/// A keyed hash over 64-bit words.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hash {
    start: u64,
    factor: u64,
}

impl Hash {
    pub(crate) fn new(seed: u64) -> Hash {
        let mut state = seed;
        let start = split_mix(&mut state);
        // Odd, so that no input bit is lost in the product.
        Hash { start, factor: split_mix(&mut state) | 1 }
    }

    /// Where a chain of [`Hash::word`] begins.
    pub(crate) fn start(self) -> u64 {
        self.start
    }

    /// One more word.
    pub(crate) fn word(self, hash: u64, word: u64) -> u64 {
        fold(hash ^ word, self.factor)
    }

    /// All words.
    pub(crate) fn words(self, words: &[u64]) -> u64 {
        words.iter().fold(self.start, |hash, word| self.word(hash, *word))
    }
}

/// The halves of the 128-bit product, xored: every input bit reaches every output bit.
#[allow(clippy::cast_possible_truncation, reason = "taking the halves is the point")]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product as u64) ^ ((product >> 64) as u64)
}

/// The next number of a splitmix64 sequence: seeds and the sample action's dice.
pub(crate) fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_in_another_place_or_under_another_seed_hash_differently() {
        let hash = Hash::new(1);
        assert_ne!(hash.words(&[1, 2]), hash.words(&[2, 1]));
        assert_ne!(hash.words(&[1, 2]), Hash::new(2).words(&[1, 2]));
        assert_eq!(hash.words(&[1, 2]), hash.words(&[1, 2]));
    }

    #[test]
    fn counting_keys_spread_over_the_low_bits() {
        let hash = Hash::new(7);
        let mut buckets = [0_u32; 64];
        for key in 0..64_000_u64 {
            buckets[usize::try_from(hash.words(&[5, key << 40]) & 63).unwrap()] += 1;
        }
        assert!(buckets.iter().all(|n| (800..1200).contains(n)), "{buckets:?}");
    }
}
