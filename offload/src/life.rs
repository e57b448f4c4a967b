//! The life of one megaflow in one place, as one enum with one transition function.

use flow::{Counters, OpKind, ProviderError};

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
    /// The place holds the megaflow, with the actions of [`super::entry::Residence::installed`].
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
            // Such an operation is never planned (see `Engine::plan`): the state stays, and the
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

    /// Returns true if the operation in flight is of this kind.
    #[must_use]
    pub(super) fn awaits(self, op: OpKind) -> bool {
        matches!(
            (self, op),
            (Life::Installing, OpKind::Install)
                | (Life::Replacing, OpKind::Replace)
                | (Life::Removing, OpKind::Remove)
        )
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

/// Packets and bytes of one megaflow in one place, over all its lives there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Account {
    /// The sum of everything counted so far; never decreases.
    total: Counters,
    /// The last absolute reading of the current life.
    seen: Counters,
}

/// The result of a reading that an account took in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Reading {
    /// The hits since the last reading.
    pub delta: Counters,
    /// The counter had gone back: the place had reset it without notice.
    pub went_back: bool,
}

impl Account {
    /// Returns the account of an adopted rule, whose first life had counted before the engine
    /// started.
    #[must_use]
    pub(super) fn adopted(seen: Counters) -> Account {
        Account { total: seen, seen }
    }

    /// Returns the sum of everything counted so far.
    #[must_use]
    pub(super) fn total(&self) -> Counters {
        self.total
    }

    /// Returns the last absolute reading of the current life.
    #[cfg(test)]
    pub(super) fn seen(&self) -> Counters {
        self.seen
    }

    /// Takes an absolute reading of the current life. A counter that went back was reset: its
    /// value was counted after the reset and is added to the total, which keeps the earlier
    /// counts.
    pub(super) fn read(&mut self, absolute: Counters) -> Reading {
        let growth = absolute.since(self.seen);
        let delta = growth.unwrap_or(absolute);
        self.seen = absolute;
        self.total += delta;
        Reading { delta, went_back: growth.is_none() }
    }

    /// Applies the injected fault: the reading is noted as seen and not counted.
    pub(super) fn forget_update(&mut self, absolute: Counters) {
        self.seen = absolute;
    }

    /// Ends the current life: the counters of the next one start from zero.
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
