//! A match: a key under a mask, in its one canonical form.

use std::cell::RefCell;
use std::hash::Hasher;
use std::sync::Arc;

use siphasher::sip128::{Hasher128, SipHasher13};
use smallvec::SmallVec;

use crate::field::Field;
use crate::id::{PortId, RecircId, Ufid};
use crate::key::{Key, Mask, WORDS};
use crate::recent::Recent;

/// A key under a mask; the key has no bit outside the mask, so equal matches are equal values. A
/// match has only those words of its key that the mask has bits in. Matches that a thread makes one
/// after the other share the memory of equal masks.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Match {
    /// The words of the masked key in which the mask has bits.
    words: SmallVec<[u64; INLINE]>,
    mask: Arc<SharedMask>,
}

/// Words that most masks have bits in: they are in the match itself.
const INLINE: usize = 6;

/// A mask on cache lines of its own: the count of those who share it stands before it in memory,
/// and whoever makes or forgets a match writes that count.
#[derive(PartialEq, Eq, Hash, Debug)]
#[repr(align(64))]
struct SharedMask {
    mask: Mask,
    /// The words in which it has bits: a bit for each, the first word's is the lowest.
    places: u16,
}

const _: () = assert!(WORDS == u16::BITS as usize);

impl SharedMask {
    fn of(mask: Mask) -> Arc<SharedMask> {
        let make = || {
            let has_bits = |(place, word): (usize, &u64)| u16::from(*word != 0) << place;
            let places = mask.words().iter().enumerate().map(has_bits).sum();
            Arc::new(SharedMask { mask, places })
        };
        MASKS.with_borrow_mut(|masks| masks.share(&mask, |same| same.mask == mask, make))
    }

    /// The numbers of the words in which it has bits.
    fn places(&self) -> impl Iterator<Item = usize> + use<> {
        let mut left = self.places;
        std::iter::from_fn(move || {
            let place = left.trailing_zeros() as usize;
            left &= left.wrapping_sub(1);
            (place < WORDS).then_some(place)
        })
    }
}

/// The word with `in_port` and `recirc_id`, which every mask has.
const SCOPE: usize = std::mem::offset_of!(Key, in_port) / 8;

impl Match {
    /// The match of the key's bits under the mask; the others are cleared. The mask always gets the
    /// whole of `in_port` and `recirc_id`, which are the scope of a lookup.
    #[must_use]
    pub fn new(key: &Key, mask: &Mask) -> Match {
        let mask = Mask { in_port: u32::MAX, recirc_id: u32::MAX, ..*mask };
        let mask = SharedMask::of(mask);
        let (words, bits) = (key.words(), mask.mask.words());
        Match { words: mask.places().map(|place| words[place] & bits[place]).collect(), mask }
    }

    /// The masked key.
    #[must_use]
    pub fn key(&self) -> Key {
        let mut words = [0; WORDS];
        self.mask.places().zip(&self.words).for_each(|(place, word)| words[place] = *word);
        Key::from_words(words)
    }

    /// The port that the packets come in by.
    #[must_use]
    pub fn port(&self) -> PortId {
        PortId(self.scope()[0])
    }

    /// The scope of their lookup.
    #[must_use]
    pub fn recirc(&self) -> RecircId {
        RecircId(self.scope()[1])
    }

    fn scope(&self) -> [u32; 2] {
        let before = self.mask.places & ((1 << SCOPE) - 1);
        let word = self.words.get(before.count_ones() as usize).copied().unwrap_or_default();
        zerocopy::transmute!(word)
    }

    /// The mask.
    #[must_use]
    pub fn mask(&self) -> &Mask {
        &self.mask.mask
    }

