//! Other tools' filters on our ports: the priorities that they use, and the filters that the
//! hardware looks up before ours and that take our packets.

use std::collections::{BTreeMap, BTreeSet};

use super::table::FilterTable;
use crate::decode::Foreign;
use crate::encode::Location;

/// Other tools' filters on the ports' interfaces, by place, each with the number of the last
/// reading that has shown it.
#[derive(Debug, Default)]
pub(super) struct Others(BTreeMap<Location, (Foreign, u64)>);

impl Others {
    pub(super) fn forget(&mut self, ifindex: u32) {
        self.0.retain(|at, _| at.ifindex != ifindex);
    }

    pub(super) fn insert(&mut self, foreign: Foreign, shown: u64) {
        self.0.insert(foreign.at, (foreign, shown));
    }

    /// Notes that a reading has shown the filter. Returns false if it is not known as it is.
    pub(super) fn show(&mut self, foreign: &Foreign, reading: u64) -> bool {
        let known = self.0.get_mut(&foreign.at).filter(|(known, _)| known == foreign);
        known.map(|(_, shown)| *shown = reading).is_some()
    }

    /// Takes out a filter unless a reading has shown it.
    pub(super) fn remove_unless_shown(&mut self, at: &Location, reading: u64) {
        if self.0.get(at).is_some_and(|(_, shown)| *shown != reading) {
            self.0.remove(at);
        }
    }

    /// Returns the filters from that place on that are on its interface, in the order of places,
    /// each with the number of the last reading that has shown it.
    pub(super) fn from(&self, from: Location) -> impl Iterator<Item = &(Foreign, u64)> {
        let rest = self.0.range(from..).map(|(_, other)| other);
        rest.take_while(move |(foreign, _)| foreign.at.ifindex == from.ifindex)
    }

    pub(super) fn remove(&mut self, at: &Location) {
        self.0.remove(at);
    }

    /// Takes out the filters of a priority that was flushed, or of the whole chain if the priority
    /// is 0.
    pub(super) fn flush(&mut self, at: &Location) {
        self.0.retain(|one, _| {
            let flushed = at.priority == 0 || one.priority == at.priority;
            !((one.ifindex, one.chain) == (at.ifindex, at.chain) && flushed)
        });
    }

    pub(super) fn on(&self, ifindex: u32) -> impl Iterator<Item = &Foreign> {
        self.from(Location::first_on(ifindex)).map(|(foreign, _)| foreign)
    }

    /// Returns the priorities in use, by interface and chain.
    pub(super) fn priorities(&self) -> BTreeMap<(u32, u32), BTreeSet<u16>> {
        let mut used: BTreeMap<(u32, u32), BTreeSet<u16>> = BTreeMap::new();
        for at in self.0.keys() {
            used.entry((at.ifindex, at.chain)).or_default().insert(at.priority);
        }
        used
    }

    /// Returns, by interface, the filters in hardware whose priority is looked up before one that
    /// a filter of ours has or may get.
    pub(super) fn shadows(&self, table: &mut FilterTable) -> BTreeMap<u32, Vec<Foreign>> {
        let mut shadows: BTreeMap<u32, Vec<Foreign>> = BTreeMap::new();
        let mut lowest: BTreeMap<(u32, u32), u16> = BTreeMap::new();
        for (foreign, _) in self.0.values().filter(|(foreign, _)| foreign.in_hw) {
            let at = foreign.at;
            let lowest = lowest.entry((at.ifindex, at.chain)).or_insert_with(|| {
                let (priorities, room) = table.chain(at.ifindex, at.chain);
                priorities.lowest_place(room)
            });
            if at.priority <= *lowest {
                shadows.entry(at.ifindex).or_default().push(foreign.clone());
            }
        }
        shadows
    }
}
