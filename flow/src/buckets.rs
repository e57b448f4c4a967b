//! Values by tags: a hash table that touches one cache line for each question, and grows and
//! shrinks in short steps.
//!
//! It is extendible hashing. A segment of at most 256 buckets, each a cache line of eight tags and
//! values, is split when it is full: some 1,500 entries move, whatever the number of all; only the
//! directory, which leads from bits of a tag to its segment, is as long as there are segments. A
//! table in one piece moves all its entries when it doubles: tens of milliseconds for a million of
//! them, in which the thread that forwards packets would forward none. Nothing here knows what the
//! values stand for, so an entry moves without a look at what it leads to, which is elsewhere in
//! memory.

use std::num::NonZeroU32;

/// Values by 32-bit tags, which are hashes or parts of them. Several values may have one tag; the
/// caller keeps the pairs distinct. The time of an operation grows with the values of its tag.
pub struct Buckets {
    /// A power of two of segments by the bits of a tag above those of a bucket; a segment stands
    /// here as often as there are values of the bits that it does not tell apart.
    directory: Vec<u32>,
    segments: Vec<Segment>,
    len: usize,
}

struct Segment {
    /// A power of two of buckets; [`BUCKETS`] at least if there are several segments.
    buckets: Vec<Bucket>,
    len: usize,
    /// The number of a tag's bits that all entries of this segment have in common.
    depth: u32,
}

/// Tags and values, packed from the front.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Bucket {
    tags: [u32; PLACES],
    values: [Option<NonZeroU32>; PLACES],
}

const _: () = assert!(size_of::<Bucket>() == 64);

const PLACES: usize = 8;
/// Buckets of a segment that is split instead of doubled.
const BUCKETS: usize = 256;
/// The bits of a tag that choose its bucket in a segment of that size.
const BITS: u32 = BUCKETS.trailing_zeros();
const EMPTY: Bucket = Bucket { tags: [0; PLACES], values: [None; PLACES] };

impl Default for Buckets {
    fn default() -> Buckets {
        Buckets { directory: vec![0], segments: vec![Segment::new(1, 0)], len: 0 }
    }
}

