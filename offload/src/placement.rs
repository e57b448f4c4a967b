//! Decides which megaflows go into the NIC: admission first, then room, budget and rates.

use std::cmp::Ordering;
use std::sync::Arc;
use std::time::Duration;

use flow::{Admission, Megaflow, Moment, Reason, Reasons, Refusal, Refusals, Ufid};

use super::entry::{Entry, Refused};
use super::event::ProviderId;
use super::hardware::Hardware;
use super::life::Life;
use super::{Engine, each};

/// Decides which megaflows a table holds when it has no room for all. Rates are in packets per
/// second.
pub trait Policy: Send {
    /// Returns true if the table is so full that a new megaflow needs a victim. The threshold
    /// must be below the capacity.
    fn crowded(&self, entries: u64, capacity: u64) -> bool;

    /// Returns true if the newcomer is to take the victim's place. Must have hysteresis: two
    /// megaflows of the same rate must not push each other out in turn.
    fn displaces(&self, newcomer: f64, victim: f64) -> bool;
}

/// The default policy: a newcomer displaces the slowest megaflow if it is more than twice as fast
/// and has at least 10 packets per second.
#[derive(Clone, Copy, Debug, Default)]
pub struct ByRate;

impl Policy for ByRate {
    fn crowded(&self, entries: u64, capacity: u64) -> bool {
        // One place in 16 stays free: cuckoo placement and make-before-break need room to move.
        entries.saturating_mul(16) >= capacity.saturating_mul(15)
    }

    fn displaces(&self, newcomer: f64, victim: f64) -> bool {
        newcomer >= 10.0 && newcomer > 2.0 * victim
    }
}

/// The number of inserts that a provider may be given: a bucket that fills with time.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    per_second: u32,
    tokens: f64,
    filled: Moment,
}

impl Budget {
    /// Returns a full bucket that holds a tenth of a second's inserts, at least one.
    #[must_use]
    pub fn new(per_second: u32) -> Budget {
        Budget { per_second, tokens: Budget::depth(per_second), filled: Moment::default() }
    }

    fn depth(per_second: u32) -> f64 {
        (f64::from(per_second) / 10.0).max(1.0)
    }

    /// Returns true if the budget allows an insert now.
    pub(super) fn has(&mut self, now: Moment) -> bool {
        let time = now.since(self.filled).as_secs_f64();
        self.filled = now;
        let filled = self.tokens + time * f64::from(self.per_second);
        self.tokens = filled.min(Budget::depth(self.per_second));
        self.tokens >= 1.0
    }

    fn take(&mut self, now: Moment) -> bool {
        let has = self.has(now);
        if has {
            self.tokens -= 1.0;
        }
        has
    }
}

/// How long a megaflow that found the table full waits before it is tried again.
pub(super) const RETRY_FULL: Duration = Duration::from_secs(2);
/// How long a megaflow waits after a removal that failed, before it is tried again.
pub(super) const RETRY_REMOVAL: Duration = Duration::from_millis(200);
/// The number of failed removals, a second's worth, after which waiting requests are answered
/// with the error.
pub(super) const REMOVALS: u32 = 5;
/// The largest number of evictions per statistics pass: the table is not turned over at once.
const EVICTIONS_PER_PASS: usize = 64;

impl Engine {
    /// Sends a megaflow to the NIC if it may go there now; otherwise the megaflow waits or gets a
    /// refusal.
    pub(super) fn place(&mut self, ufid: Ufid, now: Moment) {
        self.place_with(ufid, false, now);
    }

    /// Does the same as `place`. If `has_seat` is true, an evicted megaflow leaves its place to
    /// this one, and a crowded table is no obstacle.
    fn place_with(&mut self, ufid: Ufid, has_seat: bool, now: Moment) {
        let Some(entry) = self.flows.get(&ufid) else { return };
        let settled = entry.host.life == Life::Present && entry.nic.life == Life::Absent;
        if entry.leaving.is_some() || !settled || entry.want_nic || entry.stays_refused(now) {
            return;
        }
        match self.admit(ufid) {
            None => {}
            Some(Err((provider, why))) => {
                let name = self.hardware_name(provider);
                self.tally.decided(&name, why.first.reason.code());
                self.refuse(ufid, why, None, now);
            }
            Some(Ok(provider)) => self.place_in(ufid, provider, has_seat, now),
        }
    }

