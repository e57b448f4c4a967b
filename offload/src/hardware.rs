//! The hardware providers as the engine sees them: how they are added, how the megaflows that
//! they held at start are adopted, and what happens when they are lost.

use std::cmp::Reverse;
use std::sync::Arc;

use flow::{
    Admission, Dumped, Megaflow, Moment, Op, Owner, ProviderEvent, Reason, Refusal, TableUsage,
    Ufid,
};

use super::entry::Entry;
use super::event::{Cause, Command, Place, ProviderId};
use super::life::{Account, Life};
use super::{Budget, Engine};

/// One hardware provider.
pub(super) struct Hardware {
    pub(super) name: Arc<str>,
    pub(super) admission: Arc<dyn Admission>,
    /// Why the provider no longer answers; `None` while it answers.
    pub(super) gone: Option<String>,
    /// True once the engine knows what the provider held at start. Before, nothing is installed
    /// in the provider.
    pub(super) known: bool,
    /// When the provider's counters were last read.
    pub(super) read_at: Moment,
    pub(super) budget: Budget,
    pub(super) tables: Vec<TableUsage>,
    /// The policy considers the provider too full for new megaflows.
    pub(super) crowded: bool,
    /// The provider has refused an operation as "full" since the last statistics pass.
    pub(super) said_full: bool,
    /// The number of operations sent and not completed.
    pub(super) queued: usize,
}

impl Hardware {
    /// Returns true while the provider answers.
    pub(super) fn is_up(&self) -> bool {
        self.gone.is_none()
    }

    /// Returns true if the provider's tables are crowded or an operation was refused as "full".
    pub(super) fn short_of_room(&self) -> bool {
        self.crowded || self.said_full
    }

    /// Returns the number of ports whose megaflows the provider can hold now.
    pub(super) fn ports(&self) -> u64 {
        let ports = self.admission.capabilities().ports.len();
        if self.is_up() { ports as u64 } else { 0 }
    }

    /// Returns true if the provider answers and the engine knows what it holds.
    pub(super) fn is_ready(&self) -> bool {
        self.is_up() && self.known
    }

    /// Returns true if the provider may be given new megaflows now.
    pub(super) fn takes(&mut self, now: Moment) -> bool {
        self.is_ready() && !self.crowded && self.budget.has(now)
    }
}

impl Engine {
    /// Adds a hardware provider. Placement tries the providers in the order in which they were
    /// added.
    pub fn add_hardware(
        &mut self,
        name: &str,
        admission: Arc<dyn Admission>,
        budget: Budget,
    ) -> ProviderId {
        self.tally.add_provider(name);
        self.hardware.push(Hardware {
            name: name.into(),
            admission,
            gone: None,
            known: false,
            read_at: Moment::default(),
            budget,
            tables: Vec::new(),
            crowded: false,
            said_full: false,
            queued: 0,
        });
        ProviderId(self.hardware.len() - 1)
    }

    /// Handles an event that a device reports by itself.
    pub(super) fn provider_event(
        &mut self,
        provider: ProviderId,
        event: ProviderEvent,
        now: Moment,
    ) {
        match event {
            ProviderEvent::Changed => {
                self.next_stats = now;
            }
            ProviderEvent::Corrected { kind, megaflows, .. } => {
                let name = self.hardware_name(provider);
                self.tally.corrections(&name, kind.name(), megaflows);
            }
            ProviderEvent::Gone(why) => self.lost(provider, &why, now),
        }
    }

