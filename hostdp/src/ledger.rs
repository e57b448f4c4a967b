//! The ledger: where every received packet went. It is data; the datapath's books keep it.

use flow::Counters;
use flow::conservation::Forks;

use crate::drops::Drops;

/// Packets received and what became of each at its first lookup, in packets and bytes. Exact:
/// `received` is the sum of the rest.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ReceivedAccount {
    /// Received on a port.
    pub received: Counters,
    /// Packets that hit a megaflow, with or without actions, at their first lookup.
    pub hits_first_pass: Counters,
    /// Packets for which the client answered with actions and no megaflow.
    pub executed: Counters,
    /// Packets dropped before they hit a megaflow, by reason.
    pub drops_before_hit: Drops,
    /// Packets that wait for an answer.
    pub pending: Counters,
}

impl ReceivedAccount {
    /// The sum of all fields except `received`.
    #[must_use]
    pub fn accounted(&self) -> Counters {
        self.hits_first_pass + self.executed + self.drops_before_hit.total() + self.pending
    }

    fn add(&mut self, other: &ReceivedAccount) {
        self.received += other.received;
        self.hits_first_pass += other.hits_first_pass;
        self.executed += other.executed;
        self.drops_before_hit.add(&other.drops_before_hit);
        self.pending += other.pending;
    }

    /// Returns true if every packet and byte is accounted for exactly once.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        self.accounted() == self.received
    }
}

/// Two accounts of received packets. A packet that a card hands up in the middle of a chain has an
/// account of its own, because the card has counted it already: in the account of fresh packets it
/// would be counted twice.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Ledger {
    /// Packets that were not counted on a megaflow before: from the wire, from the system, and
    /// those that missed in the card at their first lookup (`recirc_id` 0).
    pub fresh: ReceivedAccount,
    /// Packets that hit an entry in the card and go on here: with a `recirc_id`, or sent up by an
    /// action. `hits_first_pass` is then their first hit on the host; bytes are those of the frame
    /// as the card handed it up.
    pub continued: ReceivedAccount,
}

impl Ledger {
    /// Adds the accounts of another datapath.
    pub(crate) fn add(&mut self, other: &Ledger) {
        self.fresh.add(&other.fresh);
        self.continued.add(&other.continued);
    }

    /// Returns true if both accounts are exact.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        self.fresh.is_exact() && self.continued.is_exact()
    }

    /// The account in which a packet is still to be counted.
    pub(crate) fn of(&mut self, origin: Origin) -> Option<&mut ReceivedAccount> {
        match origin {
            Origin::Fresh => Some(&mut self.fresh),
            Origin::Continued => Some(&mut self.continued),
            Origin::Counted => None,
        }
    }
}

/// Where packets and their copies ended, in whichever account they were received. Together with the
/// drops the numbers are exact: packets received, lost in overruns, injected and copied, with the
/// bytes of rewrites, are the sum of packets that megaflows dropped, that went up to the client,
/// that were sent, that were lost and that wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Ends {
    /// Copies, drops and rewrites that action lists made of the packets.
    pub forks: Forks,
    /// Packets that an action sent up to the client.
    pub userspace: Counters,
    /// Packets that ports sent, with those of ports that were removed since.
    pub sent: Counters,
    /// Packets that wait for an answer, of any origin.
    pub waiting: Counters,
}

impl Ends {
    /// Adds the ends of another datapath.
    pub(crate) fn add(&mut self, other: &Ends) {
        self.forks += other.forks;
        self.userspace += other.userspace;
        self.sent += other.sent;
        self.waiting += other.waiting;
    }
}

/// Packets of one origin in a row: nearly all of a burst are, so they are booked together.
pub(crate) struct OriginRun {
    pub(crate) origin: Origin,
    pub(crate) sum: Counters,
}

impl OriginRun {
    /// No packet yet.
    pub(crate) fn new() -> OriginRun {
        OriginRun { origin: Origin::Counted, sum: Counters::default() }
    }

    /// Adds a packet. Returns those before it if they were of another origin.
    #[inline]
    pub(crate) fn add(&mut self, origin: Origin, what: Counters) -> Option<OriginRun> {
        if origin == self.origin {
            self.sum.gather(what);
            return None;
        }
        Some(std::mem::replace(self, OriginRun { origin, sum: what }))
    }
}

/// The account in which a packet is still to be counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Origin {
    Fresh,
    Continued,
    /// Neither account: the packet was counted at its hit, or it was never received.
    Counted,
}