    fn place_in(&mut self, ufid: Ufid, provider: ProviderId, has_seat: bool, now: Moment) {
        let Some(entry) = self.flows.get(&ufid) else { return };
        // Obstacles that may last become a refusal with a reason. The device's start and the
        // budget hold a megaflow up for moments only and need no reason.
        if let Some(why) = self.obstacles(&entry.flow, provider, has_seat).into_refusals() {
            return self.refuse(ufid, why, Some(now), now);
        }
        let Some(hardware) = self.hardware.get_mut(provider.0) else { return };
        if !hardware.is_ready() || !hardware.budget.take(now) {
            self.waiting.insert(ufid);
            return;
        }
        let name = hardware.name.clone();
        self.tally.decided(&name, "admitted");
        if let Some(entry) = self.flows.get_mut(&ufid) {
            entry.provider = Some(provider);
            entry.want_nic = true;
            // If the megaflow is called back before it is in, it may be tried again at once.
            entry.retry = entry.refused.is_some().then_some(now);
        }
        self.plan(ufid, now);
    }

    /// Returns the obstacles that keep an admitted megaflow out of the device until other
    /// megaflows come or go.
    pub(super) fn obstacles(
        &self,
        flow: &Megaflow,
        provider: ProviderId,
        has_seat: bool,
    ) -> Reasons {
        let mut reasons = Reasons::default();
        // A parent never points at a scope without a megaflow in the NIC.
        for scope in self.scopes_without(flow, provider) {
            let why = format!("waiting: no megaflow with recirc_id {scope:#x} is in hardware yet");
            reasons.add(Refusal::new(Reason::Recirculation, "chain").detail(why));
        }
        let crowded = self.hardware.get(provider.0).is_some_and(|hardware| hardware.crowded);
        if crowded && !has_seat {
            let why = "waiting for room, or to be faster than a megaflow that is in the table";
            reasons.add(Refusal::new(Reason::TableFull, "crowded").detail(why));
        }
        reasons
    }

    /// Returns the first provider that admits the megaflow. If no provider does, returns the
    /// first provider's refusals; `None` if no hardware is up.
    fn admit(&self, ufid: Ufid) -> Option<Result<ProviderId, (ProviderId, Refusals)>> {
        let flow = &self.flows.get(&ufid)?.flow;
        let mut first = None;
        for (index, hardware) in self.hardware.iter().enumerate().filter(|(_, h)| h.is_up()) {
            match hardware.admission.admit(flow) {
                Ok(()) => return Some(Ok(ProviderId(index))),
                Err(why) => {
                    first.get_or_insert((ProviderId(index), why));
                }
            }
        }
        first.map(Err)
    }

    /// Notes why a megaflow is not in the NIC, and when it may be tried again.
    pub(super) fn refuse(&mut self, ufid: Ufid, why: Refusals, retry: Option<Moment>, now: Moment) {
        if let Some(entry) = self.flows.get_mut(&ufid) {
            let before = entry.refused.take();
            let goes_on = before.filter(|before| before.why.first.reason == why.first.reason);
            entry.want_nic = false;
            entry.refused = Some(Refused { why, since: goes_on.map_or(now, |b| b.since) });
            entry.retry = retry;
        }
        if retry.is_some() {
            self.waiting.insert(ufid);
        } else {
            self.waiting.remove(&ufid);
        }
        self.recount(ufid, "refused");
    }

    /// Sets the admission of a device whose abilities changed, or whose reason for a refusal is
    /// gone. Every refused megaflow is tried again.
    pub fn set_admission(
        &mut self,
        provider: ProviderId,
        admission: Arc<dyn Admission>,
        now: Moment,
    ) {
        let Some(hardware) = self.hardware.get_mut(provider.0) else { return };
        // A new snapshot stands for new conditions, even if the capabilities are the same.
        if Arc::ptr_eq(&hardware.admission, &admission) {
            return;
        }
        hardware.admission = admission;
        for (ufid, entry) in self.flows.iter_mut().filter(|(_, entry)| entry.refused.is_some()) {
            entry.retry.get_or_insert(now);
            self.waiting.insert(*ufid);
        }
    }

    /// Tries the megaflows that wait for budget, room, their children or the end of a retry time.
    /// The fastest megaflow comes first; the pass ends when no hardware takes more.
    pub(super) fn place_waiting(&mut self, now: Moment) {
        let takes = self.hardware.iter_mut().any(|hardware| hardware.takes(now));
        if self.waiting.is_empty() || !takes || now < self.next_placing {
            return;
        }
        self.next_placing = now + each(self.waiting.len());
        for ufid in self.fastest_waiting(usize::MAX, |entry| entry.retry.is_none_or(|at| at <= now))
        {
            if !self.hardware.iter_mut().any(|h| h.takes(now)) {
                return;
            }
            self.waiting.remove(&ufid);
            self.place(ufid, now);
        }
    }

