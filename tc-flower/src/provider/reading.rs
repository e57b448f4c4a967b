//! Readings of the device in parts.
//!
//! A reading goes from interface to interface. First the kernel lists an interface's filters, on a
//! socket of the reading's own, so that operations go on meanwhile; a part takes one datagram. The
//! kernel has made that datagram some time before, so operations since then may have changed what
//! it shows: what is not known exactly as it is shown is asked for by name. Then the known filters
//! that were not listed are asked for by name, some in each part; only what the kernel does not
//! have under its name is gone. No part takes longer because there are more filters.

use flow::{Correction, Cursor, Dumped, ProviderError, Ufid};

use super::found::Found;
use super::listing::{
    FilterHealth, FilterReader, FilterReading, Listed, Name, One, Stage, name_of,
};
use super::table::Placed;
use super::tc::Tc;
use crate::encode::{self, Location};
use crate::netlink::consts::{NLM_F_DUMP, RTM_GETTFILTER, TC_H_INGRESS_FILTERS};
use crate::netlink::{BATCH, NetlinkError, RequestSocket, Transport};

/// The largest number of times an interface is listed in one reading: again if the listing was not
/// whole, and in a dump also if other tools have changed filters meanwhile, because a filter that
/// is not known can't be asked for by name.
const LISTINGS: usize = 5;

/// Reads a part. Returns what it shows, and where the next part begins.
pub(super) fn read<T: Transport>(
    tc: &mut Tc<T>,
    from: Cursor,
    is_dump: bool,
) -> Result<(Vec<Dumped>, Option<Cursor>), ProviderError> {
    // Changes notified up to now are part of the reading.
    tc.listen();
    let reading = match tc.reading.take() {
        Some(reading) if (Cursor(reading.number), reading.is_dump) == (from, is_dump) => reading,
        _ if from == Cursor::default() => match begin(tc, is_dump)? {
            Some(reading) => reading,
            None => return Ok((Vec::new(), None)),
        },
        _ => return Err(ProviderError::Busy("this reading was given up".to_owned())),
    };
    let FilterReading { number, ifindex, stage, .. } = reading;
    let mut part = Part { tc, number, is_dump, ifindex, shown: Vec::new() };
    // If the interface was deleted meanwhile, its filters are gone too.
    let is_there = part.tc.ports.by_ifindex().contains_key(&ifindex);
    let stage = if is_there { part.take_further(stage)? } else { None };
    let shown = part.shown;
    tc.reading = match stage {
        Some(stage) => Some(FilterReading { number, is_dump, ifindex, stage }),
        None => {
            tc.review_others();
            next(tc, number, is_dump, ifindex)?
        }
    };
    Ok((shown, tc.reading.as_ref().map(|_| Cursor(number))))
}

fn begin<T: Transport>(
    tc: &mut Tc<T>,
    is_dump: bool,
) -> Result<Option<FilterReading<T>>, NetlinkError> {
    if is_dump {
        tc.found.begin();
    }
    tc.readings += 1;
    next(tc, tc.readings, is_dump, 0)
}

/// Begins with the next interface.
fn next<T: Transport>(
    tc: &Tc<T>,
    number: u64,
    is_dump: bool,
    after: u32,
) -> Result<Option<FilterReading<T>>, NetlinkError> {
    let Some(ifindex) = tc.ports.next_interface(after) else { return Ok(None) };
    let stage = list(tc.client.again()?, ifindex, 1, tc.news.heard)?;
    Ok(Some(FilterReading { number, is_dump, ifindex, stage }))
}

fn list<T: Transport>(
    mut client: RequestSocket<T>,
    ifindex: u32,
    listings: usize,
    heard: u64,
) -> Result<Stage<T>, NetlinkError> {
    let body = |w: &mut _| encode::dump(w, ifindex, TC_H_INGRESS_FILTERS);
    let dump = client.begin_dump(RTM_GETTFILTER, NLM_F_DUMP, body)?;
    Ok(Stage::List { client, dump, listings, heard })
}

/// One part of a reading.
struct Part<'a, T> {
    tc: &'a mut Tc<T>,
    number: u64,
    is_dump: bool,
    ifindex: u32,
    shown: Vec<Dumped>,
}

