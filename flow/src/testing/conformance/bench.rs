//! The bench: it uses a provider, and compares all that the provider says with a slow twin.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use crate::id::Ufid;
use crate::megaflow::Megaflow;
use crate::odp;
use crate::owner::Generation;
use crate::provider::{
    Completion, Cursor, Dumped, Op, PART, ProviderError, ProviderEvent, Submission, Tag,
};
use crate::stats::{Counters, Stats};

use super::{Finding, Rig};

/// The time that one look for completions waits.
pub(super) const LOOK: Duration = Duration::from_millis(10);
/// Looks without any completion after which an operation counts as forgotten.
pub(super) const PATIENCE: usize = 1000;
/// The largest number of entries in a part: "about" leaves room for one more record of a device.
const LARGEST_PART: usize = PART + PART / 2;
/// Parts after which a reading counts as endless.
const ENDLESS: usize = 10_000;

pub(super) const ONE_END: &str = "poll delivers exactly one completion for each operation";
const IN_FLIGHT: &str = "at most `window` operations are in flight, and the window is at least 1";
const FRONT: &str = "submit takes operations from the front of the queue, as many as have room";
const ORDER: &str = "operations on one ufid are completed in the order in which they were taken";
const MEANING: &str = "what an operation's end means follows from the table before it";
const FINAL: &str = "an end carries the final statistics of the life that ended, an install none";
const THERE: &str = "a part of a reading shows what is in the device";
const ABSOLUTE: &str = "statistics are absolute since the install";
const UNDELIVERED: &str = "a part never tells of an operation whose completion was not delivered";
const ONCE: &str = "a megaflow at rest is in exactly one part of a reading";
const SMALL: &str = "a part has at most about 256 entries";
const LAST: &str = "the last part of a reading has no cursor";
const DEVICE: &str = "a dump reads what the device holds: ufid, generation and megaflow";
const TABLES: &str = "the tables tell how full they are";
const HEALTHY: &str = "only a device that is gone is told to be gone";

pub(super) fn broken<T>(sentence: &str, how: impl Display) -> Result<T, Finding> {
    Err(Finding::Broken(format!("{sentence}: {how}")))
}

pub(super) fn not_here<T>(why: &str) -> Result<T, Finding> {
    Err(Finding::NotHere(why.to_owned()))
}

fn text(sub: Option<&Submission>) -> String {
    sub.map_or_else(String::new, |sub| format!("{} of {}", sub.op.kind().name(), sub.op.ufid()))
}

/// A megaflow in the device, as the delivered completions leave it.
#[derive(Clone)]
pub(super) struct Life {
    pub(super) flow: Arc<Megaflow>,
    pub(super) generation: Generation,
    pub(super) hits: Counters,
}

/// A reading under way.
struct Reading {
    is_dump: bool,
    next: Cursor,
    parts: usize,
    /// Megaflows that had no operation in flight since the first part.
    at_rest: BTreeSet<Ufid>,
    seen: BTreeSet<Ufid>,
}

/// A provider in use.
pub(super) struct Bench<'a> {
    pub(super) rig: &'a mut dyn Rig,
    /// The slow twin of the device.
    pub(super) lives: BTreeMap<Ufid, Life>,
    waiting: VecDeque<Submission>,
    pub(super) in_flight: Vec<Submission>,
    reading: Option<Reading>,
    next_tag: u64,
    next_generation: u32,
    /// The table may be full.
    pub(super) may_be_full: bool,
    /// The device may be gone.
    pub(super) may_be_gone: bool,
}

