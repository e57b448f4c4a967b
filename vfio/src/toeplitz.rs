//! The placement hash: Toeplitz over the masked key and the mask slot, both hashes at once, and
//! a finisher. Toeplitz alone is linear: one secret in nine would put keys that count upwards, as
//! addresses do, into half of the buckets (`docs/decisions/0010`).

use crate::int::low32;
use crate::key::{CardKey, KEY_BYTES};

/// The number of bytes that are hashed: the key, the mask slot, three zeros.
pub const INPUT_BYTES: usize = KEY_BYTES + 4;
/// The number of bytes of a secret: each input bit needs a 32-bit window.
pub const SECRET_BYTES: usize = INPUT_BYTES + 4;

/// The secret of one hash.
pub type Secret = [u8; SECRET_BYTES];

/// Lookup tables. Toeplitz is linear, so the hash of a key is the XOR of the hashes of its
/// nibbles: 168 tables of 16 results, each with hash 0 in the low half and hash 1 in the high
/// half.
pub struct Toeplitz {
    nibbles: Box<[[u64; 16]]>,
}

impl Toeplitz {
    /// Prepares the tables for a pair of secrets.
    #[must_use]
    pub fn new(secrets: &[Secret; 2]) -> Toeplitz {
        let mut nibbles = vec![[0u64; 16]; INPUT_BYTES * 2].into_boxed_slice();
        for (position, table) in nibbles.iter_mut().enumerate() {
            for (value, entry) in table.iter_mut().enumerate() {
                for bit in (0..4).filter(|bit| value & (8 >> bit) != 0) {
                    let at = position * 4 + bit;
                    *entry ^= u64::from(window(&secrets[0], at));
                    *entry ^= u64::from(window(&secrets[1], at)) << 32;
                }
            }
        }
        Toeplitz { nibbles }
    }

    /// Returns both hashes of a masked key under a mask slot.
    #[must_use]
    pub fn hashes(&self, key: &CardKey, mask_id: u8) -> [u32; 2] {
        self.sums(key, mask_id).map(finish)
    }

    /// Returns both hashes before the finisher.
    fn sums(&self, key: &CardKey, mask_id: u8) -> [u32; 2] {
        let mut sum = self.byte(KEY_BYTES, mask_id);
        for (word, bytes) in key.chunks_exact(8).enumerate() {
            if bytes != [0; 8] {
                for (i, byte) in bytes.iter().enumerate() {
                    sum ^= self.byte(word * 8 + i, *byte);
                }
            }
        }
        [low32(sum), low32(sum >> 32)]
    }

    fn byte(&self, position: usize, value: u8) -> u64 {
        let high = self.nibbles[position * 2][usize::from(value >> 4)];
        high ^ self.nibbles[position * 2 + 1][usize::from(value & 15)]
    }
}

/// The finisher of MurmurHash3: every bit of the sum reaches every bit of the bucket's number.
fn finish(sum: u32) -> u32 {
    let mixed = (sum ^ sum >> 16).wrapping_mul(0x85eb_ca6b);
    let mixed = (mixed ^ mixed >> 13).wrapping_mul(0xc2b2_ae35);
    mixed ^ mixed >> 16
}

/// Returns the 32 bits of the secret that start at this bit.
fn window(secret: &Secret, bit: usize) -> u32 {
    let first = bit / 8;
    let bytes = &secret[first..(first + 5).min(SECRET_BYTES)];
    let mut value = bytes.iter().fold(0u64, |value, byte| value << 8 | u64::from(*byte));
    value <<= 8 * (5 - bytes.len());
    low32(value >> (8 - bit % 8))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition in `docs/fpga-abi.md`, bit by bit.
    fn slow(secret: &Secret, input: &[u8; INPUT_BYTES]) -> u32 {
        let bit = |bytes: &[u8], at: usize| bytes[at / 8] >> (7 - at % 8) & 1;
        let mut hash = 0;
        for at in (0..INPUT_BYTES * 8).filter(|at| bit(input, *at) == 1) {
            hash ^= (0..32).fold(0u32, |w, i| w << 1 | u32::from(bit(secret, at + i)));
        }
        hash
    }

    #[test]
    fn equals_the_definition_and_the_published_vector() {
        // Microsoft's verification suite for receive-side scaling, IPv4 with ports:
        // 66.9.149.187:2794 -> 161.142.100.80:1766 hashes to 0x51ccc178 under its secret.
        let known = [
            0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3,
            0x8f, 0xb0, 0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3,
            0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
        ];
        let mut secret = [0; SECRET_BYTES];
        secret[..known.len()].copy_from_slice(&known);
        let mut other = [0; SECRET_BYTES];
        other.iter_mut().zip(0u8..).for_each(|(byte, i)| *byte = i.wrapping_mul(167) ^ 0x5a);
        let mut key = [0; KEY_BYTES];
        key[..12].copy_from_slice(&[66, 9, 149, 187, 161, 142, 100, 80, 0x0a, 0xea, 0x06, 0xe6]);
        let toeplitz = Toeplitz::new(&[secret, other]);
        let mut input = [0; INPUT_BYTES];
        input[..KEY_BYTES].copy_from_slice(&key);
        assert_eq!(toeplitz.sums(&key, 0), [0x51cc_c178, slow(&other, &input)]);
        key[79] = 0xa7;
        input[79] = 0xa7;
        input[80] = 9;
        let sums = [slow(&secret, &input), slow(&other, &input)];
        assert_eq!(toeplitz.sums(&key, 9), sums);
        assert_eq!(toeplitz.hashes(&key, 9), sums.map(finish));
        // The published test values of the finisher.
        assert_eq!([0, 1, 0xffff_ffff].map(finish), [0, 0x514e_28b7, 0x81f1_6f39]);
    }
}
