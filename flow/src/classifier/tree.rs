//! Trees for megaflows that no table tells apart.
//!
//! Nothing in a tree stands twice. A node tells megaflows apart by a part of their keys (a *path*)
//! or by one bit.

use crate::Slab;

use super::node::{Node, NodeKind};
use super::overlapped::Overlapped;
use super::parts::FieldPart;
use super::path::Path;
use super::projection::Projected;
use super::records::MatchRecords;

/// The nodes of all trees of a partition. A tree is known by its root.
#[derive(Default)]
pub(super) struct Trees {
    lists: Slab<List>,
    paths: Slab<Path>,
    bits: Slab<Bit>,
}

/// A few records.
#[derive(Default)]
struct List {
    records: [u32; LIST],
    len: usize,
    /// Where further records are, if no bit told those of this list apart when they came.
    next: Option<Node>,
}

/// Most records of a list.
const LIST: usize = 4;

/// One bit; a megaflow whose mask lacks it is in `wild`.
#[derive(Default)]
struct Bit {
    word: u8,
    bit: u8,
    zero: Option<Node>,
    one: Option<Node>,
    wild: Option<Node>,
}

/// How a list of megaflows is told apart.
enum Split {
    Path(FieldPart, u64),
    Bit(u8, u8),
}

impl Trees {
    /// Adds a record to the tree and returns its root.
    pub(super) fn insert<const W: usize>(
        &mut self,
        root: Option<Node>,
        record: u32,
        flows: &MatchRecords<W>,
        parts: &[FieldPart],
    ) -> Node {
        let Some(root) = root else { return Node::flow(record) };
        match root.kind() {
            NodeKind::Flow(other) => {
                let mut list = List::default();
                list.push(other);
                list.push(record);
                Node::list(self.lists.insert(list))
            }
            NodeKind::List(number) => self.lengthen(number, record, flows, parts),
            NodeKind::Path(_) | NodeKind::Bit(_) => {
                let Some((value, mask)) = flows.matching(record) else { return root };
                let child = self.child(root, value, mask);
                let child = self.insert(child, record, flows, parts);
                self.put_child(root, value, mask, Some(child));
                root
            }
        }
    }

    /// The record of this value and the mask of this number.
    pub(super) fn find<const W: usize>(
        &self,
        root: Node,
        value: &Projected<W>,
        mask: u32,
        flows: &MatchRecords<W>,
    ) -> Option<u32> {
        let bits = &flows.mask(mask)?.words;
        let is = |place: u32| {
            let record = flows.record(place);
            record.is_some_and(|record| record.mask == mask && record.value == *value)
        };
        let mut at = root;
        loop {
            at = match at.kind() {
                NodeKind::Flow(place) => return is(place).then_some(place),
                NodeKind::List(number) => {
                    let list = self.lists.values().get(number)?;
                    match list.records().find(|place| is(*place)) {
                        Some(place) => return Some(place),
                        None => list.next?,
                    }
                }
                NodeKind::Path(_) | NodeKind::Bit(_) => self.child(at, value, bits)?,
            }
        }
    }

    /// Takes a record out of a tree; returns the new root. A tree that lacks it stays as it is.
    pub(super) fn remove<const W: usize>(
        &mut self,
        root: Node,
        record: u32,
        flows: &MatchRecords<W>,
    ) -> Option<Node> {
        match root.kind() {
            NodeKind::Flow(other) => (other != record).then_some(root),
            NodeKind::List(number) => self.shorten(number, record, flows),
            NodeKind::Path(_) | NodeKind::Bit(_) => {
                let Some((value, mask)) = flows.matching(record) else { return Some(root) };
                let Some(child) = self.child(root, value, mask) else { return Some(root) };
                let rest = self.remove(child, record, flows);
                if rest != Some(child) {
                    self.put_child(root, value, mask, rest);
                }
                self.shortened(root)
            }
        }
    }

    /// The record that the key hits. Adds the nodes that it visits to `steps`.
    pub(super) fn lookup<const W: usize>(
        &self,
        root: Node,
        key: &Projected<W>,
        flows: &MatchRecords<W>,
        stack: &mut Vec<Node>,
        steps: &mut u64,
    ) -> Option<u32> {
        stack.clear();
        stack.push(root);
        while let Some(node) = stack.pop() {
            *steps += 1;
            match node.kind() {
                NodeKind::Flow(place) if flows.hits(place, key) => return Some(place),
                NodeKind::Flow(_) => {}
                NodeKind::List(number) => {
                    let list = self.lists.values().get(number)?;
                    if let Some(place) = list.records().find(|place| flows.hits(*place, key)) {
                        return Some(place);
                    }
                    stack.extend(list.next);
                }
                NodeKind::Path(number) => self.paths.values().get(number)?.ways_of(key, stack),
                NodeKind::Bit(number) => {
                    let bit = self.bits.values().get(number)?;
                    stack.extend(bit.wild);
                    stack.extend(if bit.is_set(key) { bit.one } else { bit.zero });
                }
            }
        }
        None
    }

