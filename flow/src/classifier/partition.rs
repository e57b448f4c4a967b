//! The megaflows of one port and recirculation id, of one EtherType or of several: a few tables,
//! and a tree for those that no table tells apart.

use crate::Key;

use super::class::Classes;
use super::node::{Node, NodeKind};
use super::overlapped::Overlapped;
use super::parts::Grain;
use super::projection::{Projected, Projection, equal_under, is_within, masked, relaxed};
use super::records::{Home, MatchRecord, MatchRecords};
use super::table::Table;
use super::tree::Trees;

/// Megaflows whose masks have bits in at most `W` words of a key.
pub(super) struct Partition<const W: usize> {
    pub(super) projection: Projection<W>,
    pub(super) flows: MatchRecords<W>,
    pub(super) classes: Classes<W>,
    trees: Trees,
    root: Option<Node>,
    pub(super) tables: [Option<Box<Table<W>>>; TABLES],
    /// The numbers of the tables in the order in which lookups try them.
    pub(super) order: Vec<u8>,
    /// The next record to be looked at, while some are not where their class belongs.
    pub(super) moving: Option<u32>,
    pub(super) seed: u64,
    /// The nodes that a walk through a tree has still to visit; kept for its allocation.
    stack: Vec<Node>,
    question: Question<W>,
}

/// How far a question about overlaps has come: it takes several steps.
struct Question<const W: usize> {
    /// The value and the mask; `None` if the next question begins anew, whatever it asks.
    asked: Option<(Projected<W>, Projected<W>)>,
    /// The tables that are still to be searched, the last one first.
    tables: Vec<u8>,
    /// The nodes that are still to be visited.
    stack: Vec<Node>,
}

/// Most tables of a partition: each costs every packet that it does not have.
pub(super) const TABLES: usize = 8;
/// Nodes that a question about overlaps visits in a step.
const VISITS: usize = 256;
/// Hits of one table after which those of all are halved, so that a table that was busy once does
/// not stay in front.
const FADE: u32 = 1 << 20;

/// Packets that are looked up together.
pub(super) const BURST: usize = 32;

/// The packets of a burst that have no megaflow yet, by their places.
pub(super) type Unfound = Vec<usize>;

/// Moves the packets that are alike out of `all`. Nearly always all of them are.
#[inline]
pub(super) fn take_alike(all: &mut Unfound, alike: &mut Unfound, is: impl Fn(usize) -> bool) {
    alike.clear();
    if all.iter().all(|place| is(*place)) {
        return std::mem::swap(all, alike);
    }
    all.retain(|place| {
        let is = is(*place);
        if is {
            alike.push(*place);
        }
        !is
    });
}

impl<const W: usize> Partition<W> {
    pub(super) fn new(seed: u64) -> Partition<W> {
        Partition {
            projection: Projection::default(),
            flows: MatchRecords::new(seed),
            classes: Classes::new(seed),
            trees: Trees::default(),
            root: None,
            tables: [const { None }; TABLES],
            order: Vec::new(),
            moving: None,
            seed,
            stack: Vec::new(),
            question: Question { asked: None, tables: Vec::new(), stack: Vec::new() },
        }
    }

    /// Number of megaflows.
    pub(super) fn len(&self) -> usize {
        self.flows.len()
    }

    /// Adds a megaflow under a number of the caller's, if its mask has bits in few enough words.
    /// Returns whether its mask is new.
    pub(super) fn insert(&mut self, key: &Key, mask: &Key, number: u32) -> Option<bool> {
        if !self.projection.extend(mask) {
            return None;
        }
        let words = self.projection.of(mask);
        let value = masked(&self.projection.of(key), &words);
        let known = self.flows.mask_number(&words);
        let mask = known.unwrap_or_else(|| self.add_mask(&words));
        let class = self.flows.mask(mask)?.class;
        self.question.asked = None;
        let home = self.classes.get(class).map_or(Home::Root, |class| class.home);
        let record = self.flows.add(MatchRecord { value, mask, number, home, crowded: false });
        self.classes.count(class, record);
        self.attach(record, home);
        self.ask(class);
        self.go_on();
        Some(known.is_none())
    }

