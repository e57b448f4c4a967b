//! Overlap: two matches overlap if one packet can hit both. No two megaflows of a table may
//! overlap.
//!
//! [`Match::overlaps`] tells whether two matches overlap, [`Match::narrowed`] makes one of them
//! disjoint, and a [`Classifier`](crate::Classifier) finds the megaflows that a match overlaps.

#[cfg(test)]
pub(crate) mod tests;

use std::fmt::Write as _;

use crate::VLAN_PRESENT;
use crate::field::Field;
use crate::id::Ufid;
use crate::key::{Key, Mask};
use crate::matching::Match;
use crate::megaflow::Megaflow;

impl Match {
    /// A narrower match that the packet `key` of this match still hits and that is disjoint from
    /// `against`: its mask also has the bits by which `key` differs from `against`. `None` if
    /// `against` hits `key` too.
    ///
    /// The added bits are those of `against` in packet order, up to the first bit that differs. So
    /// the matches that different packets make against one `against` are equal or disjoint. A
    /// header's field is added only after the fields that say which header it is, so a valid match
    /// stays valid. A field that hardware compares as a whole is added whole: an EtherType, a
    /// protocol, a fragment type, a VLAN ID, a PCP.
    #[must_use]
    pub fn narrowed(&self, key: &Key, against: &Match) -> Option<Match> {
        let mut mask = *self.mask();
        for field in Field::ALL {
            let compared = against.mask().get(*field);
            let differing = (key.get(*field) ^ against.key().get(*field)) & compared;
            // The bits of the field from the highest one down to the first that differs.
            let decisive = differing.checked_ilog2().map_or(compared, |bit| compared >> bit << bit);
            mask.set(*field, mask.get(*field) | decisive);
            if differing != 0 {
                return Some(Match::new(key, &whole(&mask, key)));
            }
        }
        None
    }

    /// The bits that only one of the two matches compares, as text: these could separate the two.
    #[must_use]
    pub fn overlap_with(&self, other: &Match) -> String {
        let either = self.mask().union(other.mask());
        let bits = either.without(&self.mask().masked(other.mask()));
        let mut text = String::new();
        for field in bits.fields() {
            let comma = if text.is_empty() { "" } else { ", " };
            let (name, bits) = (field.name(), bits.get(field));
            let _ = match bits == field.full_mask() {
                true => write!(text, "{comma}{name}"),
                false => write!(text, "{comma}{name}/{bits:#x}"),
            };
        }
        text
    }
}

/// The mask, extended to the whole of each field that hardware compares as a whole.
fn whole(mask: &Mask, key: &Key) -> Mask {
    let mut mask = *mask;
    for field in [Field::EthType, Field::IpProto, Field::IpFrag] {
        if mask.get(field) != 0 {
            mask.set(field, field.full_mask());
        }
    }
    for (tpid, tci) in [(Field::VlanTpid, Field::VlanTci), (Field::CvlanTpid, Field::CvlanTci)] {
        let bits = mask.get(tci);
        if mask.get(tpid) == 0 && bits == 0 {
            continue;
        }
        let [present, vid, pcp] = [VLAN_PRESENT, 0x0fff, 0xe000].map(u128::from);
        if key.get(tci) & present == 0 {
            // This is "untagged" in flow text. A match on a TPID also matches on the tag's
            // presence.
            mask.set(tci, tci.full_mask());
            mask.set(tpid, 0);
            continue;
        }
        mask.set(tpid, tpid.full_mask());
        let part = |part: u128| if bits & part == 0 { 0 } else { part };
        mask.set(tci, present | part(vid) | part(pcp));
    }
    mask
}

/// Why a match can't be installed beside another megaflow: the text names the other megaflow and
/// the bits that would separate the two.
#[must_use]
pub fn explain(matching: &Match, other: &Megaflow) -> String {
    let ufid: Ufid = other.ufid;
    let text = crate::odp::format_match(&other.matching);
    let bits = matching.overlap_with(&other.matching);
    format!("overlaps {ufid} {text}: some packets match both; only one of them compares {bits}")
}