impl Buckets {
    /// Number of values.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns true if there is no value.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The values at a tag.
    pub fn of(&self, tag: u32) -> impl Iterator<Item = NonZeroU32> + '_ {
        let segment = self.segments.get(self.number(tag));
        segment.into_iter().flat_map(move |segment| segment.of(tag))
    }

    /// The first value at a tag.
    #[must_use]
    pub fn first(&self, tag: u32) -> Option<NonZeroU32> {
        let segment = &self.segments[self.number(tag)];
        let (bucket, place) = segment.find(tag, |_| true)?;
        segment.buckets[bucket].values[place]
    }

    /// All values, in no order.
    pub fn iter(&self) -> impl Iterator<Item = NonZeroU32> + '_ {
        self.segments.iter().flat_map(Segment::entries).map(|(_, value)| value)
    }

    /// The values of one segment, a small part of all; `None` behind the last one. Any change may
    /// move values to other segments.
    pub fn segment(&self, number: usize) -> Option<impl Iterator<Item = NonZeroU32> + '_> {
        Some(self.segments.get(number)?.entries().map(|(_, value)| value))
    }

    /// Loads the cache line of a tag; the result means nothing. A loop of such loads waits for
    /// memory once and not for each of them.
    #[must_use]
    pub fn touch(&self, tag: u32) -> u32 {
        let segment = &self.segments[self.number(tag)];
        segment.buckets[segment.home(tag)].tags[0]
    }

    /// Puts a value in the place of another one of this tag; returns false if that is not there.
    pub fn replace(&mut self, tag: u32, old: NonZeroU32, new: NonZeroU32) -> bool {
        let number = self.number(tag);
        let segment = &mut self.segments[number];
        let Some((bucket, place)) = segment.find(tag, |value| value == old) else { return false };
        segment.buckets[bucket].values[place] = Some(new);
        true
    }

    /// Adds a value.
    pub fn insert(&mut self, tag: u32, value: NonZeroU32) {
        let mut number = self.number(tag);
        while self.segments[number].is_full() {
            let segment = &mut self.segments[number];
            if segment.buckets.len() < BUCKETS || !segment.is_told_apart() {
                segment.resize(segment.buckets.len() * 2);
            } else {
                self.split(number);
                number = self.number(tag);
            }
        }
        self.segments[number].insert(tag, value);
        self.len += 1;
    }

    /// Takes a value out. Returns true if it was there.
    pub fn remove(&mut self, tag: u32, value: NonZeroU32) -> bool {
        let number = self.number(tag);
        if !self.segments[number].remove(tag, value) {
            return false;
        }
        self.len -= 1;
        if self.len == 0 {
            *self = Buckets::default();
            return true;
        }
        let alone = self.segments.len() == 1;
        let segment = &mut self.segments[number];
        let buckets = segment.buckets.len();
        if segment.is_sparse() && (alone || buckets > BUCKETS) {
            segment.resize(buckets / 2);
        } else if segment.is_sparse() {
            self.merge(tag);
        }
        true
    }

    fn number(&self, tag: u32) -> usize {
        let place = (tag >> BITS) as usize & (self.directory.len() - 1);
        self.directory[place] as usize
    }

    /// Splits a segment by one more bit of the tags.
    fn split(&mut self, number: usize) {
        let depth = self.segments[number].depth;
        if self.directory.len() == 1 << depth {
            self.directory.extend_from_within(..);
        }
        let Ok(other) = u32::try_from(self.segments.len()) else { return };
        let bit = 1_usize << depth;
        for (place, segment) in self.directory.iter_mut().enumerate() {
            if *segment as usize == number && place & bit != 0 {
                *segment = other;
            }
        }
        let half = || Segment::new(self.segments[number].buckets.len(), depth + 1);
        let (one, two) = (half(), half());
        let whole = std::mem::replace(&mut self.segments[number], one);
        self.segments.push(two);
        for (tag, value) in whole.entries() {
            let number = self.number(tag);
            self.segments[number].insert(tag, value);
        }
    }

    /// Merges the segment of a tag with the one that it was split from, if both are sparse.
    fn merge(&mut self, tag: u32) {
        let number = self.number(tag);
        let depth = self.segments[number].depth;
        let Some(bit) = depth.checked_sub(1).map(|depth| 1_u32 << depth) else { return };
        let other = self.number(tag ^ bit << BITS);
        let (one, two) = (&self.segments[number], &self.segments[other]);
        if number == other || two.depth != depth || one.len + two.len > Segment::FULL / 2 {
            return;
        }
        let gone = std::mem::replace(&mut self.segments[other], Segment::new(1, 0));
        let merged = &mut self.segments[number];
        merged.depth -= 1;
        gone.entries().for_each(|(tag, value)| merged.insert(tag, value));
        self.renumber(other, number);
        // The last segment takes the number of the one that is gone.
        let last = self.segments.len() - 1;
        self.segments.swap_remove(other);
        if other != last {
            self.renumber(last, other);
        }
        let deepest = self.segments.iter().map(|segment| segment.depth).max().unwrap_or(0);
        self.directory.truncate(1 << deepest);
    }

    fn renumber(&mut self, from: usize, to: usize) {
        let Ok(to) = u32::try_from(to) else { return };
        for segment in &mut self.directory {
            if *segment as usize == from {
                *segment = to;
            }
        }
    }
}

impl Segment {
    /// Entries at which a segment is split.
    const FULL: usize = BUCKETS * PLACES * 3 / 4;

    fn new(buckets: usize, depth: u32) -> Segment {
        Segment { buckets: vec![EMPTY; buckets], len: 0, depth }
    }

    fn is_full(&self) -> bool {
        self.len >= self.buckets.len() * PLACES * 3 / 4
    }

