//! Placement: the hardware providers, and the megaflows that wait for room in them.
//!
//! Admission decides first, then room, the budget of inserts and the rates.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::sync::Arc;

use flow::{Megaflow, Moment, Reason, Reasons, Refusal, Refusals, TableUsage};

use crate::device::Device;
use crate::engine::each;
use crate::event::ProviderId;
use crate::flows::Flows;
use crate::policy::Policy;
use crate::record::FlowRecord;
use crate::request::{Explanation, Standing};
use crate::residence::Life;
use crate::sets::FlowId;

/// The largest number of evictions per statistics pass: the table is not turned over at once.
const EVICTIONS_PER_PASS: usize = 64;

/// The hardware providers and those who wait for them.
pub(super) struct Placer {
    devices: Vec<Device>,
    policy: Box<dyn Policy>,
    /// Megaflows that wait for a NIC.
    waiting: BTreeSet<FlowId>,
    /// When the waiting megaflows are tried next.
    next: Moment,
}

impl Placer {
    pub(super) fn new(policy: Box<dyn Policy>) -> Placer {
        let (devices, waiting) = (Vec::new(), BTreeSet::new());
        Placer { devices, policy, waiting, next: Moment::default() }
    }

    /// Adds a provider. The providers are tried in the order in which they were added.
    pub(super) fn add(&mut self, device: Device) -> ProviderId {
        self.devices.push(device);
        ProviderId(self.devices.len() - 1)
    }

    pub(super) fn device(&self, provider: ProviderId) -> Option<&Device> {
        self.devices.get(provider.0)
    }

    pub(super) fn device_mut(&mut self, provider: ProviderId) -> Option<&mut Device> {
        self.devices.get_mut(provider.0)
    }

    /// Returns all providers.
    pub(super) fn devices(&self) -> impl Iterator<Item = (ProviderId, &Device)> {
        self.devices.iter().enumerate().map(|(index, device)| (ProviderId(index), device))
    }

