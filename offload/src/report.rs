//! What the engine shows of its state.

use flow::conservation::Hits;
use flow::{Counters, Learning, Moment, TableUsage, Ufid};

use super::entry::Entry;
use super::operator::no_such_flow;
use super::{Engine, ProviderId, Tally};
use crate::request::{FlowView, Refused, RequestError};

/// The state of a hardware provider.
#[derive(Clone, Copy, Debug)]
pub struct DeviceView<'a> {
    /// The provider's name.
    pub name: &'a str,
    /// True if the device answers.
    pub is_up: bool,
    /// Number of ports whose megaflows the device can hold.
    pub ports: u64,
    /// Operations that wait to be carried out.
    pub queued: u64,
    /// How full the tables are.
    pub tables: &'a [TableUsage],
}

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

    /// Returns what the engine has counted.
    #[must_use]
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Returns the state of each hardware provider.
    pub fn devices(&self) -> impl Iterator<Item = DeviceView<'_>> {
        self.hardware.iter().map(|hardware| DeviceView {
            name: &hardware.name,
            is_up: hardware.is_up(),
            ports: hardware.ports(),
            queued: hardware.queued as u64,
            tables: &hardware.tables,
        })
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
}
