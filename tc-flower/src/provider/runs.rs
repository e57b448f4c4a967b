//! A set of priorities, kept as runs of consecutive ones.

use std::collections::BTreeMap;

/// The first priority of each run, and the last one.
#[derive(Clone, Debug, Default)]
pub(super) struct Runs(BTreeMap<u16, u16>);

impl Runs {
    /// Returns the run that has this priority.
    fn of(&self, priority: u16) -> Option<(u16, u16)> {
        let (first, last) = self.0.range(..=priority).next_back()?;
        (*last >= priority).then_some((*first, *last))
    }

    /// Adds a priority that is not in the set.
    pub(super) fn insert(&mut self, priority: u16) {
        let before = priority.checked_sub(1).and_then(|before| self.of(before));
        let after = priority.checked_add(1).and_then(|after| self.0.remove(&after));
        let first = before.map_or(priority, |(first, _)| first);
        self.0.insert(first, after.unwrap_or(priority));
    }

    /// Takes a priority out.
    pub(super) fn remove(&mut self, priority: u16) {
        let Some((first, last)) = self.of(priority) else { return };
        self.0.remove(&first);
        if first < priority {
            self.0.insert(first, priority - 1);
        }
        if priority < last {
            self.0.insert(priority + 1, last);
        }
    }

    /// Returns the highest priority from `from` downwards that is not in the set and for which
    /// `is_free` is true; 0 is none. It takes no longer because there are more in the set.
    pub(super) fn highest_absent(&self, from: u16, is_free: impl Fn(u16) -> bool) -> Option<u16> {
        let mut next = from;
        while next > 0 {
            match self.of(next) {
                Some((first, _)) => next = first.saturating_sub(1),
                None if is_free(next) => return Some(next),
                None => next -= 1,
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn it_is_the_same_set_as_one_of_single_priorities() {
        let (mut runs, mut set) = (Runs::default(), BTreeSet::new());
        // Edges included, in an order that makes, joins and cuts runs.
        let mut state = 1_u32;
        for _ in 0..4000 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let small = u16::try_from(state >> 27).unwrap();
            let priority = if state & 1 == 0 { small } else { u16::MAX - small };
            if set.remove(&priority) {
                runs.remove(priority);
            } else {
                set.insert(priority);
                runs.insert(priority);
            }
            let is_free = |p: u16| !p.is_multiple_of(5);
            for from in [0, 1, small, 40, u16::MAX - small, u16::MAX] {
                let want = (1..=from).rev().take(100).find(|p| !set.contains(p) && is_free(*p));
                assert_eq!(runs.highest_absent(from, is_free), want);
            }
            let listed = runs.0.iter().flat_map(|(first, last)| *first..=*last);
            assert!(listed.eq(set.iter().copied()));
        }
    }
}