    /// Returns the providers that answer.
    pub(super) fn up(&self) -> impl Iterator<Item = ProviderId> + '_ {
        self.devices().filter(|(_, device)| device.is_up()).map(|(provider, _)| provider)
    }

    pub(super) fn name(&self, provider: ProviderId) -> Arc<str> {
        self.device(provider).map_or_else(|| "?".into(), |device| Arc::clone(&device.name))
    }

    /// Has the megaflow wait for a NIC.
    pub(super) fn wait(&mut self, id: FlowId) {
        self.waiting.insert(id);
    }

    /// The megaflow does not wait any more.
    pub(super) fn wait_no_more(&mut self, id: FlowId) {
        self.waiting.remove(&id);
    }

    /// Returns the first provider that admits the megaflow. If no provider does, returns the
    /// first provider's refusals; `None` if no provider is up.
    pub(super) fn admit(
        &self,
        flow: &Megaflow,
    ) -> Option<Result<ProviderId, (ProviderId, Refusals)>> {
        let mut first = None;
        for (provider, device) in self.devices().filter(|(_, device)| device.is_up()) {
            match device.admission.admit(flow) {
                Ok(()) => return Some(Ok(provider)),
                Err(why) => {
                    first.get_or_insert((provider, why));
                }
            }
        }
        first.map(Err)
    }

    /// Returns the obstacles that keep an admitted megaflow out of the device until other
    /// megaflows come or go. If `has_seat` is true, an evicted megaflow leaves its place to this
    /// one, and a crowded table is no obstacle.
    pub(super) fn obstacles(
        &self,
        flows: &Flows,
        flow: &Megaflow,
        provider: ProviderId,
        has_seat: bool,
    ) -> Reasons {
        let mut reasons = Reasons::default();
        // A parent never points at a scope without a megaflow in the NIC.
        for scope in flows.scopes_without(flow, provider) {
            let why = format!("waiting: no megaflow with recirc_id {scope:#x} is in hardware yet");
            reasons.add(Refusal::new(Reason::Recirculation, "chain").detail(why));
        }
        let crowded = self.device(provider).is_some_and(|device| device.crowded);
        if crowded && !has_seat {
            let why = "waiting for room, or to be faster than a megaflow that is in the table";
            reasons.add(Refusal::new(Reason::TableFull, "crowded").detail(why));
        }
        reasons
    }

    /// Takes in how full a provider's tables are.
    pub(super) fn table_usage(&mut self, provider: ProviderId, tables: Vec<TableUsage>) {
        let crowded = |t: &TableUsage| {
            t.capacity.is_some_and(|capacity| self.policy.crowded(t.entries, capacity))
        };
        let mut homes = tables.iter().filter(|table| table.holds_megaflows).peekable();
        let is_crowded = homes.peek().is_some() && homes.all(crowded);
        if let Some(device) = self.device_mut(provider) {
            device.crowded = is_crowded;
            device.tables = tables;
        }
    }

    /// Returns true if a provider may be given new megaflows now.
    pub(super) fn takes(&mut self, now: Moment) -> bool {
        self.devices.iter_mut().any(|device| device.takes(now))
    }

    /// Returns the megaflows that may be tried now, the fastest first; none if the last try was
    /// too short a time ago or no provider takes any.
    pub(super) fn ready(&mut self, flows: &Flows, now: Moment) -> Vec<FlowId> {
        if self.waiting.is_empty() || !self.takes(now) || now < self.next {
            return Vec::new();
        }
        self.next = now + each(self.waiting.len());
        self.fastest(flows, usize::MAX, |record| record.retry.is_none_or(|at| at <= now))
    }

    /// Returns the waiting megaflows for which `is` returns true, the fastest first and at most
    /// `most`.
    fn fastest(&self, flows: &Flows, most: usize, is: impl Fn(&FlowRecord) -> bool) -> Vec<FlowId> {
        let waiting = self.waiting.iter().filter_map(|id| Some((*id, flows.get(*id)?)));
        let rates = waiting.filter(|(_, record)| is(record)).map(|(id, record)| (record.rate, id));
        first(rates.collect(), most, |a, b| b.total_cmp(a))
    }

    /// Returns true if room is all that keeps the megaflow out of the provider.
    fn can_come(&self, flows: &Flows, record: &FlowRecord, provider: ProviderId) -> bool {
        let settled = record.host.life == Life::Present && record.nic.life == Life::Absent;
        let admits = |device: &Device| device.admission.admit(&record.flow).is_ok();
        settled
            && record.may_be_placed()
            && self.device(provider).is_some_and(admits)
            && flows.scopes_without(&record.flow, provider).is_empty()
    }

    /// Returns who is to exchange places in a provider that is short of room: pairs of a fast
    /// newcomer and a slow victim, as far as the policy says.
    pub(super) fn exchanges(&self, flows: &Flows, provider: ProviderId) -> Vec<(FlowId, FlowId)> {
        if !self.device(provider).is_some_and(Device::short_of_room) {
            return Vec::new();
        }
        let can_come = |record: &FlowRecord| self.can_come(flows, record, provider);
        let newcomers = self.fastest(flows, EVICTIONS_PER_PASS, can_come);
        let there = flows.iter().filter(|(_, record)| {
            let comes_out = record.want_nic && record.leaving.is_none();
            record.provider == Some(provider) && record.nic.life == Life::Present && comes_out
        });
        let rates = there.map(|(id, record)| (record.rate, id)).collect();
        let victims = first(rates, EVICTIONS_PER_PASS, f64::total_cmp);
        let rate = |id: &FlowId| flows.get(*id).map_or(0.0, |record| record.rate);
        let pairs = newcomers.into_iter().zip(victims);
        pairs.take_while(|(n, v)| self.policy.displaces(rate(n), rate(v))).collect()
    }

    /// Explains what each provider does with a megaflow, which may be installed or not. The
    /// functions that decide are asked, so the explanation holds for this moment.
    pub(super) fn explain(&self, flows: &Flows, flow: &Megaflow, now: Moment) -> Vec<Explanation> {
        let record = flows.find(flow.ufid).and_then(|id| flows.get(id));
        let record = record.filter(|record| record.flow.actions == flow.actions);
        let explain = |(id, device): (ProviderId, &Device)| {
            let provider = device.name.to_string();
            let said = record.filter(|record| record.provider == Some(id));
            match device.admission.explain(flow) {
                Err(why) => Explanation { provider, plan: None, standing: Standing::Refuses(why) },
                Ok(plan) => {
                    let obstacles = self.obstacles(flows, flow, id, false);
                    let standing = device.standing(said, obstacles, now);
                    Explanation { provider, plan: Some(plan), standing }
                }
            }
        };
        self.devices().map(explain).collect()
    }
}

/// Returns the ids of the first `most` entries in this order of rates. Selects them before
/// sorting, so that a long list is not sorted for a few.
fn first(
    mut rates: Vec<(f64, FlowId)>,
    most: usize,
    order: fn(&f64, &f64) -> Ordering,
) -> Vec<FlowId> {
    let by = |a: &(f64, FlowId), b: &(f64, FlowId)| order(&a.0, &b.0).then(a.1.cmp(&b.1));
    if most < rates.len() {
        rates.select_nth_unstable_by(most, by);
        rates.truncate(most);
    }
    rates.sort_unstable_by(by);
    rates.into_iter().map(|(_, id)| id).collect()
}
