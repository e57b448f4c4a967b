//! Reading the device: statistics, dump, adoption. Every reading corrects what we believe.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use flow::{Dumped, ProviderError, Stats, Ufid};

use super::Tc;
use super::table::{Entry, Placed, Table};
use crate::decode::{Filter, Summary};
use crate::encode;
use crate::rule::Signature;
use crate::wire::consts::{NLM_F_DUMP, RTM_GETTFILTER, RTM_NEWTFILTER, TC_H_INGRESS_FILTERS};
use crate::wire::{Client, Transport, WireError};

/// What a filter of ours turned out to be.
enum Seen {
    /// That of an entry, alive.
    Alive(Ufid, Stats, bool),
    /// That of an entry, but the driver does not answer for it any more.
    Dead(Ufid),
    /// Of nobody.
    Foreign(Placed, Stats),
}

/// One filter of ours as a dump has it.
struct Listed {
    placed: Placed,
    summary: Summary,
    flow: Option<(flow::Megaflow, Signature)>,
}

impl<T: Transport> Tc<T> {
    pub(super) fn stats(&mut self, out: &mut Vec<(Ufid, Stats)>) -> Result<(), ProviderError> {
        let interfaces = self.interfaces();
        let mut there = HashSet::with_capacity(self.table.len());
        for ifindex in &interfaces {
            for seen in self.read(*ifindex)? {
                match seen {
                    Seen::Alive(ufid, stats, answered) => {
                        there.insert(ufid);
                        if let Some(entry) = self.table.get_mut(ufid) {
                            entry.last = stats;
                            entry.answered |= answered;
                        }
                        out.push((ufid, stats));
                    }
                    Seen::Dead(ufid) => self.bury(ufid),
                    // The caller is to remove it by this name.
                    Seen::Foreign(placed, stats) => {
                        if !self.strays.contains(&placed) {
                            let ufid = self.name_of(&placed);
                            self.found.insert(ufid, (placed, None));
                            out.push((ufid, stats));
                        }
                    }
                }
            }
        }
        self.pass_on_last_words(out);
        for ifindex in interfaces {
            self.table.retain_on(ifindex, |ufid| there.contains(ufid));
        }
        Ok(())
    }

    /// What is gone with hits that nobody has read is reported a last time; the next pass, which
    /// is due at once, misses it.
    fn pass_on_last_words(&mut self, out: &mut Vec<(Ufid, Stats)>) {
        // The kernel speaks before the filter is gone: what this pass missed has been said.
        self.listen();
        for (ufid, stats) in std::mem::take(&mut self.last_words) {
            if self.table.remove(ufid).is_some() {
                out.push((ufid, stats));
                self.changed = true;
            }
        }
    }

    fn read(&mut self, ifindex: u32) -> Result<Vec<Seen>, WireError> {
        let (table, now) = (&self.table, (self.clock)());
        dump_ours(&mut self.client, ifindex, |placed, summary, _| {
            judge(table, placed, &summary, summary.counted.stats(now))
        })
    }

    /// The filter is in tc but not in the hardware: it goes, so that it can be put in again.
    fn bury(&mut self, ufid: Ufid) {
        if let Some(entry) = self.table.remove(ufid) {
            self.strays.push(entry.placed);
        }
    }

    /// The ufid of a filter that was dumped before, or what stands for it.
    fn name_of(&self, placed: &Placed) -> Ufid {
        let known = self.found.iter().find(|(_, (found, _))| found == placed);
        known.map_or_else(|| placed.cookie.stand_in(), |(ufid, _)| *ufid)
    }

