//! A table: megaflows under masks that have some bits in common, by these bits.

use crate::Buckets;

use super::node::Node;
use super::parts::FieldPart;
use super::projection::{Projected, equal_under, fields_within, is_within, masked};
use super::records::{Home, MatchRecords};
use super::tree::Trees;
use crate::hash::WordsHasher;

/// The megaflows of some classes. Their masks all have the bits of the *anchor*; megaflows that are
/// equal in these crowd in one place, in a tree.
pub(super) struct Table<const W: usize> {
    /// What its records have for a home.
    home: Home,
    index: Index<W>,
    /// Number of records.
    len: usize,
    /// Packets that hit lately.
    pub(super) hits: u32,
    /// The bits that all records compare and in which they are equal, those of the past included,
    /// and their values.
    common: Option<(Projected<W>, Projected<W>)>,
    /// The records by fewer bits than the anchor, for matches that lack some of its bits.
    views: Vec<Index<W>>,
    /// A view that has the table's records of places below this one.
    unfinished: Option<(Index<W>, u32)>,
}

/// Records by some bits that all of them compare.
struct Index<const W: usize> {
    anchor: Projected<W>,
    hasher: WordsHasher<W>,
    nodes: Buckets,
}

/// Most views of a table: each costs every install and removal.
const VIEWS: usize = 8;
/// Places whose records a view takes in a step.
const STEP: u32 = 256;
/// A table with so few places is searched as it is.
const FEW: usize = 64;

impl<const W: usize> Table<W> {
    pub(super) fn new(home: Home, anchor: Projected<W>, seed: u64) -> Table<W> {
        Table {
            home,
            index: Index {
                anchor,
                hasher: WordsHasher::new(&anchor, seed),
                nodes: Buckets::default(),
            },
            len: 0,
            hits: 0,
            common: None,
            views: Vec::new(),
            unfinished: None,
        }
    }

    pub(super) fn anchor(&self) -> &Projected<W> {
        &self.index.anchor
    }

    /// Number of records.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    #[cfg(test)]
    pub(super) fn views(&self) -> usize {
        self.views.len()
    }

    /// The tag of a key, or of a value whose mask has the anchor's bits.
    pub(super) fn tag(&self, key: &Projected<W>) -> u32 {
        self.index.tag(key)
    }

    /// What is at a tag.
    pub(super) fn get(&self, tag: u32) -> Option<Node> {
        self.index.get(tag)
    }

    /// Loads the memory of a tag, see [`Buckets::touch`].
    pub(super) fn touch(&self, tag: u32) -> u32 {
        self.index.nodes.touch(tag)
    }

    /// Adds a record. Returns true if others were at its place.
    pub(super) fn insert(
        &mut self,
        record: u32,
        flows: &MatchRecords<W>,
        trees: &mut Trees,
        parts: &[FieldPart],
    ) -> bool {
        let Some((value, mask)) = flows.matching(record) else { return false };
        let crowded = self.index.insert(record, value, flows, trees, parts);
        self.len += 1;
        let (bits, values) = self.common.get_or_insert((*mask, *value));
        for (n, bits) in bits.iter_mut().enumerate() {
            *bits &= mask[n] & !(values[n] ^ value[n]);
        }
        for view in views(&mut self.views, &mut self.unfinished, record) {
            view.insert(record, value, flows, trees, parts);
        }
        crowded
    }

    /// Takes a record out.
    pub(super) fn remove(&mut self, record: u32, flows: &MatchRecords<W>, trees: &mut Trees) {
        let Some((value, _)) = flows.matching(record) else { return };
        self.len -= 1;
        self.index.remove(record, value, flows, trees);
        for view in views(&mut self.views, &mut self.unfinished, record) {
            view.remove(record, value, flows, trees);
        }
    }

