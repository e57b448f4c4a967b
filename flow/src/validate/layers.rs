//! The headers that a packet is known to have along a list of actions.

use crate::VLAN_PRESENT;
use crate::key::{Key, Mask};

/// Whether a packet has a tag.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tag {
    No,
    Yes,
    Unknown,
}

/// The known headers of a packet; `None` stands for an unknown value.
#[derive(Clone, Copy)]
pub(super) struct KnownHeaders {
    /// Number of tags that were pushed and not popped.
    pushed: usize,
    /// The packet's own tags, behind the pushed ones.
    outer: Tag,
    inner: Tag,
    /// The EtherType behind the tags.
    pub(super) eth_type: Option<u16>,
    pub(super) protocol: Option<u8>,
    pub(super) fragment: Option<u8>,
    /// Number of MPLS labels that the packet certainly has.
    labels: usize,
}

pub(super) fn is_mpls(eth_type: u16) -> bool {
    matches!(eth_type, 0x8847 | 0x8848)
}

/// The presence of a tag, by the match's TCI and its mask.
fn tag(tci: u16, mask: u16) -> Tag {
    match (mask & VLAN_PRESENT, tci & VLAN_PRESENT) {
        (0, _) => Tag::Unknown,
        (_, 0) => Tag::No,
        _ => Tag::Yes,
    }
}

impl KnownHeaders {
    /// The headers that a key says exactly, in the bits of the mask.
    pub(super) fn of(key: &Key, mask: &Mask) -> KnownHeaders {
        let outer = tag(key.vlan_tci, mask.vlan_tci);
        let inner = match outer {
            Tag::No => Tag::No,
            Tag::Yes | Tag::Unknown => tag(key.cvlan_tci, mask.cvlan_tci),
        };
        let eth_type = (mask.eth_type == 0xffff).then_some(key.eth_type);
        let labels = [mask.mpls0, mask.mpls1, mask.mpls2];
        let labels = labels.iter().rposition(|mask| *mask != 0).map_or(1, |last| last + 1);
        KnownHeaders {
            pushed: 0,
            outer,
            inner,
            eth_type,
            protocol: (mask.ip_proto == 0xff).then_some(key.ip_proto),
            fragment: (mask.ip_frag == 0xff).then_some(key.ip_frag),
            labels: if eth_type.is_some_and(is_mpls) { labels } else { 0 },
        }
    }

    pub(super) fn push_vlan(&mut self, tpid: u16, tci: u16, wrong: &mut Vec<String>) {
        if !matches!(tpid, 0x8100 | 0x88a8) {
            wrong.push(format!("TPID {tpid:#06x} is neither 0x8100 nor 0x88a8"));
        }
        if tci & VLAN_PRESENT == 0 {
            wrong.push("cfi=0 means no tag, but a pushed tag is present".to_owned());
        }
        if wrong.is_empty() {
            self.pushed += 1;
        }
    }

    /// Pops a tag. As in the kernel, a pop from a packet without a tag does nothing and is no
    /// error.
    pub(super) fn pop_vlan(&mut self) {
        if self.pushed > 0 {
            self.pushed -= 1;
            return;
        }
        self.outer = self.inner;
        // A third tag may come up behind two.
        self.inner = if self.inner == Tag::No { Tag::No } else { Tag::Unknown };
    }

    pub(super) fn push_mpls(&mut self, eth_type: u16, wrong: &mut Vec<String>) {
        if !is_mpls(eth_type) {
            let message = "is not an EtherType of MPLS: expected 0x8847 or 0x8848";
            wrong.push(format!("{eth_type:#06x} {message}"));
        }
        wrong.extend(self.tag_in_front());
        match self.eth_type {
            Some(0x0800 | 0x86dd | 0x0806 | 0x8035 | 0x8847 | 0x8848) => {}
            Some(other) => {
                wrong.push(format!("a label can't be pushed in front of EtherType {other:#06x}"));
            }
            None => wrong.push(UNKNOWN.to_owned()),
        }
        if wrong.is_empty() {
            self.eth_type = Some(eth_type);
            self.labels += 1;
        }
    }

    pub(super) fn pop_mpls(&mut self, eth_type: u16, wrong: &mut Vec<String>) {
        wrong.extend(self.tag_in_front());
        match self.eth_type {
            Some(known) if is_mpls(known) && self.labels > 0 => {}
            Some(other) => wrong.push(format!("a packet of EtherType {other:#06x} has no label")),
            None => wrong.push(UNKNOWN.to_owned()),
        }
        if !wrong.is_empty() {
            return;
        }
        self.labels -= 1;
        // The header under the last label is unknown until a recirculation parses it.
        self.eth_type = (self.labels > 0).then_some(eth_type);
        (self.protocol, self.fragment) = (None, None);
    }

    /// What is wrong if a tag is, or may be, where a label is wanted.
    fn tag_in_front(&self) -> Option<String> {
        match self.outer {
            _ if self.pushed > 0 => Some(IN_FRONT.to_owned()),
            Tag::No => None,
            Tag::Yes => Some(IN_FRONT.to_owned()),
            Tag::Unknown => Some("the match leaves open whether there is a VLAN tag".to_owned()),
        }
    }
}

const IN_FRONT: &str = "there is a VLAN tag in front of the label";

/// The error where the EtherType is unknown: it is wild, or was under a label.
pub(super) const UNKNOWN: &str =
    "the EtherType is not known here: match it exactly, or recirculate after the last pop_mpls";