    /// Handles the loss of a device: its megaflows go on in the host table, with their counts.
    pub(super) fn lost(&mut self, provider: ProviderId, why: &str, now: Moment) {
        let Some(hardware) = self.hardware.get_mut(provider.0) else { return };
        if !hardware.is_up() {
            return;
        }
        hardware.gone = Some(why.to_owned());
        hardware.queued = 0;
        hardware.tables.clear();
        self.reading.remove(&Place::Nic(provider));
        self.nobody_waits_for(Place::Nic(provider));
        let another = self.hardware.iter().any(Hardware::is_up);
        let there: Vec<Ufid> = self
            .flows
            .iter()
            .filter(|(_, entry)| entry.provider == Some(provider))
            .map(|(ufid, _)| *ufid)
            .collect();
        for ufid in there {
            if let Some(entry) = self.flows.get_mut(&ufid) {
                entry.nic.life = Life::Absent;
                entry.nic.installed = None;
                entry.nic.sent = None;
                entry.nic.account.life_ended();
                entry.provider = None;
            }
            self.index(ufid);
            let refusal = Refusal::new(Reason::DeviceGone, "device").detail(why);
            self.refuse(ufid, refusal.into(), another.then_some(now), now);
            self.plan(ufid, now);
        }
    }

    /// Adopts what a device held at start: known megaflows live on with their counters and keep
    /// their owner; entries that can't be understood are removed.
    pub(super) fn adopt(&mut self, provider: ProviderId, mut found: Vec<Dumped>, now: Moment) {
        if let Some(hardware) = self.hardware.get_mut(provider.0) {
            hardware.known = true;
            hardware.read_at = now;
        }
        // The megaflows of the owner with the higher rank come first.
        found.sort_by_key(|dumped| Reverse(dumped.generation.owner()));
        let name = self.hardware_name(provider);
        for dumped in &found {
            if self.take_over(provider, dumped, now) {
                self.tally.correction(&name, "adopted");
            } else {
                let op = Op::Remove { ufid: dumped.ufid };
                self.out.nic.entry(provider).or_default().push(op);
                self.tally.correction(&name, "orphan");
            }
        }
        let ufids: Vec<Ufid> = found.iter().map(|dumped| dumped.ufid).collect();
        if !found.is_empty() {
            self.out.other.push(Command::Adopt { provider, found });
        }
        for ufid in ufids {
            if self.closing {
                self.leave(ufid, Cause::Operator, now);
            }
            self.revalidate_one(ufid, now);
            self.plan(ufid, now);
            self.recount(ufid, "adopted");
        }
    }

    /// Takes over one dumped megaflow. Returns true if the device's entry for the megaflow goes
    /// on. An operator's megaflow without an entry that forwards in the device is installed anew.
    fn take_over(&mut self, provider: ProviderId, dumped: &Dumped, now: Moment) -> bool {
        let Some(flow) = dumped.flow.as_ref().filter(|flow| flow.ufid == dumped.ufid) else {
            return false;
        };
        let owner = dumped.generation.owner();
        let others = self.ranks.overlapping(&flow.matching);
        let known = self.flows.get(&flow.ufid);
        // If two megaflows overlap and neither outranks the other, only one can be right. If
        // another match has the same ufid, the two can't be told apart.
        let outranked = |other: &Arc<Megaflow>| {
            self.flows.get(&other.ufid).is_some_and(|entry| entry.owner < owner)
        };
        if !others.iter().all(outranked)
            || known.is_some_and(|entry| entry.flow.matching != flow.matching)
            || (owner == Owner::Client && !dumped.active)
        {
            return false;
        }
        let goes_on = dumped.active && known.is_none();
        let mut entry = Entry::new(flow.clone(), owner, now);
        if goes_on {
            entry.nic.life = Life::Present;
            entry.nic.installed = Some(flow.actions.clone());
            entry.nic.account = Account::adopted(dumped.stats.counters);
            entry.provider = Some(provider);
            entry.want_nic = true;
            entry.generation = dumped.generation;
            entry.used = dumped.stats.used.or(Some(now));
            let hits = self.nic_hits.entry(provider).or_default();
            hits.count(entry.scope(), &flow.actions, dumped.stats.counters);
        }
        self.take_in(entry, &others, now);
        // The client learns from all adopted megaflows before it is asked whether each one is
        // still right.
        self.client.used(flow, now);
        goes_on
    }

    pub(super) fn hardware_name(&self, provider: ProviderId) -> Arc<str> {
        self.hardware.get(provider.0).map_or_else(|| "?".into(), |h| Arc::clone(&h.name))
    }
}
