//! The conservation of packets, in the form that people and machines read.

use std::collections::BTreeMap;
use std::fmt::Write;

use flow::Counters;
use flow::conservation::{Conservation, ConservationState, Equations};
use serde::{Deserialize, Serialize};

use super::count::Count;

/// Where packets and bytes came in and where they ended: [`Conservation`] in words.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Balance {
    /// Packets that came in by all ports.
    pub offered: Count,
    /// Packets whose first hit was in hardware.
    pub nic: Count,
    /// Packets whose first hit was on the host.
    pub host: Count,
    /// Packets that were lost before they hit a megaflow or within a chain, or that wait for an
    /// answer.
    pub unmatched: Count,
    /// Packets that megaflows in hardware sent into another lookup.
    pub recirculated: Count,
    /// Recirculated packets that hit again in hardware or came up to the host.
    pub went_on: Count,
    /// Packets that action lists made.
    pub copies: Count,
    /// Bytes that action lists added to packets; negative if they removed more than they added.
    pub rewritten_bytes: i64,
    /// Packets that hardware sent by itself.
    pub sent_nic: Count,
    /// Packets that the host sent.
    pub sent_host: Count,
    /// Packets that ended on purpose: `drop` (by a megaflow) and `userspace` (up to the client).
    pub consumed: BTreeMap<String, Count>,
    /// Packets that were lost, by the side that lost them (`nic`, `host`) and the reason.
    pub lost: BTreeMap<String, BTreeMap<String, Count>>,
    /// Packets that wait for an answer.
    pub in_flight: Count,
    /// Packets and bytes that are known from one counter alone.
    pub unwitnessed: Count,
    /// True if no packet came between the readings of the counters.
    pub at_rest: bool,
    /// The worse state of packets and bytes.
    pub state: String,
    /// True if everything was checked and the equations hold.
    pub holds: bool,
    /// The verdict on the packets.
    pub packets: ShownEquations,
    /// The verdict on the bytes.
    pub bytes: ShownEquations,
}

/// The verdict on packets or bytes, and the amounts by which the equations are off.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ShownEquations {
    /// The state: `holds`, `not-checked`, `not-at-rest` or `does-not-hold`.
    pub state: String,
    /// Packets or bytes that were sent into a lookup, less the ones that lookups account for; 0
    /// if both agree.
    pub lookups: i64,
    /// Packets or bytes that were offered, copied or added, less the ones that ended or are in
    /// flight; 0 if both agree.
    pub ends: i64,
    /// Why some of the packets or bytes are known from one counter alone; empty if none are.
    #[serde(default)]
    pub why: Vec<String>,
}

impl ShownEquations {
    fn new(said: Equations, all: &Conservation, of: fn(&Counters) -> u64) -> ShownEquations {
        let unsure = all.unwitnessed.iter().filter(|(_, what)| of(what) > 0);
        ShownEquations {
            state: said.state.name().to_owned(),
            lookups: said.lookups,
            ends: said.ends,
            why: unsure.map(|(why, _)| why.to_string()).collect(),
        }
    }
}

impl From<&Conservation> for Balance {
    fn from(from: &Conservation) -> Balance {
        let mut lost: BTreeMap<String, BTreeMap<String, Count>> = BTreeMap::new();
        for ((side, reason), what) in &from.lost {
            let of_side = lost.entry(side.name().to_owned()).or_default();
            of_side.insert((*reason).to_owned(), (*what).into());
        }
        let consumed = from.consumed().map(|(how, what)| (how.to_owned(), what.into()));
        Balance {
            offered: from.offered.into(),
            nic: from.nic.into(),
            host: from.host.into(),
            unmatched: from.unmatched.into(),
            recirculated: from.recirculated.into(),
            went_on: from.went_on.into(),
            copies: from.forks.copies.into(),
            rewritten_bytes: from.forks.rewritten,
            sent_nic: from.sent_nic.into(),
            sent_host: from.sent_host.into(),
            consumed: consumed.into(),
            lost,
            in_flight: from.in_flight.into(),
            unwitnessed: from.unwitnessed.values().copied().sum::<Counters>().into(),
            at_rest: from.at_rest,
            state: from.state().name().to_owned(),
            holds: from.state() == ConservationState::Holds,
            packets: ShownEquations::new(from.packets(), from, |what| what.packets),
            bytes: ShownEquations::new(from.bytes(), from, |what| what.bytes),
        }
    }
}

impl Balance {
    /// Returns three lines: where packets ended and where bytes ended, each with its verdict, and
    /// what lookups found.
    #[must_use]
    pub fn lines(&self) -> String {
        let packets = self.line("packets", |count| count.packets, 0, &self.packets);
        let bytes = self.line("bytes", |count| count.bytes, self.rewritten_bytes, &self.bytes);
        let lookups = format!(
            "lookups offered {} + recirculated {} = hit nic {} + hit host {} + hit nothing {} + \
             went on {}",
            self.offered.packets,
            self.recirculated.packets,
            self.nic.packets,
            self.host.packets,
            self.unmatched.packets,
            self.went_on.packets,
        );
        format!("{packets}\n{bytes}\n{lookups}\n")
    }

