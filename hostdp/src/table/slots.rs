//! The slots of the host table: one for each megaflow, with its statistics.

use std::sync::Arc;

use crate::program::Program;

use super::programs::Programs;
use flow::{Counters, Cursor, Generation, Megaflow, Moment, Stats, Ufid};

/// The slots. A megaflow keeps its slot from its install to its removal.
pub(super) struct Slots {
    slots: Vec<Slot>,
    free: Vec<u32>,
    programs: Programs,
}

/// A slot fills a cache line, so that a hit touches one and a pass over all is a pass over memory.
pub(super) struct Slot {
    pub(super) ufid: Ufid,
    counters: Counters,
    /// `None` while the slot is free.
    flow: Option<Arc<Megaflow>>,
    /// The moment of the last hit; [`NEVER`] if there was none.
    used: u64,
    pub(super) generation: Generation,
    program: u32,
    tcp_flags: u16,
    /// Packets hit since the statistics were last told.
    has_news: bool,
}

const _: () = assert!(size_of::<Slot>() == 64);

const NEVER: u64 = u64::MAX;

/// Slots that have their addresses from the start: a vector that grows may have to be copied.
/// Memory that nobody has written to yet costs nothing.
const RESERVED: usize = 1 << 20;

impl Slots {
    /// No slot in use, and room for `limit` without a copy, if that is no more than a million.
    pub(super) fn new(seed: u64, limit: usize) -> Slots {
        let reserved = limit.min(RESERVED);
        Slots {
            slots: Vec::with_capacity(reserved),
            free: Vec::with_capacity(reserved),
            programs: Programs::new(seed),
        }
    }

    /// Puts a megaflow into a free slot.
    pub(super) fn place(&mut self, flow: &Arc<Megaflow>, generation: Generation) -> u32 {
        let program = self.programs.join(&flow.actions);
        let number = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot {
                ufid: flow.ufid,
                counters: Counters::default(),
                flow: None,
                used: NEVER,
                generation,
                program,
                tcp_flags: 0,
                has_news: false,
            });
            // The table's limit keeps the number of slots within 32 bits.
            u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
        });
        if let Some(slot) = self.slots.get_mut(number as usize) {
            slot.ufid = flow.ufid;
            slot.flow = Some(flow.clone());
            slot.generation = generation;
            slot.program = program;
        }
        number
    }

    /// Takes the megaflow out of its slot, with its last statistics.
    pub(super) fn take(&mut self, number: u32) -> Option<(Arc<Megaflow>, Stats)> {
        let slot = self.slots.get_mut(number as usize)?;
        let flow = slot.flow.take()?;
        let stats = slot.take_stats();
        self.programs.leave(slot.program);
        self.free.push(number);
        Some((flow, stats))
    }

    /// The slot with this number, if it has a megaflow.
    pub(super) fn get(&self, number: u32) -> Option<(&Slot, &Arc<Megaflow>)> {
        let slot = self.slots.get(number as usize)?;
        Some((slot, slot.flow.as_ref()?))
    }

    /// Brings the slots near, all at the same time: they are read next.
    pub(super) fn touch(&self, numbers: impl Iterator<Item = u32>) {
        let slots = numbers.filter_map(|number| self.slots.get(number as usize));
        std::hint::black_box(slots.fold(0, |touched, slot| touched ^ slot.program));
    }

    /// Counts a packet that hit the megaflow in a slot; returns the program.
    pub(super) fn hit(
        &mut self,
        number: u32,
        what: Counters,
        tcp_flags: u16,
        now: Moment,
    ) -> Option<u32> {
        let slot = self.slots.get_mut(number as usize).filter(|slot| slot.flow.is_some())?;
        slot.counters.gather(what);
        slot.tcp_flags |= tcp_flags;
        slot.used = now.0;
        slot.has_news = true;
        Some(slot.program)
    }

    /// The actions of a program.
    pub(super) fn program(&self, number: u32) -> Option<&Arc<Program>> {
        self.programs.program(number)
    }

    /// Gives the megaflow in a slot new actions; returns the statistics of the old ones. `None` if
    /// the slot has another match.
    pub(super) fn replace(
        &mut self,
        number: u32,
        flow: &Arc<Megaflow>,
        generation: Generation,
    ) -> Option<Stats> {
        let is = |slot: &&mut Slot| {
            slot.flow.as_ref().is_some_and(|known| known.matching == flow.matching)
        };
        let slot = self.slots.get_mut(number as usize).filter(is)?;
        let program = self.programs.join(&flow.actions);
        self.programs.leave(std::mem::replace(&mut slot.program, program));
        slot.flow = Some(flow.clone());
        slot.generation = generation;
        Some(slot.take_stats())
    }

    /// The ufid in a slot.
    pub(super) fn ufid(&self, number: u32) -> Option<Ufid> {
        self.slots.get(number as usize).map(|slot| slot.ufid)
    }

    /// The megaflows of the next `most` slots, and where the pass goes on; `None` at its end. A
    /// cursor is an index of a slot, so it stays good while megaflows come and go: a megaflow that
    /// lives through the whole pass is seen once.
    pub(super) fn slice(
        &self,
        cursor: Cursor,
        most: usize,
    ) -> (impl Iterator<Item = (&Slot, &Arc<Megaflow>)>, Option<Cursor>) {
        let rest = self.slots.get(index_of(cursor)..).unwrap_or_default();
        let slice = rest.get(..most).unwrap_or(rest);
        let next = (slice.len() < rest.len()).then_some(Cursor(cursor.0 + slice.len() as u64));
        (slice.iter().filter_map(|slot| Some((slot, slot.flow.as_ref()?))), next)
    }

    /// Takes the statistics of those of the next `most` slots that packets hit since the last call,
    /// and calls the function with them. Returns where the pass goes on; `None` at its end.
    pub(super) fn tell_news(
        &mut self,
        cursor: Cursor,
        most: usize,
        mut tell: impl FnMut(Ufid, Stats),
    ) -> Option<Cursor> {
        let rest = self.slots.get_mut(index_of(cursor)..).unwrap_or_default();
        let (slice, rest) = rest.split_at_mut(most.min(rest.len()));
        let next = (!rest.is_empty()).then_some(Cursor(cursor.0 + slice.len() as u64));
        for slot in slice {
            if slot.has_news {
                tell(slot.ufid, slot.take_stats());
            }
        }
        next
    }
}

fn index_of(cursor: Cursor) -> usize {
    usize::try_from(cursor.0).unwrap_or(usize::MAX)
}

impl Slot {
    pub(super) fn stats(&self) -> Stats {
        let used = (self.used != NEVER).then_some(Moment(self.used));
        Stats { counters: self.counters, used, tcp_flags: self.tcp_flags }
    }

    fn take_stats(&mut self) -> Stats {
        let stats = self.stats();
        (self.counters, self.used, self.tcp_flags) = (Counters::default(), NEVER, 0);
        self.has_news = false;
        stats
    }
}
