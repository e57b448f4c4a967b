//! What one megaflow counted in devices.

use flow::Counters;

/// Packets and bytes of one megaflow in devices, over all its lives there. The host tells what it
/// has counted once, and needs no account.
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

    /// Goes on with a life of which this was read last. Returns the last reading of the life
    /// before.
    pub(super) fn resume(&mut self, seen: Counters) -> Counters {
        std::mem::replace(&mut self.seen, seen)
    }

    /// Ends the current life: the counters of the next one start from zero.
    pub(super) fn life_ended(&mut self) {
        self.seen = Counters::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