    fn line(
        &self,
        unit: &str,
        of: fn(&Count) -> u64,
        rewritten: i64,
        said: &ShownEquations,
    ) -> String {
        let [nic, host] = [of(&self.sent_nic), of(&self.sent_host)];
        let consumed = self.consumed.iter().map(|(how, what)| (how.clone(), of(what)));
        let lost = self.lost.iter().flat_map(|(side, reasons)| {
            reasons.iter().map(move |(reason, what)| (format!("{side} {reason}"), of(what)))
        });
        let mut text = format!("{unit:<8}offered {}", of(&self.offered));
        // Writing to a String can't fail.
        let _ = write!(text, " + copies {}", of(&self.copies));
        if rewritten != 0 {
            let sign = if rewritten < 0 { '-' } else { '+' };
            let _ = write!(text, " {sign} rewritten {}", rewritten.unsigned_abs());
        }
        let _ = write!(text, " = sent nic {nic} + sent host {host}");
        let _ = write!(text, " + consumed {}", parts(consumed));
        let _ = write!(text, " + lost {}", parts(lost));
        let _ = write!(text, " + in flight {}: {}", of(&self.in_flight), said.words());
        text
    }
}

/// Returns the sum, and in brackets the parts that are not 0.
fn parts(of: impl Iterator<Item = (String, u64)>) -> String {
    let of: Vec<(String, u64)> = of.filter(|(_, count)| *count > 0).collect();
    let sum: u64 = of.iter().map(|(_, count)| count).sum();
    if of.is_empty() {
        return sum.to_string();
    }
    let words: Vec<String> = of.iter().map(|(word, count)| format!("{word} {count}")).collect();
    format!("{sum} ({})", words.join(", "))
}

impl ShownEquations {
    /// Returns the state in words, with the amount by which an equation is off, for people.
    fn words(&self) -> String {
        let is_off = self.state == ConservationState::DoesNotHold.name();
        let words = match (is_off, self.ends, self.lookups) {
            (false, ..) if self.state == ConservationState::NotChecked.name() => {
                &format!("adds up, not checked: {}", self.why.join("; "))
            }
            (false, ..) => &self.state.replace('-', " "),
            (true, 1.., _) => &format!("does not hold, {} did not end anywhere", self.ends),
            (true, 0, 1..) => &format!("does not hold, {} were not looked up", self.lookups),
            (true, 0, _) => {
                &format!("does not hold, {} hits of nothing offered", self.lookups.unsigned_abs())
            }
            (true, ..) => {
                &format!("does not hold, {} ends of nothing offered", self.ends.unsigned_abs())
            }
        };
        words.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use flow::conservation::{Side, Unchecked};

    use super::*;

    fn counters(packets: u64, bytes: u64) -> Counters {
        Counters { packets, bytes }
    }

    #[test]
    fn the_lines_say_where_packets_ended_and_what_is_missing() {
        let mut all = Conservation {
            offered: counters(10, 1_000),
            nic: counters(6, 600),
            host: counters(3, 300),
            unmatched: counters(1, 100),
            sent_nic: counters(6, 600),
            sent_host: counters(3, 310),
            userspace: counters(1, 100),
            at_rest: true,
            ..Conservation::default()
        };
        all.forks.copies = counters(2, 200);
        all.forks.rewritten = 4;
        all.lose(Side::Host, "port-down", counters(1, 104));
        all.lose(Side::Nic, "rx-ring-full", counters(1, 90));
        let say = |all: &Conservation| Balance::from(all).lines();
        let lines = say(&all);
        assert_eq!(
            lines,
            "packets offered 10 + copies 2 = sent nic 6 + sent host 3 + consumed 1 (userspace 1) + \
             lost 2 (host port-down 1, nic rx-ring-full 1) + in flight 0: holds\n\
             bytes   offered 1000 + copies 200 + rewritten 4 = sent nic 600 + sent host 310 + \
             consumed 100 (userspace 100) + lost 194 (host port-down 104, nic rx-ring-full 90) + \
             in flight 0: holds\n\
             lookups offered 10 + recirculated 0 = hit nic 6 + hit host 3 + hit nothing 1 + \
             went on 0\n"
        );
        assert!(Balance::from(&all).holds);
        for (packets, words) in [(9, "1 did not end anywhere"), (12, "2 ends of nothing offered")] {
            all.sent_nic.packets = packets - 4;
            assert!(say(&all).contains(&format!(": does not hold, {words}\n")), "{}", say(&all));
        }
        all.sent_nic.packets = 6;
        for (hits, words) in [(5, "1 were not looked up"), (8, "2 hits of nothing offered")] {
            all.nic.packets = hits;
            assert!(say(&all).contains(&format!(": does not hold, {words}\n")), "{}", say(&all));
        }
        all.at_rest = false;
        assert_eq!(say(&all).matches(": not at rest\n").count(), 2);
        (all.at_rest, all.nic.packets) = (true, 6);
        all.doubt(Unchecked::NoPortCounters, counters(1, 0));
        all.doubt(Unchecked::InterfaceBytes, counters(0, 1));
        let lines = say(&all);
        assert!(lines.contains(": adds up, not checked: no port counts what the NIC does\n"));
        assert!(lines.contains(": adds up, not checked: the ports' interfaces count"), "{lines}");
        assert!(!Balance::from(&all).holds);
    }
}
