//! The books: what each megaflow counted in each place, and the sums over all of them.
//!
//! Each hit is counted once, in the place where it happened, and no total ever decreases.

use std::collections::BTreeMap;

use flow::conservation::Hits;
use flow::{Counters, Moment, Stats};

use crate::event::{Place, ProviderId};
use crate::record::FlowRecord;

/// Packets and bytes of one megaflow in one place, over all its lives there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Account {
    /// The sum of everything counted so far; never decreases.
    total: Counters,
    /// The last absolute reading of the current life.
    seen: Counters,
}

/// The result of a reading that an account took in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Reading {
    /// The hits since the last reading.
    pub delta: Counters,
    /// The counter had gone back: the place had reset it without notice.
    pub went_back: bool,
}

impl Account {
    /// Returns the account of an adopted rule, whose first life had counted before the engine
    /// started.
    #[must_use]
    pub(super) fn adopted(seen: Counters) -> Account {
        Account { total: seen, seen }
    }

    /// Returns the sum of everything counted so far.
    #[must_use]
    pub(super) fn total(&self) -> Counters {
        self.total
    }

    /// Returns the last absolute reading of the current life.
    pub(super) fn seen(&self) -> Counters {
        self.seen
    }

    /// Takes an absolute reading of the current life. A counter that went back was reset: its
    /// value was counted after the reset and is added to the total, which keeps the earlier
    /// counts.
    pub(super) fn read(&mut self, absolute: Counters) -> Reading {
        let growth = absolute.since(self.seen);
        let delta = growth.unwrap_or(absolute);
        self.seen = absolute;
        self.total += delta;
        Reading { delta, went_back: growth.is_none() }
    }

    /// Goes on with a life of which this was read last. Returns the last reading of the life
    /// before.
    pub(super) fn resume(&mut self, seen: Counters) -> Counters {
        std::mem::replace(&mut self.seen, seen)
    }

    /// Ends the current life: the counters of the next one start from zero.
    pub(super) fn life_ended(&mut self) {
        self.seen = Counters::default();
    }
}

/// What a reading of a megaflow's counters brought.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct News {
    /// The moment of the last hit, if there were hits since the last reading.
    pub used: Option<Moment>,
    /// The counter had gone back.
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
    /// Takes in an absolute reading of a megaflow's counters in a place.
    pub(super) fn read(
        &mut self,
        record: &mut FlowRecord,
        place: Place,
        stats: Stats,
        now: Moment,
    ) -> News {
        let account = &mut record.residence_mut(place).account;
        let reading = account.read(stats.counters);
        record.tcp_flags |= stats.tcp_flags;
        let mut used = None;
        if reading.delta.packets > 0 {
            record.recent = record.recent.saturating_add(reading.delta.packets);
            let at = stats.used.unwrap_or(now);
            used = Some(at);
            record.used = record.used.max(used);
            self.count(record, place, reading.delta);
        }
        News { used, went_back: reading.went_back }
    }

    /// Takes in the hits that an adopted megaflow had counted before the engine started.
    pub(super) fn adopted(&mut self, record: &mut FlowRecord, place: Place, counters: Counters) {
        record.residence_mut(place).account = Account::adopted(counters);
        self.count(record, place, counters);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn counters(packets: u64, bytes: u64) -> Counters {
        Counters { packets, bytes }
    }

    #[test]
    fn totals_never_go_back_and_nothing_is_counted_twice() {
        let mut account = Account::default();
        assert_eq!(account.read(counters(5, 500)).delta, counters(5, 500));
        assert_eq!(account.read(counters(5, 500)).delta, counters(0, 0));
        account.life_ended();
        assert_eq!(account.read(counters(2, 200)).delta, counters(2, 200));
        let reset = account.read(counters(1, 60));
        assert!(reset.went_back && reset.delta == counters(1, 60));
        assert_eq!(account.total(), counters(8, 760));
    }
}
