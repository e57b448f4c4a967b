//! HASH: the secrets of the placement hash.

use super::block::Window;
use crate::layout::layout;
use crate::toeplitz::Secret;

layout! {
    /// The HASH block.
    hash "HASH" {
        BANK 0x10 4;
        SECRET_0_0 0x20 96;
        SECRET_0_1 0x80 96;
        SECRET_1_0 0xe0 96;
        SECRET_1_1 0x140 96;
    }
}

/// The HASH block.
pub struct HashBlock(pub Window);

impl HashBlock {
    /// Writes both secrets of bank 0 and selects it; only while the tables are empty.
    pub fn set(&self, secrets: &[Secret; 2]) {
        for (array, secret) in [hash::SECRET_0_0, hash::SECRET_0_1].into_iter().zip(secrets) {
            for (i, bytes) in secret.chunks_exact(4).enumerate() {
                let word = bytes.iter().fold(0, |word, byte| word << 8 | u32::from(*byte));
                self.0.write_word(array, i, word);
            }
        }
        self.0.write(hash::BANK, 0);
    }
}
