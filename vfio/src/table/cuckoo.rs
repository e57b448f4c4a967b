//! Placement in the exact-match table: an entry has two buckets and may use any way of either.
//! When both are full, other entries move to their other bucket, the last one first: make before
//! break.

use std::collections::{HashSet, VecDeque};

use super::EntryHandle;

/// The largest number of buckets that a search looks at before it gives up. At 95 % load a free
/// slot is nearly always within three moves (4 + 16 + 64 buckets a side), far fewer than this.
const SEARCH: usize = 512;

#[derive(Clone, Copy)]
struct Occupant {
    owner: EntryHandle,
    /// The buckets of hash 0 and of hash 1.
    buckets: [u32; 2],
}

/// One move of an entry to its other bucket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Move {
    /// The entry that moves.
    pub owner: EntryHandle,
    /// The slot that the entry leaves.
    pub from: u32,
    /// The slot in the entry's other bucket; it is free once the moves before this one are done.
    pub to: u32,
}

/// The moves that give a new entry its slot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CuckooPlan {
    /// The moves, in the order of execution.
    pub moves: Vec<Move>,
    /// The slot of the new entry, free after the moves.
    pub slot: u32,
}

/// A full bucket in a breadth-first search, and the node and slot whose occupant would move here.
struct Node {
    side: u32,
    bucket: u32,
    from: Option<(usize, u32)>,
}

/// The exact-match table: the entry in each slot.
pub struct Cuckoo {
    buckets: u32,
    ways: u32,
    slots: Vec<Option<Occupant>>,
    used: u32,
}

impl Cuckoo {
    /// Creates an empty table of two hashes, with the given numbers of buckets (a power of two)
    /// and ways.
    #[must_use]
    pub fn new(buckets: u32, ways: u32) -> Cuckoo {
        let slots = vec![None; (2 * buckets * ways) as usize];
        Cuckoo { buckets, ways, slots, used: 0 }
    }

    /// Returns the number of slots in use.
    #[must_use]
    pub fn used(&self) -> u32 {
        self.used
    }

    /// Returns the number of slots.
    #[must_use]
    pub fn capacity(&self) -> u32 {
        2 * self.buckets * self.ways
    }

    /// Returns the entry in a slot.
    #[must_use]
    pub fn owner(&self, slot: u32) -> Option<EntryHandle> {
        self.slots.get(slot as usize).copied().flatten().map(|occupant| occupant.owner)
    }

    /// Returns the buckets for both hashes.
    #[must_use]
    pub fn buckets_of(&self, hashes: [u32; 2]) -> [u32; 2] {
        hashes.map(|hash| hash & (self.buckets - 1))
    }

    fn slots_of(&self, side: u32, bucket: u32) -> std::ops::Range<u32> {
        let first = side * (self.buckets * self.ways) + bucket * self.ways;
        first..first + self.ways
    }

    fn side(&self, slot: u32) -> usize {
        usize::from(slot >= self.buckets * self.ways)
    }

    fn free_slot(&self, side: u32, bucket: u32) -> Option<u32> {
        self.slots_of(side, bucket).find(|slot| self.slots[*slot as usize].is_none())
    }

    /// Returns the shortest plan for an entry of these buckets; `None` if the table is too full.
    #[must_use]
    pub fn plan(&self, buckets: [u32; 2]) -> Option<CuckooPlan> {
        for (side, bucket) in (0u32..).zip(buckets) {
            if let Some(slot) = self.free_slot(side, bucket) {
                return Some(CuckooPlan { moves: Vec::new(), slot });
            }
        }
        let root = |side, bucket| Node { side, bucket, from: None };
        let mut nodes = vec![root(0, buckets[0]), root(1, buckets[1])];
        let mut seen: HashSet<(u32, u32)> = nodes.iter().map(|n| (n.side, n.bucket)).collect();
        let mut queue: VecDeque<usize> = (0..nodes.len()).collect();
        while let Some(at) = queue.pop_front() {
            let Node { side, bucket, .. } = nodes[at];
            for slot in self.slots_of(side, bucket) {
                let Some(occupant) = self.slots[slot as usize] else { continue };
                let other = (1 - side, occupant.buckets[1 - side as usize]);
                if let Some(free) = self.free_slot(other.0, other.1) {
                    return Some(self.path(&nodes, at, slot, free));
                }
                if nodes.len() < SEARCH && seen.insert(other) {
                    queue.push_back(nodes.len());
                    nodes.push(Node { side: other.0, bucket: other.1, from: Some((at, slot)) });
                }
            }
        }
        None
    }

