//! Counters with generations and quarantine: FREE(g) → LIVE(g) → QUARANTINE(g) → FREE(g + 1).

use std::collections::VecDeque;

use super::EntryHandle;
use crate::ring::command::CounterId;

/// The states of all counters, as described in §8 of `docs/fpga-abi.md`.
pub struct CounterSlots {
    generations: Vec<u8>,
    owners: Vec<Option<EntryHandle>>,
    /// Counters that were used and are free again, oldest first, so that generations spread.
    free: VecDeque<u32>,
    /// The lowest counter that was never used; all above it are unused too.
    untouched: u32,
    /// The counters in quarantine, each with the number of snapshots requested before it retired.
    quarantine: VecDeque<(u32, u64)>,
    requested: u64,
}

impl CounterSlots {
    /// Creates the counters, all free.
    #[must_use]
    pub fn new(count: u32) -> CounterSlots {
        CounterSlots {
            generations: vec![0; count as usize],
            owners: vec![None; count as usize],
            free: VecDeque::new(),
            untouched: 0,
            quarantine: VecDeque::new(),
            requested: 0,
        }
    }

    /// Takes a counter for an entry; `None` if all are live or in quarantine.
    pub fn acquire(&mut self, owner: EntryHandle) -> Option<CounterId> {
        let index = match self.free.pop_front() {
            Some(index) => index,
            None if (self.untouched as usize) < self.owners.len() => {
                self.untouched += 1;
                self.untouched - 1
            }
            None => return None,
        };
        self.owners[index as usize] = Some(owner);
        Some(CounterId { index, generation: self.generations[index as usize] })
    }

    /// Puts a counter into quarantine, when the card has completed the removal of its entry.
    pub fn retire(&mut self, id: CounterId) {
        self.owners[id.index as usize] = None;
        self.quarantine.push_back((id.index, self.requested));
    }

    /// Frees a counter that the card never took into use: no old value of it can be under way.
    pub fn give_back(&mut self, id: CounterId) {
        self.owners[id.index as usize] = None;
        self.free.push_front(id.index);
    }

    /// Registers the request for a snapshot; returns its ticket.
    pub fn request(&mut self) -> u64 {
        self.requested += 1;
        self.requested
    }

    /// Frees the counters that retired before the completed snapshot of this ticket was requested.
    pub fn snapshot_done(&mut self, ticket: u64) {
        while let Some((index, at)) = self.quarantine.front().copied() {
            if at >= ticket {
                break;
            }
            self.quarantine.pop_front();
            let generation = &mut self.generations[index as usize];
            *generation = generation.wrapping_add(1);
            self.free.push_back(index);
        }
    }

    /// Returns the entry that a word of a snapshot belongs to; `None` if there is none or the word
    /// is of another generation.
    #[must_use]
    pub fn owner(&self, id: CounterId) -> Option<EntryHandle> {
        let index = id.index as usize;
        let owner = self.owners.get(index).copied().flatten();
        owner.filter(|_| self.generations[index] == id.generation)
    }

    /// Returns the lowest index that was never used; a snapshot needs only the counters below it.
    #[must_use]
    pub fn reach(&self) -> u32 {
        self.untouched
    }

    /// Returns the number of counters that are live or in quarantine.
    #[must_use]
    pub fn used(&self) -> u32 {
        self.untouched - crate::int::to_u32(self.free.len())
    }

    /// Returns the number of counters in quarantine.
    #[must_use]
    pub fn in_quarantine(&self) -> usize {
        self.quarantine.len()
    }

    /// Returns the number of counters.
    #[must_use]
    pub fn capacity(&self) -> u32 {
        crate::int::to_u32(self.owners.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_leaves_quarantine_only_by_a_snapshot_requested_after_its_end() {
        let mut counters = CounterSlots::new(1);
        let first = counters.acquire(7).unwrap();
        assert_eq!(counters.owner(first), Some(7));
        let early = counters.request();
        counters.retire(first);
        assert_eq!(counters.owner(first), None);
        assert_eq!(counters.acquire(8), None);
        counters.snapshot_done(early);
        assert_eq!(counters.acquire(8), None, "that snapshot may hold the old value");
        let late = counters.request();
        counters.snapshot_done(late);
        let second = counters.acquire(8).unwrap();
        assert_eq!((second.index, second.generation), (first.index, first.generation + 1));
        assert_eq!(counters.owner(first), None, "a late word of the first life");
        assert_eq!(counters.owner(second), Some(8));
    }

    #[test]
    fn generations_wrap_and_stay_apart() {
        let mut counters = CounterSlots::new(2);
        for life in 0..600u32 {
            let id = counters.acquire(life).unwrap();
            assert_eq!(counters.owner(id), Some(life));
            let stale = CounterId { generation: id.generation.wrapping_sub(1), ..id };
            assert_eq!(counters.owner(stale), None);
            counters.retire(id);
            let ticket = counters.request();
            counters.snapshot_done(ticket);
        }
        assert_eq!(counters.used(), 0);
    }
}
