//! Reads the device: statistics, dump, adoption. Every reading corrects the table of our filters.

use std::collections::{BTreeSet, HashSet};

use flow::{Correction, Dumped, ProviderError, Stats, Ufid};

use super::listing::{Listed, Listing};
use super::table::{Entry, Placed};
use super::{Found, Tc};
use crate::wire::{Transport, WireError};

/// The largest number of times an interface is listed at the start while other tools change it.
const LISTINGS: usize = 5;

/// The state of a filter with our cookie.
enum Seen {
    /// The filter belongs to an entry and does what its megaflow says.
    Alive(Ufid, Stats),
    /// The filter belongs to an entry and its counters are valid, but it must be replaced or
    /// removed.
    CutOff(Ufid, Stats),
    /// The filter belongs to an entry, but it is no longer in hardware, or the driver no longer
    /// answers for it.
    Dead(Ufid),
    /// The filter has the place and the cookie of an entry, but another tool changed what it
    /// does.
    Altered(Ufid),
    /// The filter belongs to no entry.
    Foreign(Placed, Stats),
}

impl<T: Transport> Tc<T> {
    pub(super) fn stats(&mut self, out: &mut Vec<(Ufid, Stats)>) -> Result<(), ProviderError> {
        // Changes notified up to now are part of the reading.
        self.listen();
        self.touched.clear();
        let mut read = Vec::new();
        for ifindex in self.interfaces() {
            read.push((ifindex, self.list(ifindex, false)?));
        }
        // Changes notified during the reading explain differences from the table.
        self.listen();
        let last_words = self.take_last_words();
        let mut altered = Vec::new();
        for (ifindex, listing) in read {
            // If the interface was deleted meanwhile, its filters are gone too.
            if self.by_ifindex.contains_key(&ifindex) {
                altered.extend(self.take_in(ifindex, listing, out));
            }
        }
        self.correct(Correction::Altered, altered);
        self.review_others();
        for (ufid, stats) in last_words {
            // These are the final counters. The next pass, which is due at once, finds the
            // megaflow missing.
            self.table.remove(ufid);
            self.changed = true;
            out.push((ufid, stats));
        }
        Ok(())
    }

    /// Compares a listing with the table. Returns a description of each filter that other tools
    /// altered.
    fn take_in(
        &mut self,
        ifindex: u32,
        listing: Listing,
        out: &mut Vec<(Ufid, Stats)>,
    ) -> Vec<String> {
        self.know_others(ifindex, listing.others);
        let mut altered = Vec::new();
        let mut there = HashSet::with_capacity(listing.ours.len());
        for listed in listing.ours.into_values() {
            match self.judge(&listed) {
                Seen::Alive(ufid, stats) => {
                    there.insert(ufid);
                    out.push((ufid, stats));
                    self.believe(ufid, stats, listed.summary.answered);
                }
                Seen::CutOff(ufid, stats) => {
                    there.insert(ufid);
                    self.believe(ufid, stats, listed.summary.answered);
                }
                Seen::Dead(ufid) => self.bury(ufid),
                Seen::Altered(ufid) => {
                    let name = self.device_name(ifindex);
                    altered.push(format!("{ufid} on {name}, {}", listed.placed.at));
                    self.bury(ufid);
                }
                // The caller removes the filter by this ufid.
                Seen::Foreign(placed, stats) => {
                    if !self.strays.contains(&placed) {
                        let ufid = self.name_of(&placed);
                        let Listed { digest, flow, .. } = listed;
                        self.found.insert(ufid, Found { placed, digest, flow });
                        out.push((ufid, stats));
                    }
                }
            }
        }
        self.table.retain_on(ifindex, |ufid| there.contains(ufid));
        altered
    }

    fn believe(&mut self, ufid: Ufid, stats: Stats, answered: bool) {
        if let Some(entry) = self.table.get_mut(ufid) {
            entry.last = stats;
            entry.answered |= answered;
        }
    }

    /// Determines which entry the filter belongs to, and whether the filter still does what we
    /// installed.
    fn judge(&mut self, listed: &Listed) -> Seen {
        let Listed { placed, summary, .. } = listed;
        let stats = summary.counted.stats((self.clock)());
        let owner = self.table.at(&placed.at);
        let owner = owner.and_then(|ufid| Some((ufid, self.table.get_mut(ufid)?)));
        match owner.filter(|(_, entry)| entry.placed == *placed) {
            None => Seen::Foreign(*placed, stats),
            Some((ufid, entry)) => {
                let same = listed.digest == entry.digest;
                // The interface that the filter sends to was deleted. The monitor may report that
                // a moment later.
                entry.redo |= !same && listed.headless;
                if !same && !listed.headless {
                    Seen::Altered(ufid)
                } else if !summary.in_hw || !summary.answered && entry.answered {
                    Seen::Dead(ufid)
                } else if entry.redo {
                    Seen::CutOff(ufid, stats)
                } else {
                    Seen::Alive(ufid, stats)
                }
            }
        }
    }

