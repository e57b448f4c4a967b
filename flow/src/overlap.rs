//! Overlap: two matches overlap if one packet can hit both. No two megaflows of a table may
//! overlap.
//!
//! [`Match::overlaps`] tells whether two matches overlap, [`Match::narrowed`] makes one of them
//! disjoint, and [`OverlapIndex`] finds the megaflows of a table that a match overlaps.

#[cfg(test)]
mod tests;

use std::fmt::Write as _;
use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::VLAN_PRESENT;
use crate::field::Field;
use crate::id::Ufid;
use crate::key::{Key, Mask};
use crate::matching::Match;
use crate::megaflow::Megaflow;
use crate::numbers::Numbers;

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

/// An index of the megaflows of a table that finds those that a match overlaps, whether wider or
/// narrower. The table gives each megaflow a number, and the match of a number when it asks.
///
/// Megaflows of one port, scope and mask are a group. Two matches overlap exactly if they are equal
/// in the bits that both compare. So a group has its members in hash tables (views): one by the
/// bits of the group's own mask, which serves every match that is at least as narrow, and further
/// ones by the bits that wider matches have in common with the group, each made when it is first
/// needed. A group is skipped at once if all its members differ from the match in a bit that they
/// have in common. The cost of a question grows with the number of groups, not with the number of
/// megaflows.
#[derive(Default)]
pub struct OverlapIndex {
    hasher: RandomState,
    scopes: HashMap<(u32, u32), HashMap<Mask, Group, RandomState>, RandomState>,
}

/// Megaflows of one mask.
struct Group {
    /// The bits in which all members, past ones included, are equal, and the values of these bits.
    common: Mask,
    values: Key,
    /// The hash tables of the members; the first one is under the group's own mask.
    views: Vec<View>,
    /// A view that has the members of this number of segments of the first view so far.
    unfinished: Option<(View, usize)>,
}

/// The members of a group by their bits under one mask.
struct View {
    mask: Mask,
    members: Numbers,
}

/// Up to this number of members, a group without a fitting view is searched linearly. A larger
/// group gets another view.
const SCAN: usize = 64;
/// Most views of a group. A group that has them all is searched linearly.
const VIEWS: usize = 32;

impl OverlapIndex {
    /// Adds a megaflow under its number. The caller makes sure that both are new to the index.
    pub fn insert(&mut self, matching: &Match, number: u32) {
        let (key, mask) = (*matching.key(), *matching.mask());
        let scope = self.scopes.entry(scope_of(matching)).or_default();
        let group = scope.entry(mask).or_insert_with(|| Group {
            common: mask,
            values: key,
            views: vec![View { mask, members: Numbers::default() }],
            unfinished: None,
        });
        group.unfinished = None;
        let differing = group.values.zip(&key, |a, b| a ^ b);
        group.common = group.common.without(&differing);
        group.values = group.values.masked(&group.common);
        for view in &mut group.views {
            view.insert(&self.hasher, matching, number);
        }
    }

    /// Removes the megaflow with this match and number, if the index has it.
    pub fn remove(&mut self, matching: &Match, number: u32) {
        let Some(scope) = self.scopes.get_mut(&scope_of(matching)) else { return };
        let Some(group) = scope.get_mut(matching.mask()) else { return };
        group.unfinished = None;
        for view in &mut group.views {
            let hash = view.hash(&self.hasher, matching);
            view.members.remove(hash, number);
        }
        if group.views.iter().all(|view| view.members.is_empty()) {
            scope.remove(matching.mask());
            if scope.is_empty() {
                self.scopes.remove(&scope_of(matching));
            }
        }
    }

    /// The numbers of all megaflows that the match overlaps, in order. A megaflow with the same
    /// match is among them. `match_of` gives the match of a number that the index has.
    pub fn overlapping<'a>(
        &mut self,
        matching: &Match,
        match_of: impl Fn(u32) -> Option<&'a Match>,
    ) -> Vec<u32> {
        loop {
            if let Some(found) = self.try_overlapping(matching, &match_of) {
                return found;
            }
        }
    }

    /// The same in short steps: `None` if a view is missing, which this call began or went on to
    /// make. The caller tries again, with no change of the index in between.
    pub fn try_overlapping<'a>(
        &mut self,
        matching: &Match,
        match_of: impl Fn(u32) -> Option<&'a Match>,
    ) -> Option<Vec<u32>> {
        let mut found = Vec::new();
        let hasher = &self.hasher;
        for (mask, group) in self.scopes.get_mut(&scope_of(matching)).into_iter().flatten() {
            let both = mask.masked(matching.mask());
            group.overlapping(hasher, &both, matching, &match_of, &mut found)?;
        }
        found.sort_unstable();
        Some(found)
    }
}

impl Group {
    fn overlapping<'a>(
        &mut self,
        hasher: &RandomState,
        both: &Mask,
        matching: &Match,
        match_of: impl Fn(u32) -> Option<&'a Match>,
        found: &mut Vec<u32>,
    ) -> Option<()> {
        let differing = self.values.zip(matching.key(), |a, b| a ^ b);
        if !differing.masked(both).masked(&self.common).is_zero() {
            return Some(());
        }
        let overlaps = |number: &u32| match_of(*number).is_some_and(|m| m.overlaps(matching));
        let all = &self.views[0].members;
        match self.views.iter().find(|view| view.mask == *both) {
            Some(view) => {
                found.extend(view.members.of(view.hash(hasher, matching)).filter(overlaps));
            }
            None if all.len() <= SCAN || self.views.len() == VIEWS => {
                found.extend(all.iter().filter(overlaps));
            }
            None => {
                self.make_view(hasher, both, match_of);
                return None;
            }
        }
        Some(())
    }

    /// Goes on to make a view, by one segment of the members.
    fn make_view<'a>(
        &mut self,
        hasher: &RandomState,
        mask: &Mask,
        match_of: impl Fn(u32) -> Option<&'a Match>,
    ) {
        let unfinished = self.unfinished.take().filter(|(view, _)| view.mask == *mask);
        let (mut view, next) =
            unfinished.unwrap_or((View { mask: *mask, members: Numbers::default() }, 0));
        let Some(members) = self.views[0].members.segment(next) else {
            self.views.push(view);
            return;
        };
        for number in members {
            if let Some(matching) = match_of(number) {
                view.insert(hasher, matching, number);
            }
        }
        self.unfinished = Some((view, next + 1));
    }
}

impl View {
    fn insert(&mut self, hasher: &RandomState, matching: &Match, number: u32) {
        self.members.insert(self.hash(hasher, matching), number);
    }

    fn hash(&self, hasher: &RandomState, matching: &Match) -> u64 {
        hasher.hash_one(matching.key().masked(&self.mask).words())
    }
}

fn scope_of(matching: &Match) -> (u32, u32) {
    (matching.key().in_port, matching.key().recirc_id)
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