    /// Returns the waiting megaflows for which `is` returns true, the fastest first and at most
    /// `most`.
    fn fastest_waiting(&self, most: usize, is: impl Fn(&Entry) -> bool) -> Vec<Ufid> {
        let entries = self.waiting.iter().filter_map(|ufid| self.flows.get(ufid));
        let rates = entries.filter(|entry| is(entry)).map(|e| (e.rate, e.flow.ufid));
        first(rates.collect(), most, |a, b| b.total_cmp(a))
    }

    /// Returns true if room is all that keeps the megaflow out of the provider.
    fn can_come(&self, entry: &Entry, provider: ProviderId) -> bool {
        let settled = entry.host.life == Life::Present && entry.nic.life == Life::Absent;
        let admits = |h: &Hardware| h.admission.admit(&entry.flow).is_ok();
        settled
            && entry.may_be_placed()
            && self.hardware.get(provider.0).is_some_and(admits)
            && self.chain_is_in(entry.flow.ufid, provider)
    }

    /// Exchanges megaflows after a statistics pass, if the provider is short of room: the slowest
    /// megaflows are evicted, and the fastest waiting ones take their places, as far as the
    /// policy says.
    pub(super) fn exchange(&mut self, provider: ProviderId, now: Moment) {
        let full = self.hardware.get(provider.0).is_some_and(Hardware::short_of_room);
        if !full {
            return;
        }
        let can_come = |entry: &Entry| self.can_come(entry, provider);
        let newcomers = self.fastest_waiting(EVICTIONS_PER_PASS, can_come);
        let there = |entry: &&Entry| {
            let comes_out = entry.want_nic && entry.leaving.is_none();
            entry.provider == Some(provider) && entry.nic.life == Life::Present && comes_out
        };
        let rates = self.flows.values().filter(there).map(|entry| (entry.rate, entry.flow.ufid));
        let victims = first(rates.collect(), EVICTIONS_PER_PASS, f64::total_cmp);
        let rate = |ufid: &Ufid| self.flows.get(ufid).map_or(0.0, |entry| entry.rate);
        let pairs: Vec<(Ufid, Ufid)> = newcomers
            .into_iter()
            .zip(victims)
            .take_while(|(n, v)| self.policy.displaces(rate(n), rate(v)))
            .collect();
        for (newcomer, victim) in pairs {
            let ready = |h: &mut Hardware| h.is_ready() && h.budget.has(now);
            if !self.hardware.get_mut(provider.0).is_some_and(ready) {
                return;
            }
            let refusal = Refusal::new(Reason::TableFull, "evicted")
                .detail("a faster megaflow took its place");
            self.tally.evictions += 1;
            self.refuse(victim, refusal.into(), Some(now + RETRY_FULL), now);
            self.plan(victim, now);
            if let Some(entry) = self.flows.get_mut(&newcomer) {
                entry.retry = Some(now);
            }
            // The newcomer's install comes behind the victim's removal in the same batch.
            self.place_with(newcomer, true, now);
        }
    }
}

/// Returns the ufids of the first `most` entries in this order of rates. Selects them before
/// sorting, so that a long list is not sorted for a few.
fn first(mut rates: Vec<(f64, Ufid)>, most: usize, order: fn(&f64, &f64) -> Ordering) -> Vec<Ufid> {
    let by = |a: &(f64, Ufid), b: &(f64, Ufid)| order(&a.0, &b.0).then(a.1.cmp(&b.1));
    if most < rates.len() {
        rates.select_nth_unstable_by(most, by);
        rates.truncate(most);
    }
    rates.sort_unstable_by(by);
    rates.into_iter().map(|(_, ufid)| ufid).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_flows_do_not_push_each_other_out() {
        assert!(!ByRate.displaces(1000.0, 1000.0));
        assert!(!ByRate.displaces(1900.0, 1000.0));
        assert!(ByRate.displaces(2100.0, 1000.0));
        assert!(!ByRate.displaces(5.0, 0.0));
    }

    #[test]
    fn a_budget_is_kept_over_time() {
        let mut budget = Budget::new(100);
        let mut taken = 0;
        for millisecond in 0..1000_u64 {
            let now = Moment(millisecond * 1_000_000);
            while budget.take(now) {
                taken += 1;
            }
        }
        assert!((100..=110).contains(&taken), "{taken}");
    }
}
