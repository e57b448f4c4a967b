//! Statistics: every hit counted once, in the place where it hit; totals that never go back.

use std::collections::BTreeSet;

use flow::{Moment, ProviderError, ProviderEvent, Stats, TableUsage, Ufid};

use super::entry::{Entry, Origin};
use super::event::{Cause, Place, ProviderId};
use super::life::Life;
use super::{Engine, Fault};
use crate::request::Response;

/// Weight of the newest interval in a flow's rate.
const RATE_WEIGHT: f64 = 0.5;

impl Engine {
    /// Takes an absolute reading of a megaflow in a place.
    pub(super) fn read(&mut self, place: Place, ufid: Ufid, stats: Stats, now: Moment) {
        let Some(entry) = self.flows.get_mut(&ufid) else { return };
        let residence = entry.residence_mut(place);
        if place != Place::Host && self.settings.fault == Some(Fault::DropCounterUpdate) {
            let mut spoiled = residence.account;
            if spoiled.read(stats.counters).delta.packets > 0 {
                // The injected fault: the reading is taken as seen, but not added.
                residence.account.forget_update(stats.counters);
                self.settings.fault = None;
                return;
            }
        }
        let reading = residence.account.read(stats.counters);
        entry.tcp_flags |= stats.tcp_flags;
        if reading.delta.packets > 0 {
            entry.recent += reading.delta.packets;
            let used = stats.used.unwrap_or(now);
            entry.used = entry.used.max(Some(used));
            let flow = entry.flow.clone();
            if entry.scope() == 0 {
                match place {
                    Place::Host => self.first_pass_host += reading.delta,
                    Place::Nic(provider) => {
                        *self.first_pass_nic.entry(provider).or_default() += reading.delta;
                    }
                }
            }
            self.client.used(&flow, used);
        }
        if reading.went_back {
            let name = self.place_name(place);
            self.tally.correction(&name, "counter-reset");
        }
    }

    /// A statistics pass is done: count, find what is lost or foreign, let idle ones go.
    pub(super) fn statistics(
        &mut self,
        place: Place,
        stats: Result<Vec<(Ufid, Stats)>, ProviderError>,
        tables: Vec<TableUsage>,
        now: Moment,
    ) {
        self.reading.remove(&place);
        match (stats, place) {
            (Ok(stats), _) => self.pass(place, &stats, now),
            (Err(ProviderError::Gone(why)), Place::Nic(provider)) => {
                self.provider_event(provider, ProviderEvent::Gone(why), now);
            }
            // Tried again at the next pass; the time of the last good one is a metric.
            (Err(_), _) => self.reconciled(place),
        }
        if let Place::Nic(provider) = place {
            self.table_usage(provider, tables);
            self.exchange(provider, now);
        }
        if place == Place::Host {
            self.rates_and_ages(now);
        }
    }

    fn pass(&mut self, place: Place, stats: &[(Ufid, Stats)], now: Moment) {
        let mut there = BTreeSet::new();
        for (ufid, stats) in stats {
            there.insert(*ufid);
            match self.flows.get_mut(ufid).map(|entry| entry.residence_mut(place).life) {
                Some(life) if life.forwards() => self.read(place, *ufid, *stats, now),
                // Its completion is on the way and carries the statistics.
                Some(Life::Installing) => {}
                _ => self.foreign(place, *ufid),
            }
        }
        let lost: Vec<Ufid> = self
            .flows
            .iter()
            .filter(|(ufid, entry)| {
                let resides = match place {
                    Place::Host => true,
                    Place::Nic(provider) => entry.provider == Some(provider),
                };
                resides && entry.residence(place).life == Life::Present && !there.contains(ufid)
            })
            .map(|(ufid, _)| *ufid)
            .collect();
        for ufid in lost {
            self.repair(place, ufid, now);
        }
        let name = self.place_name(place);
        self.tally.reconciled(&name, now);
        self.reconciled(place);
    }

    /// Somebody took a rule out of the device behind our back: put it in again.
    fn repair(&mut self, place: Place, ufid: Ufid, now: Moment) {
        let name = self.place_name(place);
        self.tally.correction(&name, "missing");
        if let Some(entry) = self.flows.get_mut(&ufid) {
            let residence = entry.residence_mut(place);
            residence.life = Life::Absent;
            residence.installed = None;
            residence.account.life_ended();
        }
        self.recount(ufid, "missing");
        self.plan(ufid, now);
    }

    /// An entry that carries our cookie and is not ours any more: out with it.
    fn foreign(&mut self, place: Place, ufid: Ufid) {
        if let Place::Nic(provider) = place {
            let name = self.place_name(place);
            self.tally.correction(&name, "foreign");
            self.out.nic.entry(provider).or_default().push(flow::Op::Remove { ufid });
        }
    }

    fn table_usage(&mut self, provider: ProviderId, tables: Vec<TableUsage>) {
        let Some(hardware) = self.hardware.get_mut(provider.0) else { return };
        let crowded = |t: &TableUsage| {
            t.capacity.is_some_and(|capacity| self.policy.crowded(t.entries, capacity))
        };
        // A flow fits as long as one of its tables has room; each table takes any flow.
        hardware.crowded = !tables.is_empty() && tables.iter().all(crowded);
        hardware.said_full = false;
        hardware.tables = tables;
    }

    /// Rates for the placement policy, and the end of what nobody uses.
    fn rates_and_ages(&mut self, now: Moment) {
        let interval = self.settings.stats_interval.as_secs_f64().max(0.001);
        let mut idle = Vec::new();
        for (ufid, entry) in &mut self.flows {
            let recent = u32::try_from(std::mem::take(&mut entry.recent)).unwrap_or(u32::MAX);
            let newest = f64::from(recent) / interval;
            entry.rate += RATE_WEIGHT * (newest - entry.rate);
            if is_idle(entry, now, self.settings.max_idle) {
                idle.push(*ufid);
            }
        }
        for ufid in idle {
            self.leave(ufid, Cause::Idle, now);
        }
    }

    /// Lets a megaflow go: out of the NIC, then out of the host table.
    pub(super) fn leave(&mut self, ufid: Ufid, cause: Cause, now: Moment) {
        if let Some(entry) = self.flows.get_mut(&ufid) {
            entry.leaving.get_or_insert(cause);
        }
        self.plan(ufid, now);
    }

    /// Somebody may wait for this pass.
    pub(super) fn reconciled(&mut self, place: Place) {
        for (_, passes) in &mut self.reconciling {
            if let Some(passes_left) = passes.get_mut(&place) {
                *passes_left -= 1;
                passes.retain(|_, left| *left > 0);
            }
        }
        let out = &mut self.out;
        self.reconciling.retain(|(token, passes)| {
            if passes.is_empty() {
                out.replies.push((*token, Ok(Response::Done)));
            }
            !passes.is_empty()
        });
    }

    /// Counts a megaflow under the placement that it has now.
    pub(super) fn recount(&mut self, ufid: Ufid, cause: &'static str) {
        let Some(entry) = self.flows.get_mut(&ufid) else { return };
        let placement = entry.placement();
        if entry.counted_as != Some(placement) {
            let from = entry.counted_as.replace(placement);
            self.tally.moved(from, placement, cause);
        }
    }
}

fn is_idle(entry: &Entry, now: Moment, max_idle: std::time::Duration) -> bool {
    let last = entry.used.unwrap_or(entry.created).max(entry.created);
    entry.origin == Origin::Client && entry.leaving.is_none() && now.since(last) >= max_idle
}
