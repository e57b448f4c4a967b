//! A match: a key under a mask, in its one canonical form.

use crate::key::{Key, Mask};

/// A key under a mask; the key has no bit outside the mask, so equal matches are equal values.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Match {
    key: Key,
    mask: Mask,
}

impl Match {
    /// The match of the key's bits under the mask; the others are cleared. The mask always gets the
    /// whole of `in_port` and `recirc_id`, which are the scope of a lookup.
    #[must_use]
    pub fn new(key: &Key, mask: &Mask) -> Match {
        let mut mask = *mask;
        mask.in_port = u32::MAX;
        mask.recirc_id = u32::MAX;
        Match { key: key.masked(&mask), mask }
    }

    /// The masked key.
    #[must_use]
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// The mask.
    #[must_use]
    pub fn mask(&self) -> &Mask {
        &self.mask
    }

    /// Returns true if a packet with this key matches.
    #[must_use]
    pub fn hits(&self, key: &Key) -> bool {
        key.masked(&self.mask) == self.key
    }

    /// Returns true if some packet matches both: they agree on every bit that both compare.
    #[must_use]
    pub fn overlaps(&self, other: &Match) -> bool {
        let both = self.mask.masked(&other.mask);
        self.key.masked(&both) == other.key.masked(&both)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
