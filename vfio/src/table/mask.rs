//! Mask slots of the exact-match table: a budget, shared by all entries with the same mask.

use std::collections::HashMap;

use super::Acquired;
use crate::key::CardKey;

struct Slot {
    mask: CardKey,
    users: u32,
}

/// The masks in the card's mask slots.
pub struct MaskSlots {
    slots: Vec<Option<Slot>>,
    by_mask: HashMap<CardKey, u8>,
}

impl MaskSlots {
    /// Creates the mask slots, all free.
    #[must_use]
    pub fn new(count: u32) -> MaskSlots {
        MaskSlots { slots: (0..count).map(|_| None).collect(), by_mask: HashMap::new() }
    }

    /// Adds an entry under this mask; `None` if all slots are taken by other masks.
    pub fn acquire(&mut self, mask: &CardKey) -> Option<Acquired<u8>> {
        if let Some(id) = self.by_mask.get(mask) {
            if let Some(slot) = &mut self.slots[usize::from(*id)] {
                slot.users += 1;
            }
            return Some(Acquired { id: *id, fresh: false });
        }
        let free = self.slots.iter().position(Option::is_none)?;
        let id = u8::try_from(free).ok()?;
        self.slots[free] = Some(Slot { mask: *mask, users: 1 });
        self.by_mask.insert(*mask, id);
        Some(Acquired { id, fresh: true })
    }

    /// Removes an entry from the slot. Returns true if it was the last one: the slot has to be
    /// cleared on the card, and then [`MaskSlots::free`] has to be called.
    #[must_use]
    pub fn release(&mut self, id: u8) -> bool {
        match &mut self.slots[usize::from(id)] {
            Some(slot) => {
                slot.users -= 1;
                if slot.users == 0 {
                    self.by_mask.remove(&slot.mask);
                }
                slot.users == 0
            }
            None => false,
        }
    }

    /// Frees the slot, when the card has cleared it.
    pub fn free(&mut self, id: u8) {
        self.slots[usize::from(id)] = None;
    }

    /// Returns the number of slots in use.
    #[must_use]
    pub fn used(&self) -> u32 {
        crate::int::to_u32(self.slots.iter().flatten().count())
    }

    /// Returns the number of slots.
    #[must_use]
    pub fn capacity(&self) -> u32 {
        crate::int::to_u32(self.slots.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_reused_only_after_the_card_has_cleared_it() {
        let mut slots = MaskSlots::new(1);
        let (a, b) = ([1; 80], [2; 80]);
        assert_eq!(slots.acquire(&a), Some(Acquired { id: 0, fresh: true }));
        assert_eq!(slots.acquire(&a), Some(Acquired { id: 0, fresh: false }));
        assert_eq!(slots.acquire(&b), None);
        assert!(!slots.release(0));
        assert!(slots.release(0));
        assert_eq!(slots.acquire(&b), None, "not cleared yet");
        assert_eq!(slots.acquire(&a), None, "not even by the same mask");
        slots.free(0);
        assert_eq!(slots.acquire(&b), Some(Acquired { id: 0, fresh: true }));
    }
}