    /// Takes a megaflow out; returns its number, and whether it was the last one of its mask.
    pub(super) fn remove(&mut self, key: &Key, mask: &Key) -> Option<(u32, bool)> {
        let words = self.projection.of_mask(mask)?;
        let value = masked(&self.projection.of(key), &words);
        let mask = self.flows.mask_number(&words)?;
        let place = self.find(&value, mask)?;
        let class = self.flows.mask(mask)?.class;
        self.question.asked = None;
        self.detach(place);
        let record = self.flows.remove(place)?;
        if let Some(class) = self.classes.get_mut(class) {
            class.flows -= 1;
        }
        let last = self.flows.mask(mask).is_none();
        if last {
            self.classes.leave(class);
        }
        self.give_up();
        self.go_on();
        Some((record.number, last))
    }

    /// Looks keys up: those in `left` are taken out of it when they hit, and their numbers put in
    /// `found`, both by the place of the key.
    pub(super) fn lookup(
        &mut self,
        keys: &[&Key],
        left: &mut Unfound,
        found: &mut [Option<u32>],
        visited: &mut u64,
    ) {
        let mut words = [[0; W]; BURST];
        // The keys with the projection of the one before, a bit each, and which one that is.
        let (mut repeats, mut like) = (0_u32, [0_u8; BURST]);
        let (mut last, mut before) = ([0; W], None);
        left.retain(|place| {
            let (key, place) = (keys[*place], *place % BURST);
            let projected = self.projection.of(key);
            if let Some(before) = before.filter(|_| equal_under(&projected, &last, &[!0; W])) {
                like[place] = before;
                repeats |= 1 << place;
                return false;
            }
            (words[place], last, before) = (projected, projected, u8::try_from(place).ok());
            true
        });
        self.lookup_words(&words, left, found, visited);
        while repeats != 0 {
            let place = repeats.trailing_zeros() as usize;
            repeats &= repeats - 1;
            found[place] = found[usize::from(like[place])];
            if found[place].is_none() {
                left.push(place);
            }
        }
    }

    fn lookup_words(
        &mut self,
        words: &[Projected<W>; BURST],
        left: &mut Unfound,
        found: &mut [Option<u32>],
        visited: &mut u64,
    ) {
        let mut order = 0;
        while order < self.order.len() && !left.is_empty() {
            *visited += left.len() as u64;
            let before = left.len();
            self.lookup_in_table(self.order[order], words, left, found, visited);
            self.count_hits(order, before - left.len());
            order += 1;
        }
        let Partition { flows, trees, root, stack, .. } = self;
        let Some(root) = root else { return };
        left.retain(|place| {
            let hit = trees.lookup(*root, &words[*place], flows, stack, visited);
            found[*place] = hit.and_then(|hit| flows.record(hit)).map(|record| record.number);
            hit.is_none()
        });
    }

    /// Adds the numbers of the megaflows that overlap the match. Returns false if the caller has to
    /// ask again for the rest, and then to say that the question goes on.
    pub(super) fn overlapping(
        &mut self,
        key: &Key,
        mask: &Key,
        goes_on: bool,
        found: &mut Overlapped<'_>,
    ) -> bool {
        let words = self.projection.of(mask);
        let value = masked(&self.projection.of(key), &words);
        let Partition { flows, trees, root, tables, order, projection, question, .. } = self;
        if !goes_on || question.asked != Some((value, words)) {
            question.asked = Some((value, words));
            question.tables.clone_from(order);
            question.stack.clear();
            question.stack.extend(*root);
        }
        let Question { asked, tables: left, stack } = question;
        let mut budget = VISITS;
        loop {
            trees.overlapping(stack, &value, &words, flows, &mut budget, found);
            if found.is_full() {
                break;
            }
            if budget == 0 {
                return false;
            }
            let Some(number) = left.last() else { break };
            let table = tables.get_mut(usize::from(*number)).and_then(Option::as_mut);
            let known = table.is_none_or(|table| {
                table.overlapping(&value, &words, flows, trees, projection.parts(), stack)
            });
            if !known {
                return false;
            }
            left.pop();
        }
        *asked = None;
        true
    }

