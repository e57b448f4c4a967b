//! The classifier alone: from the keys of packets to megaflows, and installs and removals.
//!
//! Each packet of a set is for a megaflow of its own, in random order. A measured lookup includes
//! reading the packet's key from memory.

use flow::{Classifier, Key, Match};
use hostdp::port::BURST;

use super::measure::{Aside, Case, Work};
use super::sets::attack::Sender::{Attacker, AttackerAnew, Good};
use super::sets::attack::Victim::{FourFields, ThreeFields};
use super::sets::attack::{self, Sender, Victim};
use super::sets::{FlowSet, acl, ipv6, l2, peers};

pub(super) const CASES: &[Case<Work>] = &[
    lookup("d10k_1", "10,000 megaflows under 1 mask", |most| peer(10_000, 1, most)),
    lookup("d10k_10", "10,000 megaflows under 10 masks", |most| peer(10_000, 10, most)),
    lookup("d10k_30", "10,000 megaflows under 30 masks", |most| peer(10_000, 30, most)),
    lookup("d10k_30_miss", "packets that hit none of 10,000 megaflows under 30 masks", |most| {
        lookups(peers::misses(most.min(10_000), 30))
    }),
    lookup("d100k_1", "100,000 megaflows under 1 mask", |most| peer(100_000, 1, most)),
    lookup("d100k_10", "100,000 megaflows under 10 masks", |most| peer(100_000, 10, most)),
    lookup("d100k_30", "100,000 megaflows under 30 masks", |most| peer(100_000, 30, most)),
    lookup("d1m_1", "1,000,000 megaflows under 1 mask, 100,000 of them hit", |most| {
        peer(1_000_000, 1, most)
    }),
    lookup("d1m_10", "1,000,000 megaflows under 10 masks, 100,000 of them hit", |most| {
        peer(1_000_000, 10, most)
    }),
    lookup("tse_1", "1,000 flows beside an attack with 1 mask", |most| {
        attacked(1, ThreeFields, Good, most)
    }),
    lookup("tse_10", "1,000 flows beside an attack with 10 masks", |most| {
        attacked(10, ThreeFields, Good, most)
    }),
    lookup("tse_100", "1,000 flows beside an attack with 100 masks", |most| {
        attacked(100, ThreeFields, Good, most)
    }),
    lookup("tse_1000", "1,000 flows beside an attack with 1,000 masks", |most| {
        attacked(1000, ThreeFields, Good, most)
    }),
    lookup("tse_8000", "1,000 flows beside an attack with 8,000 masks", |most| {
        attacked(8000, ThreeFields, Good, most)
    }),
    lookup("tse_1_own", "packets of an attack with 1 mask", |most| {
        attacked(1, ThreeFields, Attacker, most)
    }),
    lookup("tse_10_own", "packets of an attack with 10 masks", |most| {
        attacked(10, ThreeFields, Attacker, most)
    }),
    lookup("tse_100_own", "packets of an attack with 100 masks", |most| {
        attacked(100, ThreeFields, Attacker, most)
    }),
    lookup("tse_1000_own", "packets of an attack with 1,000 masks", |most| {
        attacked(1000, ThreeFields, Attacker, most)
    }),
    lookup("tse_8000_own", "packets of an attack with 8,000 masks", |most| {
        attacked(8000, ThreeFields, Attacker, most)
    }),
    lookup("tse_1_miss", "new packets of an attack with 1 mask", |most| {
        attacked(1, ThreeFields, AttackerAnew, most)
    }),
    lookup("tse_10_miss", "new packets of an attack with 10 masks", |most| {
        attacked(10, ThreeFields, AttackerAnew, most)
    }),
    lookup("tse_100_miss", "new packets of an attack with 100 masks", |most| {
        attacked(100, ThreeFields, AttackerAnew, most)
    }),
    lookup("tse_1000_miss", "new packets of an attack with 1,000 masks", |most| {
        attacked(1000, ThreeFields, AttackerAnew, most)
    }),
    lookup("tse_8000_miss", "new packets of an attack with 8,000 masks", |most| {
        attacked(8000, ThreeFields, AttackerAnew, most)
    }),
    lookup("tse4_8000", "1,000 flows beside an attack with 8,000 masks in four fields", |most| {
        attacked(8000, FourFields, Good, most)
    }),
    lookup("tse4_8000_own", "packets of an attack with 8,000 masks in four fields", |most| {
        attacked(8000, FourFields, Attacker, most)
    }),
    lookup("tse4_8000_miss", "new packets of an attack with 8,000 masks in four fields", |most| {
        attacked(8000, FourFields, AttackerAnew, most)
    }),
    lookup("l2", "10,000 megaflows of a learning switch under 5 masks", |most| {
        lookups(Ok(l2::set(most.min(10_000))))
    }),
    lookup("l2_100k", "100,000 megaflows of a learning switch under 5 masks", |most| {
        lookups(Ok(l2::set(most.min(100_000))))
    }),
    lookup("ipv6", "10,000 IPv6 megaflows under 5 masks", |most| {
        lookups(Ok(ipv6::set(most.min(10_000))))
    }),
    lookup("ipv6_100k", "100,000 IPv6 megaflows under 5 masks", |most| {
        lookups(Ok(ipv6::set(most.min(100_000))))
    }),
    lookup("acl", "10,000 megaflows that an access list gives, under 2,757 masks", |most| {
        lookups(acl::hits(most.min(10_000)))
    }),
    lookup("acl_miss", "packets that hit none of the 10,000 of the access list", |most| {
        lookups(acl::misses(most.min(10_000)))
    }),
    Case {
        name: "install_1m",
        unit: "megaflow",
        what: "installs and their overlap checks, into 1,000,000 megaflows under 10 masks",
        setup: |most| updates(Update::Install, most),
    },
    Case {
        name: "remove_1m",
        unit: "megaflow",
        what: "removals from 1,000,000 megaflows under 10 masks",
        setup: |most| updates(Update::Remove, most),
    },
];

