//! What happened without us that somebody must still be told of or has to look at.

use std::collections::BTreeSet;

use flow::{Correction, ProviderEvent, Stats, Ufid};

use super::table::{Placed, Table};
use crate::encode::Location;

/// The news since somebody last asked.
#[derive(Debug, Default)]
pub(super) struct News {
    /// True if something happened that the caller must look at.
    pub(super) changed: bool,
    /// Changes that other tools made to filters of ours.
    corrections: Vec<ProviderEvent>,
    /// The final counters of filters that other tools deleted, until the caller has read them.
    last_words: Vec<(Ufid, Placed, Stats)>,
    /// The places where other tools changed or deleted filters of ours since the last reading.
    pub(super) touched: BTreeSet<Location>,
    /// Interfaces whose qdisc was deleted since the current batch began.
    pub(super) qdiscs_lost: BTreeSet<u32>,
    /// The number of notifications that other tools added or deleted filters.
    pub(super) heard: u64,
}

impl News {
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

    /// Notes the final counters of a filter that another tool deleted.
    pub(super) fn hear_last_words(&mut self, ufid: Ufid, placed: Placed, stats: Stats) {
        self.last_words.push((ufid, placed, stats));
    }

    /// Returns the final counters of one filter that other tools deleted, if they were heard.
    pub(super) fn last_words_of(&self, placed: &Placed) -> Option<Stats> {
        let mut words = self.last_words.iter().rev();
        words.find(|(_, spoke, _)| spoke == placed).map(|(_, _, stats)| *stats)
    }

    /// Takes the final counters that the caller has not read yet, of filters on that interface
    /// that are still in the table.
    pub(super) fn take_last_words(&mut self, ifindex: u32, table: &Table) -> Vec<(Ufid, Stats)> {
        self.last_words.retain(|(ufid, placed, _)| {
            table.get(*ufid).is_some_and(|entry| entry.placed == *placed)
        });
        let here = |(_, placed, _): &mut (Ufid, Placed, Stats)| placed.at.ifindex == ifindex;
        self.last_words.extract_if(.., here).map(|(ufid, _, stats)| (ufid, stats)).collect()
    }
}
