//! The conservation of packets and bytes: every packet that was offered ended somewhere, once.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::{Action, Counters, PortId};

/// Bytes of a VLAN tag, and of an entry of an MPLS label stack.
const TAG: i64 = 4;

/// The copies, drops and rewrites that action lists made of the packets they were executed on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Forks {
    /// Copies of packets: a list that sends a packet n ways makes n − 1 copies. Outputs, userspace
    /// actions and recirculations are ways.
    pub copies: Counters,
    /// Packets that a list sent no way, so that their megaflow dropped them.
    pub dropped: Counters,
    /// Bytes that tags, labels and truncation added to the packets themselves; negative if they
    /// removed more than they added.
    pub rewritten: i64,
}

impl std::ops::AddAssign for Forks {
    fn add_assign(&mut self, other: Forks) {
        self.copies += other.copies;
        self.dropped += other.dropped;
        self.rewritten = self.rewritten.saturating_add(other.rewritten);
    }
}

/// Collects the ways that one action list sends its packets, and makes [`Forks`] of them.
#[derive(Debug)]
pub struct Ways {
    began: Counters,
    last: Option<Counters>,
    copies: Counters,
}

impl Ways {
    /// Starts with the packets as they are in front of the list.
    #[must_use]
    pub fn new(began: Counters) -> Ways {
        Ways { began, last: None, copies: Counters::default() }
    }

    /// Notes that all packets went one way, as `what`. If another way follows, this one took
    /// copies.
    pub fn way(&mut self, what: Counters) {
        self.copies += self.last.replace(what).unwrap_or_default();
    }

    /// Notes copies of some packets; the packets themselves stay in the list.
    pub fn copy(&mut self, what: Counters) {
        self.copies += what;
    }

    /// Ends the list. `now` are the packets behind it: they are dropped if they went no way.
    #[must_use]
    pub fn end(self, now: Counters) -> Forks {
        let last = self.last.unwrap_or(now);
        let rewritten = last.bytes.wrapping_sub(self.began.bytes).cast_signed();
        let dropped = if self.last.is_none() { now } else { Counters::default() };
        Forks { copies: self.copies, dropped, rewritten }
    }
}

/// The hits of a device's megaflows and what their actions made of them. The counters of the
/// device's ports are compared with these numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Hits {
    /// Hits at the first lookup.
    pub first: Counters,
    /// All hits.
    pub all: Counters,
    /// Copies, drops and rewrites of all hits.
    pub forks: Forks,
    /// Packets sent into another lookup.
    pub recirculated: Counters,
}

impl Hits {
    /// Adds the hits of one megaflow with the given recirculation id and actions. Truncation and
    /// sampling are ignored, since no device carries them out by itself.
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

    /// The packets that left by ports if none was lost, computed from the megaflows alone. It
    /// serves a device whose port counters can't be read and which recirculates nothing.
    #[must_use]
    pub fn promised(&self) -> Counters {
        let Forks { copies, dropped, rewritten } = self.forks;
        let all = self.all + copies;
        let bytes = all.bytes.saturating_add_signed(rewritten).saturating_sub(dropped.bytes);
        Counters { packets: all.packets.saturating_sub(dropped.packets), bytes }
    }
}

/// The side that had a packet.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Side {
    /// A device, by itself.
    Nic,
    /// The host datapath.
    Host,
}

impl Side {
    /// The word for the side.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Side::Nic => "nic",
            Side::Host => "host",
        }
    }
}

/// Whether the equations of a [`Conservation`] hold.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ConservationState {
    /// No packet came between the readings of the counters, and the equations hold.
    Holds,
    /// The equations hold, but some of it is known from one counter alone ([`Unchecked`]).
    NotChecked,
    /// Packets came between the readings of the counters, so nothing can be concluded.
    NotAtRest,
    /// No packet came between the readings, and an equation does not hold.
    DoesNotHold,
}

impl ConservationState {
    /// All states, from the best to the worst.
    pub const ALL: [ConservationState; 4] = [
        ConservationState::Holds,
        ConservationState::NotChecked,
        ConservationState::NotAtRest,
        ConservationState::DoesNotHold,
    ];

    /// The stable word for the state in metrics and JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            ConservationState::Holds => "holds",
            ConservationState::NotChecked => "not-checked",
            ConservationState::NotAtRest => "not-at-rest",
            ConservationState::DoesNotHold => "does-not-hold",
        }
    }
}

/// A reason why something is known from one counter alone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Unchecked {
    /// The device's ports have no counters of their own.
    NoPortCounters,
    /// The ports' interfaces count other bytes than the megaflows.
    InterfaceBytes,
    /// Nothing could be handed to the host at these ports for a while. What was lost there is
    /// known only as what is missing.
    RepresentorDown(BTreeSet<PortId>),
    /// The device handed packets to the kernel that the host's ports have not received, and no
    /// counter says where they were lost.
    HandedUp,
}

impl fmt::Display for Unchecked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unchecked::NoPortCounters => f.write_str("no port counts what the NIC does"),
            Unchecked::InterfaceBytes => f.write_str(
                "the ports' interfaces count other bytes than the rules (tags, padding, FCS, \
                 lost packets)",
            ),
            Unchecked::RepresentorDown(ports) => {
                let ports: Vec<String> = ports.iter().map(PortId::to_string).collect();
                let ports = ports.join(", ");
                write!(f, "the representor of port {ports} is or was down and counts no losses")
            }
            Unchecked::HandedUp => {
                f.write_str("the NIC handed up packets that the host's ports did not receive")
            }
        }
    }
}

