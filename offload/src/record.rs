//! One megaflow as the engine believes it to be: what is wanted, and what each place holds.

use std::sync::Arc;

use flow::{Counters, Generation, Megaflow, Moment, Owner, Placement, Refusals};

use crate::account::Account;
use crate::event::{Cause, Place, ProviderId};
use crate::residence::{Life, Residence};
use crate::waiters::ClearingId;

/// Why a megaflow is not in the NIC.
#[derive(Clone, Debug)]
pub(super) struct Obstacle {
    /// All reasons of the refusal.
    pub why: Refusals,
    /// The moment since which the first reason has been of the same kind.
    pub since: Moment,
}

/// What a device may still hold of a megaflow since it was lost: its last life there, and the one
/// that an operation in flight was to begin.
#[derive(Clone, Copy, Debug)]
pub(super) struct Left {
    provider: ProviderId,
    last: Option<(Generation, Counters)>,
    next: Option<Generation>,
}

impl Left {
    /// Returns what was read last of the life that the device shows now, if it is one of these.
    pub(super) fn seen(&self, provider: ProviderId, shown: Generation) -> Option<Counters> {
        let last = self.last.filter(|(generation, _)| *generation == shown);
        let next = self.next.filter(|generation| *generation == shown);
        let seen = last.map(|(_, seen)| seen).or(next.map(|_| Counters::default()));
        seen.filter(|_| self.provider == provider)
    }
}

/// One megaflow, with what is wanted of it and what each place holds.
#[derive(Clone, Debug)]
pub(super) struct FlowRecord {
    /// The match, and the actions that are wanted.
    pub flow: Arc<Megaflow>,
    /// Who asked for the megaflow.
    pub owner: Owner,
    /// Why the megaflow is to be removed; `None` while it is wanted.
    pub leaving: Option<Cause>,
    /// The first request for the removal of all megaflows that waits for this one's end.
    pub clearing: Option<ClearingId>,
    /// The megaflow in the host table.
    pub host: Residence,
    /// The megaflow in a NIC table.
    pub nic: Residence,
    /// The hits that the host has told of.
    pub host_hits: Counters,
    /// The hits that NICs have counted.
    pub nic_account: Account,
    /// The provider that owns the NIC table; chosen when the provider first admits the megaflow.
    pub provider: Option<ProviderId>,
    /// What a device that was lost may still hold of the megaflow.
    pub left: Option<Box<Left>>,
    /// The megaflow is to be in the NIC.
    pub want_nic: bool,
    /// Why the megaflow is not in the NIC, or was not before it was sent there. Kept until the
    /// megaflow is in the NIC or other actions are wanted.
    pub refused: Option<Box<Obstacle>>,
    /// When a refused megaflow may be tried again; `None` means not before something changes.
    pub retry: Option<Moment>,
    /// The generation of the megaflow in the NIC, which also names the owner; the device's cookie
    /// carries it.
    pub generation: Generation,
    /// When the megaflow was first wanted.
    pub created: Moment,
    /// When the megaflow was last hit.
    pub used: Option<Moment>,
    /// Union of the TCP flags that the statistics have shown.
    pub tcp_flags: u16,
    /// Packets in the current statistics interval, in both places together; no more than fit.
    pub recent: u32,
    /// Packets per second, smoothed.
    pub rate: f64,
    /// The placement under which the metrics count the megaflow.
    pub counted_as: Option<Placement>,
    /// An operation failed, and the next one is not due yet.
    pub held: bool,
    /// The number of failed removals since the megaflow is to be removed.
    pub failed_removals: u32,
    /// The scopes under which the index of parents lists the megaflow, each once: those of the
    /// wanted actions and of the actions that the NIC still executes.
    pub parent_of: Box<[u32]>,
}