    fn lookup_in_table(
        &mut self,
        number: u8,
        words: &[Projected<W>; BURST],
        left: &mut Unfound,
        found: &mut [Option<u32>],
        visited: &mut u64,
    ) {
        let Partition { flows, trees, tables, stack, .. } = self;
        let Some(Some(table)) = tables.get(usize::from(number)) else { return };
        let mut tags = [0; BURST];
        let mut touched = 0;
        for place in left.iter().copied() {
            tags[place] = table.tag(&words[place]);
            touched ^= table.touch(tags[place]);
        }
        std::hint::black_box(touched);
        let mut nodes = [const { (None, None) }; BURST];
        for place in left.iter().copied() {
            let node = table.get(tags[place]);
            nodes[place] = match node.map(Node::kind) {
                Some(NodeKind::Flow(record)) => (None, flows.record(record)),
                _ => (node, None),
            };
            touched ^= nodes[place].1.map_or(0, |record| record.mask);
        }
        std::hint::black_box(touched);
        left.retain(|place| {
            let key = &words[*place];
            let record = match nodes[*place] {
                (_, Some(record)) => Some(record).filter(|record| flows.is_hit(record, key)),
                (Some(node), _) => {
                    let hit = trees.lookup(node, key, flows, stack, visited);
                    hit.and_then(|hit| flows.record(hit))
                }
                (None, None) => None,
            };
            if let Some(record) = record {
                found[*place] = Some(record.number);
            }
            record.is_none()
        });
    }

    /// A table that is hit climbs: it changes places with the one at half its position when it has
    /// more hits.
    fn count_hits(&mut self, order: usize, hits: usize) {
        let hits_of = |tables: &[Option<Box<Table<W>>>], number: u8| {
            tables[usize::from(number) % TABLES].as_ref().map_or(0, |table| table.hits)
        };
        let (number, half) = (self.order[order], order / 2);
        if let Some(table) = &mut self.tables[usize::from(number) % TABLES] {
            table.hits = table.hits.saturating_add(u32::try_from(hits).unwrap_or(u32::MAX));
            if table.hits >= FADE {
                self.tables.iter_mut().flatten().for_each(|table| table.hits /= 2);
            }
        }
        if half < order && hits_of(&self.tables, number) > hits_of(&self.tables, self.order[half]) {
            self.order.swap(order, half);
        }
    }

    fn add_mask(&mut self, words: &Projected<W>) -> u32 {
        let wide = relaxed(words, self.projection.parts(), Grain::Coarse);
        let tables = &self.tables;
        let fits = |home: Home| match home {
            Home::Root => true,
            Home::Table(number) => tables[usize::from(number) % TABLES]
                .as_ref()
                .is_some_and(|table| is_within(table.anchor(), words)),
        };
        let class = self.classes.join(words, &wide, fits);
        self.flows.add_mask(words, class)
    }

    fn find(&self, value: &Projected<W>, mask: u32) -> Option<u32> {
        let class = self.classes.get(self.flows.mask(mask)?.class)?;
        self.find_at(class.home, value, mask).or_else(|| {
            self.moving?;
            let tables = self.order.iter().map(|number| Home::Table(*number));
            tables.chain([Home::Root]).find_map(|home| self.find_at(home, value, mask))
        })
    }

    fn find_at(&self, home: Home, value: &Projected<W>, mask: u32) -> Option<u32> {
        let root = match home {
            Home::Root => self.root?,
            Home::Table(number) => {
                let table = self.tables[usize::from(number) % TABLES].as_ref()?;
                table.get(table.tag(value))?
            }
        };
        self.trees.find(root, value, mask, &self.flows)
    }

    /// Puts a record where it belongs.
    pub(super) fn attach(&mut self, place: u32, home: Home) {
        let Partition { projection, flows, classes, trees, root, tables, .. } = self;
        let mut crowded = false;
        match home {
            Home::Root => *root = Some(trees.insert(*root, place, flows, projection.parts())),
            Home::Table(number) => {
                let Some(table) = &mut tables[usize::from(number) % TABLES] else { return };
                crowded = table.insert(place, flows, trees, projection.parts());
            }
        }
        if let Some(record) = flows.records.get_mut(place) {
            (record.home, record.crowded) = (home, crowded);
        }
        let class = flows.class(place).and_then(|class| classes.get_mut(class));
        if let Some(class) = class.filter(|class| class.home == home) {
            class.crowded += u32::from(crowded);
        }
    }

    /// Takes a record from where it is.
    pub(super) fn detach(&mut self, place: u32) {
        let Partition { flows, classes, trees, root, tables, .. } = self;
        let Some(record) = flows.record(place) else { return };
        let (home, crowded) = (record.home, record.crowded);
        match home {
            Home::Root => *root = root.and_then(|root| trees.remove(root, place, flows)),
            Home::Table(number) => {
                let Some(table) = &mut tables[usize::from(number) % TABLES] else { return };
                table.remove(place, flows, trees);
            }
        }
        let class = flows.class(place).and_then(|class| classes.get_mut(class));
        if let Some(class) = class.filter(|class| class.home == home) {
            class.crowded -= u32::from(crowded);
        }
    }
}
