//! The writer, which pushes messages and attributes into one buffer and fills in their lengths at
//! the end.

use super::consts::{NLA_F_NESTED, NLM_F_REQUEST};

/// Bytes of `struct nlmsghdr`.
pub(crate) const HEADER: usize = 16;

/// Netlink messages that are being written, back to back in one buffer. Everything is padded to
/// four bytes, as the kernel requires.
#[derive(Default, Debug)]
pub(crate) struct Writer {
    buf: Vec<u8>,
    too_long: bool,
}

/// The start of a message or nest; give it back to the matching `end`.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub(crate) struct Start(usize);

impl Writer {
    /// Begins a request; `NLM_F_REQUEST` is set in any case.
    pub(crate) fn message(&mut self, kind: u16, flags: u16, seq: u32) -> Start {
        let start = Start(self.buf.len());
        self.raw(&0u32.to_ne_bytes());
        self.raw(&kind.to_ne_bytes());
        self.raw(&(flags | NLM_F_REQUEST).to_ne_bytes());
        self.raw(&seq.to_ne_bytes());
        self.raw(&0u32.to_ne_bytes());
        start
    }

    /// Ends a request: fills in its length.
    pub(crate) fn end_message(&mut self, start: Start) {
        match u32::try_from(self.buf.len() - start.0) {
            Ok(len) => self.buf[start.0..start.0 + 4].copy_from_slice(&len.to_ne_bytes()),
            Err(_) => self.too_long = true,
        }
    }

    /// Writes `struct tcmsg`. `info` is priority and protocol for filters.
    pub(crate) fn tcmsg(&mut self, ifindex: u32, handle: u32, parent: u32, info: u32) {
        // tcm_family and three bytes of padding.
        self.raw(&[0; 4]);
        [ifindex, handle, parent, info].iter().for_each(|word| self.raw(&word.to_ne_bytes()));
    }

    /// Writes an attribute of bytes.
    pub(crate) fn bytes(&mut self, kind: u16, bytes: &[u8]) {
        let start = self.attr(kind);
        self.raw(bytes);
        self.end(start);
    }

    /// Writes an attribute of text with the final zero that the kernel requires.
    pub(crate) fn text(&mut self, kind: u16, text: &str) {
        let start = self.attr(kind);
        self.raw(text.as_bytes());
        self.raw(&[0]);
        self.end(start);
    }

    /// Writes an attribute of one byte.
    pub(crate) fn u8(&mut self, kind: u16, value: u8) {
        self.bytes(kind, &[value]);
    }

    /// Writes an attribute of two bytes in the machine's order.
    pub(crate) fn u16(&mut self, kind: u16, value: u16) {
        self.bytes(kind, &value.to_ne_bytes());
    }

    /// Writes an attribute of two bytes in network order.
    pub(crate) fn be16(&mut self, kind: u16, value: u16) {
        self.bytes(kind, &value.to_be_bytes());
    }

    /// Writes an attribute of four bytes in the machine's order.
    pub(crate) fn u32(&mut self, kind: u16, value: u32) {
        self.bytes(kind, &value.to_ne_bytes());
    }

    /// Begins an attribute that holds attributes.
    pub(crate) fn nest(&mut self, kind: u16) -> Start {
        self.attr(kind | NLA_F_NESTED)
    }

    /// Begins an attribute whose payload is pushed with [`Writer::raw`].
    pub(crate) fn attr(&mut self, kind: u16) -> Start {
        let start = Start(self.buf.len());
        self.raw(&0u16.to_ne_bytes());
        self.raw(&kind.to_ne_bytes());
        start
    }

    /// Ends an attribute: fills in its length, then pads.
    pub(crate) fn end(&mut self, start: Start) {
        match u16::try_from(self.buf.len() - start.0) {
            Ok(len) => self.buf[start.0..start.0 + 2].copy_from_slice(&len.to_ne_bytes()),
            Err(_) => self.too_long = true,
        }
        self.buf.resize(self.buf.len().next_multiple_of(4), 0);
    }

    /// Writes bytes without a header or padding.
    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.buf.extend_from_slice(bytes);
    }

    /// Removes everything after the first `len` bytes.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.buf.truncate(len);
        self.too_long = false;
    }

    /// Returns the number of bytes written so far.
    pub(crate) fn len(&self) -> usize {
        self.buf.len()
    }

    /// Returns true if an attribute or message was too long for its length field. The buffer must
    /// then not be sent.
    pub(crate) fn is_too_long(&self) -> bool {
        self.too_long
    }

    /// Returns the bytes written so far.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.buf
    }
}
