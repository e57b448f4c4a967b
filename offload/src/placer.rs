//! Placement: the hardware providers, and the megaflows that wait for room in them.
//!
//! Admission decides first, then room, the budget of inserts and the rates.

use std::sync::Arc;

use flow::{
    Detail, Megaflow, Moment, Reason, Reasons, RecircId, Refusal, Refusals, Subject, TableUsage,
};

use crate::device::{Device, gone};
use crate::event::ProviderId;
use crate::flows::Flows;
use crate::policy::Policy;
use crate::queue::Queue;
use crate::record::FlowRecord;
use crate::request::{Explanation, Standing};
use crate::residence::Life;
use crate::sets::{FlowId, Least};

/// The largest number of evictions per statistics pass: the table is not turned over at once.
const EVICTIONS_PER_PASS: usize = 64;

/// The hardware providers and those who wait for them.
pub(super) struct Placer {
    devices: Vec<Device>,
    policy: Box<dyn Policy>,
    pub(super) queue: Queue,
}

/// The candidates for an exchange in a provider that is short of room: the fastest of those that
/// room alone keeps out, and the slowest of those that are in.
pub(super) struct Rivals {
    newcomers: Least,
    victims: Least,
}

impl Placer {
    pub(super) fn new(policy: Box<dyn Policy>) -> Placer {
        Placer { devices: Vec::new(), policy, queue: Queue::default() }
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

    /// Returns the providers that answer and whose content the engine knows.
    pub(super) fn ready(&self) -> impl Iterator<Item = ProviderId> + '_ {
        self.devices().filter(|(_, device)| device.is_ready()).map(|(provider, _)| provider)
    }

    /// Returns true if so many operations wait for a provider that nothing more is to be begun.
    pub(super) fn is_congested(&self) -> bool {
        self.devices.iter().any(|device| !device.has_room())
    }

    pub(super) fn name(&self, provider: ProviderId) -> Arc<str> {
        self.device(provider).map_or_else(|| "?".into(), |device| Arc::clone(&device.name))
    }

    /// Returns the first provider that admits the megaflow. If no provider does, returns the
    /// refusals of the first one that is up, or why the first one is gone; `None` if there is no
    /// provider.
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
        let mut lost = self
            .devices()
            .filter_map(|(id, device)| Some((id, gone(device.gone.as_deref()?).into())));
        first.or_else(|| lost.next()).map(Err)
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
            let refusal = Refusal::new(Reason::Recirculation, Subject::Chain);
            reasons.add(refusal.detail(Detail::Waiting(RecircId(scope))));
        }
        let crowded = self.device(provider).is_some_and(Device::is_full);
        if crowded && !has_seat {
            let words = &"waiting for room, or to be faster than a megaflow that is in the table";
            reasons.add(Refusal::new(Reason::TableFull, Subject::Crowded).detail(words));
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

    /// Returns what megaflows wait for: a decision between the providers, and each provider that
    /// answers.
    pub(super) fn goals(&self) -> Vec<Option<ProviderId>> {
        [None].into_iter().chain(self.up().map(Some)).collect()
    }

    /// Returns true if a megaflow that waits for this may be tried now.
    pub(super) fn takes(&mut self, goal: Option<ProviderId>, now: Moment) -> bool {
        let Some(provider) = goal else { return true };
        self.device_mut(provider).is_some_and(|device| device.takes(now))
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

    /// Returns an empty list of candidates; `None` if the provider is not short of room.
    pub(super) fn rivals(&self, provider: ProviderId) -> Option<Rivals> {
        self.device(provider).is_some_and(Device::short_of_room).then(|| Rivals {
            newcomers: Least::new(EVICTIONS_PER_PASS),
            victims: Least::new(EVICTIONS_PER_PASS),
        })
    }

    /// Takes a megaflow into the list of candidates if it belongs there.
    pub(super) fn compete(
        &self,
        rivals: &mut Rivals,
        provider: ProviderId,
        flows: &Flows,
        id: FlowId,
    ) {
        let Some(record) = flows.get(id) else { return };
        // The bits of positive numbers are in the order of the numbers.
        let key = record.rate.to_bits();
        if record.provider == Some(provider) && record.nic.life == Life::Present {
            if record.want_nic && record.leaving.is_none() {
                rivals.victims.offer(key, id);
            }
        } else if rivals.newcomers.keeps(!key) && self.can_come(flows, record, provider) {
            rivals.newcomers.offer(!key, id);
        }
    }

    /// Returns who is to exchange places: pairs of a fast newcomer and a slow victim, as far as
    /// the policy says.
    pub(super) fn exchanges(&self, flows: &Flows, rivals: Rivals) -> Vec<(FlowId, FlowId)> {
        let rate = |id: &FlowId| flows.get(*id).map_or(0.0, |record| record.rate);
        let newcomers = rivals.newcomers.into_sorted().into_iter();
        let pairs = newcomers.zip(rivals.victims.into_sorted());
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
