//! Who gets a table: the rules by which the classes of a partition move between tables and the
//! tree.
//!
//! * A class starts in the tree. It asks for a table at 64 megaflows, if it has one for each eight
//!   that are in tables, and again when it has doubled.
//! * It gets a table that is there, if its masks have the bits of the anchor and its megaflows
//!   spread under it; or a new one. If more than half of a sample crowd under every anchor, it gets
//!   none: the tree is better.
//! * There are eight tables at most. A class that is eight times as large as the smallest one gets
//!   its place.
//! * A class many of whose megaflows crowd in its table asks for a finer one.
//! * A table that has less than one in 32 of the megaflows in tables is given up.
//! * Megaflows move a few at a time, with each install and removal.

use super::class::Class;
use super::partition::{Partition, TABLES};
use super::parts::Grain;
use super::projection::{Projected, is_within, masked, relaxed};
use super::records::Home;
use super::table::Table;

/// Records that a move looks at in a step, and those of them that it moves at most.
const STEP: u32 = 32;
const MOVES: usize = 8;

impl<const W: usize> Partition<W> {
    /// A class that has grown asks for a table, or for a finer one.
    pub(super) fn ask(&mut self, number: u32) {
        let in_tables = self.in_tables();
        let Some(class) = self.classes.get(number) else { return };
        let wants = match class.home {
            Home::Root => class.flows as usize * SHARE >= in_tables,
            Home::Table(_) => class.crowded > 256 && class.crowded > class.flows / 4,
        };
        if !wants || class.flows < class.asks_at || self.moving.is_some() {
            return;
        }
        self.drop_empty();
        match self.choose(number) {
            Choice::New(free, anchor) => {
                self.add_table(free, anchor);
                self.settle(number, Home::Table(free));
            }
            Choice::Home(home) => self.settle(number, home),
            Choice::Stay => {}
            // The class asks again when the table is gone.
            Choice::Instead(table) => return self.evict(table),
        }
        if let Some(class) = self.classes.get_mut(number) {
            class.asks_at = class.flows.saturating_mul(2);
        }
    }

    /// The megaflows of a class belong there from now on.
    fn settle(&mut self, number: u32, home: Home) {
        if let Some(class) = self.classes.get_mut(number) {
            (class.home, class.crowded) = (home, 0);
        }
        self.moving = Some(0);
    }

    /// The table that a class gets: one that is there, or a new one under the first anchor that
    /// tells most of a sample apart. If none tells half of it apart, the tree is better.
    fn choose(&self, number: u32) -> Choice<W> {
        let Some(class) = self.classes.get(number) else { return Choice::Stay };
        let sample = self.sample(number, class);
        if sample.len() < LEAST {
            return Choice::Stay;
        }
        let crowd = |anchor: &Projected<W>| crowd(&sample, anchor);
        // Who has a table gets only a finer one, under which far fewer crowd.
        let (has, bound) = match class.home {
            Home::Root => ([0; W], TOO_CROWDED),
            Home::Table(number) => match &self.tables[usize::from(number) % TABLES] {
                Some(table) => (*table.anchor(), crowd(table.anchor()) / 2),
                None => return Choice::Stay,
            },
        };
        let finer = |anchor: &Projected<W>| class.has(anchor) && !is_within(anchor, &has);
        for (home, table) in (0..).map(Home::Table).zip(&self.tables) {
            let anchor = table.as_ref().map(|table| table.anchor()).filter(|anchor| finer(anchor));
            if anchor.is_some_and(|anchor| crowd(anchor) <= CROWDED.min(bound)) {
                return Choice::Home(home);
            }
        }
        let nibbles = relaxed(&class.common, self.projection.parts(), Grain::Nibbles);
        let anchors = [class.mask, nibbles, class.common];
        let crowds: Vec<_> = (anchors.iter().filter(|anchor| finer(anchor)))
            .map(|anchor| (crowd(anchor), anchor))
            .filter(|(crowd, _)| *crowd <= bound)
            .collect();
        let fine = crowds.iter().find(|(crowd, _)| *crowd <= CROWDED);
        let Some((_, anchor)) = fine.or(crowds.iter().min_by_key(|(crowd, _)| *crowd)) else {
            return Choice::Stay;
        };
        self.room(class, **anchor)
    }

