//! The megaflows of one mask, in a hash table over the words in which the mask has bits.

use std::sync::Arc;

use flow::key::WORDS;
use flow::{Key, Mask, Match, Megaflow, Shards};

use crate::hash::Hash;

/// Words hashed before the filter is asked.
const STAGE: usize = 2;
/// Most entries of a subtable with a filter. A filter for more would take too long to make.
const FILTERED: usize = 1 << 16;

pub(super) struct Subtable {
    words: Words,
    hits: u32,
    /// Only where there are words behind the first stage, and few enough entries.
    filter: Option<Filter>,
    entries: Shards<Entry>,
    mask: Box<Mask>,
}

struct Entry {
    hash: u64,
    /// The part of the first stage's hash that the filter uses.
    stage: u32,
    slot: u32,
    flow: Arc<Megaflow>,
}

/// The mask's words that are not zero. Those with the most bits come first, since they reject most
/// keys.
struct Words {
    count: usize,
    index: [u8; WORDS],
    mask: [u64; WORDS],
}

impl Subtable {
    /// An empty subtable. With `typed` the partition compares the EtherType, so the subtable does
    /// not.
    pub(super) fn new(mask: &Mask, typed: bool) -> Subtable {
        let words = Words::of(mask, typed);
        let filter = (words.count > STAGE).then(Filter::default);
        let entries = Shards::default();
        Subtable { words, hits: 0, filter, entries, mask: Box::new(*mask) }
    }

    pub(super) fn mask(&self) -> &Mask {
        &self.mask
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn hits(&self) -> u32 {
        self.hits
    }

    pub(super) fn count_hit(&mut self) {
        self.hits += 1;
    }

    pub(super) fn fade(&mut self) {
        self.hits /= 2;
    }

    pub(super) fn find(&self, hash: Hash, key: &Key) -> Option<u32> {
        let key = key.words();
        let mut sum = hash.start();
        for n in 0..self.words.count.min(STAGE) {
            sum = hash.word(sum, self.words.masked(key, n));
        }
        if self.filter.as_ref().is_some_and(|filter| !filter.may_have(high(sum))) {
            return None;
        }
        for n in STAGE..self.words.count {
            sum = hash.word(sum, self.words.masked(key, n));
        }
        self.entries.find(sum, |entry| entry.hash == sum && self.equal(key, entry)).map(|e| e.slot)
    }

    pub(super) fn insert(&mut self, hash: Hash, flow: &Arc<Megaflow>, slot: u32) {
        let (stage, sum) = self.sums(hash, flow.matching.key());
        let entry = Entry { hash: sum, stage: high(stage), slot, flow: flow.clone() };
        self.entries.insert(sum, entry, |entry| entry.hash);
        let Some(filter) = &mut self.filter else { return };
        if !filter.is_tight(self.entries.len()) {
            filter.count(high(stage));
        } else if self.entries.len() > FILTERED {
            self.filter = None;
        } else {
            let mut wider = Filter::for_entries(self.entries.len());
            self.entries.iter().for_each(|entry| wider.count(entry.stage));
            self.filter = Some(wider);
        }
    }

    pub(super) fn remove(&mut self, hash: Hash, matching: &Match) -> Option<u32> {
        let (stage, sum) = self.sums(hash, matching.key());
        let same = |entry: &Entry| entry.hash == sum && entry.flow.matching == *matching;
        let entry = self.entries.remove(sum, same, |entry| entry.hash)?;
        if let Some(filter) = &mut self.filter {
            filter.uncount(high(stage));
        }
        Some(entry.slot)
    }

    fn equal(&self, key: &[u64; WORDS], entry: &Entry) -> bool {
        let flow = entry.flow.matching.key().words();
        (0..self.words.count)
            .all(|n| self.words.masked(key, n) == flow[self.words.place(n)] & self.words.mask[n])
    }

    /// The hash after the first stage, and the whole one.
    fn sums(&self, hash: Hash, key: &Key) -> (u64, u64) {
        let stage = self.words.stage(hash, key);
        let rest = STAGE..self.words.count;
        (stage, rest.fold(stage, |sum, n| hash.word(sum, self.words.masked(key.words(), n))))
    }
}

/// The half of a hash that the filter uses: the low bits pick the group in a hash table.
fn high(hash: u64) -> u32 {
    u32::try_from(hash >> 32).unwrap_or(0)
}

impl Words {
    fn of(mask: &Mask, typed: bool) -> Words {
        // The partition compares these fields.
        let mut rest = Mask { in_port: 0, recirc_id: 0, ..*mask };
        if typed {
            rest.eth_type = 0;
        }
        let mut used: Vec<(u8, u64)> = (0_u8..).zip(rest.words().iter().copied()).collect();
        used.retain(|(_, word)| *word != 0);
        used.sort_by_key(|(_, word)| std::cmp::Reverse(word.count_ones()));
        let mut words = Words { count: used.len(), index: [0; WORDS], mask: [0; WORDS] };
        for (n, (place, bits)) in used.into_iter().enumerate() {
            words.index[n] = place;
            words.mask[n] = bits;
        }
        words
    }

    fn place(&self, n: usize) -> usize {
        usize::from(self.index[n]) % WORDS
    }

    fn masked(&self, key: &[u64; WORDS], n: usize) -> u64 {
        key[self.place(n)] & self.mask[n]
    }

    fn stage(&self, hash: Hash, key: &Key) -> u64 {
        let first = 0..self.count.min(STAGE);
        first.fold(hash.start(), |sum, n| hash.word(sum, self.masked(key.words(), n)))
    }
}

/// A counting filter over first-stage hashes. A count of 0 means that no entry has the hash;
/// another count means that an entry may have it.
struct Filter {
    /// The counts; their number is a power of two. A count that reached its maximum stays there,
    /// and from then on lets every key pass.
    counts: Box<[u16]>,
}

impl Default for Filter {
    fn default() -> Filter {
        Filter { counts: vec![0; 16].into_boxed_slice() }
    }
}

impl Filter {
    fn for_entries(entries: usize) -> Filter {
        Filter { counts: vec![0; (entries * 8).next_power_of_two()].into_boxed_slice() }
    }

    fn is_tight(&self, entries: usize) -> bool {
        entries * 4 > self.counts.len()
    }

    fn place(&self, hash: u32) -> usize {
        hash as usize & (self.counts.len() - 1)
    }

    fn may_have(&self, hash: u32) -> bool {
        self.counts[self.place(hash)] != 0
    }

    fn count(&mut self, hash: u32) {
        let count = &mut self.counts[self.place(hash)];
        *count = count.saturating_add(1);
    }

    fn uncount(&mut self, hash: u32) {
        let count = &mut self.counts[self.place(hash)];
        if *count != u16::MAX {
            *count -= 1;
        }
    }
}