    /// Puts the nodes on the stack below which all records are that may overlap the match. Returns
    /// false if the caller has to ask again, because a view that tells is being made.
    pub(super) fn overlapping(
        &mut self,
        value: &Projected<W>,
        mask: &Projected<W>,
        flows: &MatchRecords<W>,
        trees: &mut Trees,
        parts: &[FieldPart],
        stack: &mut Vec<Node>,
    ) -> bool {
        if is_within(&self.index.anchor, mask) {
            stack.extend(self.index.at(value));
            return true;
        }
        let Some((bits, values)) = &self.common else { return true };
        if !equal_under(values, value, &masked(bits, mask)) {
            return true;
        }
        if self.index.nodes.len() <= FEW {
            stack.extend(self.index.nodes.iter().map(Node::of_value));
            return true;
        }
        let seen = self.view_mask(mask, parts);
        let Some(view) = self.views.iter().find(|view| view.anchor == seen) else {
            self.make_view(seen, flows, trees, parts);
            return false;
        };
        stack.extend(view.at(value));
        true
    }

    /// The anchor of the view that tells what a mask may overlap: those fields of the table's
    /// anchor that the mask has too. So masks that are alike have one view. The last view that
    /// there may be has no bits: it serves all masks.
    fn view_mask(&self, mask: &Projected<W>, parts: &[FieldPart]) -> Projected<W> {
        let seen = fields_within(&self.index.anchor, mask, parts);
        let known = self.views.iter().any(|view| view.anchor == seen);
        let free = self.views.len() + 1 < VIEWS;
        if known || free { seen } else { [0; W] }
    }

    /// Goes on to make a view.
    fn make_view(
        &mut self,
        anchor: Projected<W>,
        flows: &MatchRecords<W>,
        trees: &mut Trees,
        parts: &[FieldPart],
    ) {
        let unfinished = self.unfinished.take();
        let (mut view, from) = unfinished.unwrap_or_else(|| {
            let hasher = self.index.hasher.under(&anchor);
            (Index { anchor, hasher, nodes: Buckets::default() }, 0)
        });
        let to = from.saturating_add(STEP).min(flows.records.end());
        for place in from..to {
            if let Some(record) = flows.record(place).filter(|record| record.home == self.home) {
                view.insert(place, &record.value, flows, trees, parts);
            }
        }
        self.unfinished = Some((view, to));
        if to == flows.records.end() {
            self.views.extend(self.unfinished.take().map(|(view, _)| view));
        }
    }
}

/// The views that have a record of this table, the unfinished one included if it has come to it.
fn views<'a, const W: usize>(
    finished: &'a mut [Index<W>],
    unfinished: &'a mut Option<(Index<W>, u32)>,
    record: u32,
) -> impl Iterator<Item = &'a mut Index<W>> {
    let unfinished = unfinished.as_mut().filter(|(_, next)| record < *next);
    finished.iter_mut().chain(unfinished.map(|(view, _)| view))
}

impl<const W: usize> Index<W> {
    fn tag(&self, key: &Projected<W>) -> u32 {
        let hash = self.hasher.hash(key);
        u32::try_from((hash ^ hash >> 32) & u64::from(u32::MAX)).unwrap_or(0)
    }

    fn get(&self, tag: u32) -> Option<Node> {
        self.nodes.first(tag).map(Node::of_value)
    }

    fn at(&self, value: &Projected<W>) -> Option<Node> {
        self.get(self.tag(value))
    }

    /// Returns true if others were at the record's place.
    fn insert(
        &mut self,
        record: u32,
        value: &Projected<W>,
        flows: &MatchRecords<W>,
        trees: &mut Trees,
        parts: &[FieldPart],
    ) -> bool {
        let tag = self.tag(value);
        let there = self.get(tag);
        let node = trees.insert(there, record, flows, parts);
        match there {
            None => self.nodes.insert(tag, node.value()),
            Some(before) if before == node => {}
            Some(before) => drop(self.nodes.replace(tag, before.value(), node.value())),
        }
        there.is_some()
    }

    fn remove(
        &mut self,
        record: u32,
        value: &Projected<W>,
        flows: &MatchRecords<W>,
        trees: &mut Trees,
    ) {
        let tag = self.tag(value);
        let Some(node) = self.get(tag) else { return };
        match trees.remove(node, record, flows) {
            None => drop(self.nodes.remove(tag, node.value())),
            Some(rest) if rest == node => {}
            Some(rest) => drop(self.nodes.replace(tag, node.value(), rest.value())),
        }
    }
}