impl FlowRecord {
    /// Returns a megaflow that is wanted from now on.
    #[must_use]
    pub(super) fn new(flow: Arc<Megaflow>, owner: Owner, now: Moment) -> FlowRecord {
        FlowRecord {
            flow,
            owner,
            leaving: None,
            clearing: None,
            host: Residence::default(),
            host_hits: Counters::default(),
            nic_account: Account::default(),
            nic: Residence::default(),
            provider: None,
            left: None,
            want_nic: false,
            refused: None,
            retry: None,
            generation: Generation::before_first(owner),
            created: now,
            used: None,
            tcp_flags: 0,
            recent: 0,
            rate: 0.0,
            counted_as: None,
            held: false,
            failed_removals: 0,
            parent_of: Box::default(),
        }
    }

    /// The provider is gone, with what it holds.
    pub(super) fn lost(&mut self) {
        let Residence { life, generation, .. } = &self.nic;
        let seen = generation.map(|generation| (generation, self.nic_account.seen()));
        if let Some(provider) = self.provider.take() {
            let last = seen.filter(|_| life.forwards());
            let begins = matches!(life, Life::Installing | Life::Replacing);
            let next = begins.then_some(self.generation);
            self.left = Some(Box::new(Left { provider, last, next }));
        }
        self.nic.lost();
    }

    /// Returns true if a packet that the host table is given from now on will hit the megaflow
    /// there.
    #[must_use]
    pub(super) fn comes_to_host(&self) -> bool {
        matches!(self.host.life, Life::Installing | Life::Present | Life::Replacing)
    }

    /// Returns the megaflow's placement, as an operator sees it.
    #[must_use]
    pub(super) fn placement(&self) -> Placement {
        match (self.refusal(), self.nic.life.forwards()) {
            (_, true) => Placement::Nic,
            (Some(_), false) => Placement::Refused,
            (None, false) => Placement::Host,
        }
    }

    /// Returns why the megaflow is not to be in the NIC; `None` if it is to be there or was not
    /// refused.
    #[must_use]
    pub(super) fn refusal(&self) -> Option<&Obstacle> {
        self.refused.as_deref().filter(|_| !self.want_nic)
    }

    /// Returns true if the megaflow is not meant to be in the NIC and could go there if there
    /// were room.
    #[must_use]
    pub(super) fn may_be_placed(&self) -> bool {
        let refused = self.refused.is_some() && self.retry.is_none();
        self.leaving.is_none() && !self.want_nic && !refused
    }

    /// Returns true if the megaflow is refused and not to be tried again yet.
    #[must_use]
    pub(super) fn stays_refused(&self, now: Moment) -> bool {
        self.refusal().is_some() && self.retry.is_none_or(|at| now < at)
    }

    /// Returns true if no operation is in flight in either place.
    #[must_use]
    pub(super) fn idle(&self) -> bool {
        !self.host.life.busy() && !self.nic.life.busy()
    }

    /// Returns the scope of the megaflow's lookup; a packet of scope 0 is on its first pass.
    #[must_use]
    pub(super) fn scope(&self) -> u32 {
        self.flow.matching.recirc().0
    }

    /// Returns true if one of the megaflow's residences is in this place.
    pub(super) fn lives_in(&self, place: Place) -> bool {
        match place {
            Place::Host => true,
            Place::Nic(provider) => self.provider == Some(provider),
        }
    }

    /// Returns the residence in a place.
    pub(super) fn residence(&self, place: Place) -> &Residence {
        match place {
            Place::Host => &self.host,
            Place::Nic(_) => &self.nic,
        }
    }

    /// Returns the residence in a place, to be changed.
    pub(super) fn residence_mut(&mut self, place: Place) -> &mut Residence {
        match place {
            Place::Host => &mut self.host,
            Place::Nic(_) => &mut self.nic,
        }
    }

    /// Returns true if a sweep has nothing to do with the megaflow: no NIC forwards its packets,
    /// and it has none.
    #[must_use]
    pub(super) fn is_at_rest(&self) -> bool {
        !self.nic.life.forwards() && self.recent == 0 && self.rate == 0.0
    }

    /// When the megaflow was last used, as far as it is known: if never, when it was wanted.
    #[must_use]
    pub(super) fn last_used(&self) -> Moment {
        self.used.unwrap_or(self.created).max(self.created)
    }
}
