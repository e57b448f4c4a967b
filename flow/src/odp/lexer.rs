//! The lexer of flow text: it reads words, numbers and other tokens, and places errors.

use std::fmt::Display;

use super::OdpError;

/// A name that compares with a text in one step, together with the byte behind it.
#[derive(Clone, Copy)]
pub(super) struct Keyword {
    text: &'static str,
    bytes: u128,
    mask: u128,
}

impl Keyword {
    /// A name of at most 15 bytes; `text` has the byte behind it too.
    pub(super) const fn new(text: &'static str) -> Keyword {
        assert!(!WORD[text.as_bytes()[text.len() - 1] as usize], "a word goes on behind its name");
        let mut bytes = [0; 16];
        bytes.split_at_mut(text.len()).0.copy_from_slice(text.as_bytes());
        let mask = u128::MAX >> (128 - 8 * text.len());
        Keyword { text, bytes: u128::from_le_bytes(bytes), mask }
    }

    /// The name with the byte behind it.
    pub(super) fn text(&self) -> &'static str {
        self.text
    }
}

/// A text and a place in it. A read moves the place forward, or leaves it where it was.
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

    /// An error at this place if values have no masks in this text.
    pub(super) fn allow_mask(&self, place: usize) -> Result<(), OdpError> {
        if self.masks {
            return Ok(());
        }
        Err(self.error_at(place, "the key of a packet has no masks: expected a value alone"))
    }

    /// Reads the `/` in front of a mask; false where there is none.
    pub(super) fn eat_mask(&mut self) -> Result<bool, OdpError> {
        if !self.at(b'/') {
            return Ok(false);
        }
        self.allow_mask(self.place)?;
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

    /// Goes back to an earlier place.
    pub(super) fn rewind(&mut self, place: usize) {
        self.place = place;
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

    pub(super) fn error(&self, message: impl Into<String>) -> OdpError {
        self.error_at(self.place, message)
    }

    pub(super) fn error_at(&self, place: usize, message: impl Into<String>) -> OdpError {
        OdpError { column: place + 1, message: message.into() }
    }

    /// The next few characters, quoted for an error.
    pub(super) fn found(&self) -> String {
        self.found_at(self.place)
    }

    /// The same at an earlier place.
    pub(super) fn found_at(&self, place: usize) -> String {
        let text = self.text.get(place..).unwrap_or("").chars().take(20);
        let text: String = text.flat_map(char::escape_default).collect();
        if text.is_empty() { "the end of the text".to_owned() } else { format!("'{text}'") }
    }

    /// Reads one of the names, and the byte behind it; returns its place in the list.
    #[inline]
    pub(super) fn name<'n>(&mut self, names: impl Iterator<Item = &'n Keyword>) -> Option<usize> {
        let left = self.left();
        let head = left.first_chunk().copied().unwrap_or_else(|| {
            let mut bytes = [0; 16];
            bytes.iter_mut().zip(left).for_each(|(to, from)| *to = *from);
            bytes
        });
        let head = u128::from_le_bytes(head);
        let (index, name) =
            names.enumerate().find(|(_, name)| (name.bytes ^ head) & name.mask == 0)?;
        self.place += name.text.len();
        Some(index)
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
        let (text, start) = (self.text.as_bytes(), self.place);
        let mut end = start;
        while text.get(end).is_some_and(|byte| like(*byte)) {
            end += 1;
        }
        self.place = end;
        self.text.get(start..end).unwrap_or("")
    }

    /// A name: letters, digits, `_` and `-`.
    pub(super) fn word(&mut self) -> &'a str {
        self.take(|byte| WORD[usize::from(byte)])
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
        self.short_number(max).map_or_else(|| self.long_number(&what, max), Ok)
    }

    /// Most numbers are short, and those have a short way: at most nine digits.
    #[inline]
    pub(super) fn short_number(&mut self, max: u128) -> Option<u128> {
        let text = self.text.as_bytes();
        let (radix, start) = match self.left() {
            [b'0', b'x' | b'X', ..] => (16, self.place + 2),
            [b'0', byte, ..] if byte.is_ascii_digit() => return None,
            _ => (10, self.place),
        };
        let (mut value, mut end) = (0_u64, start);
        while let Some(digit) = digit(text, end, radix)
            && end < start + 9
        {
            value = value * u64::from(radix) + u64::from(digit);
            end += 1;
        }
        let goes_on = text.get(end).is_some_and(u8::is_ascii_alphanumeric);
        if end == start || goes_on || u128::from(value) > max {
            return None;
        }
        self.place = end;
        Some(value.into())
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

/// The bytes of words.
static WORD: [bool; 256] = {
    let (mut word, mut byte) = ([false; 256], 0_u8);
    while byte < 128 {
        word[byte as usize] = byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        byte += 1;
    }
    word
};

/// The value of each byte as a hexadecimal digit; 16 for one that is no digit.
static DIGITS: [u8; 256] = {
    let (mut digits, mut value) = ([16; 256], 0);
    while value < 16 {
        digits[b"0123456789abcdef"[value as usize] as usize] = value;
        digits[b"0123456789ABCDEF"[value as usize] as usize] = value;
        value += 1;
    }
    digits
};

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::MacAddr;

    /// Texts of all kinds: numbers and addresses that are right, nearly right, or nothing at all.
    fn texts() -> impl Iterator<Item = String> {
        const PIECES: [&str; 26] = [
            "0", "1", "9", "25", "255", "256", "00", "0a", "f", "FF", "g", "0x", "0X", ".", ":",
            "..", "::", "+", "-", "_", "/", ",", ")", " ", "é", "\0",
        ];
        let mut state = 1_u64;
        let mut below = move |end: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) as usize % end
        };
        (0..300_000).map(move |round| {
            let (separator, count) = [(".", 4), (":", 6), ("", 3), (".", 3)][round % 4];
            let mut words: Vec<_> = (0..count).map(|_| PIECES[below(4)].to_owned()).collect();
            for _ in 0..below(3) {
                let place = below(count);
                words[place] = PIECES[below(11)].to_owned();
            }
            if below(3) == 0 {
                words.insert(below(count + 1), PIECES[below(PIECES.len())].to_owned());
            }
            words.join(separator) + PIECES[below(PIECES.len())]
        })
    }

    #[test]
    fn numbers_and_addresses_are_those_of_the_standard_library() {
        let (mut found, mut tried) = ([0; 3], 0);
        for text in texts() {
            let slow = |separators| Lexer::new(&text).token_of(separators).to_owned();
            let (ipv4, mac) = (slow(b"."), slow(b":"));
            let word = Lexer::new(&text).take(|byte| byte.is_ascii_alphanumeric()).to_owned();
            let number = match word.strip_prefix("0x").or_else(|| word.strip_prefix("0X")) {
                Some(digits) => u128::from_str_radix(digits, 16).ok(),
                None if word.len() > 1 && word.starts_with('0') => None,
                None => word.parse().ok(),
            };
            let max = if tried % 2 == 0 { 0xffff } else { u128::MAX };
            let number = number.filter(|number| *number <= max);
            let (ipv4_value, mac_value) = (ipv4.parse::<Ipv4Addr>(), mac.parse::<MacAddr>());
            let wanted = [
                (ipv4_value.ok().map(|ip| ip.to_bits().into()), ipv4),
                (mac_value.ok().map(u128::from), mac),
                (number, word),
            ];
            let mut lexers = [(); 3].map(|()| Lexer::new(&text));
            let got = [
                lexers[0].ipv4().map(u128::from),
                lexers[1].mac().map(u128::from),
                lexers[2].number("it", max).ok(),
            ];
            for (place, (value, token)) in wanted.iter().enumerate() {
                assert_eq!(got[place], *value, "{text}");
                let end = if value.is_some() { token.len() } else { 0 };
                assert_eq!(lexers[place].place(), end, "{text}");
                found[place] += u32::from(value.is_some());
            }
            tried += 1;
        }
        assert!(found.iter().all(|found| *found > tried / 20), "{found:?} of {tried}");
    }

    #[test]
    fn names_are_words() {
        let names = ["eth(", "ipv4(", "recirc_id(", "packet_type_x("].map(Keyword::new);
        for (text, place) in [
            ("eth(", Some(0)),
            ("ipv4(src=1.2.3.4,dst=1.2.3.4)", Some(1)),
            ("recirc_id(0),in_port(1)", Some(2)),
            ("packet_type_x(", Some(3)),
            ("packet_type_x", None),
            ("eth", None),
            ("eth_type(", None),
            ("xeth(", None),
            ("eth\0", None),
            ("", None),
        ] {
            let mut lexer = Lexer::new(text);
            assert_eq!(lexer.name(names.iter()), place, "{text}");
            let word = Lexer::new(text).take(|byte| byte != b'(').len() + 1;
            assert_eq!(lexer.place(), if place.is_some() { word } else { 0 }, "{text}");
        }
    }
}
