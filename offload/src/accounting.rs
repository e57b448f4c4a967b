//! Statistics: each hit is counted once, in the place where it happened, and totals never
//! decrease.

use std::collections::BTreeSet;

use flow::{Moment, Owner, ProviderError, ProviderEvent, Stats, TableUsage, Ufid};

use super::entry::Entry;
use super::event::{Cause, Command, Place, ProviderId};
use super::hardware::Hardware;
use super::life::Life;
use super::{Engine, Fault};
use crate::request::Response;

/// The weight of the newest interval in a megaflow's rate.
const RATE_WEIGHT: f64 = 0.5;

impl Engine {
    /// Takes an absolute reading of a megaflow's counters in a place.
    pub(super) fn read(&mut self, place: Place, ufid: Ufid, stats: Stats, now: Moment) {
        let Some(entry) = self.flows.get_mut(&ufid) else { return };
        let residence = entry.residence_mut(place);
        if place != Place::Host && self.settings.fault == Some(Fault::DropCounterUpdate) {
            let mut spoiled = residence.account;
            if spoiled.read(stats.counters).delta.packets > 0 {
                // The injected fault: the reading is noted as seen and not counted.
                residence.account.forget_update(stats.counters);
                self.settings.fault = None;
                return;
            }
        }
        let reading = residence.account.read(stats.counters);
        entry.tcp_flags |= stats.tcp_flags;
        if reading.delta.packets > 0 {
            entry.recent = entry.recent.saturating_add(reading.delta.packets);
            let used = stats.used.unwrap_or(now);
            entry.used = entry.used.max(Some(used));
            let flow = entry.flow.clone();
            match place {
                Place::Host if entry.scope() == 0 => self.first_pass_host += reading.delta,
                Place::Host => {}
                Place::Nic(provider) => {
                    let actions = entry.nic.installed.as_ref().unwrap_or(&flow.actions);
                    let hits = self.nic_hits.entry(provider).or_default();
                    hits.count(entry.scope(), actions, reading.delta);
                }
            }
            self.client.used(&flow, used);
        }
        if reading.went_back {
            let name = self.place_name(place);
            self.tally.correction(&name, "counter-reset");
        }
    }

    /// Handles a finished statistics pass: counts the hits, finds lost and foreign rules, and
    /// lets idle megaflows go.
    pub(super) fn statistics(
        &mut self,
        place: Place,
        stats: Result<Vec<(Ufid, Stats)>, ProviderError>,
        tables: Vec<TableUsage>,
        now: Moment,
    ) {
        self.reading.remove(&place);
        if let Place::Nic(provider) = place
            && !self.hardware.get(provider.0).is_some_and(Hardware::is_up)
        {
            // The statistics were read before the device was lost.
            return;
        }
        match (stats, place) {
            (Ok(stats), _) => self.pass(place, &stats, now),
            (Err(ProviderError::Gone(why)), Place::Nic(provider)) => {
                self.provider_event(provider, ProviderEvent::Gone(why), now);
            }
            // The next pass tries again; the time of the last successful pass is a metric.
            (Err(_), _) => self.reconciled(place),
        }
        if let Place::Nic(provider) = place {
            self.table_usage(provider, tables);
            self.exchange(provider, now);
            if let Some(hardware) = self.hardware.get_mut(provider.0) {
                hardware.said_full = false;
            }
        }
        if place == Place::Host {
            self.rates_and_ages(now);
        }
    }

    fn pass(&mut self, place: Place, stats: &[(Ufid, Stats)], now: Moment) {
        let mut there = BTreeSet::new();
        for (ufid, stats) in stats {
            there.insert(*ufid);
            let entry = self.flows.get(ufid).filter(|entry| entry.lives_in(place));
            match entry.map(|entry| entry.residence(place).life) {
                Some(life) if life.forwards() => self.read(place, *ufid, *stats, now),
                // The install's completion is on the way and carries the statistics.
                Some(Life::Installing) => {}
                _ => self.foreign(place, *ufid),
            }
        }
        let lost: Vec<Ufid> = self
            .flows
            .iter()
            .filter(|(ufid, entry)| {
                entry.lives_in(place)
                    && entry.residence(place).life == Life::Present
                    && !there.contains(ufid)
            })
            .map(|(ufid, _)| *ufid)
            .collect();
        for ufid in lost {
            self.repair(place, ufid, now);
        }
        if let Place::Nic(provider) = place
            && let Some(hardware) = self.hardware.get_mut(provider.0)
        {
            hardware.read_at = now;
        }
        let name = self.place_name(place);
        self.tally.reconciled(&name, now);
        self.reconciled(place);
    }