/// Bursts between two looks at the clock.
const BURSTS: usize = 8;
/// The most megaflows of a peers' set that have packets.
const VISITED: u32 = 100_000;
/// The most megaflows that are installed or removed between two looks at the clock.
const UPDATES: u32 = 4096;

const fn lookup(
    name: &'static str,
    what: &'static str,
    setup: fn(u32) -> Result<Work, String>,
) -> Case<Work> {
    Case { name, unit: "lookup", what, setup }
}

fn peer(flows: u32, masks: u32, most: u32) -> Result<Work, String> {
    lookups(peers::hits(flows.min(most), masks, VISITED))
}

fn attacked(masks: u32, victim: Victim, sender: Sender, most: u32) -> Result<Work, String> {
    lookups(attack::set(masks.min(most), most.min(1000), victim, sender))
}

/// A classifier, and its megaflows by their numbers. Whatever is measured is called here.
struct Table {
    classifier: Classifier,
    flows: Vec<Match>,
    found: Vec<Option<u32>>,
    overlapping: Vec<u32>,
}

impl Table {
    /// A table of which none is installed yet.
    fn new(flows: Vec<Match>) -> Table {
        Table { classifier: Classifier::new(1), flows, found: Vec::new(), overlapping: Vec::new() }
    }

    fn install(&mut self, numbers: impl Iterator<Item = u32>) -> Result<(), String> {
        for number in numbers {
            let flow = self.flows.get(number as usize).ok_or("no such megaflow")?;
            while !self.classifier.overlapping(flow, 1, &mut self.overlapping) {}
            if let Some(other) = self.overlapping.first() {
                return Err(format!("{number} overlaps {other}"));
            }
            self.classifier.insert(flow, number);
        }
        Ok(())
    }

    fn remove(&mut self, numbers: impl Iterator<Item = u32>) -> Result<(), String> {
        for number in numbers {
            let flow = self.flows.get(number as usize).ok_or("no such megaflow")?;
            if self.classifier.remove(flow) != Some(number) {
                return Err(format!("{number} is not found"));
            }
        }
        Ok(())
    }

    /// The numbers of the megaflows that a burst hits.
    fn lookup(&mut self, burst: &[Key; BURST]) -> &[Option<u32>] {
        self.classifier.lookup(&burst.each_ref(), &mut self.found);
        &self.found
    }
}

fn lookups(set: Result<FlowSet, String>) -> Result<Work, String> {
    let FlowSet { flows, traffic, hits } = set?;
    // The packets come over and over again, in full bursts, and not one burst alone.
    let count = traffic.len().next_multiple_of(BURST).max(2 * BURST);
    let traffic: Vec<Key> = traffic.into_iter().cycle().take(count).collect();
    let (bursts, _) = traffic.as_chunks::<BURST>();
    let bursts = bursts.to_vec();
    let numbers = 0..u32::try_from(flows.len()).map_err(|error| error.to_string())?;
    let mut table = Table::new(flows);
    table.install(numbers)?;
    for burst in &bursts {
        let found = table.lookup(burst);
        if let Some((key, _)) = burst.iter().zip(found).find(|(_, found)| found.is_some() != hits) {
            return Err(format!("{key:?} {}", if hits { "hits nothing" } else { "hits" }));
        }
    }
    let mut next = 0;
    Ok(Box::new(move |_| {
        for _ in 0..BURSTS {
            let Some(burst) = bursts.get(next) else { return Err("no packets".to_owned()) };
            std::hint::black_box(table.lookup(burst));
            next = if next + 1 < bursts.len() { next + 1 } else { 0 };
        }
        Ok((BURSTS * BURST) as u64)
    }))
}

/// Which of the two is measured.
#[derive(Clone, Copy)]
enum Update {
    Install,
    Remove,
}

/// The megaflows in random order are a ring: some are out of the table, and the next one to be
/// removed is the one behind those. The next one to be installed is the one that is out longest:
/// caches hold little of what its removal has read.
fn updates(update: Update, most: u32) -> Result<Work, String> {
    let installed = most.min(1_000_000);
    let out = installed.div_ceil(16);
    let (total, count) = (installed + out, out.min(UPDATES));
    let mut table = Table::new(peers::hits(total, 10, 0)?.shuffled());
    table.install(0..installed)?;
    let mut next = installed;
    Ok(Box::new(move |aside: &mut Aside| {
        let part = |from: u32| (from..from + count).map(|number| number % total);
        let (incoming, outgoing) = (part(next), part(next + out));
        match update {
            Update::Install => {
                table.install(incoming)?;
                aside.run(|| table.remove(outgoing))?;
            }
            Update::Remove => {
                table.remove(outgoing)?;
                aside.run(|| table.install(incoming))?;
            }
        }
        next = (next + count) % total;
        Ok(count.into())
    }))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_case_can_be_set_up_and_does_its_work() {
        for case in CASES {
            let mut work = (case.setup)(300).unwrap();
            for _ in 0..60 {
                assert!(work(&mut Aside::default()).unwrap() > 0, "{}", case.name);
            }
        }
        let names: BTreeSet<_> = CASES.iter().map(|case| case.name).collect();
        assert_eq!(names.len(), CASES.len());
    }

    #[test]
    fn packets_that_do_not_hit_as_they_should_are_an_error() {
        for hits in [false, true] {
            let mut set = l2::set(100);
            set.hits = hits;
            if hits {
                set.flows.pop();
            }
            assert!(lookups(Ok(set)).is_err_and(|why| why.contains("hits")));
        }
    }
}
