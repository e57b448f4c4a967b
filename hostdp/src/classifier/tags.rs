//! What a table has at which tag: an index that grows and shrinks in short steps.
//!
//! It is extendible hashing. A segment of at most 256 buckets, each a cache line of eight tags
//! and what they lead to, is split when it is full: some 1,500 entries move, whatever the number
//! of all.
//! A directory leads from bits of a tag to its segment.

use super::node::Node;

/// Nodes by 32-bit tags; the caller keeps the tags distinct.
pub(super) struct TagIndex {
    /// A power of two of segments by the bits of a tag above those of a bucket; a segment stands
    /// here as often as there are values of the bits that it does not tell apart.
    directory: Vec<u32>,
    segments: Vec<Segment>,
    len: usize,
}

struct Segment {
    /// A power of two of buckets; [`BUCKETS`] if there are several segments.
    buckets: Vec<Bucket>,
    len: usize,
    /// The number of a tag's bits that all entries of this segment have in common.
    depth: u32,
}

/// TagIndex and nodes, packed from the front.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Bucket {
    tags: [u32; PLACES],
    nodes: [Option<Node>; PLACES],
}

const _: () = assert!(size_of::<Bucket>() == 64);

const PLACES: usize = 8;
/// Buckets of a segment that is split instead of doubled.
const BUCKETS: usize = 256;
/// The bits of a tag that choose its bucket in a segment of that size.
const BITS: u32 = BUCKETS.trailing_zeros();
const EMPTY: Bucket = Bucket { tags: [0; PLACES], nodes: [None; PLACES] };

impl Default for TagIndex {
    fn default() -> TagIndex {
        TagIndex { directory: vec![0], segments: vec![Segment::new(1, 0)], len: 0 }
    }
}

impl TagIndex {
    #[cfg(test)]
    fn len(&self) -> usize {
        self.len
    }

    /// What is at the tag.
    pub(super) fn get(&self, tag: u32) -> Option<Node> {
        self.segment(tag).get(tag)
    }

    /// Loads the cache line of a tag; the value means nothing. A loop of such loads waits for
    /// memory once and not for each of them.
    pub(super) fn touch(&self, tag: u32) -> u32 {
        let segment = self.segment(tag);
        segment.buckets[segment.home(tag)].tags[0]
    }

    /// Changes what is at a tag; returns false if nothing is.
    pub(super) fn set(&mut self, tag: u32, node: Node) -> bool {
        let number = self.number(tag);
        let segment = &mut self.segments[number];
        let Some((bucket, place)) = segment.find(tag) else { return false };
        segment.buckets[bucket].nodes[place] = Some(node);
        true
    }

    /// Adds a tag that is new.
    pub(super) fn insert(&mut self, tag: u32, node: Node) {
        let mut number = self.number(tag);
        while self.segments[number].is_full() {
            let segment = &mut self.segments[number];
            if segment.buckets.len() < BUCKETS {
                segment.resize(segment.buckets.len() * 2);
            } else {
                self.split(number);
                number = self.number(tag);
            }
        }
        self.segments[number].insert(tag, node);
        self.len += 1;
    }

    /// Takes a tag out.
    pub(super) fn remove(&mut self, tag: u32) -> Option<Node> {
        let number = self.number(tag);
        let node = self.segments[number].remove(tag)?;
        self.len -= 1;
        if self.segments[number].is_sparse() {
            if self.segments.len() == 1 {
                let half = self.segments[0].buckets.len() / 2;
                self.segments[0].resize(half.max(1));
            } else {
                self.merge(tag);
            }
        }
        Some(node)
    }

    fn number(&self, tag: u32) -> usize {
        let place = (tag >> BITS) as usize & (self.directory.len() - 1);
        self.directory[place] as usize
    }

