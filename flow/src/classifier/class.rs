//! Classes: masks that are alike and whose megaflows are in one place.

use std::hash::BuildHasher;

use crate::{Numbers, Slab};
use foldhash::fast::FixedState;

use super::projection::{Projected, is_within, masked};
use super::records::Home;
use crate::hash::split_mix;

/// The masks that are one mask when they are relaxed.
pub(super) struct Class<const W: usize> {
    /// The relaxed mask.
    pub(super) mask: Projected<W>,
    /// Bits that all its masks have, those of the past included.
    pub(super) common: Projected<W>,
    /// Where its megaflows belong; some may still be elsewhere.
    pub(super) home: Home,
    /// Number of its masks.
    masks: u32,
    /// Number of its megaflows.
    pub(super) flows: u32,
    /// Number of those that came to a place of a table where others were.
    pub(super) crowded: u32,
    /// The number of megaflows at which the class asks for a table again.
    pub(super) asks_at: u32,
    /// Places of some of its records, and of records that were its own once.
    pub(super) sample: Vec<u32>,
}

/// Records that decide about a table.
const SAMPLE: usize = 128;
/// Megaflows of a class that asks for a table.
const ASKS_AT: u32 = 64;

/// The classes by number.
pub(super) struct Classes<const W: usize> {
    classes: Slab<Class<W>>,
    by_mask: Numbers,
    hasher: FixedState,
    dice: u64,
}

impl<const W: usize> Classes<W> {
    pub(super) fn new(seed: u64) -> Classes<W> {
        Classes {
            classes: Slab::default(),
            by_mask: Numbers::default(),
            hasher: FixedState::with_seed(seed),
            dice: seed,
        }
    }

    pub(super) fn get(&self, number: u32) -> Option<&Class<W>> {
        self.classes.values().get(number)
    }

    pub(super) fn get_mut(&mut self, number: u32) -> Option<&mut Class<W>> {
        self.classes.get_mut(number)
    }

    /// Adds a mask to a class of its relaxed mask, and returns the number of the class. `fits`
    /// tells whether megaflows under the mask can be in a home: classes of one relaxed mask may be
    /// in several.
    pub(super) fn join(
        &mut self,
        mask: &Projected<W>,
        relaxed: &Projected<W>,
        fits: impl Fn(Home) -> bool,
    ) -> u32 {
        let hash = self.hasher.hash_one(relaxed);
        let suits = |number: &u32| {
            self.get(*number).is_some_and(|class| class.mask == *relaxed && fits(class.home))
        };
        let known = self.by_mask.of(hash).find(suits);
        let number = known.unwrap_or_else(|| {
            let number = self.classes.insert(Class {
                mask: *relaxed,
                common: *mask,
                home: Home::Root,
                masks: 0,
                flows: 0,
                crowded: 0,
                asks_at: ASKS_AT,
                sample: Vec::new(),
            });
            self.by_mask.insert(hash, number);
            number
        });
        if let Some(class) = self.classes.get_mut(number) {
            class.masks += 1;
            class.common = masked(&class.common, mask);
        }
        number
    }

    /// Takes a mask that has no megaflow any more out of its class.
    pub(super) fn leave(&mut self, number: u32) {
        let Some(class) = self.classes.get_mut(number) else { return };
        class.masks -= 1;
        if class.masks == 0 {
            let hash = self.hasher.hash_one(class.mask);
            self.classes.remove(number);
            self.by_mask.remove(hash, number);
        }
    }

    /// Counts a new megaflow of a class.
    pub(super) fn count(&mut self, number: u32, record: u32) {
        let random = split_mix(&mut self.dice);
        let Some(class) = self.classes.get_mut(number) else { return };
        class.flows += 1;
        // Each megaflow of a class that only grows is in its sample with the same likelihood.
        let chosen = random % u64::from(class.flows);
        if class.sample.len() < SAMPLE {
            class.sample.push(record);
        } else if let Some(place) = usize::try_from(chosen).ok().filter(|place| *place < SAMPLE) {
            class.sample[place] = record;
        }
    }

    /// Those at this home belong into the tree from now on.
    pub(super) fn evict(&mut self, home: Home) {
        for number in 0..self.classes.end() {
            if let Some(class) = self.classes.get_mut(number).filter(|class| class.home == home) {
                class.home = Home::Root;
                class.asks_at = class.flows.saturating_mul(2).max(ASKS_AT);
                class.crowded = 0;
            }
        }
    }
}

impl<const W: usize> Class<W> {
    /// Returns true if all masks of the class have the anchor's bits.
    pub(super) fn has(&self, anchor: &Projected<W>) -> bool {
        is_within(anchor, &self.common)
    }
}
