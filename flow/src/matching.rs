//! A match: a key under a mask, in its one canonical form.

use std::cell::RefCell;
use std::hash::Hasher;
use std::sync::Arc;

use siphasher::sip128::{Hasher128, SipHasher13};
use smallvec::SmallVec;

use crate::field::Field;
use crate::id::Ufid;
use crate::key::{Key, Mask, WORDS};
use crate::recent::Recent;

/// A key under a mask; the key has no bit outside the mask, so equal matches are equal values. A
/// match has only those words of its key that the mask has bits in.
/// Matches that a thread makes one after the other share the memory of equal masks.
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
struct SharedMask(Mask);

impl SharedMask {
    fn of(mask: Mask) -> Arc<SharedMask> {
        MASKS.with_borrow_mut(|masks| {
            masks.share(&mask, |same| same.0 == mask, || Arc::new(SharedMask(mask)))
        })
    }
}

impl Match {
    /// The match of the key's bits under the mask; the others are cleared. The mask always gets the
    /// whole of `in_port` and `recirc_id`, which are the scope of a lookup.
    #[must_use]
    pub fn new(key: &Key, mask: &Mask) -> Match {
        let mask = Mask { in_port: u32::MAX, recirc_id: u32::MAX, ..*mask };
        let words = key.words().iter().zip(mask.words());
        let words = words.filter(|(_, mask)| **mask != 0).map(|(key, mask)| key & mask).collect();
        Match { words, mask: SharedMask::of(mask) }
    }

    /// The masked key.
    #[must_use]
    pub fn key(&self) -> Key {
        let (mut words, mut packed) = ([0; WORDS], self.words.iter());
        for (word, mask) in words.iter_mut().zip(self.mask().words()) {
            if *mask != 0 {
                *word = packed.next().copied().unwrap_or_default();
            }
        }
        Key::from_words(words)
    }

    /// The mask.
    #[must_use]
    pub fn mask(&self) -> &Mask {
        &self.mask.0
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
