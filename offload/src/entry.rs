//! One megaflow as the engine believes it to be: what is wanted, and what each place holds.

use std::collections::BTreeSet;
use std::sync::Arc;

use flow::{Action, Actions, Generation, Megaflow, Moment, Owner, Placement, Refusals};

use super::event::{Cause, ProviderId};
use super::life::{Account, Life};
use crate::request::Token;

/// A megaflow in one place.
#[derive(Clone, Debug, Default)]
pub(super) struct Residence {
    /// The state of the megaflow's life in this place.
    pub life: Life,
    /// The actions that the place executes; `None` while the megaflow is not there.
    pub installed: Option<Actions>,
    /// The actions that an operation in flight brings to the place.
    pub sent: Option<Actions>,
    /// The hits that the place counted.
    pub account: Account,
}

impl Residence {
    /// Returns true if the place executes these actions.
    #[must_use]
    pub(super) fn executes(&self, actions: &Actions) -> bool {
        self.installed.as_ref().is_some_and(|installed| installed == actions)
    }

    /// Returns true if the place holds the megaflow and no removal is in flight.
    #[must_use]
    pub(super) fn stays(&self) -> bool {
        matches!(self.life, Life::Present | Life::Replacing)
    }

    /// Returns the scopes that this place recirculates packets into now, or will when the
    /// operation in flight is done.
    #[must_use]
    pub(super) fn scopes(&self) -> Vec<u32> {
        let lists = [&self.installed, &self.sent].into_iter().flatten();
        lists.flat_map(|actions| scopes_of(actions)).collect()
    }

    /// Notes that an operation was carried out or failed; `sent` are the actions that it brought,
    /// if any. Only an operation that was carried out makes the counters begin at zero: a rule
    /// that turns out to be there although it was believed lost or refused has counted on.
    pub(super) fn carried_out(&mut self, is_done: bool, sent: Option<&Actions>) {
        if is_done {
            self.installed = sent.cloned();
            self.account.life_ended();
        } else if self.life == Life::Absent {
            self.installed = None;
        }
    }

    /// Returns true if this place recirculates packets into the scope, or will when the operation
    /// in flight is done.
    #[must_use]
    pub(super) fn points_at(&self, scope: u32) -> bool {
        self.scopes().contains(&scope)
    }
}

/// Why a megaflow is not in the NIC.
#[derive(Clone, Debug)]
pub(super) struct Refused {
    /// All reasons of the refusal.
    pub why: Refusals,
    /// The moment since which the first reason has been of the same kind.
    pub since: Moment,
}

/// One megaflow, with what is wanted of it and what each place holds.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// The match, and the actions that are wanted.
    pub flow: Arc<Megaflow>,
    /// Who asked for the megaflow.
    pub owner: Owner,
    /// Why the megaflow is to be removed; `None` while it is wanted.
    pub leaving: Option<Cause>,
    /// The megaflow in the host table.
    pub host: Residence,
    /// The megaflow in a NIC table.
    pub nic: Residence,
    /// The provider that owns the NIC table; chosen when the provider first admits the megaflow.
    pub provider: Option<ProviderId>,
    /// The megaflow is to be in the NIC.
    pub want_nic: bool,
    /// Why the megaflow is not in the NIC, or was not before it was sent there. Kept until the
    /// megaflow is in the NIC or other actions are wanted.
    pub refused: Option<Refused>,
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
    /// Packets in the current statistics interval, in both places together.
    pub recent: u64,
    /// Packets per second, smoothed.
    pub rate: f64,
    /// The placement under which the metrics count the megaflow.
    pub counted_as: Option<Placement>,
    /// The request to be answered when nothing is left to do for the megaflow.
    pub asker: Option<Token>,
    /// An operation failed, and the next one is not due yet.
    pub held: bool,
    /// The number of failed removals since the megaflow is to be removed.
    pub failed_removals: u32,
    /// The scopes under which the index of parents lists the megaflow: those of the wanted
    /// actions and of the actions that the NIC still executes.
    pub parent_of: BTreeSet<u32>,
}

impl Entry {
    /// Returns a megaflow that is wanted from now on.
    #[must_use]
    pub(super) fn new(flow: Arc<Megaflow>, owner: Owner, now: Moment) -> Entry {
        Entry {
            flow,
            owner,
            leaving: None,
            host: Residence::default(),
            nic: Residence::default(),
            provider: None,
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
            asker: None,
            held: false,
            failed_removals: 0,
            parent_of: BTreeSet::new(),
        }
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
    pub(super) fn refusal(&self) -> Option<&Refused> {
        self.refused.as_ref().filter(|_| !self.want_nic)
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
        self.flow.matching.key().recirc_id
    }
}

/// Returns the scopes that a list of actions recirculates into.
pub(super) fn scopes_of(actions: &[Action]) -> Vec<u32> {
    let mut scopes = Vec::new();
    for action in actions {
        match action {
            Action::Recirc(id) => scopes.push(id.0),
            Action::Sample { actions, .. } => scopes.extend(scopes_of(actions)),
            Action::Output(_)
            | Action::Userspace(_)
            | Action::Set(_)
            | Action::PushVlan { .. }
            | Action::PopVlan
            | Action::PushMpls { .. }
            | Action::PopMpls { .. }
            | Action::Hash { .. }
            | Action::Trunc(_) => {}
        }
    }
    scopes
}
