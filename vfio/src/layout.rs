//! Byte-exact layouts as data: what `docs/fpga-abi.md` has as tables, and a test compares.

use crate::int::low_byte;

/// One word of a record, a register block or the key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Word {
    /// As in the text.
    pub name: &'static str,
    /// Bytes from the start.
    pub offset: usize,
    /// Bytes.
    pub width: usize,
}

/// A record, block or window.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// As in the text's heading.
    pub name: &'static str,
    /// Its words in order.
    pub words: &'static [Word],
}

impl Word {
    /// The little-endian integer of this word; the width is at most 8.
    #[inline]
    #[must_use]
    pub fn get(self, record: &[u8]) -> u64 {
        let bytes = &record[self.offset..self.offset + self.width];
        bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
    }

    /// Writes the integer, little-endian; what does not fit the width is cut off.
    #[inline]
    pub fn put(self, record: &mut [u8], value: u64) {
        let bytes = value.to_le_bytes();
        record[self.offset..self.offset + self.width].copy_from_slice(&bytes[..self.width]);
    }

    /// The low 32 bits of [`Word::get`].
    #[inline]
    #[must_use]
    pub fn get32(self, record: &[u8]) -> u32 {
        crate::int::low32(self.get(record))
    }

    /// The big-endian integer; the width is at most 16.
    #[inline]
    #[must_use]
    pub fn get_be(self, record: &[u8]) -> u128 {
        let bytes = &record[self.offset..self.offset + self.width];
        bytes.iter().fold(0, |value, byte| value << 8 | u128::from(*byte))
    }

    /// Writes the integer, big-endian; what does not fit the width is cut off.
    #[inline]
    pub fn put_be(self, record: &mut [u8], value: u128) {
        let bytes = value.to_be_bytes();
        record[self.offset..self.offset + self.width].copy_from_slice(&bytes[16 - self.width..]);
    }

    /// The low byte of [`Word::get`].
    #[inline]
    #[must_use]
    pub fn get8(self, record: &[u8]) -> u8 {
        low_byte(self.get(record))
    }
}

/// Declares a layout: a module of [`Word`] constants and the [`Layout`] of all of them.
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
            /// All words, for the comparison with the text.
            pub const LAYOUT: Layout = Layout { name: $title, words: &[$($name,)*] };
        }
    };
}
pub(crate) use layout;
