//! Finds where one JSON object ends and the next begins, in one pass over the bytes.

/// The largest request in bytes. Flows in bulk come as a file, not as arguments.
pub(super) const MAX_REQUEST: usize = 1 << 20;

/// Collects bytes until an object is whole.
#[derive(Default)]
pub(super) struct Framer {
    buffer: Vec<u8>,
    /// The number of bytes that were looked at.
    seen: usize,
    depth: usize,
    in_string: bool,
    escaped: bool,
}

/// Bytes that can't become a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum FramingError {
    #[error("a request is a JSON object; this is none")]
    NoObject,
    #[error("the request is longer than {MAX_REQUEST} bytes")]
    TooLong,
}

impl Framer {
    /// Adds bytes that were read.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Returns the next whole object, or `None` if more bytes are needed.
    pub(super) fn next(&mut self) -> Result<Option<Vec<u8>>, FramingError> {
        if self.depth == 0 {
            let blank = self.buffer.iter().take_while(|b| b.is_ascii_whitespace()).count();
            self.buffer.drain(..blank);
            match self.buffer.first() {
                None => return Ok(None),
                Some(b'{') => {}
                Some(_) => return Err(FramingError::NoObject),
            }
        }
        while let Some(byte) = self.buffer.get(self.seen) {
            self.seen += 1;
            if self.step(*byte) {
                let rest = self.buffer.split_off(self.seen);
                self.seen = 0;
                return Ok(Some(std::mem::replace(&mut self.buffer, rest)));
            }
        }
        if self.buffer.len() > MAX_REQUEST { Err(FramingError::TooLong) } else { Ok(None) }
    }

    /// Returns true if the object ends with this byte. Counting pairs of braces is enough to find
    /// the end; the parser checks whether the bytes between them are JSON.
    fn step(&mut self, byte: u8) -> bool {
        if self.in_string {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.in_string = false,
                _ => {}
            }
            return false;
        }
        match byte {
            b'"' => self.in_string = true,
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
        self.depth == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_come_out_whole_however_they_come_in() {
        let text = br#" {"a":"}\"{","b":[{}]}{"c":1}
            {"d""#;
        for size in 1..text.len() {
            let mut framer = Framer::default();
            let mut found = Vec::new();
            for part in text.chunks(size) {
                framer.push(part);
                while let Some(object) = framer.next().unwrap() {
                    found.push(String::from_utf8(object).unwrap());
                }
            }
            assert_eq!(found, [r#"{"a":"}\"{","b":[{}]}"#, r#"{"c":1}"#], "chunks of {size}");
            assert_eq!(framer.buffer, b"{\"d\"");
        }
    }

    #[test]
    fn what_is_no_object_is_an_error() {
        for bad in ["GET / HTTP/1.1", "[]", "\0", "}"] {
            let mut framer = Framer::default();
            framer.push(bad.as_bytes());
            assert_eq!(framer.next(), Err(FramingError::NoObject), "{bad}");
        }
        let mut framer = Framer::default();
        framer.push(b"{\"a\":\"");
        framer.push(&vec![b'x'; MAX_REQUEST]);
        assert_eq!(framer.next(), Err(FramingError::TooLong));
    }
}