/// The result of the two equations, for packets or for bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Equations {
    /// Whether the equations hold.
    pub state: ConservationState,
    /// Left side minus right side of the first equation; 0 if it holds.
    pub lookups: i64,
    /// Left side minus right side of the second equation; 0 if it holds.
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
    /// Packets that came in by a port, as the ports count them, and packets that a client injected.
    pub offered: Counters,
    /// Packets whose first hit was a megaflow in hardware.
    pub nic: Counters,
    /// Packets whose first hit was a megaflow on the host, or for which the client answered with
    /// actions and no megaflow.
    pub host: Counters,
    /// Packets that were lost before a hit, or on the way to the host in the middle of a chain, or
    /// that wait for an answer to their first lookup.
    pub unmatched: Counters,
    /// Packets that megaflows in hardware sent into another lookup.
    pub recirculated: Counters,
    /// Recirculated packets that hit again in hardware, or came up to the host in the middle of
    /// their chain.
    pub went_on: Counters,
    /// Copies, drops and rewrites of the hits, in hardware and on the host.
    pub forks: Forks,
    /// Packets that hardware sent by itself, as its ports count them.
    pub sent_nic: Counters,
    /// Packets that the host sent. Those sent by a device's port are counted by the device.
    pub sent_host: Counters,
    /// Packets that an action sent up to the client.
    pub userspace: Counters,
    /// Packets that were lost, by the side that lost them and the reason.
    pub lost: BTreeMap<(Side, &'static str), Counters>,
    /// Packets that wait for an answer, to their first or a later lookup.
    pub in_flight: Counters,
    /// What is known from one counter alone, by the reason why no other counter confirms it.
    pub unwitnessed: BTreeMap<Unchecked, Counters>,
    /// True if no packet came between the readings of the counters.
    pub at_rest: bool,
}

impl Conservation {
    /// Packets that ended on purpose: by a drop action, or by a userspace action.
    #[must_use]
    pub fn consumed(&self) -> [(&'static str, Counters); 2] {
        [("drop", self.forks.dropped), ("userspace", self.userspace)]
    }

    /// Adds losses. A reason without losses is listed with 0.
    pub fn lose(&mut self, side: Side, reason: &'static str, what: Counters) {
        *self.lost.entry((side, reason)).or_default() += what;
    }

    /// Adds what no second counter confirms.
    pub fn doubt(&mut self, why: Unchecked, what: Counters) {
        *self.unwitnessed.entry(why).or_default() += what;
    }

    /// The verdict on the packets.
    #[must_use]
    pub fn packets(&self) -> Equations {
        self.verdict(|counters| counters.packets, 0)
    }

    /// The verdict on the bytes.
    #[must_use]
    pub fn bytes(&self) -> Equations {
        self.verdict(|counters| counters.bytes, self.forks.rewritten)
    }

    /// The worse state of packets and bytes.
    #[must_use]
    pub fn state(&self) -> ConservationState {
        self.packets().state.max(self.bytes().state)
    }

    fn verdict(&self, of: fn(&Counters) -> u64, rewritten: i64) -> Equations {
        let sum = |parts: &[Counters]| parts.iter().map(|part| i128::from(of(part))).sum::<i128>();
        let lost: Counters = self.lost.values().copied().sum();
        let found = sum(&[self.nic, self.host, self.unmatched, self.went_on]);
        let began = sum(&[self.offered, self.forks.copies]) + i128::from(rewritten);
        let sent = sum(&[self.sent_nic, self.sent_host]);
        let ended = sent + sum(&[self.forks.dropped, self.userspace, lost, self.in_flight]);
        let narrow = |n: i128| i64::try_from(n).unwrap_or(if n < 0 { i64::MIN } else { i64::MAX });
        let lookups = narrow(sum(&[self.offered, self.recirculated]) - found);
        let ends = narrow(began - ended);
        let unwitnessed: Counters = self.unwitnessed.values().copied().sum();
        let state = match (self.at_rest, lookups == 0 && ends == 0, of(&unwitnessed)) {
            (false, _, _) => ConservationState::NotAtRest,
            (true, false, _) => ConservationState::DoesNotHold,
            (true, true, 0) => ConservationState::Holds,
            (true, true, _) => ConservationState::NotChecked,
        };
        Equations { state, lookups, ends }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{PortId, RecircId};

    fn counters(packets: u64, bytes: u64) -> Counters {
        Counters { packets, bytes }
    }

    /// A sum with each kind: packets are sent, copied and tagged, dropped, and lost.
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
        assert_eq!(exact().state(), ConservationState::Holds, "{:?}", exact());
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
                (counters(1, 0), ConservationState::DoesNotHold, ConservationState::Holds),
                (counters(0, 1), ConservationState::Holds, ConservationState::DoesNotHold),
            ] {
                let mut off = exact();
                *term(&mut off) += wrong;
                let said = (off.packets().state, off.bytes().state, off.state());
                assert_eq!(said, (packets, bytes, ConservationState::DoesNotHold), "term {number}");
                off.at_rest = false;
                assert_eq!(off.state(), ConservationState::NotAtRest, "term {number}");
            }
        }
        let mut off = exact();
        off.lose(Side::Nic, "oversize", counters(1, 60));
        assert_eq!((off.packets().ends, off.bytes().ends), (-1, -60));
        let mut unseen = exact();
        unseen.doubt(Unchecked::InterfaceBytes, counters(0, 1));
        assert_eq!(unseen.packets().state, ConservationState::Holds);
        assert_eq!(
            (unseen.bytes().state, unseen.state()),
            (ConservationState::NotChecked, ConservationState::NotChecked)
        );
        off.doubt(Unchecked::NoPortCounters, counters(1, 1));
        assert_eq!(off.state(), ConservationState::DoesNotHold);
    }
}
