//! Other tools' filters on our ports: the priorities that they use, and the filters that the
//! hardware looks up before ours and that take our packets.

use std::collections::{BTreeMap, BTreeSet};

use flow::Megaflow;

use super::{Correction, Tc};
use crate::decode::Foreign;
use crate::encode::Location;
use crate::wire::Transport;

impl<T: Transport> Tc<T> {
    /// Replaces what is known of other tools' filters on an interface.
    pub(super) fn know_others(&mut self, ifindex: u32, others: BTreeMap<Location, Foreign>) {
        self.foreign.retain(|at, _| at.ifindex != ifindex);
        self.foreign.extend(others);
    }

    /// Updates the priorities to avoid and the megaflows that can't be in hardware from other
    /// tools' current filters. A shadowed megaflow that is installed is left out of the
    /// statistics, so that the caller installs it again and gets the refusal.
    pub(super) fn review_others(&mut self) {
        let mut used: BTreeMap<(u32, u32), BTreeSet<u16>> = BTreeMap::new();
        for at in self.foreign.keys() {
            used.entry((at.ifindex, at.chain)).or_default().insert(at.priority);
        }
        self.table.set_others(used);
        let shadows = self.shadows();
        if !self.admission.has_shadows(&shadows) {
            self.snapshot();
            self.changed = true;
            self.shade();
        }
    }

    /// Returns, by interface, other tools' filters in hardware whose priority is looked up before
    /// one that a filter of ours has or may get.
    pub(super) fn shadows(&mut self) -> BTreeMap<u32, Vec<Foreign>> {
        let mut shadows: BTreeMap<u32, Vec<Foreign>> = BTreeMap::new();
        for foreign in self.foreign.values().filter(|foreign| foreign.in_hw) {
            let at = foreign.at;
            if at.priority <= self.table.priorities(at.ifindex, at.chain).lowest_place() {
                shadows.entry(at.ifindex).or_default().push(foreign.clone());
            }
        }
        shadows
    }

    /// Finds the megaflows in hardware that another tool's filter shadows.
    pub(super) fn shade(&mut self) {
        let admission = self.admission.clone();
        let mut shaded = Vec::new();
        for entry in self.table.entries_mut().filter(|entry| !entry.redo) {
            let shadow = |flow: &Megaflow| admission.shadow(entry.placed.at.ifindex, flow);
            if let Some(refusal) = entry.flow.as_deref().and_then(shadow) {
                entry.redo = true;
                shaded.push(refusal.detail.to_string());
            }
        }
        self.correct(Correction::Shadowed, shaded);
    }
}
