//! One megaflow as the engine believes it: what is wanted, and what is where.

use std::collections::BTreeSet;
use std::sync::Arc;

use flow::{Action, Actions, Generation, Megaflow, Moment, Owner, Placement, Refusals};

use super::event::{Cause, ProviderId};
use super::life::{Account, Life};
use crate::request::Token;

/// A megaflow in one place.
#[derive(Clone, Debug, Default)]
pub(super) struct Residence {
    /// Where its life there stands.
    pub life: Life,
    /// The actions that the place executes; `None` while it is not there.
    pub installed: Option<Actions>,
    /// The actions that an operation in flight brings there.
    pub sent: Option<Actions>,
    /// What was counted there.
    pub account: Account,
}

impl Residence {
    /// Does the place execute these actions?
    #[must_use]
    pub(super) fn executes(&self, actions: &Actions) -> bool {
        self.installed.as_ref().is_some_and(|installed| installed == actions)
    }

    /// Is it there, and not on its way out?
    #[must_use]
    pub(super) fn stays(&self) -> bool {
        matches!(self.life, Life::Present | Life::Replacing)
    }

    /// The scopes that packets are sent on to from there, now or once what is on its way is done.
    #[must_use]
    pub(super) fn scopes(&self) -> Vec<u32> {
        let lists = [&self.installed, &self.sent].into_iter().flatten();
        lists.flat_map(|actions| scopes_of(actions)).collect()
    }

    /// An operation was carried out, or failed; `sent` are the actions that it brought, if any.
    /// Only what was done begins at zero: what is found there, and believed to be lost or
    /// refused, has counted on.
    pub(super) fn carried_out(&mut self, is_done: bool, sent: Option<&Actions>) {
        if is_done {
            self.installed = sent.cloned();
            self.account.life_ended();
        } else if self.life == Life::Absent {
            self.installed = None;
        }
    }

    /// Are packets sent on to that scope from there?
    #[must_use]
    pub(super) fn points_at(&self, scope: u32) -> bool {
        self.scopes().contains(&scope)
    }
}

/// Why a megaflow is not in the NIC.
#[derive(Clone, Debug)]
pub(super) struct Refused {
    /// All the reasons.
    pub why: Refusals,
    /// Since when the first of them is of that kind.
    pub since: Moment,
}

/// One megaflow.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// Match and the actions that are wanted.
    pub flow: Arc<Megaflow>,
    /// Who wanted it.
    pub owner: Owner,
    /// Why it is to go; `None` while it is wanted.
    pub leaving: Option<Cause>,
    /// In the host table.
    pub host: Residence,
    /// In a NIC table.
    pub nic: Residence,
    /// Whose table that is: chosen when it is first admitted.
    pub provider: Option<ProviderId>,
    /// It is to be in the NIC.
    pub want_nic: bool,
    /// Why it is not in the NIC, or was not before it was sent there: until it is in, or other
    /// actions are wanted.
    pub refused: Option<Refused>,
    /// When it may be tried again, refused as it is; `None`: not unless something changes.
    pub retry: Option<Moment>,
    /// Which life in the NIC, and whose: goes into the device's cookie.
    pub generation: Generation,
    /// Installed at.
    pub created: Moment,
    /// Last hit.
    pub used: Option<Moment>,
    /// Union of the TCP flags that the host saw.
    pub tcp_flags: u16,
    /// Packets in the current statistics interval, both places.
    pub recent: u64,
    /// Packets per second, smoothed.
    pub rate: f64,
    /// Where it was last time that somebody counted placements.
    pub counted_as: Option<Placement>,
    /// Who is to be told when nothing is left to do.
    pub asker: Option<Token>,
    /// An operation failed and the next one is not due yet.
    pub held: bool,
    /// How often its removal has failed since it is to go.
    pub failed_removals: u32,
    /// The scopes under which it stands among the parents: those of the actions that are wanted
    /// and of those that the NIC still executes.
    pub parent_of: BTreeSet<u32>,
}

impl Entry {
    /// A megaflow that is wanted from now on.
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

    /// Will a packet that the host table is given from now on hit it there?
    #[must_use]
    pub(super) fn comes_to_host(&self) -> bool {
        matches!(self.host.life, Life::Installing | Life::Present | Life::Replacing)
    }

    /// Where it lives, as an operator sees it.
    #[must_use]
    pub(super) fn placement(&self) -> Placement {
        match (self.refusal(), self.nic.life.forwards()) {
            (_, true) => Placement::Nic,
            (Some(_), false) => Placement::Refused,
            (None, false) => Placement::Host,
        }
    }

    /// Why it is not to be in the NIC; `None` while it is on its way there.
    #[must_use]
    pub(super) fn refusal(&self) -> Option<&Refused> {
        self.refused.as_ref().filter(|_| !self.want_nic)
    }

    /// Is it neither in the NIC nor on its way there, and could it go there if there was room?
    #[must_use]
    pub(super) fn may_be_placed(&self) -> bool {
        let refused = self.refused.is_some() && self.retry.is_none();
        self.leaving.is_none() && !self.want_nic && !refused
    }

    /// Is it refused, and not to be tried again yet?
    #[must_use]
    pub(super) fn stays_refused(&self, now: Moment) -> bool {
        self.refusal().is_some() && self.retry.is_none_or(|at| now < at)
    }

    /// Is no operation in flight, in either place?
    #[must_use]
    pub(super) fn idle(&self) -> bool {
        !self.host.life.busy() && !self.nic.life.busy()
    }

    /// Scope of its lookup; a packet of scope 0 is on its first pass.
    #[must_use]
    pub(super) fn scope(&self) -> u32 {
        self.flow.matching.key().recirc_id
    }
}

/// The scopes that a list of actions recirculates into.
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