    /// Collects the moves from a free slot back to one of the two buckets.
    fn path(&self, nodes: &[Node], mut node: usize, mut from: u32, mut to: u32) -> CuckooPlan {
        let mut moves = Vec::new();
        loop {
            if let Some(owner) = self.owner(from) {
                moves.push(Move { owner, from, to });
            }
            to = from;
            match nodes[node].from {
                Some((parent, slot)) => (node, from) = (parent, slot),
                None => return CuckooPlan { moves, slot: to },
            }
        }
    }

    /// Carries a plan out for a new entry.
    pub fn commit(&mut self, plan: &CuckooPlan, owner: EntryHandle, buckets: [u32; 2]) {
        for step in &plan.moves {
            self.slots[step.to as usize] = self.slots[step.from as usize].take();
            debug_assert_ne!(self.side(step.from), self.side(step.to));
        }
        self.slots[plan.slot as usize] = Some(Occupant { owner, buckets });
        self.used += 1;
    }

    /// Frees the slot.
    pub fn clear(&mut self, slot: u32) {
        if self.slots[slot as usize].take().is_some() {
            self.used -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::KEY_BYTES;
    use crate::toeplitz::{SECRET_BYTES, Toeplitz};

    /// A seeded generator: splitmix64.
    fn random(state: &mut u64) -> u32 {
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = *state;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        crate::int::low32((z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb) >> 32)
    }

    #[test]
    fn fills_to_95_percent_with_few_moves_and_loses_nobody() {
        for seed in 0..5 {
            let mut table = Cuckoo::new(512, 4);
            let wanted = table.capacity() * 95 / 100;
            let mut state = seed;
            let (mut at, mut moves) = (Vec::<(u32, [u32; 2])>::new(), 0usize);
            for owner in 0..wanted {
                let buckets = table.buckets_of([random(&mut state), random(&mut state)]);
                let plan = table.plan(buckets).unwrap_or_else(|| panic!("seed {seed}: {owner}"));
                for step in &plan.moves {
                    assert_eq!(table.owner(step.from), Some(step.owner));
                    at[step.owner as usize] = (step.to, at[step.owner as usize].1);
                }
                moves += plan.moves.len();
                table.commit(&plan, owner, buckets);
                at.push((plan.slot, buckets));
            }
            assert_eq!(table.used(), wanted);
            for (owner, (slot, buckets)) in (0..).zip(&at) {
                assert_eq!(table.owner(*slot), Some(owner));
                let side = u32::try_from(table.side(*slot)).unwrap();
                assert!(table.slots_of(side, buckets[side as usize]).contains(slot));
            }
            let per_insert = moves as f64 / f64::from(wanted);
            assert!(per_insert < 0.3, "seed {seed}: {per_insert} moves an insert");
        }
    }

    #[test]
    fn keys_that_count_upwards_fill_the_table_under_every_secret() {
        let mut state = 10;
        let mut byte = || random(&mut state).to_le_bytes()[0];
        for attempt in 0..100 {
            let toeplitz = Toeplitz::new(&[[0; SECRET_BYTES]; 2].map(|s| s.map(|_: u8| byte())));
            let mut table = Cuckoo::new(128, 4);
            for owner in 0..table.capacity() * 9 / 10 {
                let mut key = [0; KEY_BYTES];
                key[4..8].copy_from_slice(&owner.to_be_bytes());
                let buckets = table.buckets_of(toeplitz.hashes(&key, 0));
                let plan = table.plan(buckets).unwrap_or_else(|| panic!("{attempt}: {owner}"));
                table.commit(&plan, owner, buckets);
            }
        }
    }

    #[test]
    fn a_full_table_says_so() {
        let mut table = Cuckoo::new(1, 2);
        for owner in 0..4 {
            let plan = table.plan([0, 0]).unwrap();
            table.commit(&plan, owner, [0, 0]);
        }
        assert_eq!(table.plan([0, 0]), None);
        table.clear(2);
        assert_eq!(table.plan([0, 0]), Some(CuckooPlan { moves: vec![], slot: 2 }));
    }
}