    fn is_sparse(&self) -> bool {
        self.buckets.len() > 1 && self.len < self.buckets.len() * PLACES / 8
    }

    /// Returns true if the next bit of the tags tells some entries apart. Those of one tag stay
    /// together, however many they are.
    fn is_told_apart(&self) -> bool {
        let bit = |tag: u32| tag.checked_shr(BITS + self.depth).unwrap_or(0) & 1;
        let mut bits = self.entries().map(|(tag, _)| bit(tag));
        let first = bits.next();
        bits.any(|bit| Some(bit) != first)
    }

    fn home(&self, tag: u32) -> usize {
        tag as usize & (self.buckets.len() - 1)
    }

    /// The bucket and the place of a value. An entry stands behind its home only if all buckets
    /// between are full.
    fn find(&self, tag: u32, is: impl Fn(NonZeroU32) -> bool) -> Option<(usize, usize)> {
        let mut at = self.home(tag);
        loop {
            let bucket = &self.buckets[at];
            let mut equal = bucket.equal(tag);
            while equal != 0 {
                let place = place_of(equal);
                if bucket.values[place].is_some_and(&is) {
                    return Some((at, place));
                }
                equal &= equal - 1;
            }
            if !bucket.is_full() {
                return None;
            }
            at = (at + 1) & (self.buckets.len() - 1);
        }
    }

    fn of(&self, tag: u32) -> impl Iterator<Item = NonZeroU32> + '_ {
        let (mut at, mut equal, mut ends) = (self.home(tag), 0_u64, false);
        let mut start = true;
        std::iter::from_fn(move || {
            loop {
                if equal != 0 {
                    let place = place_of(equal);
                    equal &= equal - 1;
                    if let Some(value) = self.buckets[at].values[place] {
                        return Some(value);
                    }
                    continue;
                }
                if ends {
                    return None;
                }
                if !start {
                    at = (at + 1) & (self.buckets.len() - 1);
                }
                start = false;
                equal = self.buckets[at].equal(tag);
                ends = !self.buckets[at].is_full();
            }
        })
    }

    fn insert(&mut self, tag: u32, value: NonZeroU32) {
        let mut at = self.home(tag);
        while self.buckets[at].is_full() {
            at = (at + 1) & (self.buckets.len() - 1);
        }
        self.buckets[at].push(tag, value);
        self.len += 1;
    }

    fn remove(&mut self, tag: u32, value: NonZeroU32) -> bool {
        let Some((mut hole, place)) = self.find(tag, |other| other == value) else { return false };
        let mut was_full = self.buckets[hole].is_full();
        self.buckets[hole].take(place);
        self.len -= 1;
        // Entries behind a bucket that is no longer full are pulled back into it.
        let mut at = hole;
        while was_full {
            at = (at + 1) & (self.buckets.len() - 1);
            was_full = self.buckets[at].is_full();
            let distance = |from: usize| at.wrapping_sub(from) & (self.buckets.len() - 1);
            let passed = (0..self.buckets[at].len())
                .find(|place| distance(self.home(self.buckets[at].tags[*place])) >= distance(hole));
            if let Some(place) = passed {
                let tag = self.buckets[at].tags[place];
                if let Some(value) = self.buckets[at].take(place) {
                    self.buckets[hole].push(tag, value);
                }
                hole = at;
            }
        }
        true
    }

    fn resize(&mut self, buckets: usize) {
        let old = std::mem::replace(self, Segment::new(buckets.max(1), self.depth));
        old.entries().for_each(|(tag, value)| self.insert(tag, value));
    }

    fn entries(&self) -> impl Iterator<Item = (u32, NonZeroU32)> + '_ {
        self.buckets.iter().flat_map(|bucket| {
            let entries = bucket.tags.iter().zip(&bucket.values);
            entries.filter_map(|(tag, value)| Some((*tag, (*value)?)))
        })
    }
}

