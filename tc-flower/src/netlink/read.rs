//! The reader, which checks every length against the bytes that exist. Data from the kernel is
//! trusted no more than data from a network.

use super::consts::NLA_TYPE_MASK;
use super::write::HEADER;

/// The error for bytes that are no netlink message or attribute.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("malformed netlink answer: {0}")]
pub(crate) struct Malformed(pub(crate) &'static str);

/// Reads `N` bytes from `at`.
pub(crate) fn array<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], Malformed> {
    bytes
        .get(at..)
        .and_then(|rest| rest.first_chunk::<N>())
        .copied()
        .ok_or(Malformed("a value is cut short"))
}

/// Reads four bytes in the machine's order.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Result<u32, Malformed> {
    array(bytes, at).map(u32::from_ne_bytes)
}

/// Reads two bytes in the machine's order.
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Result<u16, Malformed> {
    array(bytes, at).map(u16::from_ne_bytes)
}

/// Reads eight bytes in the machine's order.
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> Result<u64, Malformed> {
    array(bytes, at).map(u64::from_ne_bytes)
}

/// Reads a NUL-terminated text; bytes that are no UTF-8 are replaced.
pub(crate) fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

/// One message of a datagram.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Message<'a> {
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    pub(crate) seq: u32,
    /// The port of the socket whose request caused the message; 0 for the kernel's own messages.
    pub(crate) port: u32,
    pub(crate) payload: &'a [u8],
}

/// The messages of a datagram, in order. The iterator ends after the first malformed message.
#[derive(Clone, Debug)]
pub(crate) struct Messages<'a>(pub(crate) &'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = Result<Message<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let message = split_message(self.0);
        match message {
            Ok((message, rest)) => {
                self.0 = rest;
                Some(Ok(message))
            }
            Err(error) => {
                self.0 = &[];
                Some(Err(error))
            }
        }
    }
}

fn split_message(bytes: &[u8]) -> Result<(Message<'_>, &[u8]), Malformed> {
    let len = usize::try_from(u32_at(bytes, 0)?).map_err(|_| Malformed("a message's length"))?;
    let payload = bytes.get(HEADER..len).ok_or(Malformed("a message's length"))?;
    let message = Message {
        kind: u16_at(bytes, 4)?,
        flags: u16_at(bytes, 6)?,
        seq: u32_at(bytes, 8)?,
        port: u32_at(bytes, 12)?,
        payload,
    };
    Ok((message, bytes.get(len.next_multiple_of(4)..).unwrap_or_default()))
}

/// One attribute; its type has no flags.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NlAttr<'a> {
    pub(crate) kind: u16,
    pub(crate) payload: &'a [u8],
}

impl<'a> NlAttr<'a> {
    /// Returns the attributes in the payload.
    pub(crate) fn nested(&self) -> NlAttrs<'a> {
        NlAttrs(self.payload)
    }

    /// Returns the whole payload, which must have exactly `N` bytes.
    pub(crate) fn exact<const N: usize>(&self) -> Result<[u8; N], Malformed> {
        self.payload.try_into().map_err(|_| Malformed("an attribute's length"))
    }

    /// Reads the payload as one byte.
    pub(crate) fn u8(&self) -> Result<u8, Malformed> {
        self.exact().map(|[byte]| byte)
    }

    /// Reads the payload as two bytes in the machine's order.
    pub(crate) fn u16(&self) -> Result<u16, Malformed> {
        self.exact().map(u16::from_ne_bytes)
    }

    /// Reads the payload as two bytes in network order.
    pub(crate) fn be16(&self) -> Result<u16, Malformed> {
        self.exact().map(u16::from_be_bytes)
    }

    /// Reads the payload as four bytes in the machine's order.
    pub(crate) fn u32(&self) -> Result<u32, Malformed> {
        self.exact().map(u32::from_ne_bytes)
    }

    /// Reads the payload as text up to the first zero.
    pub(crate) fn text(&self) -> String {
        text(self.payload)
    }
}

/// Attributes, in order. The iterator ends after the first malformed attribute.
#[derive(Clone, Debug)]
pub(crate) struct NlAttrs<'a>(pub(crate) &'a [u8]);

impl<'a> NlAttrs<'a> {
    /// Returns the first attribute of a kind, or an error if an attribute before it is malformed.
    pub(crate) fn find(mut self, kind: u16) -> Result<Option<NlAttr<'a>>, Malformed> {
        self.find_map(|attr| match attr {
            Ok(attr) if attr.kind != kind => None,
            other => Some(other),
        })
        .transpose()
    }
}

impl<'a> Iterator for NlAttrs<'a> {
    type Item = Result<NlAttr<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        match split_attr(self.0) {
            Ok((attr, rest)) => {
                self.0 = rest;
                Some(Ok(attr))
            }
            Err(error) => {
                self.0 = &[];
                Some(Err(error))
            }
        }
    }
}

fn split_attr(bytes: &[u8]) -> Result<(NlAttr<'_>, &[u8]), Malformed> {
    let len = usize::from(u16_at(bytes, 0)?);
    let kind = u16_at(bytes, 2)? & NLA_TYPE_MASK;
    let payload = bytes.get(4..len).ok_or(Malformed("an attribute's length"))?;
    Ok((NlAttr { kind, payload }, bytes.get(len.next_multiple_of(4)..).unwrap_or_default()))
}

/// `struct tcmsg` and the attributes behind it.
#[derive(Clone, Debug)]
pub(crate) struct TcMsg<'a> {
    pub(crate) ifindex: u32,
    pub(crate) handle: u32,
    pub(crate) parent: u32,
    /// The priority, for filters.
    pub(crate) priority: u16,
    /// The EtherType or [`super::consts::ETH_P_ALL`], for filters.
    pub(crate) protocol: u16,
    pub(crate) attrs: NlAttrs<'a>,
}

impl<'a> TcMsg<'a> {
    /// Reads the payload of a qdisc or filter message.
    pub(crate) fn parse(payload: &'a [u8]) -> Result<TcMsg<'a>, Malformed> {
        let info: [u8; 4] = array(payload, 16)?;
        let info = u32::from_ne_bytes(info);
        let [high_a, high_b, low_a, low_b] = info.to_be_bytes();
        Ok(TcMsg {
            ifindex: u32_at(payload, 4)?,
            handle: u32_at(payload, 8)?,
            parent: u32_at(payload, 12)?,
            priority: u16::from_be_bytes([high_a, high_b]),
            protocol: u16::from_be(u16::from_be_bytes([low_a, low_b])),
            attrs: NlAttrs(payload.get(20..).ok_or(Malformed("a tc message is cut short"))?),
        })
    }
}

/// Returns `tcm_info` of a filter.
pub(crate) fn filter_info(priority: u16, protocol: u16) -> u32 {
    u32::from(priority) << 16 | u32::from(protocol.to_be())
}
