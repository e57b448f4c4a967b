//! Other tools' filters on our ports: the priorities that they use, and the filters that the
//! hardware looks up before ours and that take our packets.

use std::collections::{BTreeMap, BTreeSet};

use super::table::Table;
use crate::decode::Foreign;
use crate::encode::Location;

/// Other tools' filters on the ports' interfaces, by place.
#[derive(Debug, Default)]
pub(super) struct Others(BTreeMap<Location, Foreign>);

impl Others {
    /// Replaces what is known of an interface.
    pub(super) fn know(&mut self, ifindex: u32, others: BTreeMap<Location, Foreign>) {
        self.forget(ifindex);
        self.0.extend(others);
    }

    pub(super) fn forget(&mut self, ifindex: u32) {
        self.0.retain(|at, _| at.ifindex != ifindex);
    }

    pub(super) fn insert(&mut self, foreign: Foreign) {
        self.0.insert(foreign.at, foreign);
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
        self.0.values().filter(move |foreign| foreign.at.ifindex == ifindex)
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
    pub(super) fn shadows(&self, table: &mut Table) -> BTreeMap<u32, Vec<Foreign>> {
        let mut shadows: BTreeMap<u32, Vec<Foreign>> = BTreeMap::new();
        for foreign in self.0.values().filter(|foreign| foreign.in_hw) {
            let at = foreign.at;
            if at.priority <= table.priorities(at.ifindex, at.chain).lowest_place() {
                shadows.entry(at.ifindex).or_default().push(foreign.clone());
            }
        }
        shadows
    }
}
