//! The conservation of packets and bytes: what was offered is where it ended.

use std::collections::BTreeMap;

use crate::{Action, Counters};

/// Bytes of a VLAN tag, and of an entry of an MPLS label stack.
const TAG: i64 = 4;

/// What action lists made of the packets that they were carried out on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Forks {
    /// Packets that were made: a list that sends a packet n ways makes n − 1 copies. Ways are
    /// outputs, userspace and recirculation.
    pub copies: Counters,
    /// Packets that a list sent no way: their megaflow dropped them.
    pub dropped: Counters,
    /// Bytes that tags and truncation added to the packets themselves (less than 0: took away).
    pub rewritten: i64,
}

impl std::ops::AddAssign for Forks {
    fn add_assign(&mut self, other: Forks) {
        self.copies += other.copies;
        self.dropped += other.dropped;
        self.rewritten = self.rewritten.saturating_add(other.rewritten);
    }
}

/// A list at work on packets: notes each way that it sends them.
#[derive(Debug)]
pub struct Ways {
    began: Counters,
    last: Option<Counters>,
    copies: Counters,
}

impl Ways {
    /// The packets as the list gets them.
    #[must_use]
    pub fn new(began: Counters) -> Ways {
        Ways { began, last: None, copies: Counters::default() }
    }

    /// All packets went that way, with so many bytes: so far it is the last one, and the way
    /// before it took copies.
    pub fn way(&mut self, what: Counters) {
        self.copies += self.last.replace(what).unwrap_or_default();
    }

    /// Some were copied, and the packets themselves stay.
    pub fn copy(&mut self, what: Counters) {
        self.copies += what;
    }

    /// The list is over; the packets as they are now, for those that went no way.
    #[must_use]
    pub fn end(self, now: Counters) -> Forks {
        let last = self.last.unwrap_or(now);
        let rewritten = last.bytes.wrapping_sub(self.began.bytes).cast_signed();
        let dropped = if self.last.is_none() { now } else { Counters::default() };
        Forks { copies: self.copies, dropped, rewritten }
    }
}

/// What the megaflows of a device made of their hits: what its ports' counters are held against.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Hits {
    /// Hits at the first lookup.
    pub first: Counters,
    /// All hits.
    pub all: Counters,
    /// Copies, drops and rewrites of all of them.
    pub forks: Forks,
    /// Sent into another lookup.
    pub recirculated: Counters,
}

impl Hits {
    /// Takes hits of a megaflow in, in the scope of that recirculation id. Of actions that no
    /// device carries out by itself (truncation, sampling) nothing is known in advance.
    pub fn count(&mut self, recirc_id: u32, actions: &[Action], hits: Counters) {
        let mut ways = Ways::new(hits);
        let mut grown = 0_i64;
        let now = |grown: i64| {
            let all = grown.saturating_mul(i64::try_from(hits.packets).unwrap_or(i64::MAX));
            Counters { bytes: hits.bytes.saturating_add_signed(all), ..hits }
        };
        for action in actions {
            match action {
                Action::PushVlan { .. } | Action::PushMpls { .. } => grown += TAG,
                Action::PopVlan | Action::PopMpls { .. } => grown -= TAG,
                Action::Output(_) | Action::Userspace(_) => ways.way(now(grown)),
                Action::Recirc(_) => {
                    ways.way(now(grown));
                    self.recirculated += now(grown);
                }
                Action::Set(_) | Action::Hash { .. } | Action::Trunc(_) | Action::Sample { .. } => {
                }
            }
        }
        self.forks += ways.end(now(grown));
        self.all += hits;
        if recirc_id == 0 {
            self.first += hits;
        }
    }

    /// What went out by a port if nothing was lost: the promise of the megaflows themselves, for
    /// a device whose ports' counters nobody can read. It recirculates nothing.
    #[must_use]
    pub fn promised(&self) -> Counters {
        let Forks { copies, dropped, rewritten } = self.forks;
        let all = self.all + copies;
        let bytes = all.bytes.saturating_add_signed(rewritten).saturating_sub(dropped.bytes);
        Counters { packets: all.packets.saturating_sub(dropped.packets), bytes }
    }
}

/// Who had a packet.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Side {
    /// A device, by itself.
    Nic,
    /// The host datapath.
    Host,
}

impl Side {
    /// The word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Side::Nic => "nic",
            Side::Host => "host",
        }
    }
}

