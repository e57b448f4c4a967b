//! The host table: the megaflows that the host datapath forwards by, with their statistics.

mod admission;
mod programs;
mod slots;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use flow::provider::PART;
use flow::{
    Action, Admission, Classifier, ClassifierCounters, Completion, Counters, Cursor, Detail,
    Dumped, Generation, Key, Megaflow, Moment, Op, Provider, ProviderError, ProviderEvent, Reason,
    Refusal, Stats, Submission, TableName, TableUsage, Ufid, UfidIndex,
};

use crate::program::Program;

use slots::Slots;

pub use admission::HostAdmission;

/// The megaflows of the host; as a [`flow::Provider`] it is the one named `host`.
pub struct FlowTable {
    slots: Slots,
    by_ufid: UfidIndex,
    classifier: Classifier,
    limit: usize,
    admission: Arc<HostAdmission>,
    /// Operations that were submitted to the provider and have no completion yet.
    in_flight: VecDeque<Submission>,
}

impl FlowTable {
    /// An empty table for at most `limit` megaflows. The seed makes its places unpredictable.
    #[must_use]
    pub fn new(seed: u64, limit: usize) -> FlowTable {
        FlowTable {
            slots: Slots::new(seed, limit),
            by_ufid: UfidIndex::default(),
            classifier: Classifier::new(seed),
            limit: limit.min(u32::MAX as usize),
            admission: Arc::new(HostAdmission::default()),
            in_flight: VecDeque::new(),
        }
    }

    /// Number of megaflows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_ufid.len()
    }

    /// Returns true if the table has no megaflow.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_ufid.is_empty()
    }

    /// Number of masks: those of each port, scope and EtherType.
    #[must_use]
    pub fn masks(&self) -> usize {
        self.classifier.masks()
    }

    /// The megaflow of that ufid and its statistics.
    #[must_use]
    pub fn get(&self, ufid: Ufid) -> Option<(&Arc<Megaflow>, Stats)> {
        let (slot, flow) = self.slots.get(self.slot_of(ufid)?)?;
        Some((flow, slot.stats()))
    }

    /// All megaflows, in no order.
    pub fn flows(&self) -> impl Iterator<Item = &Arc<Megaflow>> {
        self.slots.slice(Cursor::default(), usize::MAX).0.map(|(_, flow)| flow)
    }

    /// Reads the statistics of the megaflows in at most `most` slots. Returns where the pass goes
    /// on; `None` at its end.
    pub fn stats_slice(
        &self,
        cursor: Cursor,
        most: usize,
        out: &mut Vec<(Ufid, Stats)>,
    ) -> Option<Cursor> {
        let (slice, next) = self.slots.slice(cursor, most);
        out.extend(slice.map(|(slot, _)| (slot.ufid, slot.stats())));
        next
    }

    /// Takes what was counted since the last such call, of those megaflows only that packets hit: a
    /// table of a million megaflows with traffic on a few is read for these few. Their statistics
    /// begin anew, for all other readings too, so that the news of several tables with the same
    /// megaflows can be added up.
    pub fn news_slice(
        &mut self,
        cursor: Cursor,
        most: usize,
        out: &mut Vec<(Ufid, Stats)>,
    ) -> Option<Cursor> {
        self.slots.tell_news(cursor, most, |ufid, stats| out.push((ufid, stats)))
    }

    /// Reads the megaflows in at most `most` slots. Returns where the pass goes on; `None` at its
    /// end.
    pub fn dump_slice(&self, cursor: Cursor, most: usize, out: &mut Vec<Dumped>) -> Option<Cursor> {
        let (slice, next) = self.slots.slice(cursor, most);
        out.extend(slice.map(|(slot, flow)| Dumped {
            ufid: slot.ufid,
            generation: slot.generation,
            flow: Some(flow.clone()),
            stats: slot.stats(),
            active: true,
        }));
        next
    }

    /// Carries an operation out, or takes a step towards it: after `None` the caller repeats the
    /// call, with no other operation in between. No call takes long, however many megaflows there
    /// are.
    pub fn try_apply(&mut self, op: &Op) -> Option<Result<Stats, ProviderError>> {
        Some(match op {
            Op::Install { flow, generation } => self.install(flow, *generation)?,
            Op::Replace { flow, generation } => self.replace(flow, *generation),
            Op::Remove { ufid } => self.remove(*ufid),
        })
    }

    /// How lookups went so far.
    #[must_use]
    pub fn lookups(&self) -> ClassifierCounters {
        self.classifier.counters()
    }

    /// Returns true if actions can be executed on packets with this key.
    pub(crate) fn can_execute(&self, key: &Key, actions: &[Action]) -> bool {
        flow::validate_actions(key, actions).is_ok() && self.admission.check(actions).is_ok()
    }

    /// The slots of the megaflows that the keys hit, by the places of the keys.
    pub(crate) fn lookup(&mut self, keys: &[&Key], found: &mut Vec<Option<u32>>) {
        self.classifier.lookup(keys, found);
        self.slots.touch(found.iter().copied().flatten());
    }

    /// The slot of the megaflow that the key hits. The lookup is not counted: it is for packets
    /// that waited for an answer since their first lookup, which counted them as missed.
    pub(crate) fn lookup_again(&mut self, key: &Key) -> Option<u32> {
        let mut found = Vec::new();
        self.classifier.find(&[key], &mut found, &mut 0);
        found.pop().flatten()
    }

    /// Counts a packet that hit the megaflow in a slot. Returns the number of its actions, which
    /// other megaflows may share.
    pub(crate) fn hit(
        &mut self,
        slot: u32,
        what: Counters,
        tcp_flags: u16,
        now: Moment,
    ) -> Option<u32> {
        self.slots.hit(slot, what, tcp_flags, now)
    }

    /// The actions of such a number.
    pub(crate) fn program(&self, number: u32) -> Option<&Arc<Program>> {
        self.slots.program(number)
    }

    fn slot_of(&self, ufid: Ufid) -> Option<u32> {
        self.by_ufid.find(ufid, |slot| self.slots.ufid(slot))
    }

    /// Decides about a megaflow, whoever wants it: first whether it means anything, then whether
    /// the host can carry it out. Nobody else has to.
    fn check(&self, flow: &Megaflow) -> Result<(), ProviderError> {
        flow::validate(&flow.matching, &flow.actions).map_err(ProviderError::Invalid)?;
        self.admission.check(&flow.actions).map_err(ProviderError::Unsupported)
    }

    /// `None` if the search for megaflows that this one overlaps has to go on.
    fn install(
        &mut self,
        flow: &Arc<Megaflow>,
        generation: Generation,
    ) -> Option<Result<Stats, ProviderError>> {
        if let Err(error) = self.check(flow) {
            return Some(Err(error));
        }
        // The installed megaflow has the same match or, by a collision of ufids, another one.
        // Either is refused.
        if self.slot_of(flow.ufid).is_some() {
            return Some(Err(ProviderError::Exists));
        }
        let mut others = Vec::new();
        if !self.classifier.overlapping(&flow.matching, 1, &mut others) {
            return None;
        }
        if let Some(other) = others.first().and_then(|slot| self.slots.ufid(*slot)) {
            return Some(Err(ProviderError::Overlap(other)));
        }
        if self.len() >= self.limit {
            let refusal = Refusal::new(Reason::TableFull, TableName::Megaflow);
            let detail = Detail::of_number(&"the table has {} megaflows, its limit", self.limit);
            return Some(Err(ProviderError::Full(refusal.detail(detail))));
        }
        let slot = self.slots.place(flow, generation);
        self.by_ufid.insert(flow.ufid, slot);
        self.classifier.insert(&flow.matching, slot);
        Some(Ok(Stats::default()))
    }

    fn replace(
        &mut self,
        flow: &Arc<Megaflow>,
        generation: Generation,
    ) -> Result<Stats, ProviderError> {
        self.check(flow)?;
        let slot = self.slot_of(flow.ufid).ok_or(ProviderError::NotFound)?;
        self.slots.replace(slot, flow, generation).ok_or(ProviderError::NotFound)
    }

    fn remove(&mut self, ufid: Ufid) -> Result<Stats, ProviderError> {
        let slot = self.slot_of(ufid).ok_or(ProviderError::NotFound)?;
        let (flow, stats) = self.slots.take(slot).ok_or(ProviderError::NotFound)?;
        self.by_ufid.remove(ufid, slot);
        self.classifier.remove(&flow.matching);
        Ok(stats)
    }
}

