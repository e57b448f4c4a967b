//! The books: the sums over the hits of all megaflows.
//!
//! Each hit is counted once, in the place where it happened, and no total ever decreases.

use std::collections::BTreeMap;

use flow::conservation::Hits;
use flow::{Counters, Moment, Stats};

use crate::account::{Account, Reading};
use crate::event::{Place, ProviderId};
use crate::record::FlowRecord;

/// What statistics of a megaflow brought.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct ReadOutcome {
    /// The moment of the last hit, if there were hits since the last reading.
    pub used: Option<Moment>,
    /// The device's counter had gone back.
    pub went_back: bool,
}

/// The sums over the hits of every megaflow that ever was.
#[derive(Default)]
pub(super) struct Books {
    /// First-pass hits in the host table.
    first_pass_host: Counters,
    /// Hits in each hardware provider, and what the actions made of them.
    nic: BTreeMap<ProviderId, Hits>,
}

impl Books {
    /// Takes in a megaflow's statistics in a place: the host's are news, a device's the reading of
    /// its counters.
    pub(super) fn read(
        &mut self,
        record: &mut FlowRecord,
        place: Place,
        stats: Stats,
        now: Moment,
    ) -> ReadOutcome {
        let reading = match place {
            Place::Host => {
                record.host_hits += stats.counters;
                Reading { delta: stats.counters, went_back: false }
            }
            Place::Nic(_) => record.nic_account.read(stats.counters),
        };
        record.tcp_flags |= stats.tcp_flags;
        let mut used = None;
        if reading.delta.packets > 0 {
            let packets = u32::try_from(reading.delta.packets).unwrap_or(u32::MAX);
            record.recent = record.recent.saturating_add(packets);
            let at = stats.used.unwrap_or(now);
            used = Some(at);
            record.used = record.used.max(used);
            self.count(record, place, reading.delta);
        }
        ReadOutcome { used, went_back: reading.went_back }
    }

    /// Takes in the hits that an adopted megaflow had counted before the engine started.
    pub(super) fn adopted(
        &mut self,
        record: &mut FlowRecord,
        provider: ProviderId,
        counters: Counters,
    ) {
        record.nic_account = Account::adopted(counters);
        self.count(record, Place::Nic(provider), counters);
    }

    fn count(&mut self, record: &FlowRecord, place: Place, hits: Counters) {
        match place {
            Place::Host if record.scope() == 0 => self.first_pass_host += hits,
            Place::Host => {}
            Place::Nic(provider) => {
                // The counts of a life belong to its own actions, not to those that follow.
                let actions = record.nic.installed.as_ref().unwrap_or(&record.flow.actions);
                self.nic.entry(provider).or_default().count(record.scope(), actions, hits);
            }
        }
    }

    /// Returns the first-pass hits of every megaflow that ever was in the host table.
    pub(super) fn first_pass_host(&self) -> Counters {
        self.first_pass_host
    }

    /// Returns the hits of every megaflow that ever was in a hardware provider.
    pub(super) fn hits(&self, provider: ProviderId) -> Hits {
        self.nic.get(&provider).copied().unwrap_or_default()
    }
}