impl<T: Transport> Part<'_, T> {
    /// Returns the next stage on this interface.
    fn take_further(&mut self, stage: Stage<T>) -> Result<Option<Stage<T>>, NetlinkError> {
        Ok(match stage {
            Stage::List { mut client, mut dump, listings, heard } => {
                let mut all = Vec::new();
                let reader = FilterReader::new(&self.tc.ports, self.is_dump);
                let ended = client.read_dump(&mut dump, &mut |message| {
                    all.extend(reader.read(&message)?);
                    Ok(())
                })?;
                self.take(all)?;
                let Some(is_whole) = ended else {
                    return Ok(Some(Stage::List { client, dump, listings, heard }));
                };
                self.tc.listen();
                let now = self.tc.news.heard;
                if listings < LISTINGS && (!is_whole || self.is_dump && now != heard) {
                    return list(client, self.ifindex, listings + 1, now).map(Some);
                }
                if !is_whole {
                    return Err(NetlinkError::Interrupted);
                }
                Some(Stage::Ours(Location::first_on(self.ifindex)))
            }
            Stage::Ours(from) => match self.ask_for_ours(from)? {
                Some(next) => Some(Stage::Ours(next)),
                None => Some(Stage::Others(Location::first_on(self.ifindex))),
            },
            Stage::Others(from) => self.ask_for_others(from)?.map(Stage::Others),
        })
    }

    /// Takes the filters of a datagram.
    fn take(&mut self, all: Vec<One>) -> Result<(), NetlinkError> {
        let mut doubtful: Vec<Name> = Vec::new();
        for one in all {
            match one {
                One::Ours(listed) => match self.owner(&listed.placed) {
                    Some(ufid) => self.known(ufid, *listed),
                    None => doubtful.push(name_of(listed.placed)),
                },
                One::Other(foreign) => {
                    if !self.tc.others.show(&foreign, self.number) {
                        doubtful.push((foreign.at, foreign.protocol, foreign.kind));
                    }
                }
            }
        }
        self.ask(&doubtful)
    }

    /// Asks for filters by name and takes those that are there.
    fn ask(&mut self, names: &[Name]) -> Result<(), NetlinkError> {
        if names.is_empty() {
            return Ok(());
        }
        let found = FilterReader::new(&self.tc.ports, true).ask(&mut self.tc.client, names)?;
        for one in found.into_iter().flatten() {
            match one {
                One::Ours(listed) => match self.owner(&listed.placed) {
                    Some(ufid) => self.known(ufid, *listed),
                    None => self.stranger(*listed),
                },
                One::Other(foreign) => self.tc.others.insert(*foreign, self.number),
            }
        }
        Ok(())
    }

    /// Returns the megaflow whose entry stands for exactly this filter.
    fn owner(&self, placed: &Placed) -> Option<Ufid> {
        let (ufid, entry) = self.tc.table.at(&placed.at)?;
        (entry.placed == *placed).then_some(*ufid)
    }

    /// Takes the filter of an entry.
    fn known(&mut self, ufid: Ufid, listed: Listed) {
        let now = self.tc.clock.now();
        let Some(entry) = self.tc.table.get_mut(ufid) else { return };
        if std::mem::replace(&mut entry.shown, self.number) == self.number {
            return;
        }
        let stats = listed.summary.counted.stats(now);
        if !self.is_dump {
            if entry.touched.take_if(|since| *since < self.number).is_some() {
                entry.last_words = None;
            }
            let seen = listed.judge(entry);
            if matches!(seen, FilterHealth::Alive | FilterHealth::CutOff) {
                entry.last = stats;
                entry.answered |= listed.summary.answered;
            }
            match seen {
                FilterHealth::Alive => {
                    if let Some(by_what) = entry.shade(&self.tc.ports) {
                        return self.tc.news.correct(Correction::Shadowed, by_what);
                    }
                }
                FilterHealth::CutOff => return,
                FilterHealth::Dead => return self.bury(ufid),
                FilterHealth::Altered => {
                    let name = self.tc.ports.name(self.ifindex);
                    let which = format!("{ufid} on {name}, {}", listed.placed.at);
                    self.tc.news.correct(Correction::Altered, which);
                    return self.bury(ufid);
                }
            }
        }
        let active = self.is_active(&listed);
        self.shown.push(listed.dumped(ufid, stats, active));
    }

    fn is_active(&mut self, listed: &Listed) -> bool {
        let answers = self.tc.ports.on(self.ifindex).is_some_and(|(_, state)| state.answers);
        listed.summary.in_hw && (listed.summary.answered || !answers)
    }

    /// Drops the entry and marks its filter for removal, because the filter no longer forwards
    /// the megaflow's packets; the megaflow can then be installed again.
    fn bury(&mut self, ufid: Ufid) {
        if let Some(entry) = self.tc.table.remove(ufid) {
            self.tc.strays.insert(entry.placed.at, entry.placed);
        }
    }

    /// Takes a filter with our cookie that belongs to no entry. The caller adopts it, or removes
    /// it by the ufid that it is told.
    fn stranger(&mut self, listed: Listed) {
        let placed = listed.placed;
        if self.tc.strays.get(&placed.at) == Some(&placed) {
            return;
        }
        let found = |ufid: Ufid| self.tc.found.get(ufid);
        let is_it = |found: &Found| found.placed == placed;
        // Statistics tell the ufid of a megaflow only where a dump did.
        let decoded = listed.flow.as_ref().map(|(flow, _)| flow.ufid);
        let named = decoded.filter(|ufid| self.is_dump || found(*ufid).is_some_and(is_it));
        let ufid = named.unwrap_or_else(|| placed.cookie.stand_in());
        let before = found(ufid).filter(|found| found.shown == self.number);
        // If a replace was cut short, one megaflow has two filters: the one that is looked up
        // first stays, the other one is removed.
        let is_ours = |ufid: Ufid| self.tc.table.get(ufid).is_some();
        if decoded.is_some_and(is_ours) || before.is_some_and(|before| !is_it(before)) {
            self.tc.strays.insert(placed.at, placed);
        } else if before.is_none() {
            let (digest, flow) = (listed.digest, listed.flow.clone());
            self.tc.found.insert(ufid, Found { placed, digest, flow, shown: self.number });
            let stats = listed.summary.counted.stats(self.tc.clock.now());
            let active = self.is_active(&listed);
            self.shown.push(listed.dumped(ufid, stats, active));
        }
    }

    /// Asks for those of our filters from that place on that were not shown yet. Returns where to
    /// go on.
    fn ask_for_ours(&mut self, from: Location) -> Result<Option<Location>, NetlinkError> {
        let (mut left_out, mut names, mut rest) = (Vec::new(), Vec::new(), None);
        for (count, (ufid, entry)) in self.tc.table.from(from).enumerate() {
            if count == flow::PART || names.len() == BATCH {
                rest = Some(entry.placed.at);
                break;
            }
            if entry.shown != self.number {
                left_out.push(*ufid);
                names.push(name_of(entry.placed));
            }
        }
        self.ask(&names)?;
        // A dump changes nothing: statistics find what is gone, and tell its final counters.
        left_out.retain(|_| !self.is_dump);
        for ufid in left_out {
            let entry = self.tc.table.get(ufid);
            if entry.is_some_and(|entry| entry.shown != self.number) {
                self.lost(ufid);
            }
        }
        Ok(rest)
    }

    /// Another tool deleted the filter. If its final counters were heard, they are told now, and
    /// the next reading, which is due at once, finds the megaflow missing.
    fn lost(&mut self, ufid: Ufid) {
        let Some(entry) = self.tc.table.remove(ufid) else { return };
        if let Some(stats) = entry.last_words {
            self.tc.news.changed = true;
            let (generation, flow) = (entry.placed.cookie.generation, entry.flow);
            self.shown.push(Dumped { ufid, generation, flow, stats, active: false });
        }
    }

    /// Asks for those of other tools' filters from that place on that were not shown yet. Returns
    /// where to go on.
    fn ask_for_others(&mut self, from: Location) -> Result<Option<Location>, NetlinkError> {
        let (mut names, mut rest) = (Vec::new(), None);
        for (count, (foreign, shown)) in self.tc.others.from(from).enumerate() {
            if count == flow::PART || names.len() == BATCH {
                rest = Some(foreign.at);
                break;
            }
            if *shown != self.number {
                names.push((foreign.at, foreign.protocol, foreign.kind.clone()));
            }
        }
        self.ask(&names)?;
        for (at, ..) in &names {
            self.tc.others.remove_unless_shown(at, self.number);
        }
        Ok(rest)
    }
}