    /// Adds the numbers of the megaflows that overlap the match, of those below the nodes on the
    /// stack. Takes `budget` nodes off it at most: if some are left, or `found` has `most` numbers,
    /// the walk goes on with the next call.
    pub(super) fn overlapping<const W: usize>(
        &self,
        stack: &mut Vec<Node>,
        value: &Projected<W>,
        mask: &Projected<W>,
        flows: &MatchRecords<W>,
        budget: &mut usize,
        found: &mut Overlapped<'_>,
    ) {
        let number = |place: u32| {
            let record = flows.record(place).filter(|_| flows.overlaps(place, value, mask));
            record.map(|record| record.number)
        };
        while *budget > 0 && !found.is_full() {
            let Some(node) = stack.pop() else { return };
            *budget -= 1;
            match node.kind() {
                NodeKind::Flow(place) => found.numbers.extend(number(place)),
                NodeKind::List(list) => {
                    let Some(list) = self.lists.values().get(list) else { continue };
                    found.numbers.extend(list.records().filter_map(number));
                    stack.extend(list.next);
                }
                NodeKind::Path(path) => {
                    if let Some(path) = self.paths.values().get(path) {
                        path.ways_of_match(value, mask, stack);
                    }
                }
                NodeKind::Bit(bit) => {
                    let Some(bit) = self.bits.values().get(bit) else { continue };
                    stack.extend(bit.wild);
                    let (compared, set) = (bit.is_set(mask), bit.is_set(value));
                    stack.extend(bit.zero.filter(|_| !compared || !set));
                    stack.extend(bit.one.filter(|_| !compared || set));
                }
            }
        }
    }

    /// Adds a record to a list, splits the list, or puts the record behind it. A list that has
    /// something behind it is not split any more.
    fn lengthen<const W: usize>(
        &mut self,
        number: u32,
        record: u32,
        flows: &MatchRecords<W>,
        parts: &[FieldPart],
    ) -> Node {
        let Some(list) = self.lists.get_mut(number) else { return Node::flow(record) };
        let next = list.next;
        if list.push(record) {
            return Node::list(number);
        }
        let all: Vec<u32> = list.records().chain([record]).collect();
        let split = if next.is_none() { Split::of(&all, flows, parts) } else { None };
        let root = match split {
            Some(Split::Path(part, value)) => Node::path(self.paths.insert(Path::new(part, value))),
            Some(Split::Bit(word, bit)) => {
                Node::bit(self.bits.insert(Bit { word, bit, ..Bit::default() }))
            }
            None => {
                let next = Some(self.insert(next, record, flows, parts));
                self.lists.get_mut(number).into_iter().for_each(|list| list.next = next);
                return Node::list(number);
            }
        };
        self.lists.remove(number);
        all.into_iter().fold(root, |root, record| self.insert(Some(root), record, flows, parts))
    }

    /// Takes a record out of a list or of those behind it.
    fn shorten<const W: usize>(
        &mut self,
        number: u32,
        record: u32,
        flows: &MatchRecords<W>,
    ) -> Option<Node> {
        let root = Node::list(number);
        let Some(list) = self.lists.get_mut(number) else { return Some(root) };
        let (was_here, next) = (list.remove(record), list.next);
        if let Some(next) = next.filter(|_| !was_here) {
            let rest = self.remove(next, record, flows);
            self.lists.get_mut(number).into_iter().for_each(|list| list.next = rest);
            return Some(root);
        }
        match (list.len, next) {
            (0, next) => {
                self.lists.remove(number);
                next
            }
            (1, None) => {
                let last = list.records().next();
                self.lists.remove(number);
                last.map(Node::flow)
            }
            _ => Some(root),
        }
    }

    /// Where a path or a bit leads a megaflow.
    fn child<const W: usize>(
        &self,
        at: Node,
        value: &Projected<W>,
        mask: &Projected<W>,
    ) -> Option<Node> {
        match at.kind() {
            NodeKind::Path(number) => {
                let path = self.paths.values().get(number)?;
                path.child(path.way(value, mask))
            }
            NodeKind::Bit(number) => {
                let bit = self.bits.values().get(number)?;
                match bit.is_set(mask) {
                    true if bit.is_set(value) => bit.one,
                    true => bit.zero,
                    false => bit.wild,
                }
            }
            NodeKind::Flow(_) | NodeKind::List(_) => None,
        }
    }

    fn put_child<const W: usize>(
        &mut self,
        at: Node,
        value: &Projected<W>,
        mask: &Projected<W>,
        child: Option<Node>,
    ) {
        match at.kind() {
            NodeKind::Path(number) => {
                if let Some(path) = self.paths.get_mut(number) {
                    path.put_child(path.way(value, mask), child);
                }
            }
            NodeKind::Bit(number) => {
                if let Some(bit) = self.bits.get_mut(number) {
                    *match bit.is_set(mask) {
                        true if bit.is_set(value) => &mut bit.one,
                        true => &mut bit.zero,
                        false => &mut bit.wild,
                    } = child;
                }
            }
            NodeKind::Flow(_) | NodeKind::List(_) => {}
        }
    }