impl<'a> Bench<'a> {
    pub(super) fn new(rig: &'a mut dyn Rig) -> Bench<'a> {
        Bench {
            rig,
            lives: BTreeMap::new(),
            waiting: VecDeque::new(),
            in_flight: Vec::new(),
            reading: None,
            next_tag: 7,
            next_generation: 1,
            may_be_full: false,
            may_be_gone: false,
        }
    }

    /// The rig's `n`-th megaflow.
    pub(super) fn flow(&self, n: usize) -> Result<Arc<Megaflow>, Finding> {
        let flow = self.rig.megaflow(n);
        flow.map_or_else(|| not_here("the rig has too few megaflows"), Ok)
    }

    fn generation(&mut self) -> Generation {
        self.next_generation += 1;
        Generation(self.next_generation)
    }

    pub(super) fn install(&mut self, n: usize) -> Result<Op, Finding> {
        Ok(Op::Install { flow: self.flow(n)?, generation: self.generation() })
    }

    /// Replaces the actions of a megaflow by the others that it can have.
    pub(super) fn replace(&mut self, n: usize) -> Result<Op, Finding> {
        let first = self.flow(n)?;
        let pending = self.in_flight.iter().chain(&self.waiting).rev();
        let present = pending.map(|sub| &sub.op).find_map(|op| match op {
            Op::Install { flow, .. } | Op::Replace { flow, .. } => {
                (flow.ufid == first.ufid).then_some(flow)
            }
            Op::Remove { .. } => None,
        });
        let present = present.or_else(|| self.lives.get(&first.ufid).map(|life| &life.flow));
        let flow = match present.is_none_or(|present| present.actions == first.actions) {
            true => {
                Arc::new(Megaflow { actions: self.rig.other_actions(&first), ..(*first).clone() })
            }
            false => first,
        };
        Ok(Op::Replace { flow, generation: self.generation() })
    }

    pub(super) fn remove(&self, n: usize) -> Result<Op, Finding> {
        Ok(Op::Remove { ufid: self.flow(n)?.ufid })
    }

    /// Puts an operation into the queue and returns its tag. Tags are in no simple order.
    pub(super) fn offer(&mut self, op: Op) -> Tag {
        self.next_tag = self.next_tag.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        let tag = Tag(self.next_tag);
        self.waiting.push_back(Submission { tag, op });
        tag
    }

    pub(super) fn offer_all(&mut self, ops: impl IntoIterator<Item = Op>) {
        for op in ops {
            self.offer(op);
        }
    }

    /// Submits what waits, and looks at what is left of the queue.
    pub(super) fn submit(&mut self) -> Result<(), Finding> {
        let mut left = self.waiting.clone();
        self.rig.provider().submit(&mut left);
        let taken = self.waiting.len().checked_sub(left.len());
        let Some(taken) = taken.filter(|taken| self.waiting.iter().skip(*taken).eq(&left)) else {
            return broken(FRONT, "what is left is not the end of what was there");
        };
        if taken == 0 && self.in_flight.is_empty() && !left.is_empty() {
            return broken(FRONT, "nothing is in flight, and nothing was taken");
        }
        let taken: Vec<Submission> = self.waiting.drain(..taken).collect();
        if let Some(reading) = &mut self.reading {
            for sub in &taken {
                reading.at_rest.remove(&sub.op.ufid());
            }
        }
        self.in_flight.extend(taken);
        let (window, has) = (self.rig.provider().window(), self.in_flight.len());
        if window == 0 || has > window {
            return broken(IN_FLIGHT, format!("{has} are in flight, the window is {window}"));
        }
        Ok(())
    }

    /// Looks for completions, and compares each with the twin.
    pub(super) fn poll(&mut self, wait: Duration) -> Result<Vec<Completion>, Finding> {
        let mut done = Vec::new();
        self.rig.provider().poll(wait, &mut done);
        for end in &done {
            let is_it = |sub: &Submission| {
                (sub.tag, sub.op.ufid(), sub.op.kind()) == (end.tag, end.ufid, end.kind)
            };
            let Some(at) = self.in_flight.iter().position(is_it) else {
                return broken(ONE_END, format!("nothing in flight has the end {end:?}"));
            };
            let earlier = self.in_flight.iter().take(at);
            if let Some(first) = earlier.into_iter().find(|sub| sub.op.ufid() == end.ufid) {
                return broken(ORDER, format!("{end:?} came before that of {}", text(Some(first))));
            }
            let op = self.in_flight.remove(at).op;
            self.take_end(&op, &end.result)?;
        }
        Ok(done)
    }

    /// Submits and polls until everything has ended; returns the ends as they came.
    pub(super) fn drain(&mut self) -> Result<Vec<Completion>, Finding> {
        let (mut ends, mut idle) = (Vec::new(), 0);
        while !(self.waiting.is_empty() && self.in_flight.is_empty()) {
            self.submit()?;
            let done = self.poll(LOOK)?;
            idle = if done.is_empty() { idle + 1 } else { 0 };
            ends.extend(done);
            if idle == PATIENCE {
                return broken(
                    ONE_END,
                    format!("no end came for {}", text(self.in_flight.first())),
                );
            }
        }
        ends.extend(self.poll(Duration::ZERO)?);
        Ok(ends)
    }

    /// Carries out operations that have to succeed; a busy device gets another chance.
    pub(super) fn must(&mut self, ops: Vec<Op>) -> Result<(), Finding> {
        let mut left = ops;
        for _ in 0..PATIENCE {
            let mut tagged: BTreeMap<Tag, Op> = BTreeMap::new();
            let tags: Vec<Tag> = left.iter().map(|op| self.offer(op.clone())).collect();
            tagged.extend(tags.into_iter().zip(left));
            left = Vec::new();
            for end in self.drain()? {
                match (&end.result, tagged.remove(&end.tag)) {
                    (Err(ProviderError::Busy(_)), Some(op)) => left.push(op),
                    (Err(error), _) => {
                        return broken(MEANING, format!("{} failed: {error}", end.kind.name()));
                    }
                    (Ok(_), _) => {}
                }
            }
            if left.is_empty() {
                return Ok(());
            }
        }
        broken(MEANING, "a device that nobody disturbs is busy for ever")
    }

    /// Lets packets hit a megaflow at rest. A reading under way is given up.
    pub(super) fn hit(&mut self, ufid: Ufid, packets: u64) -> Result<(), Finding> {
        self.reading = None;
        let Some(life) = self.lives.get_mut(&ufid) else { return Ok(()) };
        match self.rig.hit(&life.flow, packets) {
            Some(counted) => life.hits += counted,
            None => return not_here("this rig can't send packets"),
        }
        Ok(())
    }

    /// Begins a reading of the statistics or a dump; one under way is given up.
    pub(super) fn begin(&mut self, is_dump: bool) {
        let is_busy = |ufid: &Ufid| self.in_flight.iter().any(|sub| sub.op.ufid() == *ufid);
        let at_rest = self.lives.keys().copied().filter(|ufid| !is_busy(ufid)).collect();
        let (next, seen) = (Cursor::default(), BTreeSet::new());
        self.reading = Some(Reading { is_dump, next, parts: 0, at_rest, seen });
    }

    /// Reads the next part of the reading under way; returns true if there is a further one.
    pub(super) fn read_part(&mut self) -> Result<bool, Finding> {
        let Some(mut reading) = self.reading.take() else { return Ok(false) };
        let (mut stats, mut found): (Vec<(Ufid, Stats)>, Vec<Dumped>) = (Vec::new(), Vec::new());
        let provider = self.rig.provider();
        let next = match reading.is_dump {
            true => provider.dump(reading.next, &mut found),
            false => provider.stats(reading.next, &mut stats),
        };
        let next = match next {
            Ok(next) => next,
            Err(error) => return broken(HEALTHY, format!("a reading fails: {error}")),
        };
        if stats.len().max(found.len()) > LARGEST_PART {
            return broken(SMALL, format!("{} entries", stats.len().max(found.len())));
        }
        for one in &found {
            self.compare(one)?;
        }
        stats.extend(found.iter().map(|one| (one.ufid, one.stats)));
        for (ufid, stats) in stats {
            self.compare_stats(ufid, stats)?;
            if !reading.seen.insert(ufid) {
                return broken(ONCE, format!("{ufid} is there twice"));
            }
        }
        reading.parts += 1;
        match next {
            Some(_) if reading.parts == ENDLESS => broken(LAST, "the reading does not end"),
            Some(next) => {
                reading.next = next;
                self.reading = Some(reading);
                Ok(true)
            }
            None => match reading.at_rest.difference(&reading.seen).next() {
                Some(missing) => broken(ONCE, format!("{missing} is in none")),
                None => Ok(false),
            },
        }
    }

    /// Compares everything with the twin. Nothing may be in flight.
    pub(super) fn compare_all(&mut self) -> Result<(), Finding> {
        for is_dump in [false, true] {
            self.begin(is_dump);
            while self.read_part()? {}
        }
        let tables = self.rig.provider().tables();
        let entries = tables.iter().filter(|table| table.holds_megaflows);
        let (told, has) = (entries.map(|table| table.entries).sum::<u64>(), self.lives.len());
        if told != has as u64 {
            return broken(TABLES, format!("{told} megaflows instead of {has}"));
        }
        let full = |table: &&crate::TableUsage| table.capacity.is_some_and(|c| table.entries > c);
        if let Some(table) = tables.iter().find(full) {
            return broken(TABLES, format!("{table:?} has more than it can"));
        }
        let is_gone = |event: &ProviderEvent| matches!(event, ProviderEvent::Gone(_));
        if !self.may_be_gone && self.rig.provider().events().iter().any(is_gone) {
            return broken(HEALTHY, "events tell that it is gone");
        }
        Ok(())
    }

    pub(super) fn compare(&self, dumped: &Dumped) -> Result<(), Finding> {
        let Some(life) = self.lives.get(&dumped.ufid) else {
            return broken(
                self.blame(dumped.ufid, THERE),
                format!("{} is not installed", dumped.ufid),
            );
        };
        let is_same = dumped.flow.as_ref() == Some(&life.flow) && dumped.active;
        if is_same && dumped.generation == life.generation {
            return Ok(());
        }
        let shown = |flow: &Megaflow| {
            let matching = odp::format_match(&flow.matching);
            format!("{matching} actions:{}", odp::format_actions(&flow.actions))
        };
        let told = dumped.flow.as_ref().map_or_else(|| "nothing known".to_owned(), |f| shown(f));
        let (active, told) = (dumped.active, format!("{told}, {}", dumped.generation));
        let has = format!("{}, {}", shown(&life.flow), life.generation);
        let how = format!("{told}, active: {active}, instead of {has}");
        broken(self.blame(dumped.ufid, DEVICE), how)
    }

    pub(super) fn compare_stats(&self, ufid: Ufid, stats: Stats) -> Result<(), Finding> {
        let Some(life) = self.lives.get(&ufid) else {
            return broken(self.blame(ufid, THERE), format!("{ufid} is not installed"));
        };
        if stats.counters == life.hits {
            return Ok(());
        }
        let (told, has) = (stats.counters, life.hits);
        broken(self.blame(ufid, ABSOLUTE), format!("{ufid} has {told:?} instead of {has:?}"))
    }

    /// The sentence that a wrong entry breaks.
    fn blame(&self, ufid: Ufid, otherwise: &'static str) -> &'static str {
        match self.in_flight.iter().any(|sub| sub.op.ufid() == ufid) {
            true => UNDELIVERED,
            false => otherwise,
        }
    }

    /// Compares an end with what the table before it allows, and changes the twin.
    fn take_end(&mut self, op: &Op, result: &Result<Stats, ProviderError>) -> Result<(), Finding> {
        let life = self.lives.get(&op.ufid());
        let is_there = life.is_some();
        let stats = match result {
            Ok(stats) => *stats,
            Err(error) if self.may_fail(op, error, is_there) => return Ok(()),
            Err(error) => {
                let there = if is_there { "installed" } else { "not installed" };
                let what = format!("{} of {}", op.kind().name(), op.ufid());
                return broken(MEANING, format!("{what}, which is {there}: {error}"));
            }
        };
        let is_right = match op {
            Op::Install { flow, .. } => !is_there && !self.is_refused(flow),
            Op::Replace { flow, .. } => is_there && !self.is_refused(flow),
            Op::Remove { .. } => is_there,
        };
        if !is_right {
            return broken(MEANING, format!("{} of {} succeeded", op.kind().name(), op.ufid()));
        }
        let has = life.map(|life| life.hits).unwrap_or_default();
        if stats.counters != has {
            let what = format!("{} of {}", op.kind().name(), op.ufid());
            return broken(FINAL, format!("{what}: {:?} instead of {has:?}", stats.counters));
        }
        match op {
            Op::Install { flow, generation } | Op::Replace { flow, generation } => {
                let hits = Counters::default();
                let life = Life { flow: flow.clone(), generation: *generation, hits };
                self.lives.insert(flow.ufid, life);
            }
            Op::Remove { ufid } => drop(self.lives.remove(ufid)),
        }
        if let Some(reading) = &mut self.reading {
            // What came anew may have another place in the device, which was not read yet.
            reading.seen.remove(&op.ufid());
        }
        Ok(())
    }

    fn may_fail(&self, op: &Op, error: &ProviderError, is_there: bool) -> bool {
        let flow = match op {
            Op::Install { flow, .. } | Op::Replace { flow, .. } => Some(flow),
            Op::Remove { .. } => None,
        };
        match error {
            // Before a provider finds its device gone, it may find that the device has lost things.
            _ if self.may_be_gone => true,
            ProviderError::Exists => matches!(op, Op::Install { .. }) && is_there,
            ProviderError::NotFound => !matches!(op, Op::Install { .. }) && !is_there,
            ProviderError::Busy(_) => true,
            ProviderError::Full(_) => self.may_be_full && flow.is_some(),
            ProviderError::Invalid(_) | ProviderError::Unsupported(_) => {
                flow.is_some_and(|flow| self.is_refused(flow))
            }
            ProviderError::Overlap(_) | ProviderError::Gone(_) => false,
        }
    }

    fn is_refused(&self, flow: &Megaflow) -> bool {
        self.rig.refused_actions().is_some_and(|actions| actions == flow.actions)
    }
}
