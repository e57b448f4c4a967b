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
    free: Vec<u8>,
    /// The number of slots without entries that the card has to clear before they are free.
    unclean: u32,
    by_mask: HashMap<CardKey, u8>,
}

impl MaskSlots {
    /// Creates the mask slots, all free.
    #[must_use]
    pub fn new(count: u32) -> MaskSlots {
        let slots: Vec<Option<Slot>> = (0..count).map(|_| None).collect();
        let free = (0..=u8::MAX).take(slots.len()).rev().collect();
        MaskSlots { slots, free, unclean: 0, by_mask: HashMap::new() }
    }

    /// Adds an entry under this mask; `None` if all slots are taken by other masks.
    pub fn acquire(&mut self, mask: &CardKey) -> Option<Acquired<u8>> {
        if let Some(id) = self.by_mask.get(mask) {
            if let Some(slot) = &mut self.slots[usize::from(*id)] {
                slot.users += 1;
            }
            return Some(Acquired { id: *id, fresh: false });
        }
        let id = self.free.pop()?;
        self.slots[usize::from(id)] = Some(Slot { mask: *mask, users: 1 });
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
                    self.unclean += 1;
                }
                slot.users == 0
            }
            None => false,
        }
    }

    /// Frees the slot, when the card has cleared it.
    pub fn free(&mut self, id: u8) {
        if self.slots[usize::from(id)].take().is_some() {
            self.free.push(id);
            self.unclean -= 1;
        }
    }

    /// Returns true if a slot will be free once the card has cleared it.
    #[must_use]
    pub fn will_have_room(&self) -> bool {
        self.unclean > 0
    }

    /// Returns the number of slots in use.
    #[must_use]
    pub fn used(&self) -> u32 {
        self.capacity() - crate::int::to_u32(self.free.len())
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

    /// The slow twin is the masks by their slots, which are searched.
    #[test]
    fn slots_are_found_exactly_where_a_search_finds_them() {
        let (mut slots, mut twin) = (MaskSlots::new(3), [None::<(u8, u32)>; 3]);
        for step in 0..3000u32 {
            let dice = step.wrapping_mul(0x9e37_79b9) >> 16;
            let mask = u8::try_from(dice / 2 % 5).unwrap();
            let known = twin.iter().position(|slot| slot.is_some_and(|(m, _)| m == mask));
            if dice % 2 == 0 {
                let got = slots.acquire(&[mask; 80]);
                let fresh = known.is_none();
                assert_eq!(got.is_some(), !fresh || twin.contains(&None), "step {step}");
                let Some(got) = got else { continue };
                assert_eq!(got.fresh, fresh, "step {step}");
                let slot = &mut twin[usize::from(got.id)];
                assert_eq!(slot.is_none(), fresh, "step {step}");
                let users = slot.map_or(0, |(of, users)| if of == mask { users } else { 99 });
                *slot = Some((mask, users + 1));
            } else if let Some(at) = known {
                let users = twin[at].unwrap().1 - 1;
                let id = u8::try_from(at).unwrap();
                assert_eq!(slots.release(id), users == 0, "step {step}");
                if users == 0 {
                    slots.free(id);
                }
                twin[at] = (users > 0).then_some((mask, users));
            }
            assert_eq!(slots.used() as usize, twin.iter().flatten().count());
        }
    }
}