    /// Handles a rule that a reading left out: another program removed it from the device, or the
    /// device was too busy to list it. A replacement or a removal shows which.
    fn repair(&mut self, place: Place, ufid: Ufid, now: Moment) {
        let name = self.place_name(place);
        self.tally.correction(&name, "missing");
        let Some(entry) = self.flows.get_mut(&ufid) else { return };
        let residence = entry.residence_mut(place);
        let scopes = residence.scopes();
        residence.installed = None;
        if place != Place::Host {
            self.index(ufid);
            self.chain_changed(ufid, scopes, now);
        }
        self.plan(ufid, now);
    }

    /// Removes an entry that carries our cookie and does not belong to a megaflow in this place.
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
        let mut homes = tables.iter().filter(|table| table.holds_megaflows).peekable();
        hardware.crowded = homes.peek().is_some() && homes.all(crowded);
        hardware.tables = tables;
    }

    /// Updates the rates for the placement policy, and lets idle megaflows go.
    fn rates_and_ages(&mut self, now: Moment) {
        let interval = self.settings.stats_interval.as_secs_f64().max(0.001);
        let mut idle = Vec::new();
        for (ufid, entry) in &mut self.flows {
            let recent = u32::try_from(std::mem::take(&mut entry.recent)).unwrap_or(u32::MAX);
            let newest = f64::from(recent) / interval;
            entry.rate += RATE_WEIGHT * (newest - entry.rate);
            // Hits in the NIC are known up to its last reading only; later ones may not have been
            // read yet.
            let hardware = entry.provider.filter(|_| entry.nic.life.forwards());
            let hardware = hardware.and_then(|provider| self.hardware.get(provider.0));
            let known_until = hardware.map_or(now, |hardware| hardware.read_at.min(now));
            if is_idle(entry, known_until, self.settings.max_idle) {
                idle.push(*ufid);
            }
        }
        for ufid in idle {
            self.leave(ufid, Cause::Idle, now);
        }
    }

    /// Lets a megaflow go: it is removed from the NIC, then from the host table.
    pub(super) fn leave(&mut self, ufid: Ufid, cause: Cause, now: Moment) {
        if let Some(entry) = self.flows.get_mut(&ufid) {
            // An operator's removal is final: the next packet does not take it back.
            if entry.leaving.is_none() || cause == Cause::Operator {
                entry.leaving = Some(cause);
            }
        }
        self.plan(ufid, now);
    }

    /// A pass over a place is done. If a request waits for a later pass, that pass begins now.
    pub(super) fn reconciled(&mut self, place: Place) {
        let mut again = false;
        for (_, passes) in &mut self.reconciling {
            if let Some(passes_left) = passes.get_mut(&place) {
                *passes_left -= 1;
                again |= *passes_left > 0;
                passes.retain(|_, left| *left > 0);
            }
        }
        if again && self.reading.insert(place) {
            self.out.other.push(Command::ReadStats(place));
        }
        self.answer_reconciled();
    }

    /// No pass over this place comes any more: no request waits for one.
    pub(super) fn nobody_waits_for(&mut self, place: Place) {
        for (_, passes) in &mut self.reconciling {
            passes.remove(&place);
        }
        self.answer_reconciled();
    }

    fn answer_reconciled(&mut self) {
        let out = &mut self.out;
        self.reconciling.retain(|(token, passes)| {
            if passes.is_empty() {
                out.replies.push((*token, Ok(Response::Done)));
            }
            !passes.is_empty()
        });
    }

    /// Counts a megaflow under its current placement.
    pub(super) fn recount(&mut self, ufid: Ufid, cause: &'static str) {
        let Some(entry) = self.flows.get_mut(&ufid) else { return };
        let placement = entry.placement();
        if entry.counted_as != Some(placement) {
            let from = entry.counted_as.replace(placement);
            self.tally.moved(from, placement, cause);
        }
    }
}

fn is_idle(entry: &Entry, known_until: Moment, max_idle: std::time::Duration) -> bool {
    let last = entry.used.unwrap_or(entry.created).max(entry.created);
    entry.owner == Owner::Client && entry.leaving.is_none() && known_until.since(last) >= max_idle
}
