//! Byte-exact layouts as data: the tables of `docs/fpga-abi.md`, which a test compares with these.

use crate::int::low_byte;

/// One word of a record, a register block or the key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Word {
    /// The name in `docs/fpga-abi.md`.
    pub name: &'static str,
    /// The offset in bytes from the start.
    pub offset: usize,
    /// The width in bytes.
    pub width: usize,
}

/// A record, block or window.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// The name in the heading of `docs/fpga-abi.md`.
    pub name: &'static str,
    /// The words in order.
    pub words: &'static [Word],
}

impl Word {
    /// Returns the little-endian integer of this word; the width is at most 8.
    #[inline]
    #[must_use]
    pub fn get(self, record: &[u8]) -> u64 {
        let bytes = &record[self.offset..self.offset + self.width];
        bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
    }

    /// Writes the integer, little-endian; bits that do not fit the width are cut off.
    #[inline]
    pub fn put(self, record: &mut [u8], value: u64) {
        let bytes = value.to_le_bytes();
        record[self.offset..self.offset + self.width].copy_from_slice(&bytes[..self.width]);
    }

    /// Returns the low 32 bits of [`Word::get`].
    #[inline]
    #[must_use]
    pub fn get32(self, record: &[u8]) -> u32 {
        crate::int::low32(self.get(record))
    }

    /// Returns the big-endian integer of this word; the width is at most 16.
    #[inline]
    #[must_use]
    pub fn get_be(self, record: &[u8]) -> u128 {
        let bytes = &record[self.offset..self.offset + self.width];
        bytes.iter().fold(0, |value, byte| value << 8 | u128::from(*byte))
    }

    /// Writes the integer, big-endian; bits that do not fit the width are cut off.
    #[inline]
    pub fn put_be(self, record: &mut [u8], value: u128) {
        let bytes = value.to_be_bytes();
        record[self.offset..self.offset + self.width].copy_from_slice(&bytes[16 - self.width..]);
    }

    /// Returns the low byte of [`Word::get`].
    #[inline]
    #[must_use]
    pub fn get8(self, record: &[u8]) -> u8 {
        low_byte(self.get(record))
    }
}

/// Declares a layout: a module of [`Word`] constants and the [`Layout`] that lists them.
macro_rules! layout {
    ($(#[$doc:meta])* $module:ident $title:literal {
        $($name:ident $offset:literal $width:literal;)*
    }) => {
        $(#[$doc])*
        #[allow(missing_docs, reason = "each word is described in docs/fpga-abi.md")]
        pub mod $module {
            use $crate::layout::{Layout, Word};
            $(pub const $name: Word =
                Word { name: stringify!($name), offset: $offset, width: $width };)*
            /// All words, for the test that compares them with `docs/fpga-abi.md`.
            pub const LAYOUT: Layout = Layout { name: $title, words: &[$($name,)*] };
        }
    };
}
pub(crate) use layout;
