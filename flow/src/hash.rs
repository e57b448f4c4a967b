//! The seeded hash of the classifier, and seeds. Anybody who sends packets chooses keys, so each
//! process has a secret seed of its own: without the seed nobody can aim at one place.

/// The hash of the words of a key under a mask: a sum over the words, each hashed by itself, so
/// that none waits for another.
#[derive(Clone)]
pub(crate) struct WordsHasher<const W: usize> {
    /// One for each word, so that words in other places hash differently.
    seeds: [u64; W],
    factor: u64,
    /// The words in which the mask has bits, and these.
    masked: Vec<(u8, u64)>,
}

impl<const W: usize> WordsHasher<W> {
    pub(crate) fn new(mask: &[u64; W], seed: u64) -> WordsHasher<W> {
        let mut state = seed;
        let seeds = std::array::from_fn(|_| split_mix(&mut state));
        // Odd, so that no input bit is lost in the product.
        let hasher = WordsHasher { seeds, factor: split_mix(&mut state) | 1, masked: Vec::new() };
        hasher.under(mask)
    }

    /// The same hash under another mask.
    pub(crate) fn under(&self, mask: &[u64; W]) -> WordsHasher<W> {
        let words = (0..).zip(mask.iter().copied());
        WordsHasher { masked: words.filter(|(_, bits)| *bits != 0).collect(), ..self.clone() }
    }

    #[inline]
    pub(crate) fn hash(&self, words: &[u64; W]) -> u64 {
        let hashes = self.masked.iter().map(|(word, bits)| {
            let word = usize::from(*word) % W;
            fold((words[word] & bits) ^ self.seeds[word], self.factor)
        });
        hashes.fold(0, u64::wrapping_add)
    }
}

/// The halves of the 128-bit product, xored: every input bit reaches every output bit.
#[allow(clippy::cast_possible_truncation, reason = "taking the halves is the point")]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product as u64) ^ ((product >> 64) as u64)
}

/// The next number of a splitmix64 sequence: seeds and the sample action's dice.
#[must_use]
pub fn split_mix(state: &mut u64) -> u64 {
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
        let hasher = WordsHasher::new(&[!0, !0], 1);
        assert_ne!(hasher.hash(&[1, 2]), hasher.hash(&[2, 1]));
        assert_ne!(hasher.hash(&[1, 2]), WordsHasher::new(&[!0, !0], 2).hash(&[1, 2]));
        assert_eq!(hasher.hash(&[1, 2]), hasher.hash(&[1, 2]));
        assert_eq!(hasher.under(&[!0, 0]).hash(&[1, 2]), hasher.under(&[!0, 0]).hash(&[1, 3]));
    }

    #[test]
    fn counting_keys_spread_over_the_low_bits() {
        let hasher = WordsHasher::new(&[!0, !0], 7);
        let mut buckets = [0_u32; 64];
        for key in 0..64_000_u64 {
            buckets[usize::try_from(hasher.hash(&[5, key << 40]) & 63).unwrap()] += 1;
        }
        assert!(buckets.iter().all(|n| (800..1200).contains(n)), "{buckets:?}");
    }
}
