//! The life of one megaflow in one place: one enum, one transition function.

use flow::{Counters, OpKind, ProviderError};

/// Where the life of a megaflow in one place (host table or NIC table) stands.
///
/// ```text
///            install sent            done
///  Absent ───────────────► Installing ───► Present ◄──────────┐ done, or failed:
///    ▲ ▲                       │ failed     │  │ replace sent  │ the old one lives on
///    │ └───────────────────────┘            │  └─────────► Replacing
///    │        done, or it was not there     ▼ remove sent
///    └────────────────────────────────── Removing ── failed ──► Present
/// ```
/// At most one operation is in flight per megaflow and place: what is wanted meanwhile is
/// compared with what is there when it is done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Life {
    /// Not there.
    #[default]
    Absent,
    /// An install is on its way.
    Installing,
    /// There, with the actions of [`super::entry::Residence::installed`].
    Present,
    /// There, with new actions on their way.
    Replacing,
    /// There, with its removal on its way.
    Removing,
}

impl Life {
    /// An operation was sent.
    #[must_use]
    pub(super) fn sent(self, op: OpKind) -> Life {
        match (self, op) {
            (Life::Absent, OpKind::Install) => Life::Installing,
            (Life::Present, OpKind::Replace) => Life::Replacing,
            (Life::Present, OpKind::Remove) => Life::Removing,
            // Never planned (see `Engine::plan`): the state stays, the completion settles it.
            (state, _) => state,
        }
    }

    /// The operation that was in flight is done.
    #[must_use]
    pub(super) fn completed(self, error: Option<&ProviderError>) -> Life {
        match (self, error) {
            // It is there now; or it was there already, which is where we want it.
            (Life::Installing, None | Some(ProviderError::Exists)) => Life::Present,
            // The table is as it was before the op.
            (Life::Installing, Some(_)) => Life::Absent,
            // The device is gone and everything in it.
            (_, Some(ProviderError::Gone(_))) => Life::Absent,
            // Somebody took it out behind our back: a replace finds nothing, a removal is done.
            (Life::Replacing | Life::Removing, Some(ProviderError::NotFound)) => Life::Absent,
            // The new actions are in, or the old ones live on.
            (Life::Replacing, _) => Life::Present,
            (Life::Removing, None) => Life::Absent,
            (Life::Removing, Some(_)) => Life::Present,
            // No operation was in flight: a late completion changes nothing.
            (state @ (Life::Absent | Life::Present), _) => state,
        }
    }

    /// Is this the kind of operation that is in flight?
    #[must_use]
    pub(super) fn awaits(self, op: OpKind) -> bool {
        matches!(
            (self, op),
            (Life::Installing, OpKind::Install)
                | (Life::Replacing, OpKind::Replace)
                | (Life::Removing, OpKind::Remove)
        )
    }

    /// Is an operation in flight?
    #[must_use]
    pub(super) fn busy(self) -> bool {
        matches!(self, Life::Installing | Life::Replacing | Life::Removing)
    }

    /// Can packets hit it there?
    #[must_use]
    pub(super) fn forwards(self) -> bool {
        matches!(self, Life::Present | Life::Replacing | Life::Removing)
    }
}

/// Packets and bytes of one megaflow in one place, over all its lives there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Account {
    /// Everything counted so far; never goes back.
    total: Counters,
    /// The last absolute reading of the life that goes on.
    seen: Counters,
}

/// A reading, taken into an account.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Reading {
    /// What came new.
    pub delta: Counters,
    /// The counter had gone back: the place had reset it without a word.
    pub went_back: bool,
}

impl Account {
    /// An account whose first life had counted before we came: an adopted rule.
    #[must_use]
    pub(super) fn adopted(seen: Counters) -> Account {
        Account { total: seen, seen }
    }

    /// Everything counted so far.
    #[must_use]
    pub(super) fn total(&self) -> Counters {
        self.total
    }

    /// The last reading of the life that goes on.
    #[cfg(test)]
    pub(super) fn seen(&self) -> Counters {
        self.seen
    }

    /// Takes an absolute reading of the current life. A counter that went back was reset: what
    /// it shows now came after the reset, and nothing of what was counted before is taken away.
    pub(super) fn read(&mut self, absolute: Counters) -> Reading {
        let growth = absolute.since(self.seen);
        let delta = growth.unwrap_or(absolute);
        self.seen = absolute;
        self.total += delta;
        Reading { delta, went_back: growth.is_none() }
    }

    /// The injected fault: a reading that is seen and not counted.
    pub(super) fn forget_update(&mut self, absolute: Counters) {
        self.seen = absolute;
    }

    /// The life is over: the next one counts from zero again.
    pub(super) fn life_ended(&mut self) {
        self.seen = Counters::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flow::{Reason, Refusal};

    fn counters(packets: u64, bytes: u64) -> Counters {
        Counters { packets, bytes }
    }

    #[test]
    fn totals_never_go_back_and_nothing_is_counted_twice() {
        let mut account = Account::default();
        assert_eq!(account.read(counters(5, 500)).delta, counters(5, 500));
        assert_eq!(account.read(counters(5, 500)).delta, counters(0, 0));
        account.life_ended();
        assert_eq!(account.read(counters(2, 200)).delta, counters(2, 200));
        let reset = account.read(counters(1, 60));
        assert!(reset.went_back && reset.delta == counters(1, 60));
        assert_eq!(account.total(), counters(8, 760));
    }

    #[test]
    fn a_failed_operation_leaves_the_life_as_it_was() {
        let full = ProviderError::Full(Refusal::new(Reason::TableFull, "em"));
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
