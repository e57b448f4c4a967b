//! Reading the device: statistics, dump, adoption. Every reading corrects what we believe.

use std::collections::{BTreeSet, HashSet};

use flow::{Correction, Dumped, ProviderError, Stats, Ufid};

use super::listing::{Listed, Listing};
use super::table::{Entry, Placed};
use super::{Found, Tc};
use crate::wire::{Transport, WireError};

/// How often a device is listed at the start while somebody changes it.
const LISTINGS: usize = 5;

/// What a filter of ours turned out to be.
enum Seen {
    /// That of an entry, and it does what it is to do.
    Alive(Ufid, Stats),
    /// That of an entry, with its counters, and to be replaced or removed.
    CutOff(Ufid, Stats),
    /// That of an entry, but the driver does not answer for it any more.
    Dead(Ufid),
    /// In the place and with the cookie of an entry, but somebody made another filter of it.
    Altered(Ufid),
    /// Of nobody.
    Foreign(Placed, Stats),
}

impl<T: Transport> Tc<T> {
    pub(super) fn stats(&mut self, out: &mut Vec<(Ufid, Stats)>) -> Result<(), ProviderError> {
        // The reading shows what was done until now.
        self.listen();
        self.touched.clear();
        let mut read = Vec::new();
        for ifindex in self.interfaces() {
            read.push((ifindex, self.list(ifindex, false)?));
        }
        // What was done meanwhile explains it.
        self.listen();
        let last_words = self.take_last_words();
        let mut altered = Vec::new();
        for (ifindex, listing) in read {
            // An interface that went meanwhile took all of it with it.
            if self.by_ifindex.contains_key(&ifindex) {
                altered.extend(self.take_in(ifindex, listing, out));
            }
        }
        self.correct(Correction::Altered, altered);
        self.review_others();
        for (ufid, stats) in last_words {
            // The next pass, which is due at once, misses it.
            self.table.remove(ufid);
            self.changed = true;
            out.push((ufid, stats));
        }
        Ok(())
    }

    /// Compares what was listed with what is believed. Returns what others altered.
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
                // The caller is to remove it by this name.
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

    /// Tells whose filter it is, and if it is ours, whether it still does what we installed.
    fn judge(&mut self, listed: &Listed) -> Seen {
        let Listed { placed, summary, .. } = listed;
        let stats = summary.counted.stats((self.clock)());
        let owner = self.table.at(&placed.at);
        let owner = owner.and_then(|ufid| Some((ufid, self.table.get_mut(ufid)?)));
        match owner.filter(|(_, entry)| entry.placed == *placed) {
            None => Seen::Foreign(*placed, stats),
            Some((ufid, entry)) => {
                let same = listed.digest == entry.digest;
                // Its port's interface went, which the monitor may say a moment later.
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

    /// What filters that others deleted had counted, and nobody has read.
    fn take_last_words(&mut self) -> Vec<(Ufid, Stats)> {
        let mut all = std::mem::take(&mut self.last_words);
        all.retain(|(ufid, placed, _)| {
            self.table.get(*ufid).is_some_and(|entry| entry.placed == *placed)
        });
        all.into_iter().map(|(ufid, _, stats)| (ufid, stats)).collect()
    }

    /// The same of one filter that turns out to be gone.
    pub(super) fn last_words_of(&mut self, placed: &Placed) -> Option<Stats> {
        self.listen();
        let mut words = self.last_words.iter().rev();
        words.find(|(_, spoke, _)| spoke == placed).map(|(_, _, stats)| *stats)
    }

    /// The filter is not what forwards: it goes, so that the megaflow can be put in again.
    fn bury(&mut self, ufid: Ufid) {
        if let Some(entry) = self.table.remove(ufid) {
            self.strays.push(entry.placed);
        }
    }

    /// The ufid of a filter that was dumped before, or what stands for it.
    fn name_of(&self, placed: &Placed) -> Ufid {
        let known = self.found.iter().find(|(_, found)| found.placed == *placed);
        known.map_or_else(|| placed.cookie.stand_in(), |(ufid, _)| *ufid)
    }

    pub(super) fn dump(&mut self, out: &mut Vec<Dumped>) -> Result<(), ProviderError> {
        self.found.clear();
        for ifindex in self.interfaces() {
            let answers = self.answers(ifindex);
            let mut listed = self.list_in_quiet(ifindex)?;
            // Of two filters of one megaflow (a replace that was cut short) the one that is
            // looked up first counts; the other goes.
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

    /// Lists an interface whose filters are not known yet: what one listing leaves out can't be
    /// asked for by itself, so it is listed again while others change it.
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