    /// A free place for a new table, or the place of a far smaller one.
    fn room(&self, class: &Class<W>, anchor: Projected<W>) -> Choice<W> {
        let free = (0..).zip(&self.tables).find(|(_, table)| table.is_none());
        if let Some((free, _)) = free {
            return Choice::New(free, anchor);
        }
        let len = |number: &u8| {
            let table = &self.tables[usize::from(*number) % TABLES];
            table.as_ref().map_or(0, |table| table.len())
        };
        match self.order.iter().copied().min_by_key(len) {
            Some(least) if len(&least) * SHARE <= class.flows as usize => Choice::Instead(least),
            _ => Choice::Stay,
        }
    }

    /// The values of some megaflows of a class.
    fn sample(&self, number: u32, class: &Class<W>) -> Vec<&Projected<W>> {
        let mut places = class.sample.clone();
        places.sort_unstable();
        places.dedup();
        places.retain(|place| self.flows.class(*place) == Some(number));
        places.iter().filter_map(|place| Some(self.flows.matching(*place)?.0)).collect()
    }

    fn add_table(&mut self, number: u8, anchor: Projected<W>) {
        let seed = self.seed.wrapping_add(u64::from(number) + 1);
        let table = Table::new(Home::Table(number), anchor, seed);
        self.tables[usize::from(number) % TABLES] = Some(Box::new(table));
        self.order.push(number);
    }

    /// Gives up a table that has few of the megaflows: it costs every packet that it does not have.
    pub(super) fn give_up(&mut self) {
        if self.moving.is_some() {
            return;
        }
        self.drop_empty();
        let few = self.in_tables() / GIVE_UP;
        let small = |number: &&u8| {
            let table = &self.tables[usize::from(**number) % TABLES];
            table.as_ref().is_some_and(|table| table.len() <= few)
        };
        if let Some(number) = self.order.iter().find(small).copied() {
            self.evict(number);
        }
    }

    /// The records of a table go to the tree, and then the table goes.
    fn evict(&mut self, number: u8) {
        self.classes.evict(Home::Table(number));
        self.moving = Some(0);
    }

    /// Number of megaflows in tables. Those in the tree don't count where a table is granted:
    /// whoever makes many that crowd, of any number of masks, takes no table from the others.
    fn in_tables(&self) -> usize {
        self.tables.iter().flatten().map(|table| table.len()).sum()
    }

    /// Goes on to move records to where their classes belong.
    pub(super) fn go_on(&mut self) {
        let Some(from) = self.moving else { return };
        let end = self.flows.records.end();
        let to = from.saturating_add(STEP).min(end);
        let (mut place, mut moves) = (from, 0);
        while place < to && moves < MOVES {
            let class = self.flows.class(place).and_then(|class| self.classes.get(class));
            let home = class.map(|class| class.home);
            let here = self.flows.record(place).map(|record| record.home);
            if let Some(home) = home.filter(|home| here != Some(*home)) {
                self.detach(place);
                self.attach(place, home);
                moves += 1;
            }
            place += 1;
        }
        self.moving = (place < end).then_some(place);
    }

    /// Drops the tables without a record. No class has its home there: a class that has a megaflow
    /// has them all at home while nothing moves.
    fn drop_empty(&mut self) {
        let Partition { tables, order, .. } = self;
        order.retain(|number| {
            let table = &mut tables[usize::from(*number) % TABLES];
            let keeps = table.as_ref().is_some_and(|table| table.len() > 0);
            if !keeps {
                *table = None;
            }
            keeps
        });
    }
}

/// What a class gets that asks for a table.
enum Choice<const W: usize> {
    /// It stays where it is.
    Stay,
    /// A table that is there.
    Home(Home),
    /// A new one of this number, under this anchor.
    New(u8, Projected<W>),
    /// The place of this table, when that is gone.
    Instead(u8),
}

/// A class asks for a table if it has one megaflow for so many that are in tables.
const SHARE: usize = 8;
/// A table is given up if it has less than one in so many of these.
const GIVE_UP: usize = 32;
/// Megaflows that say something about a class.
const LEAST: usize = 32;
/// Percent of a sample that may share places in a table.
const CROWDED: usize = 12;
/// Percent of a sample with which a table is no use.
const TOO_CROWDED: usize = 50;

/// The percentage of values that are equal to another one under an anchor.
fn crowd<const W: usize>(sample: &[&Projected<W>], anchor: &Projected<W>) -> usize {
    let mut values: Vec<Projected<W>> = sample.iter().map(|one| masked(one, anchor)).collect();
    values.sort_unstable();
    let runs = values.chunk_by(|one, next| one == next);
    let sharing: usize = runs.map(|run| run.len()).filter(|length| *length > 1).sum();
    sharing * 100 / values.len().max(1)
}
