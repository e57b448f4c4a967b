//! The ledger: where every received packet went.

use flow::Counters;

use crate::drops::Drops;

/// Packets received and what became of each at its first lookup, in packets and bytes. Exact:
/// `received` is the sum of the rest.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Account {
    /// Received on a port.
    pub received: Counters,
    /// Hit a megaflow at their first lookup; one without actions included.
    pub hits_first_pass: Counters,
    /// The client said what to do with them, without a megaflow.
    pub executed: Counters,
    /// Dropped before they hit anything, by reason.
    pub drops_before_hit: Drops,
    /// Waiting for an answer.
    pub pending: Counters,
}

impl Account {
    /// What became of them, summed up.
    #[must_use]
    pub fn accounted(&self) -> Counters {
        self.hits_first_pass + self.executed + self.drops_before_hit.total() + self.pending
    }

    /// Is every packet and byte accounted for, once?
    #[must_use]
    pub fn is_exact(&self) -> bool {
        self.accounted() == self.received
    }
}

/// Two accounts, because a packet that a card hands up in the middle of a chain was received and
/// counted by the card already: adding it to the fresh ones would count it twice.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Ledger {
    /// Packets that nobody counted on a megaflow before: from the wire, from the system, and
    /// those that missed in the card at once (`recirc_id` 0).
    pub fresh: Account,
    /// Packets that hit something in the card and go on here: with a `recirc_id`, or sent up by
    /// an action. `hits_first_pass` is then their first hit on the host; bytes are those of the
    /// frame as it was handed up.
    pub continued: Account,
}

impl Ledger {
    /// Are both accounts exact?
    #[must_use]
    pub fn is_exact(&self) -> bool {
        self.fresh.is_exact() && self.continued.is_exact()
    }

    pub(super) fn of(&mut self, origin: Origin) -> Option<&mut Account> {
        match origin {
            Origin::Fresh => Some(&mut self.fresh),
            Origin::Continued => Some(&mut self.continued),
            Origin::Counted => None,
        }
    }
}

/// Which account a packet is still owed in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Origin {
    Fresh,
    Continued,
    /// None: it has had its hit, or it never was received.
    Counted,
}
