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
        if self.rest().starts_with('/') {
            self.allow_mask()?;
        }
        Ok(self.eat("/"))
    }

    /// What has not been read yet.
    pub(super) fn rest(&self) -> &'a str {
        self.text.get(self.place..).unwrap_or("")
    }

    pub(super) fn place(&self) -> usize {
        self.place
    }

    pub(super) fn at_end(&self) -> bool {
        self.rest().is_empty()
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

    pub(super) fn eat(&mut self, text: &str) -> bool {
        let found = self.rest().starts_with(text);
        if found {
            self.place += text.len();
        }
        found
    }

    pub(super) fn expect(&mut self, text: &str) -> Result<(), OdpError> {
        if self.eat(text) {
            return Ok(());
        }
        Err(self.error(format!("expected '{text}', found {}", self.found())))
    }

    /// Commas and white space.
    pub(super) fn skip_delimiters(&mut self) {
        let rest = self.rest();
        let trimmed = rest.trim_start_matches([',', ' ', '\t', '\r', '\n']);
        self.place += rest.len() - trimmed.len();
    }

    /// White space alone: OVS prints ", " between the parts of a dumped line.
    pub(super) fn skip_space(&mut self) {
        let rest = self.rest();
        self.place += rest.len() - rest.trim_start_matches([' ', '\t', '\r', '\n']).len();
    }

    /// Reads characters as long as `like` is true for them; the result may be empty.
    pub(super) fn take(&mut self, like: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|c| !like(c)).unwrap_or(rest.len());
        self.place += end;
        rest.get(..end).unwrap_or("")
    }

    /// Does the same with bytes; `like` is false for every byte that is no ASCII.
    pub(super) fn take_ascii(&mut self, like: impl Fn(u8) -> bool) -> &'a str {
        let rest = self.rest();
        let end = rest.bytes().position(|b| !like(b)).unwrap_or(rest.len());
        self.place += end;
        rest.get(..end).unwrap_or("")
    }

    /// A name: letters, digits, `_` and `-`.
    pub(super) fn word(&mut self) -> &'a str {
        self.take_ascii(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
    }

    /// Everything up to a delimiter or a parenthesis.
    pub(super) fn token(&mut self) -> &'a str {
        self.take(|c| !matches!(c, ',' | '(' | ')' | ' ' | '\t' | '\r' | '\n'))
    }

    /// Reads a decimal or 0x number of at most `max`; `what` names the number in errors. A leading
    /// zero is an error, because C would read the number as octal and people mean decimal.
    pub(super) fn number(&mut self, what: impl Display, max: u128) -> Result<u128, OdpError> {
        let start = self.place;
        let token = self.take_ascii(|b| b.is_ascii_alphanumeric());
        // Most numbers are short, and those have a short way.
        if let Some(value) = short_decimal(token).filter(|value| *value <= max) {
            return Ok(value);
        }
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
}

/// The value of at most nine decimal digits that don't begin with a zero, unless it is alone.
fn short_decimal(token: &str) -> Option<u128> {
    let is_short =
        (1..=9).contains(&token.len()) && (token.len() == 1 || token.as_bytes()[0] != b'0');
    let digit =
        |sum: u32, byte: u8| byte.is_ascii_digit().then(|| sum * 10 + u32::from(byte - b'0'));
    is_short.then(|| token.bytes().try_fold(0, digit).map(u128::from)).flatten()
}
