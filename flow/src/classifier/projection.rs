//! The words of a key in which the masks of some megaflows have bits.

use crate::Key;
use crate::key::WORDS;

use super::parts::{FieldPart, Grain};

/// At most `W` words of a key, in the order in which masks needed them. Of these words the
/// *projection* of a key has the bits that any mask ever had: keys with one projection hit the same
/// megaflow.
#[derive(Clone)]
pub(super) struct Projection<const W: usize> {
    words: [u8; W],
    /// The bits of the masks; none in a word that is not in use.
    bits: Projected<W>,
    count: usize,
    parts: Vec<FieldPart>,
}

/// A key, a value or a mask under a [`Projection`].
pub(super) type Projected<const W: usize> = [u64; W];

impl<const W: usize> Default for Projection<W> {
    fn default() -> Projection<W> {
        Projection { words: [0; W], bits: [0; W], count: 0, parts: Vec::new() }
    }
}

impl<const W: usize> Projection<W> {
    /// The words of a key.
    #[inline]
    pub(super) fn of(&self, key: &Key) -> Projected<W> {
        let all = key.words();
        std::array::from_fn(|at| all[usize::from(self.words[at]) % WORDS] & self.bits[at])
    }

    /// The words of a mask; `None` if it has other bits than the masks so far.
    pub(super) fn of_mask(&self, mask: &Key) -> Option<Projected<W>> {
        let words = self.of(mask);
        let count = |words: &[u64]| words.iter().map(|word| word.count_ones()).sum::<u32>();
        (count(&words) == count(mask.words())).then_some(words)
    }

    /// Takes the words of a mask in, if there is room for all of them.
    pub(super) fn extend(&mut self, mask: &Key) -> bool {
        if self.count + self.missing(mask).count() > W {
            return false;
        }
        let missing: Vec<usize> = self.missing(mask).collect();
        for word in missing {
            let (Ok(place), Ok(number)) = (u8::try_from(self.count), u8::try_from(word)) else {
                return false;
            };
            self.words[self.count] = number;
            self.count += 1;
            self.parts.extend(FieldPart::of_word(word).iter().map(|part| part.moved(place)));
        }
        for (bits, word) in self.bits.iter_mut().zip(&self.words).take(self.count) {
            *bits |= mask.words()[usize::from(*word) % WORDS];
        }
        true
    }

    /// The parts of the words.
    pub(super) fn parts(&self) -> &[FieldPart] {
        &self.parts
    }

    fn missing(&self, mask: &Key) -> impl Iterator<Item = usize> {
        let words = (0..).zip(mask.words()).filter(|(_, bits)| **bits != 0);
        words.map(|(word, _)| word).filter(|word| {
            !self.words[..self.count].iter().any(|known| usize::from(*known) == *word)
        })
    }
}

/// The words under a mask.
pub(super) fn masked<const W: usize>(words: &Projected<W>, mask: &Projected<W>) -> Projected<W> {
    let mut masked = [0; W];
    for (out, (word, bits)) in masked.iter_mut().zip(words.iter().zip(mask)) {
        *out = word & bits;
    }
    masked
}

/// Returns true if the two differ in no bit of the mask. Without a branch for each word: the
/// compiler makes a few vector instructions of it.
pub(super) fn equal_under<const W: usize>(
    one: &Projected<W>,
    other: &Projected<W>,
    mask: &Projected<W>,
) -> bool {
    let mut differing = 0;
    for ((a, b), bits) in one.iter().zip(other).zip(mask) {
        differing |= (a ^ b) & bits;
    }
    differing == 0
}

/// Returns true if the first mask has no bit that the second lacks.
pub(super) fn is_within<const W: usize>(mask: &Projected<W>, other: &Projected<W>) -> bool {
    let mut missing = 0;
    for (a, b) in mask.iter().zip(other) {
        missing |= a & !b;
    }
    missing == 0
}

/// A mask without the bits that it loses when it is relaxed: those that are no prefix of a part,
/// and those behind the last step.
pub(super) fn relaxed<const W: usize>(
    mask: &Projected<W>,
    parts: &[FieldPart],
    grain: Grain,
) -> Projected<W> {
    let mut relaxed = [0; W];
    for part in parts {
        let word = usize::from(part.word) % W;
        relaxed[word] |= part.relaxed(mask[word], grain);
    }
    relaxed
}

/// The parts of a mask all of whose bits another mask has too.
pub(super) fn fields_within<const W: usize>(
    mask: &Projected<W>,
    other: &Projected<W>,
    parts: &[FieldPart],
) -> Projected<W> {
    let mut within = [0; W];
    for part in parts {
        let word = usize::from(part.word) % W;
        let bits = mask[word] & part.all();
        within[word] |= if bits & !other[word] == 0 { bits } else { 0 };
    }
    within
}
