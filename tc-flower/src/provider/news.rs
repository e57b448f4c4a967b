//! What happened without us that somebody must still be told of or has to look at.

use std::collections::BTreeSet;

use flow::{Correction, ProviderEvent};

/// The news since somebody last asked.
#[derive(Debug, Default)]
pub(super) struct KernelNews {
    /// True if something happened that the caller must look at.
    pub(super) changed: bool,
    /// Changes that other tools made to filters of ours.
    corrections: Vec<ProviderEvent>,
    /// Interfaces whose qdisc was deleted since the current batch began.
    pub(super) qdiscs_lost: BTreeSet<u32>,
    /// The number of notifications that other tools added or deleted filters.
    pub(super) heard: u64,
}

impl KernelNews {
    /// Notes what other tools did to filters of ours, in one event for all filters.
    pub(super) fn correct(&mut self, kind: Correction, what: Vec<String>) {
        let megaflows = u64::try_from(what.len()).unwrap_or(u64::MAX);
        if let Some(first) = what.into_iter().next() {
            self.corrections.push(ProviderEvent::Corrected { kind, megaflows, first });
        }
    }

    /// Takes what the caller has to be told.
    pub(super) fn take_events(&mut self) -> Vec<ProviderEvent> {
        let mut events = std::mem::take(&mut self.corrections);
        if std::mem::take(&mut self.changed) {
            events.push(ProviderEvent::Changed);
        }
        events
    }
}
