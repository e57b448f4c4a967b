//! Priorities of one interface and chain. Each protocol and mask has its own priority, which is
//! given back when its last filter is removed.
//!
//! Megaflows do not overlap, so between different masks the order of priorities does not matter.
//! The order matters when a megaflow is replaced: the new filter gets a priority that is looked
//! up *before* the old filter's. Once the new filter is in hardware, no packet hits the old
//! filter, so the old filter's counters are final when they are read.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::runs::Runs;
use crate::rule::Signature;

/// The priorities that new filters of ours may get.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room<'a> {
    /// New priorities are taken from this one downwards.
    pub(super) top: u16,
    /// Other tools have filters at these, which are left out.
    pub(super) others: Option<&'a BTreeSet<u16>>,
}

/// The priorities that our filters use.
#[derive(Clone, Debug, Default)]
pub(super) struct Priorities {
    ours: BTreeMap<u16, (Signature, u32)>,
    /// The same priorities.
    runs: Runs,
    of: HashMap<Signature, BTreeSet<u16>>,
}

impl Priorities {
    /// Returns the highest number (looked up last) among the priorities that our filters use and
    /// the one that the next new mask would get.
    pub(super) fn lowest_place(&self, room: Room<'_>) -> u16 {
        let last = self.ours.last_key_value().map(|(priority, _)| *priority);
        last.max(self.free(room.top, room)).unwrap_or(0)
    }

    /// Takes a priority for one more filter of that protocol and mask. With `before`, the
    /// priority is one that is looked up before that one, or after it if none is free before it.
    /// Returns `None` if all priorities are taken.
    pub(super) fn take(
        &mut self,
        signature: &Signature,
        before: Option<u16>,
        room: Room<'_>,
    ) -> Option<u16> {
        let lanes = self.of.get(signature);
        let priority = match before {
            None => lanes.and_then(|l| l.last().copied()).or_else(|| self.free(room.top, room)),
            Some(before) => lanes
                .and_then(|l| l.range(..before).next_back().copied())
                .or_else(|| self.free(before.saturating_sub(1), room))
                .or_else(|| lanes.and_then(|l| l.range(before.saturating_add(1)..).next().copied()))
                .or_else(|| self.free(room.top, room)),
        }?;
        self.hold(signature, priority);
        Some(priority)
    }

    /// Counts a filter that already exists.
    pub(super) fn hold(&mut self, signature: &Signature, priority: u16) {
        let ours = self.ours.entry(priority).or_insert_with(|| {
            self.runs.insert(priority);
            (signature.clone(), 0)
        });
        ours.1 += 1;
        self.of.entry(signature.clone()).or_default().insert(priority);
    }

    /// Gives back one filter's use of a priority that `take` or `hold` counted.
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
        self.runs.remove(priority);
    }

    /// Returns the priorities that our filters use.
    pub(super) fn used(&self) -> impl Iterator<Item = u16> {
        self.ours.keys().copied()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ours.is_empty()
    }

    /// Returns true if we have filters at this priority.
    pub(super) fn is_ours(&self, priority: u16) -> bool {
        self.ours.contains_key(&priority)
    }

    /// Returns the highest free priority that is not above `from`.
    fn free(&self, from: u16, room: Room<'_>) -> Option<u16> {
        let is_others = |priority| room.others.is_some_and(|others| others.contains(&priority));
        self.runs.highest_absent(from, |priority| !is_others(priority))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signature(protocol: u16) -> Signature {
        Signature { protocol, masks: vec![] }
    }

    fn up_to(top: u16) -> Room<'static> {
        Room { top, others: None }
    }

    #[test]
    fn filters_of_one_mask_share_a_priority_until_the_last_goes() {
        let mut priorities = Priorities::default();
        assert_eq!(priorities.take(&signature(1), None, up_to(9)), Some(9));
        assert_eq!(priorities.take(&signature(1), None, up_to(9)), Some(9));
        assert_eq!(priorities.take(&signature(2), None, up_to(9)), Some(8));
        priorities.release(9);
        assert!(priorities.is_ours(9));
        priorities.release(9);
        assert!(!priorities.is_ours(9));
        assert_eq!(priorities.take(&signature(3), None, up_to(9)), Some(9));
    }

    #[test]
    fn a_replacement_comes_before_what_it_replaces_while_there_is_room() {
        let mut priorities = Priorities::default();
        let (ours, room) = (signature(1), up_to(4));
        assert_eq!(priorities.take(&ours, None, room), Some(4));
        assert_eq!(priorities.take(&signature(2), None, room), Some(3));
        assert_eq!(priorities.take(&ours, Some(4), room), Some(2));
        priorities.release(4);
        assert_eq!(priorities.take(&ours, Some(2), room), Some(1));
        priorities.release(2);
        // No priority is before 1, so the replacement goes after it.
        assert_eq!(priorities.take(&ours, Some(1), room), Some(4));
        priorities.release(1);
        assert_eq!(priorities.take(&ours, Some(4), room), Some(2));
    }

    #[test]
    fn those_of_others_are_left_alone_and_full_is_full() {
        let mut priorities = Priorities::default();
        let others = [1, 3].into();
        let room = Room { top: 3, others: Some(&others) };
        assert_eq!(priorities.lowest_place(room), 2);
        assert_eq!(priorities.take(&signature(1), None, room), Some(2));
        assert_eq!(priorities.take(&signature(2), None, room), None);
        assert_eq!(priorities.take(&signature(1), Some(2), room), None);
        assert_eq!(priorities.take(&signature(1), None, room), Some(2));
        priorities.release(7);
        // Another tool uses a priority of ours.
        let others = [2].into();
        let room = Room { top: 3, others: Some(&others) };
        priorities.release(2);
        assert_eq!(priorities.lowest_place(room), 3);
        let others = [2, 3].into();
        let room = Room { top: 3, others: Some(&others) };
        assert_eq!(priorities.lowest_place(room), 2);
    }
}