/// The first place with a byte that is not 0.
fn place_of(equal: u64) -> usize {
    equal.trailing_zeros() as usize / 8 % PLACES
}

impl Bucket {
    /// A byte for each place, the first one lowest: 1 if it has this tag; an empty place has some
    /// tag too. All places are compared, for which the compiler takes a few vector instructions.
    #[inline]
    fn equal(&self, tag: u32) -> u64 {
        u64::from_le_bytes(self.tags.map(|other| u8::from(other == tag)))
    }

    fn is_full(&self) -> bool {
        self.values[PLACES - 1].is_some()
    }

    fn len(&self) -> usize {
        self.values.iter().filter(|value| value.is_some()).count()
    }

    fn push(&mut self, tag: u32, value: NonZeroU32) {
        if let Some(free) = self.values.iter().position(Option::is_none) {
            self.tags[free] = tag;
            self.values[free] = Some(value);
        }
    }

    fn take(&mut self, place: usize) -> Option<NonZeroU32> {
        let last = self.len().saturating_sub(1);
        let value = self.values[place];
        self.tags[place] = self.tags[last];
        self.values[place] = self.values[last];
        self.values[last] = None;
        value
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    /// Up, down and up again, with tags that crowd in few buckets or are few, against a map.
    #[test]
    fn it_holds_what_a_map_holds() {
        for (kept, deep) in [(!0, true), (!0x00f, true), (!0x103, false), (0x3_f00f, false)] {
            let mut fast = Buckets::default();
            let mut slow: BTreeMap<u32, BTreeSet<NonZeroU32>> = BTreeMap::new();
            let (mut state, mut most, mut len) = (11_u64, 0, 0);
            let tag_of = |n: u32| n.wrapping_mul(0x9e37_79b9) & kept;
            for n in 0..90_000_u32 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let random = (state >> 33) as u32 % 16_000;
                let (tag, value) = (tag_of(random), NonZeroU32::new(random / 3 + 1).unwrap());
                let growing = !(40_000..70_000).contains(&n);
                let there = slow.entry(tag).or_default();
                if growing && there.insert(value) {
                    fast.insert(tag, value);
                    len += 1;
                } else if growing {
                    assert!(fast.replace(tag, value, value));
                } else {
                    assert_eq!(fast.remove(tag, value), there.remove(&value));
                    len -= usize::from(fast.len() < len);
                    assert!(!fast.replace(tag, value, value));
                }
                assert_eq!((fast.len(), fast.is_empty()), (len, len == 0));
                if n % 64 == 0 {
                    assert_eq!(fast.of(tag).collect::<BTreeSet<_>>(), slow[&tag]);
                    assert_eq!(fast.first(tag).is_some(), !slow[&tag].is_empty());
                }
                most = most.max(fast.segments.len());
            }
            assert_eq!(most > 4, deep, "{kept:x}: {most}");
            let all: Vec<NonZeroU32> = fast.iter().collect();
            assert_eq!(all.len(), len);
            let parts = (0..).map_while(|number| fast.segment(number)).flatten();
            assert_eq!(parts.collect::<Vec<_>>(), all);
            for (tag, values) in slow {
                assert_eq!(fast.of(tag).collect::<BTreeSet<_>>(), values);
                values.into_iter().for_each(|value| assert!(fast.remove(tag, value)));
            }
            assert!(fast.is_empty());
            let (segments, directory) = (fast.segments.len(), fast.directory.len());
            assert_eq!((segments, directory, fast.segments[0].buckets.len()), (1, 1, 1));
        }
    }

    /// No segment is much larger than the largest that is to be split, whatever the number of
    /// values.
    #[test]
    fn no_segment_is_large() {
        let mut buckets = Buckets::default();
        for n in 1..200_000_u32 {
            buckets.insert(n.wrapping_mul(0x9e37_79b9) ^ n >> 7, NonZeroU32::new(n).unwrap());
        }
        assert!(buckets.segments.iter().all(|segment| segment.buckets.len() <= BUCKETS));
    }
}
