//! The megaflows of a partition in their projected form, and their masks.

use std::hash::BuildHasher;

use crate::{Numbers, Slab};
use foldhash::fast::FixedState;

use super::projection::{Projected, equal_under, masked};

/// What is compared of a megaflow: a cache line, if its projection has six words.
#[repr(align(64))]
pub(super) struct MatchRecord<const W: usize> {
    /// The key's words under the mask.
    pub(super) value: Projected<W>,
    /// The number of its mask.
    pub(super) mask: u32,
    /// The number that the caller knows the megaflow by.
    pub(super) number: u32,
    /// Where the record is found at present.
    pub(super) home: Home,
    /// Others were at its place when it came there.
    pub(super) crowded: bool,
}

const _: () = assert!(size_of::<Option<MatchRecord<6>>>() == 64);

/// Where the megaflows of a class are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Home {
    /// In the tree of the partition.
    Root,
    /// In the table of this number.
    Table(u8),
}

/// A mask with the number of its megaflows.
pub(super) struct MaskUse<const W: usize> {
    pub(super) words: Projected<W>,
    pub(super) flows: u32,
    /// The number of its class.
    pub(super) class: u32,
}

/// Records by place, and their masks by number.
pub(super) struct MatchRecords<const W: usize> {
    pub(super) records: Slab<MatchRecord<W>>,
    masks: Slab<MaskUse<W>>,
    by_words: Numbers,
    hasher: FixedState,
}

impl<const W: usize> MatchRecords<W> {
    pub(super) fn new(seed: u64) -> MatchRecords<W> {
        MatchRecords {
            records: Slab::default(),
            masks: Slab::default(),
            by_words: Numbers::default(),
            hasher: FixedState::with_seed(seed),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.records.values().len()
    }

    pub(super) fn record(&self, place: u32) -> Option<&MatchRecord<W>> {
        self.records.values().get(place)
    }

    pub(super) fn mask(&self, number: u32) -> Option<&MaskUse<W>> {
        self.masks.values().get(number)
    }

    /// The value and the mask of a record.
    pub(super) fn matching(&self, place: u32) -> Option<(&Projected<W>, &Projected<W>)> {
        let record = self.record(place)?;
        Some((&record.value, &self.mask(record.mask)?.words))
    }

    /// The class of a record.
    pub(super) fn class(&self, place: u32) -> Option<u32> {
        Some(self.mask(self.record(place)?.mask)?.class)
    }

    /// Returns true if the key hits the record of a place.
    pub(super) fn hits(&self, place: u32, key: &Projected<W>) -> bool {
        self.record(place).is_some_and(|record| self.is_hit(record, key))
    }

    /// Returns true if the key hits the record.
    pub(super) fn is_hit(&self, record: &MatchRecord<W>, key: &Projected<W>) -> bool {
        let mask = self.mask(record.mask);
        mask.is_some_and(|mask| equal_under(key, &record.value, &mask.words))
    }

    /// Returns true if some key hits both.
    pub(super) fn overlaps(&self, place: u32, value: &Projected<W>, mask: &Projected<W>) -> bool {
        let matching = self.matching(place);
        matching.is_some_and(|(other, bits)| equal_under(other, value, &masked(bits, mask)))
    }

    /// The number of a mask.
    pub(super) fn mask_number(&self, words: &Projected<W>) -> Option<u32> {
        let same = |number: &u32| self.mask(*number).is_some_and(|mask| mask.words == *words);
        self.by_words.of(self.hasher.hash_one(words)).find(same)
    }

    /// Adds a mask that is new.
    pub(super) fn add_mask(&mut self, words: &Projected<W>, class: u32) -> u32 {
        let number = self.masks.insert(MaskUse { words: *words, flows: 0, class });
        self.by_words.insert(self.hasher.hash_one(words), number);
        number
    }

    /// Adds a record under a mask.
    pub(super) fn add(&mut self, record: MatchRecord<W>) -> u32 {
        if let Some(mask) = self.masks.get_mut(record.mask) {
            mask.flows += 1;
        }
        self.records.insert(record)
    }

    /// Takes a record out, and its mask with the last one.
    pub(super) fn remove(&mut self, place: u32) -> Option<MatchRecord<W>> {
        let record = self.records.remove(place)?;
        let mask = self.masks.get_mut(record.mask)?;
        mask.flows -= 1;
        if mask.flows == 0 {
            let words = mask.words;
            self.masks.remove(record.mask);
            self.by_words.remove(self.hasher.hash_one(words), record.mask);
        }
        Some(record)
    }
}