    fn segment(&self, tag: u32) -> &Segment {
        &self.segments[self.number(tag)]
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
        let whole = std::mem::replace(&mut self.segments[number], Segment::new(BUCKETS, depth + 1));
        self.segments.push(Segment::new(BUCKETS, depth + 1));
        for (tag, node) in whole.entries() {
            let number = self.number(tag);
            self.segments[number].insert(tag, node);
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
        gone.entries().for_each(|(tag, node)| merged.insert(tag, node));
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
    /// Entries of a whole segment at which it is split.
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

    fn home(&self, tag: u32) -> usize {
        tag as usize & (self.buckets.len() - 1)
    }

    fn get(&self, tag: u32) -> Option<Node> {
        let (bucket, place) = self.find(tag)?;
        self.buckets[bucket].nodes[place]
    }

    /// The bucket and the place of a tag. An entry stands behind its home only if all buckets
    /// between are full.
    fn find(&self, tag: u32) -> Option<(usize, usize)> {
        let mut at = self.home(tag);
        loop {
            let bucket = &self.buckets[at];
            if let Some(place) = bucket.place(tag) {
                return Some((at, place));
            }
            if !bucket.is_full() {
                return None;
            }
            at = (at + 1) & (self.buckets.len() - 1);
        }
    }

    fn insert(&mut self, tag: u32, node: Node) {
        let mut at = self.home(tag);
        while self.buckets[at].is_full() {
            at = (at + 1) & (self.buckets.len() - 1);
        }
        self.buckets[at].push(tag, node);
        self.len += 1;
    }

    fn remove(&mut self, tag: u32) -> Option<Node> {
        let (mut hole, place) = self.find(tag)?;
        let mut was_full = self.buckets[hole].is_full();
        let node = self.buckets[hole].take(place);
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
                if let Some(node) = self.buckets[at].take(place) {
                    self.buckets[hole].push(tag, node);
                }
                hole = at;
            }
        }
        node
    }

    fn resize(&mut self, buckets: usize) {
        let old = std::mem::replace(self, Segment::new(buckets, self.depth));
        old.entries().for_each(|(tag, node)| self.insert(tag, node));
    }

    fn entries(&self) -> impl Iterator<Item = (u32, Node)> {
        self.buckets.iter().flat_map(|bucket| {
            let entries = bucket.tags.iter().zip(&bucket.nodes);
            entries.filter_map(|(tag, node)| Some((*tag, (*node)?)))
        })
    }
}

impl Bucket {
    /// The place of a tag. All places are compared: that takes fewer instructions than a stop at
    /// the right one.
    fn place(&self, tag: u32) -> Option<usize> {
        let mut equal = 0_u32;
        for (place, other) in self.tags.iter().enumerate() {
            equal |= u32::from(*other == tag) << place;
        }
        while equal != 0 {
            let place = equal.trailing_zeros() as usize;
            // An empty place has some tag too.
            if self.nodes[place % PLACES].is_some() {
                return Some(place);
            }
            equal &= equal - 1;
        }
        None
    }

    fn is_full(&self) -> bool {
        self.nodes[PLACES - 1].is_some()
    }

    fn len(&self) -> usize {
        self.nodes.iter().filter(|node| node.is_some()).count()
    }

    fn push(&mut self, tag: u32, node: Node) {
        if let Some(free) = self.nodes.iter().position(Option::is_none) {
            self.tags[free] = tag;
            self.nodes[free] = Some(node);
        }
    }

    fn take(&mut self, place: usize) -> Option<Node> {
        let last = self.len() - 1;
        let node = self.nodes[place];
        self.tags[place] = self.tags[last];
        self.nodes[place] = self.nodes[last];
        self.nodes[last] = None;
        node
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::hash::split_mix;

    /// Up, down and up again, with tags that crowd in few buckets, against a map.
    #[test]
    fn it_holds_what_a_map_holds() {
        for crowd in [0, 0x00f, 0xf03] {
            let (mut fast, mut slow) = (TagIndex::default(), BTreeMap::new());
            let (mut state, mut most) = (11, 0);
            for n in 0..120_000_u32 {
                let random = split_mix(&mut state);
                let tag = (random as u32 % 20_000).wrapping_mul(0x9e37_79b9) & !crowd;
                let growing = !(50_000..90_000).contains(&n);
                let node = Node::flow(n % 1000);
                if growing && !slow.contains_key(&tag) {
                    fast.insert(tag, node);
                    slow.insert(tag, node);
                } else if growing {
                    assert!(fast.set(tag, node));
                    slow.insert(tag, node);
                } else {
                    assert_eq!(fast.get(tag), slow.get(&tag).copied());
                    assert_eq!(fast.remove(tag), slow.remove(&tag));
                    assert!(!fast.set(tag, node));
                }
                assert_eq!(fast.len(), slow.len());
                most = most.max(fast.segments.len());
            }
            assert!(most > 2 || crowd != 0, "{most}");
            for tag in (0..20_000_u32).map(|n| n.wrapping_mul(0x9e37_79b9) & !crowd) {
                assert_eq!(fast.get(tag), slow.get(&tag).copied());
            }
            for (tag, node) in slow {
                assert_eq!(fast.remove(tag), Some(node));
            }
            assert_eq!((fast.len(), fast.segments.len(), fast.directory.len()), (0, 1, 1));
        }
    }
}
