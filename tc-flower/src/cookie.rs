//! The cookie that marks a filter as ours: 16 bytes on its first action, the most that tc stores
//! (`TC_COOKIE_MAX_SIZE`).
//!
//! ```text
//! 0   2  magic 0x4d 0xf1: a cookie that begins with other bytes is not ours
//! 2   2  layout version (4 bits), then what the filter implies ([`crate::rule::Rule::implied`])
//! 4   4  generation: the number of the megaflow's life, and its owner ([`flow::Generation`])
//! 8   8  the first half of the ufid
//! ```
//! Half of the ufid is enough, because the ufid follows from the match: when a filter is read
//! back, its match is decoded, the whole ufid is computed and the halves are compared. A filter
//! that can't be decoded (another tool changed it) is known by the half until it is removed.

use flow::{Generation, Ufid};

use crate::translate::implied;

/// Bytes of a cookie.
pub(crate) const LEN: usize = 16;
const MAGIC: [u8; 2] = [0x4d, 0xf1];
const VERSION: u16 = 1;

/// The content of a cookie.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Cookie {
    pub(crate) implied: u16,
    pub(crate) generation: Generation,
    /// First half of the ufid.
    pub(crate) prefix: u64,
}

impl Cookie {
    /// Makes the cookie of a filter for that generation of that megaflow.
    pub(crate) fn new(ufid: Ufid, generation: Generation, implied: u16) -> Cookie {
        Cookie { implied, generation, prefix: prefix(ufid) }
    }

    /// Returns the cookie as bytes; multi-byte values are in network order.
    pub(crate) fn to_bytes(self) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        bytes[..2].copy_from_slice(&MAGIC);
        bytes[2..4].copy_from_slice(&(VERSION << 12 | self.implied & implied::ALL).to_be_bytes());
        bytes[4..8].copy_from_slice(&self.generation.0.to_be_bytes());
        bytes[8..].copy_from_slice(&self.prefix.to_be_bytes());
        bytes
    }

    /// Reads a cookie from bytes; `None` for a cookie that is not ours.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Cookie> {
        let bytes: &[u8; LEN] = bytes.try_into().ok()?;
        let [m0, m1, v0, v1, g0, g1, g2, g3, prefix @ ..] = *bytes;
        let version = u16::from_be_bytes([v0, v1]);
        if [m0, m1] != MAGIC || version >> 12 != VERSION {
            return None;
        }
        Some(Cookie {
            implied: version & implied::ALL,
            generation: Generation(u32::from_be_bytes([g0, g1, g2, g3])),
            prefix: u64::from_be_bytes(prefix),
        })
    }

    /// Returns true if the cookie belongs to that megaflow.
    pub(crate) fn is_of(&self, ufid: Ufid) -> bool {
        self.prefix == prefix(ufid)
    }

    /// Returns a ufid for a filter that can't be decoded: the known half, then zeros.
    pub(crate) fn stand_in(&self) -> Ufid {
        Ufid(u128::from(self.prefix) << 64)
    }
}

fn prefix(ufid: Ufid) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = ufid.0.to_be_bytes();
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_a_round_trip_and_knows_its_own() {
        let ufid = Ufid(0x0123_4567_89ab_cdef_0011_2233_4455_6677);
        let cookie = Cookie::new(ufid, Generation(0xfeed_beef), 0x0abc);
        let bytes = cookie.to_bytes();
        // These bytes must not change, because filters of older runs are found by them.
        assert_eq!(
            bytes,
            [
                0x4d, 0xf1, 0x1a, 0xbc, 0xfe, 0xed, 0xbe, 0xef, 0x01, 0x23, 0x45, 0x67, 0x89, 0xab,
                0xcd, 0xef
            ]
        );
        assert_eq!(Cookie::from_bytes(&bytes), Some(cookie));
        assert!(cookie.is_of(ufid) && !cookie.is_of(Ufid(ufid.0 ^ 1 << 64)));
        assert_eq!(cookie.stand_in(), Ufid(0x0123_4567_89ab_cdef_0000_0000_0000_0000));
    }

    #[test]
    fn cookies_of_others_are_not_ours() {
        let ours = Cookie::new(Ufid(7), Generation(1), 0).to_bytes();
        assert_eq!(Cookie::from_bytes(&ours[..15]), None);
        assert_eq!(Cookie::from_bytes(&[]), None);
        // OVS uses the ufid as its cookie.
        assert_eq!(Cookie::from_bytes(&0x0123u128.to_be_bytes()), None);
        for (at, bit) in [(0, 1), (1, 0x80), (2, 0x20)] {
            let mut other = ours;
            other[at] ^= bit;
            assert_eq!(Cookie::from_bytes(&other), None, "{at}");
        }
    }
}