/// What can be said of an equation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum State {
    /// All is at rest and it adds up.
    Holds,
    /// It adds up, but nobody has counted independently what hardware did.
    NotChecked,
    /// Packets came between the readings that it is made of: nothing can be said.
    NotAtRest,
    /// All is at rest and it does not add up.
    DoesNotHold,
}

impl State {
    /// All of them.
    pub const ALL: [State; 4] =
        [State::Holds, State::NotChecked, State::NotAtRest, State::DoesNotHold];

    /// The stable word: metrics and JSON use it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            State::Holds => "holds",
            State::NotChecked => "not-checked",
            State::NotAtRest => "not-at-rest",
            State::DoesNotHold => "does-not-hold",
        }
    }
}

/// What can be said of packets, or of bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Verdict {
    /// In one word.
    pub state: State,
    /// Sent into a lookup, less what came of a lookup.
    pub lookups: i64,
    /// Offered and copied, less what ended somewhere or is in flight.
    pub ends: i64,
}

/// Packets and bytes from where they were offered to where they ended, at one moment. Two
/// equations have to hold, in packets and in bytes:
///
/// - `offered + recirculated = nic + host + unmatched + went on`: each lookup hit once or never;
/// - `offered + copies + rewritten = sent + consumed + lost + in flight`: each packet, and each
///   copy of one, ended once.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Conservation {
    /// What came in by all ports, counted there, and what a client put in.
    pub offered: Counters,
    /// First hits of megaflows in hardware.
    pub nic: Counters,
    /// First hits of megaflows on the host, and what a client did to single packets.
    pub host: Counters,
    /// Lost before they hit anything, or in the middle of a chain on the way to the host; or
    /// waiting for an answer to the first lookup.
    pub unmatched: Counters,
    /// Sent into another lookup by megaflows in hardware.
    pub recirculated: Counters,
    /// Of them: hit there in hardware, or came up to the host in the middle of their chain.
    pub went_on: Counters,
    /// What action lists made of the hits, in hardware and on the host.
    pub forks: Forks,
    /// Sent by hardware alone, as its ports count it.
    pub sent_nic: Counters,
    /// Sent by the host; by a device's port as the device counts it.
    pub sent_host: Counters,
    /// Sent up to the client by an action.
    pub userspace: Counters,
    /// Lost, by who lost them and why.
    pub lost: BTreeMap<(Side, &'static str), Counters>,
    /// Waiting for an answer, at whatever lookup.
    pub in_flight: Counters,
    /// Of what hardware did: what no port's own counter confirms.
    pub unwitnessed: Counters,
    /// Nothing came between the readings that this is made of.
    pub at_rest: bool,
}