    pub(super) fn dump(&mut self, out: &mut Vec<Dumped>) -> Result<(), ProviderError> {
        self.found.clear();
        for ifindex in self.interfaces() {
            let answers = self.answers(ifindex);
            let mut listed = self.list(ifindex)?;
            // Of two filters of one megaflow (a replace that was cut short) the one that is
            // looked up first counts; the other goes.
            listed.sort_by_key(|one| one.placed.at.priority);
            let mut there = HashSet::with_capacity(listed.len());
            for Listed { placed, summary, flow } in listed {
                if self.strays.contains(&placed) {
                    continue;
                }
                let owner = self.table.at(&placed.at);
                let ufid = flow.as_ref().map(|(flow, _)| flow.ufid).or(owner);
                let ufid = ufid.unwrap_or_else(|| placed.cookie.stand_in());
                let entry = self.table.get(ufid).map(|entry| entry.placed);
                if !there.insert(ufid) || entry.is_some_and(|entry| entry.at != placed.at) {
                    self.strays.push(placed);
                    continue;
                }
                let stats = summary.counted.stats((self.clock)());
                let (flow, signature) = flow.unzip();
                let active = summary.in_hw && (summary.answered || !answers);
                let generation = placed.cookie.generation;
                let flow = flow.map(Arc::new);
                out.push(Dumped { ufid, generation, flow, stats, active });
                if entry.is_none() {
                    self.found.insert(ufid, (placed, signature));
                } else if !active {
                    self.bury(ufid);
                }
            }
            self.table.retain_on(ifindex, |ufid| there.contains(ufid));
        }
        Ok(())
    }

    fn list(&mut self, ifindex: u32) -> Result<Vec<Listed>, WireError> {
        let (ports, target) = (&self.by_ifindex, self.admission.target());
        dump_ours(&mut self.client, ifindex, |placed, summary, filter| {
            let flow = filter.megaflow(&placed.cookie, ports, target);
            Listed { placed, summary, flow: flow.map(|(flow, rule)| (flow, rule.signature())) }
        })
    }

    pub(super) fn adopt(&mut self, found: &[Dumped]) -> Vec<Ufid> {
        let mut taken = Vec::new();
        let mut seen = BTreeSet::new();
        for dumped in found {
            let generation = dumped.generation;
            let same = |(placed, _): &(Placed, _)| placed.cookie.generation == generation;
            if !seen.insert(dumped.ufid) || !self.found.get(&dumped.ufid).is_some_and(same) {
                continue;
            }
            let Some((placed, signature)) = self.found.remove(&dumped.ufid) else { continue };
            let entry = Entry { placed, last: dumped.stats, answered: false };
            self.table.adopt(dumped.ufid, entry, signature.as_ref());
            taken.push(dumped.ufid);
        }
        taken
    }
}

/// Dumps the filters of an interface that carry a cookie of ours.
fn dump_ours<T: Transport, S>(
    client: &mut Client<T>,
    ifindex: u32,
    read: impl Fn(Placed, Summary, &Filter<'_>) -> S,
) -> Result<Vec<S>, WireError> {
    client.dump(
        RTM_GETTFILTER,
        NLM_F_DUMP,
        |w| encode::dump(w, ifindex, TC_H_INGRESS_FILTERS),
        Vec::new,
        |all, message| {
            if message.kind != RTM_NEWTFILTER {
                return Ok(());
            }
            let Some(filter) = Filter::parse(message.payload)? else { return Ok(()) };
            let summary = filter.summary()?;
            if let Some(cookie) = summary.cookie {
                let placed = Placed { at: filter.at, protocol: filter.protocol, cookie };
                all.push(read(placed, summary, &filter));
            }
            Ok(())
        },
    )
}

/// Whose filter is it, and does it still forward?
fn judge(table: &Table, placed: Placed, summary: &Summary, stats: Stats) -> Seen {
    let owner = table.at(&placed.at).and_then(|ufid| Some((ufid, table.get(ufid)?)));
    match owner.filter(|(_, entry)| entry.placed.cookie == placed.cookie) {
        None => Seen::Foreign(placed, stats),
        Some((ufid, entry)) => {
            if summary.in_hw && (summary.answered || !entry.answered) {
                Seen::Alive(ufid, stats, summary.answered)
            } else {
                Seen::Dead(ufid)
            }
        }
    }
}
