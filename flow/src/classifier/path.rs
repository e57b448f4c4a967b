//! Paths: the nodes of a tree that tell megaflows apart by a part of their keys.

use super::node::Node;
use super::parts::FieldPart;
use super::projection::Projected;

/// A trie over one part that is compressed by divergence: one value, the megaflows whose prefixes
/// are prefixes of it, by length, and those that leave it, by the bit in which they do. One
/// comparison with a key finds its place among all of them. It fills a cache line.
#[repr(align(64))]
pub(super) struct Path {
    /// The first bit of the part is the highest one here.
    value: u64,
    /// A bit for each length of which there are megaflows, the lowest for length 0.
    stored: u64,
    /// A bit for each place at which megaflows leave the value, the lowest for its first bit.
    left: u64,
    /// All children, if there are more than fit here.
    #[allow(clippy::box_collection, reason = "a path has room for one pointer")]
    spilled: Option<Box<Vec<Node>>>,
    /// The children of `stored`, then those of `left`, each in the order of their bits.
    children: [Option<Node>; INLINE],
    part: FieldPart,
}

const _: () = assert!(size_of::<Option<Path>>() == 64);

const INLINE: usize = 7;

/// Where a path leads a megaflow: its prefix of this length is the value's, or leaves it there.
#[derive(Clone, Copy)]
pub(super) enum Way {
    Stored(u32),
    Left(u32),
}

impl Path {
    pub(super) fn new(part: FieldPart, value: u64) -> Path {
        Path { value, stored: 0, left: 0, spilled: None, children: [None; INLINE], part }
    }

    pub(super) fn count(&self) -> usize {
        (self.stored.count_ones() + self.left.count_ones()) as usize
    }

    /// The number of bits of the part, from its first one, in which the words are like the value.
    fn common<const W: usize>(&self, words: &Projected<W>) -> u32 {
        let bits = self.part.bits(words[usize::from(self.part.word) % W]);
        (bits ^ self.value).leading_zeros().min(self.part.width())
    }

    pub(super) fn way<const W: usize>(&self, value: &Projected<W>, mask: &Projected<W>) -> Way {
        let length = self.part.prefix(mask[usize::from(self.part.word) % W]);
        let common = self.common(value);
        if common < length { Way::Left(common) } else { Way::Stored(length) }
    }

    /// The index of a way among the children, and whether it is there.
    fn index(&self, way: Way) -> (usize, bool) {
        let (before, bits, place) = match way {
            Way::Stored(length) => (0, self.stored, length),
            Way::Left(place) => (self.stored.count_ones(), self.left, place),
        };
        let index = before + (bits & below(place)).count_ones();
        (index as usize, bits >> place & 1 == 1)
    }

    fn at(&self, index: usize) -> Option<Node> {
        match &self.spilled {
            Some(children) => children.get(index).copied(),
            None => self.children.get(index).copied().flatten(),
        }
    }

    pub(super) fn child(&self, way: Way) -> Option<Node> {
        let (index, there) = self.index(way);
        if there { self.at(index) } else { None }
    }

    /// The child of a path that has at most one.
    pub(super) fn only_child(&self) -> Option<Node> {
        if self.count() == 0 { None } else { self.at(0) }
    }

    pub(super) fn put_child(&mut self, way: Way, child: Option<Node>) {
        let (index, there) = self.index(way);
        if let (Some(child), true) = (child, there) {
            match &mut self.spilled {
                Some(children) => children[index] = child,
                None => self.children[index] = Some(child),
            }
            return;
        }
        let mut all: Vec<Node> = (0..self.count()).filter_map(|index| self.at(index)).collect();
        match (child, there) {
            (Some(child), _) => all.insert(index, child),
            (None, true) => drop(all.remove(index)),
            (None, false) => return,
        }
        match way {
            Way::Stored(length) => self.stored ^= 1 << length,
            Way::Left(place) => self.left ^= 1 << place,
        }
        self.spilled = None;
        if all.len() > INLINE {
            self.spilled = Some(Box::new(all));
        } else {
            self.children = [None; INLINE];
            self.children.iter_mut().zip(all).for_each(|(place, child)| *place = Some(child));
        }
    }

    /// Puts the children that a key may hit on the stack.
    pub(super) fn ways_of<const W: usize>(&self, key: &Projected<W>, stack: &mut Vec<Node>) {
        let common = self.common(key);
        let stored = (self.stored & below(common + 1)).count_ones();
        stack.extend((0..stored as usize).filter_map(|index| self.at(index)));
        stack.extend(self.child(Way::Left(common)));
    }

    /// Puts the children that may overlap a match on the stack.
    pub(super) fn ways_of_match<const W: usize>(
        &self,
        value: &Projected<W>,
        mask: &Projected<W>,
        stack: &mut Vec<Node>,
    ) {
        let Way::Stored(length) = self.way(value, mask) else {
            return self.ways_of(value, stack);
        };
        // The match ends on the value: with all that ends there, and all that leaves it behind.
        let stored = self.stored.count_ones() as usize;
        stack.extend((0..stored).filter_map(|index| self.at(index)));
        let (behind, _) = self.index(Way::Left(length));
        stack.extend((behind..self.count()).filter_map(|index| self.at(index)));
    }
}

/// The bits below this one.
fn below(bit: u32) -> u64 {
    1_u64.checked_shl(bit).map_or(u64::MAX, |bit| bit - 1)
}
