//! Action lists in the card's memory, shared by all entries of the same list.

use std::collections::HashMap;

use super::Acquired;

/// The action lists in the card's memory.
pub struct ActionSlots {
    /// The number of entries that use each slot.
    users: Vec<u32>,
    lists: Vec<Vec<u8>>,
    free: Vec<u32>,
    by_list: HashMap<Vec<u8>, u32>,
}

impl ActionSlots {
    /// Creates the memory with all slots free.
    #[must_use]
    pub fn new(count: u32) -> ActionSlots {
        let free = (0..count).rev().collect();
        let (users, lists) = (vec![0; count as usize], vec![Vec::new(); count as usize]);
        ActionSlots { users, lists, free, by_list: HashMap::new() }
    }

    /// Adds an entry with this list; `None` if the memory is full.
    pub fn acquire(&mut self, list: &[u8]) -> Option<Acquired<u32>> {
        if let Some(id) = self.by_list.get(list) {
            self.users[*id as usize] += 1;
            return Some(Acquired { id: *id, fresh: false });
        }
        let id = self.free.pop()?;
        self.users[id as usize] = 1;
        self.lists[id as usize] = list.to_vec();
        self.by_list.insert(list.to_vec(), id);
        Some(Acquired { id, fresh: true })
    }

    /// Removes an entry from the slot. To be called when the card has completed the entry's
    /// removal, because a slot without users may be written again at once.
    pub fn release(&mut self, id: u32) {
        let users = &mut self.users[id as usize];
        *users -= 1;
        if *users == 0 {
            self.by_list.remove(&self.lists[id as usize]);
            self.free.push(id);
        }
    }

    /// Returns the list of a slot in use.
    #[must_use]
    pub fn list(&self, id: u32) -> &[u8] {
        &self.lists[id as usize]
    }

    /// Returns the number of slots in use.
    #[must_use]
    pub fn used(&self) -> u32 {
        crate::int::to_u32(self.users.len() - self.free.len())
    }

    /// Returns the number of slots.
    #[must_use]
    pub fn capacity(&self) -> u32 {
        crate::int::to_u32(self.users.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_shared_and_come_back() {
        let mut slots = ActionSlots::new(2);
        let first = slots.acquire(&[1]).unwrap();
        assert!(first.fresh);
        assert_eq!(slots.acquire(&[1]), Some(Acquired { id: first.id, fresh: false }));
        assert!(slots.acquire(&[2]).is_some_and(|second| second.fresh));
        assert_eq!(slots.acquire(&[3]), None);
        slots.release(first.id);
        assert_eq!(slots.acquire(&[3]), None);
        slots.release(first.id);
        assert_eq!(slots.acquire(&[3]), Some(Acquired { id: first.id, fresh: true }));
        assert_eq!(slots.used(), 2);
    }
}