impl Provider for FlowTable {
    fn name(&self) -> &str {
        "host"
    }

    fn admission(&self) -> Arc<dyn Admission> {
        self.admission.clone()
    }

    fn window(&self) -> usize {
        WINDOW
    }

    fn submit(&mut self, waiting: &mut VecDeque<Submission>) {
        let room = WINDOW.saturating_sub(self.in_flight.len());
        self.in_flight.extend(waiting.drain(..room.min(waiting.len())));
    }

    fn poll(&mut self, _wait: Duration, done: &mut Vec<Completion>) {
        for _ in 0..WINDOW {
            let Some(next) = self.in_flight.pop_front() else { return };
            match self.try_apply(&next.op) {
                Some(result) => done.push(next.completed(result)),
                None => self.in_flight.push_front(next),
            }
        }
    }

    fn stats(
        &mut self,
        from: Cursor,
        out: &mut Vec<(Ufid, Stats)>,
    ) -> Result<Option<Cursor>, ProviderError> {
        Ok(self.stats_slice(from, PART, out))
    }

    fn dump(
        &mut self,
        from: Cursor,
        out: &mut Vec<Dumped>,
    ) -> Result<Option<Cursor>, ProviderError> {
        Ok(self.dump_slice(from, PART, out))
    }

    /// The host table dies with its process, so this process has installed all its megaflows.
    fn adopt(&mut self, found: &[Dumped]) -> Vec<Ufid> {
        let ours = |dumped: &&Dumped| {
            let slot = self.slot_of(dumped.ufid).and_then(|slot| self.slots.get(slot));
            slot.is_some_and(|(slot, _)| slot.generation == dumped.generation)
        };
        found.iter().filter(ours).map(|dumped| dumped.ufid).collect()
    }

    fn tables(&self) -> Vec<TableUsage> {
        let entries = self.len() as u64;
        vec![TableUsage {
            table: TableName::Megaflow,
            holds_megaflows: true,
            entries,
            capacity: Some(self.limit as u64),
        }]
    }

    fn events(&mut self) -> Vec<ProviderEvent> {
        Vec::new()
    }

    fn close(&mut self) -> Result<(), ProviderError> {
        let all: Vec<Ufid> = self.flows().map(|flow| flow.ufid).collect();
        all.into_iter().try_for_each(|ufid| self.remove(ufid).map(drop))
    }
}

/// The largest number of operations in flight.
const WINDOW: usize = 256;
