//! Rewrites that are made ready once and executed on many packets.
//!
//! A ready rewrite is a list of the header's words that it changes: no field of the action is
//! looked at when a packet comes. What it does to a frame is what [`rewrite`](super::rewrite) does,
//! which is its slow twin.

use smallvec::SmallVec;

use super::checksum::Delta;
use super::{Layers, Packet, edit, ethernet, ipv4, ipv6, transport, wire};
use crate::action::SetFields;
use crate::field::Attr;
use crate::key::Key;

/// A `set` action, ready for many packets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReadyRewrite(Target);

#[derive(Clone, PartialEq, Eq, Debug)]
enum Target {
    Ethernet(Words),
    /// Of both versions, since an action may be about either. No words: not about this one.
    Ip {
        v4: Words,
        v6: Words,
    },
    Ports {
        protocol: u8,
        words: Words,
    },
}

type Words = SmallVec<[HeaderWord; 4]>;

/// Four bytes of a header, some of which change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct HeaderWord {
    /// Its number among those of the header.
    number: u8,
    /// No bit is set that the mask lacks.
    value: u32,
    mask: u32,
}

/// Bytes of a word.
const WORD: usize = 4;

impl HeaderWord {
    fn is_before(&self, offset: usize) -> bool {
        usize::from(self.number) * WORD < offset
    }
}

impl ReadyRewrite {
    /// Makes an action ready; `None` for those that are rare, or that change no frame.
    #[must_use]
    pub fn of(fields: &SetFields) -> Option<ReadyRewrite> {
        let (value, mask) = (&fields.value, &fields.mask);
        let target = match fields.attr {
            Attr::Eth => {
                let of = |key: &Key| [key.eth_dst.0, key.eth_src.0].concat();
                Target::Ethernet(words(&of(value), &of(mask)))
            }
            Attr::Ip | Attr::Ipv4 | Attr::Ipv6 => {
                let wanted = edit::wanted(fields);
                let of = |version: u8, bytes: fn(&Key) -> Vec<u8>| {
                    let is_wanted = wanted == 0 || wanted == version;
                    if is_wanted { words(&bytes(value), &bytes(mask)) } else { Words::new() }
                };
                Target::Ip { v4: of(4, ipv4::settable), v6: of(6, ipv6::settable) }
            }
            Attr::Transport if matches!(fields.protocol, transport::TCP | transport::UDP) => {
                let of = |key: &Key| [key.tp_src, key.tp_dst].map(u16::to_be_bytes).concat();
                Target::Ports { protocol: fields.protocol, words: words(&of(value), &of(mask)) }
            }
            _ => return None,
        };
        Some(ReadyRewrite(target))
    }

    /// Executes the action. Right checksums stay right.
    pub fn execute(&self, packet: &mut Packet) {
        if let Target::Ethernet(words) = &self.0 {
            let frame = packet.frame_mut();
            if frame.len() >= ethernet::HEADER {
                apply(frame, 0, words);
            }
            return;
        }
        let (frame, layers) = packet.headers_mut();
        match &self.0 {
            Target::Ip { v4, .. } if layers.kind == ipv4::ETH_TYPE => rewrite_v4(frame, layers, v4),
            Target::Ip { v6, .. } if layers.kind == ipv6::ETH_TYPE => rewrite_v6(frame, layers, v6),
            Target::Ports { protocol, words } if *protocol == layers.protocol => {
                if let Some(start) = transport::start(frame, layers) {
                    let delta = apply(frame, start, words);
                    transport::ports_changed(frame, layers, start, delta);
                }
            }
            Target::Ethernet(_) | Target::Ip { .. } | Target::Ports { .. } => {}
        }
    }
}

fn rewrite_v4(frame: &mut [u8], layers: &Layers, words: &[HeaderWord]) {
    let Some(start) = layers.header().filter(|start| frame.len() - start >= ipv4::HEADER) else {
        return;
    };
    let first = words.partition_point(|word| word.is_before(ipv4::SRC));
    let (others, addresses) = words.split_at(first);
    let addresses = apply(frame, start, addresses);
    let mut header = apply(frame, start, others);
    header += addresses;
    header.apply(frame, start + ipv4::CHECKSUM);
    transport::addresses_changed(frame, layers, false, addresses);
}

fn rewrite_v6(frame: &mut [u8], layers: &Layers, words: &[HeaderWord]) {
    let Some(start) = layers.header().filter(|start| frame.len() - start >= ipv6::HEADER) else {
        return;
    };
    let before = |at: usize| words.partition_point(|word| word.is_before(at));
    let (others, addresses) = words.split_at(before(ipv6::SRC));
    let (source, destination) = addresses.split_at(before(ipv6::DST) - others.len());
    apply(frame, start, others);
    let mut covered = apply(frame, start, source);
    let destination = apply(frame, start, destination);
    if !layers.routed {
        covered += destination;
    }
    transport::addresses_changed(frame, layers, true, covered);
}

/// The words in which the mask has bits.
fn words(value: &[u8], mask: &[u8]) -> Words {
    let pairs = value.chunks_exact(WORD).zip(mask.chunks_exact(WORD));
    let word = |bytes: &[u8]| wire::be32(bytes, 0).unwrap_or_default();
    let all = (0_u8..).zip(pairs).map(|(number, (value, mask))| {
        let mask = word(mask);
        HeaderWord { number, value: word(value) & mask, mask }
    });
    all.filter(|word| word.mask != 0).collect()
}

/// Writes words of a header that is whole; returns what they add to a checksum.
#[inline]
fn apply(frame: &mut [u8], start: usize, words: &[HeaderWord]) -> Delta {
    let mut delta = Delta::default();
    let (places, _) = frame.get_mut(start..).unwrap_or_default().as_chunks_mut();
    for word in words {
        let Some(place) = places.get_mut(usize::from(word.number)) else { continue };
        let old = u32::from_be_bytes(*place);
        let new = old & !word.mask | word.value;
        *place = new.to_be_bytes();
        delta.replace_two(old, new);
    }
    delta
}
