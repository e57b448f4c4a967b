//! Priorities of one interface and chain: one for each protocol and mask, given back when its last
//! filter goes.
//!
//! Megaflows do not overlap, so between different masks the order of priorities does not matter.
//! It matters within one megaflow, when it is replaced: its new filter gets a priority that is
//! looked up *before* the old one's. From the moment in which it is in hardware no packet hits
//! the old one any more, whose counters are final when they are read.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::rule::Signature;

/// Who has which priority.
#[derive(Clone, Debug)]
pub(super) struct Priorities {
    /// New ones are taken from here downwards.
    top: u16,
    others: BTreeSet<u16>,
    ours: BTreeMap<u16, (Signature, u32)>,
    of: HashMap<Signature, BTreeSet<u16>>,
}

impl Priorities {
    /// With priorities 1 to `top`.
    pub(super) fn new(top: u16) -> Priorities {
        Priorities { top, others: BTreeSet::new(), ours: BTreeMap::new(), of: HashMap::new() }
    }

    pub(super) fn set_top(&mut self, top: u16) {
        self.top = top;
    }

    /// Where others have filters: new ones of ours keep away from there.
    pub(super) fn set_others(&mut self, others: BTreeSet<u16>) {
        self.others = others;
    }

    /// The highest priority, which is looked up last, at which a filter of ours is or would be
    /// put.
    pub(super) fn lowest_place(&self) -> u16 {
        let last = self.ours.last_key_value().map(|(priority, _)| *priority);
        last.max(self.free(self.top)).unwrap_or(0)
    }

    /// A priority for one more filter of that kind; with `before` one that is looked up before
    /// it, or behind it where there is none. `None` if all are taken.
    pub(super) fn take(&mut self, signature: &Signature, before: Option<u16>) -> Option<u16> {
        let lanes = self.of.get(signature);
        let priority = match before {
            None => lanes.and_then(|l| l.last().copied()).or_else(|| self.free(self.top)),
            Some(before) => lanes
                .and_then(|l| l.range(..before).next_back().copied())
                .or_else(|| self.free(before.saturating_sub(1)))
                .or_else(|| lanes.and_then(|l| l.range(before.saturating_add(1)..).next().copied()))
                .or_else(|| self.free(self.top)),
        }?;
        self.hold(signature, priority);
        Some(priority)
    }

    /// Counts a filter that is there already.
    pub(super) fn hold(&mut self, signature: &Signature, priority: u16) {
        self.ours.entry(priority).or_insert_with(|| (signature.clone(), 0)).1 += 1;
        self.of.entry(signature.clone()).or_default().insert(priority);
    }

    /// Gives back what `take` or `hold` counted.
    pub(super) fn release(&mut self, priority: u16) {
        let Some((signature, filters)) = self.ours.get_mut(&priority) else { return };
        *filters = filters.saturating_sub(1);
        if *filters > 0 {
            return;
        }
        if let Some(lanes) = self.of.get_mut(signature) {
            lanes.remove(&priority);
            if lanes.is_empty() {
                self.of.remove(signature);
            }
        }
        self.ours.remove(&priority);
    }

    /// Returns true if we have filters at this priority.
    pub(super) fn is_ours(&self, priority: u16) -> bool {
        self.ours.contains_key(&priority)
    }

    /// The highest free one that is not above.
    fn free(&self, from: u16) -> Option<u16> {
        let taken = |p: &u16| self.ours.contains_key(p) || self.others.contains(p);
        (1..=from).rev().find(|priority| !taken(priority))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signature(protocol: u16) -> Signature {
        Signature { protocol, masks: vec![] }
    }

    #[test]
    fn filters_of_one_mask_share_a_priority_until_the_last_goes() {
        let mut priorities = Priorities::new(9);
        assert_eq!(priorities.take(&signature(1), None), Some(9));
        assert_eq!(priorities.take(&signature(1), None), Some(9));
        assert_eq!(priorities.take(&signature(2), None), Some(8));
        priorities.release(9);
        assert!(priorities.is_ours(9));
        priorities.release(9);
        assert!(!priorities.is_ours(9));
        assert_eq!(priorities.take(&signature(3), None), Some(9));
    }

    #[test]
    fn a_replacement_comes_before_what_it_replaces_while_there_is_room() {
        let mut priorities = Priorities::new(4);
        let ours = signature(1);
        assert_eq!(priorities.take(&ours, None), Some(4));
        assert_eq!(priorities.take(&signature(2), None), Some(3));
        assert_eq!(priorities.take(&ours, Some(4)), Some(2));
        priorities.release(4);
        assert_eq!(priorities.take(&ours, Some(2)), Some(1));
        priorities.release(2);
        // Nothing is before 1: behind it then.
        assert_eq!(priorities.take(&ours, Some(1)), Some(4));
        priorities.release(1);
        assert_eq!(priorities.take(&ours, Some(4)), Some(2));
    }

    #[test]
    fn those_of_others_are_left_alone_and_full_is_full() {
        let mut priorities = Priorities::new(3);
        priorities.set_others([1, 3].into());
        assert_eq!(priorities.lowest_place(), 2);
        assert_eq!(priorities.take(&signature(1), None), Some(2));
        assert_eq!(priorities.take(&signature(2), None), None);
        assert_eq!(priorities.take(&signature(1), Some(2)), None);
        assert_eq!(priorities.take(&signature(1), None), Some(2));
        priorities.release(7);
        // They are where we are.
        priorities.set_others([2].into());
        priorities.release(2);
        assert_eq!(priorities.lowest_place(), 3);
        priorities.set_others([2, 3].into());
        assert_eq!(priorities.lowest_place(), 2);
    }
}