    /// A node with one child left is replaced by it: the child's megaflows compare all their bits.
    fn shortened(&mut self, at: Node) -> Option<Node> {
        match at.kind() {
            NodeKind::Path(number) => {
                let path = self.paths.values().get(number)?;
                if path.count() > 1 {
                    return Some(at);
                }
                self.paths.remove(number)?.only_child()
            }
            NodeKind::Bit(number) => {
                let bit = self.bits.values().get(number)?;
                let mut children = [bit.zero, bit.one, bit.wild].into_iter().flatten();
                let first = children.next();
                if children.next().is_some() {
                    return Some(at);
                }
                self.bits.remove(number);
                first
            }
            NodeKind::Flow(_) | NodeKind::List(_) => Some(at),
        }
    }
}

impl List {
    fn records(&self) -> impl Iterator<Item = u32> + '_ {
        self.records.iter().copied().take(self.len)
    }

    /// Returns false if there is no room.
    fn push(&mut self, record: u32) -> bool {
        let free = self.records.get_mut(self.len);
        let fits = free.map(|free| *free = record).is_some();
        self.len += usize::from(fits);
        fits
    }

    /// Returns true if the record was there.
    fn remove(&mut self, record: u32) -> bool {
        let Some(place) = self.records().position(|other| other == record) else { return false };
        self.len -= 1;
        self.records.swap(place, self.len);
        true
    }
}

impl Bit {
    fn is_set<const W: usize>(&self, words: &Projected<W>) -> bool {
        words[usize::from(self.word) % W] >> self.bit & 1 == 1
    }
}

impl Split {
    /// How these records are told apart best: by the part whose prefixes differ in most pairs, less
    /// those that nest at different lengths, which a key may both hit. If no part tells half of
    /// the pairs apart, a bit may do better.
    fn of<const W: usize>(
        all: &[u32],
        flows: &MatchRecords<W>,
        parts: &[FieldPart],
    ) -> Option<Split> {
        let all: Vec<_> = all.iter().filter_map(|place| flows.matching(*place)).collect();
        let pairs = all.len() * all.len().saturating_sub(1) / 2;
        let mut best: Option<(i64, usize, Split)> = None;
        for part in parts {
            let word = usize::from(part.word) % W;
            let prefix =
                |n: &(&Projected<W>, &Projected<W>)| (part.bits(n.0[word]), part.prefix(n.1[word]));
            let prefixes: Vec<(u64, u32)> = all.iter().map(prefix).collect();
            let (mut apart, mut nested) = (0, 0);
            for (n, (one, length)) in prefixes.iter().enumerate() {
                for (other, others) in &prefixes[n + 1..] {
                    if (one ^ other).leading_zeros() < *length.min(others) {
                        apart += 1;
                    } else if length != others {
                        nested += 1;
                    }
                }
            }
            let score = i64::from(apart) - 2 * i64::from(nested);
            let better = best.as_ref().is_none_or(|(most, ..)| score > *most);
            if apart > 0 && better {
                let longest = prefixes.iter().max_by_key(|(_, length)| *length);
                let value = longest.map_or(0, |(value, _)| *value);
                let apart = usize::try_from(apart).unwrap_or(0);
                best = Some((score, apart, Split::Path(*part, value)));
            }
        }
        match best {
            Some((_, apart, split)) if 2 * apart >= pairs => Some(split),
            path => match (path, Split::bit(&all)) {
                (Some((_, apart, split)), (told, _)) if apart >= told => Some(split),
                (_, (told, bit)) => (told > 0).then_some(bit),
            },
        }
    }

    /// The bit that tells most pairs apart, with their number. Matches that don't overlap differ
    /// in some bit; if all overlap, the number is 0.
    fn bit<const W: usize>(all: &[(&Projected<W>, &Projected<W>)]) -> (usize, Split) {
        let mut best = (0, Split::Bit(0, 0));
        for word in 0..W {
            let compared = all.iter().fold(0, |bits, (_, mask)| bits | mask[word]);
            for bit in (0..64_u8).filter(|bit| compared >> bit & 1 == 1) {
                let with = all.iter().filter(|(_, mask)| mask[word] >> bit & 1 == 1);
                let (mut ones, mut zeros) = (0, 0);
                with.for_each(|(value, _)| match value[word] >> bit & 1 {
                    1 => ones += 1,
                    _ => zeros += 1,
                });
                if ones * zeros > best.0 {
                    best = (ones * zeros, Split::Bit(u8::try_from(word).unwrap_or(0), bit));
                }
            }
        }
        best
    }
}
