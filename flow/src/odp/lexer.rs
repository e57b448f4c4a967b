//! The lexer of flow text: it reads words, numbers and other tokens, and places errors.

use std::fmt::Display;

use super::OdpError;

/// A text and a place in it. A read moves the place forward, or leaves it where it was.
#[derive(Clone)]
pub(super) struct Lexer<'a> {
    text: &'a str,
    place: usize,
    /// False in the key of a packet, whose values have no masks.
    masks: bool,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str) -> Lexer<'a> {
        Lexer { text, place: 0, masks: true }
    }

    /// A text in which a mask is an error.
    pub(super) fn without_masks(text: &'a str) -> Lexer<'a> {
        Lexer { text, place: 0, masks: false }
    }

    /// An error if values have no masks in this text.
    pub(super) fn allow_mask(&self) -> Result<(), OdpError> {
        if self.masks {
            return Ok(());
        }
        Err(self.error("the key of a packet has no masks: expected a value alone"))
    }

    /// Reads the `/` in front of a mask; false where there is none.
    pub(super) fn eat_mask(&mut self) -> Result<bool, OdpError> {
        if !self.at(b'/') {
            return Ok(false);
        }
        self.allow_mask()?;
        self.place += 1;
        Ok(true)
    }

    /// What has not been read yet.
    pub(super) fn rest(&self) -> &'a str {
        self.text.get(self.place..).unwrap_or("")
    }

    /// The same as bytes.
    fn left(&self) -> &'a [u8] {
        self.text.as_bytes().get(self.place..).unwrap_or_default()
    }

    pub(super) fn place(&self) -> usize {
        self.place
    }

    pub(super) fn at_end(&self) -> bool {
        self.place == self.text.len()
    }

    /// The next byte.
    pub(super) fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.place).copied()
    }

    /// Returns true if the next byte is this one.
    pub(super) fn at(&self, byte: u8) -> bool {
        self.peek() == Some(byte)
    }

    /// Returns true if the next byte is a decimal digit.
    pub(super) fn at_digit(&self) -> bool {
        self.peek().is_some_and(|byte| byte.is_ascii_digit())
    }

    /// The next eight bytes, the first one lowest, with zeros behind the end of the text.
    pub(super) fn head(&self) -> u64 {
        let left = self.left();
        match left.first_chunk() {
            Some(bytes) => u64::from_le_bytes(*bytes),
            None => left.iter().rev().fold(0, |head, byte| head << 8 | u64::from(*byte)),
        }
    }

    pub(super) fn error(&self, message: impl Into<String>) -> OdpError {
        self.error_at(self.place, message)
    }

    pub(super) fn error_at(&self, place: usize, message: impl Into<String>) -> OdpError {
        OdpError { column: place + 1, message: message.into() }
    }

    /// The next few characters, quoted for an error.
    pub(super) fn found(&self) -> String {
        let text: String = self.rest().chars().take(20).flat_map(char::escape_default).collect();
        if text.is_empty() { "the end of the text".to_owned() } else { format!("'{text}'") }
    }

    /// Passes over so many bytes, which are ASCII.
    pub(super) fn skip(&mut self, bytes: usize) {
        self.place += bytes;
    }

    #[inline]
    pub(super) fn eat(&mut self, text: &str) -> bool {
        let found = self.left().starts_with(text.as_bytes());
        if found {
            self.place += text.len();
        }
        found
    }

    #[inline]
    pub(super) fn expect(&mut self, text: &str) -> Result<(), OdpError> {
        if self.eat(text) {
            return Ok(());
        }
        Err(self.error(format!("expected '{text}', found {}", self.found())))
    }

    /// Commas and white space.
    pub(super) fn skip_delimiters(&mut self) {
        self.take(|byte| byte == b',' || is_space(byte));
    }

    /// White space alone: OVS prints ", " between the parts of a dumped line.
    pub(super) fn skip_space(&mut self) {
        self.take(is_space);
    }

    /// Reads bytes as long as `like` is true for them; the result may be empty. `like` has to be
    /// the same for all bytes that are no ASCII, which are parts of characters.
    #[inline]
    pub(super) fn take(&mut self, mut like: impl FnMut(u8) -> bool) -> &'a str {
        let start = self.place;
        while self.peek().is_some_and(&mut like) {
            self.place += 1;
        }
        self.text.get(start..self.place).unwrap_or("")
    }

    /// A name: letters, digits, `_` and `-`.
    pub(super) fn word(&mut self) -> &'a str {
        self.take(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
    }

    /// Everything up to a delimiter or a parenthesis.
    pub(super) fn token(&mut self) -> &'a str {
        self.take(|byte| !matches!(byte, b',' | b'(' | b')') && !is_space(byte))
    }

    /// Hexadecimal digits and the given separators.
    pub(super) fn token_of(&mut self, separators: &[u8]) -> &'a str {
        self.take(|byte| byte.is_ascii_hexdigit() || separators.contains(&byte))
    }

    /// Reads a decimal or 0x number of at most `max`; `what` names the number in errors. A leading
    /// zero is an error, because C would read the number as octal and people mean decimal.
    pub(super) fn number(&mut self, what: impl Display, max: u128) -> Result<u128, OdpError> {
        match self.short_number().filter(|(value, _)| *value <= max) {
            Some((value, end)) => {
                self.place = end;
                Ok(value)
            }
            None => self.long_number(&what, max),
        }
    }

    /// Most numbers are short, and those have a short way: the value of at most nine digits, and
    /// where they end.
    fn short_number(&self) -> Option<(u128, usize)> {
        let left = self.left();
        let (radix, digits) = match left {
            [b'0', b'x' | b'X', digits @ ..] => (16, digits),
            [b'0', byte, ..] if byte.is_ascii_digit() => return None,
            _ => (10, left),
        };
        let (mut value, mut length) = (0_u64, 0);
        while let Some(digit) = digit(digits, length, radix).filter(|_| length < 9) {
            value = value * u64::from(radix) + u64::from(digit);
            length += 1;
        }
        let ends = !digits.get(length).is_some_and(u8::is_ascii_alphanumeric);
        let end = self.place + left.len() - digits.len() + length;
        (length > 0 && ends).then_some((value.into(), end))
    }

    /// Reads the other numbers, and says what is wrong with one.
    #[cold]
    fn long_number(&mut self, what: &dyn Display, max: u128) -> Result<u128, OdpError> {
        let start = self.place;
        let token = self.take(|byte| byte.is_ascii_alphanumeric());
        let parsed = match token.strip_prefix("0x").or_else(|| token.strip_prefix("0X")) {
            Some(hex) => (u128::from_str_radix(hex, 16), hex),
            None => (token.parse::<u128>(), token),
        };
        let message = match parsed {
            (_, "") if token.is_empty() => {
                format!("expected a number for {what}, found {}", self.found())
            }
            _ if token.len() > 1
                && token.starts_with('0')
                && !token[1..].starts_with(['x', 'X']) =>
            {
                format!("{what} {token} begins with 0: write it in decimal or with 0x")
            }
            (Ok(value), _) if value <= max => return Ok(value),
            (Ok(_), _) => format!("{what} {token} is too large, at most {max} ({max:#x})"),
            (Err(_), digits)
                if !digits.is_empty() && digits.chars().all(|c| c.is_ascii_hexdigit()) =>
            {
                format!("{what} {token}: expected a decimal or 0x number of at most {max}")
            }
            (Err(_), _) => format!("{what} '{token}' is not a number"),
        };
        self.place = start;
        Err(self.error(message))
    }

    /// Reads an Ethernet address. `None` if there is none, or if it does not end where its digits
    /// and colons end.
    pub(super) fn mac(&mut self) -> Option<u64> {
        self.octets(6, b':', 16)
    }

    /// Reads an IPv4 address, likewise.
    pub(super) fn ipv4(&mut self) -> Option<u64> {
        self.octets(4, b'.', 10)
    }

    /// Reads so many bytes: two hexadecimal digits at most each, or decimal without leading zeros.
    #[inline]
    fn octets(&mut self, count: usize, separator: u8, radix: u8) -> Option<u64> {
        let text = self.text.as_bytes();
        let (mut value, mut at) = (0, self.place);
        for index in 0..count {
            if index > 0 {
                at += text.get(at).filter(|byte| **byte == separator).map(|_| 1)?;
            }
            let mut octet = u32::from(digit(text, at, radix)?);
            at += 1;
            // A decimal byte that begins with a zero ends behind it.
            let more = if radix == 16 {
                1
            } else if octet == 0 {
                0
            } else {
                2
            };
            for _ in 0..more {
                let Some(digit) = digit(text, at, radix) else { break };
                octet = octet * u32::from(radix) + u32::from(digit);
                at += 1;
            }
            value = value << 8 | u64::from(u8::try_from(octet).ok()?);
        }
        let goes_on = |byte: &u8| byte.is_ascii_hexdigit() || *byte == separator;
        if text.get(at).is_some_and(goes_on) {
            return None;
        }
        self.place = at;
        Some(value)
    }
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// The value of the digit at this place.
#[inline]
fn digit(text: &[u8], at: usize, radix: u8) -> Option<u8> {
    text.get(at).map(|byte| DIGITS[usize::from(*byte)]).filter(|digit| *digit < radix)
}

/// The value of each byte as a hexadecimal digit; 16 for one that is no digit.
const DIGITS: [u8; 256] = {
    let (mut digits, mut value) = ([16; 256], 0);
    while value < 16 {
        digits[b"0123456789abcdef"[value as usize] as usize] = value;
        digits[b"0123456789ABCDEF"[value as usize] as usize] = value;
        value += 1;
    }
    digits
};
