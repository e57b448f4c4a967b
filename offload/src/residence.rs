//! One megaflow in one place: the state of its life there, and what the place executes.

use flow::{Action, Actions, Generation, OpKind, ProviderError, Tag};

/// A megaflow in one place.
#[derive(Clone, Debug, Default)]
pub(super) struct Residence {
    /// The state of the megaflow's life in this place.
    pub life: Life,
    /// The actions that the place executes; `None` while the megaflow is not there.
    pub installed: Option<Actions>,
    /// The generation of the life of which counters were seen. A later operation
    /// may be in flight, or have failed.
    pub generation: Option<Generation>,
    /// The actions that an operation in flight brings to the place.
    pub sent: Option<Actions>,
    /// The tag of the last operation, which is in flight or was completed.
    pub last_op: Tag,
    /// The number of the last round of statistics in which the megaflow was read here.
    pub read_in: u32,
}

impl Residence {
    /// Returns true if the place executes these actions.
    #[must_use]
    pub(super) fn executes(&self, actions: &Actions) -> bool {
        self.installed.as_ref().is_some_and(|installed| installed == actions)
    }

    /// Returns true if an operation with this tag is in flight.
    #[must_use]
    pub(super) fn awaits(&self, tag: Tag) -> bool {
        self.life.busy() && self.last_op == tag
    }

    /// Returns true if the place holds the megaflow and no removal is in flight.
    #[must_use]
    pub(super) fn stays(&self) -> bool {
        matches!(self.life, Life::Present | Life::Replacing)
    }

    /// Returns true if the place executes nothing, and no operation brings it anything.
    #[must_use]
    pub(super) fn is_empty(&self) -> bool {
        self.installed.is_none() && self.sent.is_none()
    }

    /// Returns the scopes that this place recirculates packets into now, or will when the
    /// operation in flight is done.
    #[must_use]
    pub(super) fn scopes(&self) -> Vec<u32> {
        let lists = [&self.installed, &self.sent].into_iter().flatten();
        lists.flat_map(|actions| scopes_of(actions)).collect()
    }

    /// Notes that an operation was carried out or failed; `sent` are the actions that it brought,
    /// if any, and `generation` is the life that it began.
    pub(super) fn carried_out(
        &mut self,
        is_done: bool,
        sent: Option<&Actions>,
        generation: Generation,
    ) {
        if is_done {
            self.installed = sent.cloned();
            self.generation = Some(generation);
        } else if self.life == Life::Absent {
            self.installed = None;
        }
    }

    /// The place is gone, with everything in it. A rule that turns out to be there still has
    /// counted on.
    pub(super) fn lost(&mut self) {
        self.life = Life::Absent;
        self.installed = None;
        self.sent = None;
    }

    /// Returns true if this place recirculates packets into the scope, or will when the operation
    /// in flight is done.
    #[must_use]
    pub(super) fn points_at(&self, scope: u32) -> bool {
        self.scopes().contains(&scope)
    }
}

/// The state of a megaflow's life in one place (host table or NIC table).
///
/// ```text
///            install sent            done
///  Absent ───────────────► Installing ───► Present ◄──────────┐ done, or failed:
///    ▲ ▲                       │ failed     │  │ replace sent  │ the old one lives on
///    │ └───────────────────────┘            │  └─────────► Replacing
///    │        done, or it was not there     ▼ remove sent
///    └────────────────────────────────── Removing ── failed ──► Present
/// ```
/// At most one operation is in flight per megaflow and place. When the operation is done, what is
/// wanted by then is compared with what is there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Life {
    /// The place does not hold the megaflow.
    #[default]
    Absent,
    /// An install is in flight.
    Installing,
    /// The place holds the megaflow, with the actions of [`Residence::installed`].
    Present,
    /// The place holds the megaflow, and a replacement of its actions is in flight.
    Replacing,
    /// The place holds the megaflow, and its removal is in flight.
    Removing,
}

impl Life {
    /// Returns the state after an operation was sent.
    #[must_use]
    pub(super) fn sent(self, op: OpKind) -> Life {
        match (self, op) {
            (Life::Absent, OpKind::Install) => Life::Installing,
            (Life::Present, OpKind::Replace) => Life::Replacing,
            (Life::Present, OpKind::Remove) => Life::Removing,
            // Such an operation is never planned (see `Planner::plan`): the state stays, and the
            // completion settles it.
            (state, _) => state,
        }
    }

    /// Returns the state after the operation in flight was completed.
    #[must_use]
    pub(super) fn completed(self, error: Option<&ProviderError>) -> Life {
        match (self, error) {
            // The megaflow is there now. After `Exists` it was there already, which is what is
            // wanted.
            (Life::Installing, None | Some(ProviderError::Exists)) => Life::Present,
            // The table is as it was before the operation.
            (Life::Installing, Some(_)) => Life::Absent,
            // The device is gone, with everything in it.
            (_, Some(ProviderError::Gone(_))) => Life::Absent,
            // Another program removed the rule: a replacement finds nothing, and a removal has
            // nothing left to do.
            (Life::Replacing | Life::Removing, Some(ProviderError::NotFound)) => Life::Absent,
            // Either the new actions are in, or the old ones live on.
            (Life::Replacing, _) => Life::Present,
            (Life::Removing, None) => Life::Absent,
            (Life::Removing, Some(_)) => Life::Present,
            // No operation was in flight: a late completion changes nothing.
            (state @ (Life::Absent | Life::Present), _) => state,
        }
    }

    /// Returns true if an operation is in flight.
    #[must_use]
    pub(super) fn busy(self) -> bool {
        matches!(self, Life::Installing | Life::Replacing | Life::Removing)
    }

    /// Returns true if packets can hit the megaflow in this place.
    #[must_use]
    pub(super) fn forwards(self) -> bool {
        matches!(self, Life::Present | Life::Replacing | Life::Removing)
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

#[cfg(test)]
mod tests {
    use super::*;
    use flow::{Reason, Refusal, TableName};

    #[test]
    fn a_failed_operation_leaves_the_life_as_it_was() {
        let full = ProviderError::Full(Refusal::new(Reason::TableFull, TableName::ExactMatch));
        let installing = Life::Absent.sent(OpKind::Install);
        assert_eq!(installing.completed(Some(&full)), Life::Absent);
        let present = installing.completed(None);
        assert_eq!(present.sent(OpKind::Replace).completed(Some(&full)), Life::Present);
        assert_eq!(present.sent(OpKind::Remove).completed(Some(&full)), Life::Present);
        let gone = ProviderError::NotFound;
        assert_eq!(present.sent(OpKind::Remove).completed(Some(&gone)), Life::Absent);
        assert_eq!(present.sent(OpKind::Replace).completed(Some(&gone)), Life::Absent);
    }
}
