//! What happened without us that somebody must still be told of or has to look at.

use std::collections::{BTreeMap, BTreeSet};

use flow::{Correction, ProviderEvent};

/// The news since somebody last asked.
#[derive(Debug, Default)]
pub(super) struct KernelNews {
    /// True if something happened that the caller must look at.
    pub(super) changed: bool,
    /// The number of filters of ours that other tools changed or shadowed, and what is known of
    /// the first one, by kind.
    corrections: BTreeMap<Correction, (u64, String)>,
    /// Interfaces whose qdisc was deleted since the current batch began.
    pub(super) qdiscs_lost: BTreeSet<u32>,
    /// The number of notifications that other tools added or deleted filters.
    pub(super) heard: u64,
}

impl KernelNews {
    /// Notes what other tools did to a filter of ours.
    pub(super) fn correct(&mut self, kind: Correction, what: String) {
        self.corrections.entry(kind).or_insert((0, what)).0 += 1;
    }

    /// Takes what the caller has to be told. What a reading finds is told at its end, in one event
    /// of each kind.
    pub(super) fn take_events(&mut self, is_reading: bool) -> Vec<ProviderEvent> {
        let told = if is_reading { BTreeMap::new() } else { std::mem::take(&mut self.corrections) };
        let event =
            |(kind, (megaflows, first))| ProviderEvent::Corrected { kind, megaflows, first };
        let mut events: Vec<ProviderEvent> = told.into_iter().map(event).collect();
        if std::mem::take(&mut self.changed) {
            events.push(ProviderEvent::Changed);
        }
        events
    }
}
