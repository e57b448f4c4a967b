//! What the engine shows of its state.

use flow::conservation::Hits;
use flow::{Counters, Learning, Moment, Ufid};
use metrics::Snapshot;

use super::entry::Entry;
use super::operator::no_such_flow;
use super::{Engine, ProviderId};
use crate::request::{FlowView, Refused, RequestError};

impl Engine {
    /// Returns all megaflows, by ufid.
    pub(super) fn views(&self, now: Moment) -> Vec<FlowView> {
        self.flows.values().map(|entry| self.view_of(entry, now)).collect()
    }

    pub(super) fn view(&self, ufid: Ufid, now: Moment) -> Result<FlowView, RequestError> {
        let entry = self.flows.get(&ufid).ok_or_else(|| no_such_flow(ufid))?;
        Ok(self.view_of(entry, now))
    }

    fn view_of(&self, entry: &Entry, now: Moment) -> FlowView {
        let provider = entry.provider.filter(|_| entry.nic.life.forwards());
        FlowView {
            flow: entry.flow.clone(),
            placement: entry.placement(),
            provider: provider.map(|provider| self.hardware_name(provider).to_string()),
            refused: entry.refusal().map(|refused| Refused {
                why: refused.why.clone(),
                lasting: now.since(refused.since),
            }),
            generation: entry.generation,
            nic: entry.nic.account.total(),
            host: entry.host.account.total(),
            used: entry.used.map(|used| now.since(used)),
            tcp_flags: entry.tcp_flags,
        }
    }

    /// Returns the hits of every megaflow that ever was in a hardware provider, and what the
    /// actions made of them.
    #[must_use]
    pub fn hits(&self, provider: ProviderId) -> Hits {
        self.nic_hits.get(&provider).copied().unwrap_or_default()
    }

    /// Returns the first-pass hits of every megaflow that ever was in the host table.
    #[must_use]
    pub fn first_pass_host(&self) -> Counters {
        self.first_pass_host
    }

    /// Returns the hardware provider of this name, if it is up.
    #[must_use]
    pub fn hardware_named(&self, name: &str) -> Option<ProviderId> {
        self.hardware.iter().position(|h| h.is_up() && &*h.name == name).map(ProviderId)
    }

    /// Returns all hardware providers.
    pub fn hardware(&self) -> impl Iterator<Item = ProviderId> + '_ {
        (0..self.hardware.len()).map(ProviderId)
    }

    /// Returns the hardware providers that are up.
    pub fn hardware_up(&self) -> impl Iterator<Item = ProviderId> + '_ {
        self.hardware().filter(|id| self.hardware[id.0].gone.is_none())
    }

    /// Returns the engine's part of the metrics.
    #[must_use]
    pub fn metrics(&self) -> Snapshot {
        let names = self.hardware.iter().map(|hardware| &*hardware.name);
        let names: Vec<&str> = names.chain([&*self.host_name]).collect();
        let mut snapshot = self.tally.snapshot(&names);
        snapshot.learning = self.client.learning();
        for hardware in &self.hardware {
            let metrics = snapshot.providers.entry(hardware.name.to_string()).or_default();
            metrics.up = hardware.is_up();
            metrics.ports = Some(hardware.ports());
            metrics.queue_length = hardware.queued as u64;
            metrics.tables = hardware.tables.clone();
        }
        if let Some(host) = snapshot.providers.get_mut(&*self.host_name) {
            host.up = true;
        }
        snapshot
    }

    /// Returns true if no megaflow is left in any place.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.flows.is_empty()
    }

    /// Returns the client's name.
    #[must_use]
    pub fn client_name(&self) -> &'static str {
        self.client.name()
    }

    /// Returns how much the client has learnt, in numbers.
    #[must_use]
    pub fn learning(&self) -> Option<Learning> {
        self.client.learning()
    }

    /// Returns how many megaflows each cause removed, and the other counts of the engine.
    #[must_use]
    pub fn coverage(&self) -> Vec<(String, u64)> {
        let removals = self.tally.removals.iter();
        let mut all: Vec<(String, u64)> =
            removals.map(|(cause, count)| (format!("flow_removed_{cause}"), *count)).collect();
        all.push(("flow_evicted".to_owned(), self.tally.evictions));
        all.push(("flow_limit_hit".to_owned(), self.tally.overflows));
        all
    }
}