    /// Takes the final counters of filters that other tools deleted and that the caller has not
    /// read yet.
    fn take_last_words(&mut self) -> Vec<(Ufid, Stats)> {
        let mut all = std::mem::take(&mut self.last_words);
        all.retain(|(ufid, placed, _)| {
            self.table.get(*ufid).is_some_and(|entry| entry.placed == *placed)
        });
        all.into_iter().map(|(ufid, _, stats)| (ufid, stats)).collect()
    }

    /// Returns the final counters of one filter that other tools deleted, if the monitor reported
    /// them.
    pub(super) fn last_words_of(&mut self, placed: &Placed) -> Option<Stats> {
        self.listen();
        let mut words = self.last_words.iter().rev();
        words.find(|(_, spoke, _)| spoke == placed).map(|(_, _, stats)| *stats)
    }

    /// Drops the entry and marks its filter for removal, because the filter no longer forwards
    /// the megaflow's packets; the megaflow can then be installed again.
    fn bury(&mut self, ufid: Ufid) {
        if let Some(entry) = self.table.remove(ufid) {
            self.strays.push(entry.placed);
        }
    }

    /// Returns the ufid of a filter that was dumped before, or else a ufid made from its cookie.
    fn name_of(&self, placed: &Placed) -> Ufid {
        let known = self.found.iter().find(|(_, found)| found.placed == *placed);
        known.map_or_else(|| placed.cookie.stand_in(), |(ufid, _)| *ufid)
    }

    pub(super) fn dump(&mut self, out: &mut Vec<Dumped>) -> Result<(), ProviderError> {
        self.found.clear();
        for ifindex in self.interfaces() {
            let answers = self.answers(ifindex);
            let mut listed = self.list_in_quiet(ifindex)?;
            // If a replace was cut short, one megaflow has two filters: the filter that is looked
            // up first stays, the other is removed.
            listed.sort_by_key(|one| one.placed.at.priority);
            let mut there = HashSet::with_capacity(listed.len());
            for Listed { placed, summary, digest, flow, .. } in listed {
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
                let active = summary.in_hw && (summary.answered || !answers);
                out.push(Dumped {
                    ufid,
                    generation: placed.cookie.generation,
                    flow: flow.as_ref().map(|(flow, _)| flow.clone()),
                    stats,
                    active,
                });
                if entry.is_none() {
                    self.found.insert(ufid, Found { placed, digest, flow });
                } else if !active {
                    self.bury(ufid);
                }
            }
            self.table.retain_on(ifindex, |ufid| there.contains(ufid));
        }
        Ok(())
    }

    /// Lists an interface whose filters are not known yet. A filter that a listing leaves out
    /// can't be asked for by name, so the interface is listed again as long as other tools change
    /// its filters.
    fn list_in_quiet(&mut self, ifindex: u32) -> Result<Vec<Listed>, WireError> {
        let mut all = Listing::default();
        for _ in 0..LISTINGS {
            self.listen();
            let heard = self.heard;
            let listing = self.list(ifindex, true)?;
            all.ours.extend(listing.ours);
            all.others = listing.others;
            self.listen();
            if self.heard == heard {
                break;
            }
        }
        self.know_others(ifindex, all.others);
        self.review_others();
        Ok(all.ours.into_values().collect())
    }

    pub(super) fn adopt(&mut self, found: &[Dumped]) -> Vec<Ufid> {
        let mut taken = Vec::new();
        let mut seen = BTreeSet::new();
        for dumped in found {
            let generation = dumped.generation;
            let same = |found: &Found| found.placed.cookie.generation == generation;
            if !seen.insert(dumped.ufid) || !self.found.get(&dumped.ufid).is_some_and(same) {
                continue;
            }
            let Some(found) = self.found.remove(&dumped.ufid) else { continue };
            let Found { placed, digest, flow } = found;
            let (flow, signature) = flow.unzip();
            let last = dumped.stats;
            let entry = Entry { placed, last, answered: false, digest, flow, redo: false };
            self.table.adopt(dumped.ufid, entry, signature.as_ref());
            taken.push(dumped.ufid);
        }
        self.shade();
        taken
    }
}