    /// The identity of the megaflow of this match: SipHash-1-3-128 with a zero key over the fields
    /// that the mask has bits in, in the order of [`Field::ALL`]: for each its tag, its mask and
    /// its value, as little-endian numbers, of MAC addresses their bytes. Not a defence against
    /// chosen collisions: an install whose ufid is taken by another match is refused.
    ///
    /// Devices keep ufids in the cookies of their entries, so a ufid never changes: not with the
    /// order of the fields in memory, and not when the key gets another field.
    #[must_use]
    pub fn ufid(&self) -> Ufid {
        // The hash of many short writes is that of one long write, which takes far less time.
        let mut bytes = Vec::with_capacity(256);
        Field::write_compared(self.mask(), &self.key(), &mut bytes);
        let mut hasher = SipHasher13::new();
        hasher.write(&bytes);
        Ufid(hasher.finish128().as_u128())
    }

    /// Returns true if a packet with this key matches.
    #[must_use]
    pub fn hits(&self, key: &Key) -> bool {
        key.masked(self.mask()) == self.key()
    }

    /// Returns true if some packet matches both: they agree on every bit that both compare.
    #[must_use]
    pub fn overlaps(&self, other: &Match) -> bool {
        let both = self.mask().masked(other.mask());
        self.key().masked(&both) == other.key().masked(&both)
    }
}

thread_local! {
    static MASKS: RefCell<Recent<Arc<SharedMask>>> = const { RefCell::new(Recent::NONE) };
}

#[cfg(test)]
mod tests {
    use super::*;

    /// More masks than there are places: matches are equal whether their masks share memory or
    /// not, and those that are made one after the other do.
    #[test]
    fn masks_in_a_row_share_memory() {
        let of = |n: u32| Match::new(&Key::default(), &Mask { dp_hash: n, ..Mask::default() });
        let matches: Vec<Match> = (0..2000).map(of).collect();
        for (n, matching) in (0..).zip(&matches) {
            let (one, other) = (of(n), of(n));
            assert_eq!((&one, one.mask().dp_hash), (matching, n));
            assert!(Arc::ptr_eq(&one.mask, &other.mask));
        }
    }

    /// Masks with bits in any words, more than a match has room for among them.
    #[test]
    fn the_key_comes_back_from_its_words() {
        for places in 0..1_u64 << WORDS {
            let words = |salt: u64| {
                let word = |place| (places >> place & 1) * (salt << place | salt >> place);
                Key::from_words(std::array::from_fn(word))
            };
            let (key, mask) = (words(0x1234_5678_9abc_def1), words(0x0ff0_f00f_ffff_0001));
            let matching = Match::new(&key, &mask);
            let whole = Mask { in_port: !0, recirc_id: !0, ..mask };
            assert_eq!((matching.key(), *matching.mask()), (key.masked(&whole), whole));
            let scope = (matching.port(), matching.recirc());
            assert_eq!(scope, (key.port(), key.recirc()), "{places:x}");
        }
    }

    #[test]
    fn wild_key_bits_do_not_count() {
        let mask = Mask { ip_tos: 0xf0, ..Mask::default() };
        let a = Match::new(&Key { ip_tos: 0x2f, ip_ttl: 9, ..Key::default() }, &mask);
        let b = Match::new(&Key { ip_tos: 0x20, ..Key::default() }, &mask);
        assert_eq!(a, b);
        assert!(a.hits(&Key { ip_tos: 0x2a, tp_src: 7, ..Key::default() }));
        assert!(!a.hits(&Key { ip_tos: 0x3a, ..Key::default() }));
        assert!(!a.hits(&Key { ip_tos: 0x2a, in_port: 1, ..Key::default() }));
    }

    #[test]
    fn overlap_is_symmetric_and_exact() {
        let narrow = Match::new(
            &Key { ip_tos: 0x20, ip_ttl: 1, ..Key::default() },
            &Mask { ip_tos: 0xff, ip_ttl: 0xff, ..Mask::default() },
        );
        let wide = Match::new(
            &Key { ip_tos: 0x20, ..Key::default() },
            &Mask { ip_tos: 0xf0, ..Mask::default() },
        );
        let apart = Match::new(
            &Key { ip_tos: 0x30, ..Key::default() },
            &Mask { ip_tos: 0xf0, ..Mask::default() },
        );
        assert!(narrow.overlaps(&wide) && wide.overlaps(&narrow));
        assert!(!narrow.overlaps(&apart) && !apart.overlaps(&wide));
    }
}