impl Conservation {
    /// Packets that ended because somebody wanted them to, by whom.
    #[must_use]
    pub fn consumed(&self) -> [(&'static str, Counters); 2] {
        [("drop", self.forks.dropped), ("userspace", self.userspace)]
    }

    /// Counts losses; a reason that never had one stands there with 0.
    pub fn lose(&mut self, side: Side, reason: &'static str, what: Counters) {
        *self.lost.entry((side, reason)).or_default() += what;
    }

    /// What can be said of the packets.
    #[must_use]
    pub fn packets(&self) -> Verdict {
        self.verdict(|counters| counters.packets, 0)
    }

    /// What can be said of the bytes.
    #[must_use]
    pub fn bytes(&self) -> Verdict {
        self.verdict(|counters| counters.bytes, self.forks.rewritten)
    }

    /// The worse of both: so nothing is said to hold of which one does not.
    #[must_use]
    pub fn state(&self) -> State {
        self.packets().state.max(self.bytes().state)
    }

    fn verdict(&self, of: fn(&Counters) -> u64, rewritten: i64) -> Verdict {
        let sum = |parts: &[Counters]| parts.iter().map(|part| i128::from(of(part))).sum::<i128>();
        let lost: Counters = self.lost.values().copied().sum();
        let found = sum(&[self.nic, self.host, self.unmatched, self.went_on]);
        let began = sum(&[self.offered, self.forks.copies]) + i128::from(rewritten);
        let sent = sum(&[self.sent_nic, self.sent_host]);
        let ended = sent + sum(&[self.forks.dropped, self.userspace, lost, self.in_flight]);
        let narrow = |n: i128| i64::try_from(n).unwrap_or(if n < 0 { i64::MIN } else { i64::MAX });
        let lookups = narrow(sum(&[self.offered, self.recirculated]) - found);
        let ends = narrow(began - ended);
        let state = match (self.at_rest, lookups == 0 && ends == 0, of(&self.unwitnessed)) {
            (false, _, _) => State::NotAtRest,
            (true, false, _) => State::DoesNotHold,
            (true, true, 0) => State::Holds,
            (true, true, _) => State::NotChecked,
        };
        Verdict { state, lookups, ends }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{PortId, RecircId};

    fn counters(packets: u64, bytes: u64) -> Counters {
        Counters { packets, bytes }
    }

    /// One of each: a packet is sent, one is copied and tagged, one is dropped, one is lost.
    fn exact() -> Conservation {
        let mut hits = Hits::default();
        let out = |port| Action::Output(PortId(port));
        hits.count(0, &[out(1)], counters(1, 60));
        let tag = Action::PushVlan { tpid: 0x8100, tci: 0x1001 };
        hits.count(0, &[out(1), tag, out(2)], counters(2, 200));
        hits.count(0, &[], counters(3, 300));
        assert_eq!(hits.promised(), counters(5, 60 + 200 + 208));
        let mut all = Conservation {
            offered: counters(7, 1_000),
            nic: hits.first,
            unmatched: counters(1, 440),
            forks: hits.forks,
            sent_nic: counters(4, 364),
            at_rest: true,
            ..Conservation::default()
        };
        all.lose(Side::Nic, "tx-wire", counters(1, 104));
        all.lose(Side::Host, "client", counters(1, 440));
        all
    }

    #[test]
    fn a_list_makes_copies_of_what_it_sends_several_ways() {
        let Forks { copies, dropped, rewritten } = exact().forks;
        assert_eq!((copies, dropped), (counters(2, 200), counters(3, 300)));
        assert_eq!(rewritten, 8);
        let mut hits = Hits::default();
        let list = [Action::PopVlan, Action::Output(PortId(1)), Action::Recirc(RecircId(1))];
        hits.count(0, &list, counters(2, 128));
        hits.count(1, &[], counters(2, 120));
        assert_eq!((hits.first, hits.all), (counters(2, 128), counters(4, 248)));
        assert_eq!(hits.recirculated, counters(2, 120));
        let Forks { copies, dropped, rewritten } = hits.forks;
        assert_eq!((copies, dropped, rewritten), (counters(2, 120), counters(2, 120), -8));
    }

    /// Each term that is off by one is found; only an exact sum at rest holds.
    #[test]
    fn it_holds_only_while_every_term_is_right() {
        assert_eq!(exact().state(), State::Holds, "{:?}", exact());
        let terms: [fn(&mut Conservation) -> &mut Counters; 12] = [
            |all| &mut all.offered,
            |all| &mut all.nic,
            |all| &mut all.host,
            |all| &mut all.unmatched,
            |all| &mut all.recirculated,
            |all| &mut all.went_on,
            |all| &mut all.forks.copies,
            |all| &mut all.forks.dropped,
            |all| &mut all.sent_nic,
            |all| &mut all.sent_host,
            |all| &mut all.userspace,
            |all| &mut all.in_flight,
        ];
        for (number, term) in terms.into_iter().enumerate() {
            for (wrong, packets, bytes) in [
                (counters(1, 0), State::DoesNotHold, State::Holds),
                (counters(0, 1), State::Holds, State::DoesNotHold),
            ] {
                let mut off = exact();
                *term(&mut off) += wrong;
                let said = (off.packets().state, off.bytes().state, off.state());
                assert_eq!(said, (packets, bytes, State::DoesNotHold), "term {number}");
                off.at_rest = false;
                assert_eq!(off.state(), State::NotAtRest, "term {number}");
            }
        }
        let mut off = exact();
        off.lose(Side::Nic, "oversize", counters(1, 60));
        assert_eq!((off.packets().ends, off.bytes().ends), (-1, -60));
        let unseen = Conservation { unwitnessed: counters(0, 1), ..exact() };
        assert_eq!(unseen.packets().state, State::Holds);
        assert_eq!((unseen.bytes().state, unseen.state()), (State::NotChecked, State::NotChecked));
        off.unwitnessed = counters(1, 1);
        assert_eq!(off.state(), State::DoesNotHold);
    }
}
