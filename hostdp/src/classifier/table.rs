//! A table: megaflows under masks that have some bits in common, by these bits.

use flow::Numbers;

use super::node::{Node, NodeKind};
use super::parts::{FieldPart, Grain};
use super::projection::{Projected, equal_under, is_within, masked, relaxed};
use super::records::{Home, MatchRecords};
use super::tags::TagIndex;
use super::tree::Trees;
use crate::hash::WordsHasher;

/// The megaflows of some classes. Their masks all have the bits of the *anchor*; megaflows that are
/// equal in these crowd in one place, in a tree.
pub(super) struct Table<const W: usize> {
    pub(super) anchor: Projected<W>,
    /// What its records have for a home.
    home: Home,
    hasher: WordsHasher<W>,
    tags: TagIndex,
    /// Number of records.
    len: usize,
    /// Packets that hit lately.
    pub(super) hits: u32,
    /// The bits of the anchor in which all records are equal, those of the past included, and their
    /// values.
    common: Option<(Projected<W>, Projected<W>)>,
    views: Vec<View<W>>,
    /// A view that has the table's records of places below this one.
    unfinished: Option<(View<W>, u32)>,
}

/// The records of a table by fewer bits than the anchor, for matches that lack some of its bits.
struct View<const W: usize> {
    mask: Projected<W>,
    hasher: WordsHasher<W>,
    records: Numbers,
}

/// Most views of a table; a further one takes the place of the oldest.
const VIEWS: usize = 32;
/// Places whose records a view takes in a step.
const STEP: u32 = 1024;

impl<const W: usize> Table<W> {
    pub(super) fn new(home: Home, anchor: Projected<W>, seed: u64) -> Table<W> {
        Table {
            home,
            anchor,
            hasher: WordsHasher::new(&anchor, seed),
            tags: TagIndex::default(),
            len: 0,
            hits: 0,
            common: None,
            views: Vec::new(),
            unfinished: None,
        }
    }

    /// Number of records.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The tag of a key, or of a value whose mask has the anchor's bits.
    pub(super) fn tag(&self, key: &Projected<W>) -> u32 {
        let hash = self.hasher.hash(key);
        u32::try_from((hash ^ hash >> 32) & u64::from(u32::MAX)).unwrap_or(0)
    }

    /// What is at a tag.
    pub(super) fn get(&self, tag: u32) -> Option<Node> {
        self.tags.get(tag)
    }

    /// Loads the memory of a tag, see [`TagIndex::touch`].
    pub(super) fn touch(&self, tag: u32) -> u32 {
        self.tags.touch(tag)
    }

    /// Adds a record. Returns true if others were at its place.
    pub(super) fn insert(
        &mut self,
        record: u32,
        flows: &MatchRecords<W>,
        trees: &mut Trees,
        parts: &[FieldPart],
    ) -> bool {
        let Some((value, _)) = flows.matching(record) else { return false };
        let tag = self.tag(value);
        let there = self.tags.get(tag);
        let node = trees.insert(there, record, flows, parts);
        match there {
            None => self.tags.insert(tag, node),
            Some(before) if before == node => {}
            Some(_) => drop(self.tags.set(tag, node)),
        }
        self.len += 1;
        let (bits, values) = self.common.get_or_insert((self.anchor, *value));
        for ((bits, known), new) in bits.iter_mut().zip(&*values).zip(value) {
            *bits &= !(known ^ new);
        }
        self.unfinished = None;
        self.views.iter_mut().for_each(|view| view.insert(value, record));
        there.is_some()
    }

    /// Takes a record out. Returns true if others are or were at its place.
    pub(super) fn remove(
        &mut self,
        record: u32,
        flows: &MatchRecords<W>,
        trees: &mut Trees,
    ) -> bool {
        let Some((value, _)) = flows.matching(record) else { return false };
        let tag = self.tag(value);
        let Some(node) = self.tags.get(tag) else { return false };
        match trees.remove(node, record, flows) {
            None => drop(self.tags.remove(tag)),
            Some(rest) if rest == node => {}
            Some(rest) => drop(self.tags.set(tag, rest)),
        }
        self.len -= 1;
        self.unfinished = None;
        for view in &mut self.views {
            view.records.remove(view.hasher.hash(value), record);
        }
        !matches!(node.kind(), NodeKind::Flow(_))
    }

    /// A record that overlaps the match; `None` if a view is missing, which this call began or
    /// went on to make.
    pub(super) fn overlapping(
        &mut self,
        value: &Projected<W>,
        mask: &Projected<W>,
        flows: &MatchRecords<W>,
        trees: &Trees,
        parts: &[FieldPart],
    ) -> Option<Option<u32>> {
        if is_within(&self.anchor, mask) {
            let node = self.tags.get(self.tag(value));
            return Some(node.and_then(|node| trees.overlapping(node, value, mask, flows)));
        }
        let Some((bits, values)) = &self.common else { return Some(None) };
        if !equal_under(values, value, &masked(bits, mask)) {
            return Some(None);
        }
        let seen = view_mask(&self.anchor, mask, parts);
        let Some(view) = self.views.iter().find(|view| view.mask == seen) else {
            self.make_view(seen, flows);
            return None;
        };
        let mut records = view.records.of(view.hasher.hash(value));
        Some(records.find(|place| flows.overlaps(*place, value, mask)))
    }

    /// Goes on to make a view.
    fn make_view(&mut self, mask: Projected<W>, flows: &MatchRecords<W>) {
        let unfinished = self.unfinished.take().filter(|(view, _)| view.mask == mask);
        let (mut view, from) = unfinished.unwrap_or_else(|| (self.new_view(mask), 0));
        let to = from.saturating_add(STEP).min(flows.records.end());
        for place in from..to {
            if let Some(record) = flows.record(place).filter(|record| record.home == self.home) {
                view.insert(&record.value, place);
            }
        }
        if to < flows.records.end() {
            self.unfinished = Some((view, to));
            return;
        }
        if self.views.len() == VIEWS {
            self.views.remove(0);
        }
        self.views.push(view);
    }

    fn new_view(&self, mask: Projected<W>) -> View<W> {
        View { mask, hasher: self.hasher.under(&mask), records: Numbers::default() }
    }
}

/// The bits of an anchor by which a view finds what a mask may overlap. Relaxed, because masks that
/// are alike are to have one view.
fn view_mask<const W: usize>(
    anchor: &Projected<W>,
    mask: &Projected<W>,
    parts: &[FieldPart],
) -> Projected<W> {
    let exact = masked(anchor, mask);
    let wide = relaxed(&exact, parts, Grain::Coarse);
    if wide == [0; W] { exact } else { wide }
}

impl<const W: usize> View<W> {
    fn insert(&mut self, value: &Projected<W>, record: u32) {
        self.records.insert(self.hasher.hash(value), record);
    }
}
