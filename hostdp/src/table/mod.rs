//! The host table: the megaflows that the host datapath forwards by, with their statistics.

mod admission;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use flow::{
    Action, Actions, Admission, Completion, Counters, Dumped, Generation, Key, Megaflow, Moment,
    Op, OverlapIndex, Provider, ProviderError, ProviderEvent, Reason, Refusal, Stats, TableUsage,
    Ufid,
};
use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::cache::{Cache, CacheCounters, Place};
use crate::classifier::{Classifier, ClassifierCounters};
use crate::hash::Hash;

pub use admission::HostAdmission;

/// The megaflows of the host; as a [`flow::Provider`] it is the one named `host`.
pub struct FlowTable {
    slots: Vec<Slot>,
    free: Vec<u32>,
    by_ufid: HashMap<Ufid, u32, FixedState>,
    classifier: Classifier,
    overlaps: OverlapIndex,
    cache: Cache,
    limit: usize,
    admission: Arc<HostAdmission>,
}

/// A slot for one megaflow. `life` counts the megaflows that the slot has held, so that a stale
/// reference to an earlier one can be recognised.
struct Slot {
    life: u32,
    entry: Option<Entry>,
}

struct Entry {
    flow: Arc<Megaflow>,
    generation: Generation,
    stats: Stats,
}

/// How the lookups went so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LookupCounters {
    /// Of the exact-match cache.
    pub cache: CacheCounters,
    /// Of the classifier behind it.
    pub classifier: ClassifierCounters,
}

impl FlowTable {
    /// An empty table for at most `limit` megaflows, with an exact-match cache for about
    /// `cached` keys (0: off).
    #[must_use]
    pub fn new(seed: u64, cached: usize, limit: usize) -> FlowTable {
        FlowTable {
            slots: Vec::new(),
            free: Vec::new(),
            by_ufid: HashMap::with_hasher(FixedState::with_seed(seed)),
            classifier: Classifier::new(seed),
            overlaps: OverlapIndex::default(),
            cache: Cache::new(Hash::new(seed ^ CACHE_SEED), cached),
            limit: limit.min(u32::MAX as usize),
            admission: Arc::new(HostAdmission::default()),
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

    /// Number of subtables: one for each mask of one port, scope and EtherType.
    #[must_use]
    pub fn subtables(&self) -> usize {
        self.classifier.subtables()
    }

    /// The megaflow of that ufid and its statistics.
    #[must_use]
    pub fn get(&self, ufid: Ufid) -> Option<(&Arc<Megaflow>, Stats)> {
        let entry = self.entry(*self.by_ufid.get(&ufid)?)?;
        Some((&entry.flow, entry.stats))
    }

    /// All megaflows, in no order.
    pub fn flows(&self) -> impl Iterator<Item = &Arc<Megaflow>> {
        self.slots.iter().filter_map(|slot| slot.entry.as_ref()).map(|entry| &entry.flow)
    }

    /// How lookups went so far.
    #[must_use]
    pub fn lookups(&self) -> LookupCounters {
        LookupCounters { cache: self.cache.counters(), classifier: self.classifier.counters() }
    }

    /// Returns true if actions can be executed on packets with this key.
    pub(crate) fn can_execute(&self, key: &Key, actions: &[Action]) -> bool {
        flow::validate_actions(key, actions).is_ok() && self.admission.check(actions).is_ok()
    }

    /// The slot of the megaflow that the key hits.
    pub(crate) fn lookup(&mut self, key: &Key) -> Option<u32> {
        let slots = &self.slots;
        let life = |slot: u32| slots.get(slot as usize).map_or(0, |slot| slot.life);
        if let Some(slot) = self.cache.lookup(key, life) {
            return Some(slot);
        }
        let slot = self.classifier.lookup(key)?;
        self.cache.insert(key, Place { slot, life: life(slot) });
        Some(slot)
    }

    /// The slot of the megaflow that the key hits. The lookup is not counted: it is for packets
    /// that waited for an answer since their first lookup, which counted them as missed.
    pub(crate) fn lookup_again(&mut self, key: &Key) -> Option<u32> {
        let slot = self.classifier.find(key, &mut 0)?;
        let life = self.slots.get(slot as usize).map_or(0, |slot| slot.life);
        self.cache.insert(key, Place { slot, life });
        Some(slot)
    }

    /// Counts packets that hit, and returns the megaflow's actions.
    pub(crate) fn hit(
        &mut self,
        slot: u32,
        what: Counters,
        tcp_flags: u16,
        now: Moment,
    ) -> Option<Actions> {
        let entry = self.slots.get_mut(slot as usize)?.entry.as_mut()?;
        entry.stats.counters += what;
        entry.stats.tcp_flags |= tcp_flags;
        entry.stats.used = Some(now);
        Some(entry.flow.actions.clone())
    }

    fn entry(&self, slot: u32) -> Option<&Entry> {
        self.slots.get(slot as usize)?.entry.as_ref()
    }

    /// Decides about a megaflow, whoever wants it: first whether it means anything, then whether
    /// the host can carry it out. Nobody else has to.
    fn check(&self, flow: &Megaflow) -> Result<(), ProviderError> {
        flow::validate(&flow.matching, &flow.actions).map_err(ProviderError::Invalid)?;
        self.admission.check(&flow.actions).map_err(ProviderError::Unsupported)
    }

    fn install(
        &mut self,
        flow: &Arc<Megaflow>,
        generation: Generation,
    ) -> Result<Stats, ProviderError> {
        self.check(flow)?;
        // The installed megaflow has the same match or, by a collision of ufids, another one.
        // Either is refused.
        if self.by_ufid.contains_key(&flow.ufid) {
            return Err(ProviderError::Exists);
        }
        if let Some(other) = self.overlaps.overlapping(&flow.matching).first() {
            return Err(ProviderError::Overlap(other.ufid));
        }
        if self.len() >= self.limit {
            let refusal = Refusal::new(Reason::TableFull, "host table");
            let detail = format!("the table has {} megaflows, its limit", self.limit);
            return Err(ProviderError::Full(refusal.detail(detail)));
        }
        let entry = Entry { flow: flow.clone(), generation, stats: Stats::default() };
        let slot = self.place(entry);
        self.by_ufid.insert(flow.ufid, slot);
        self.classifier.insert(flow, slot);
        self.overlaps.insert(flow);
        Ok(Stats::default())
    }

    fn place(&mut self, entry: Entry) -> u32 {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { life: 0, entry: None });
            // The limit keeps the number of slots within 32 bits.
            u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
        });
        let place = &mut self.slots[slot as usize];
        // Life 0 is what an empty cache line has.
        place.life = place.life.checked_add(1).unwrap_or(1);
        place.entry = Some(entry);
        slot
    }

    fn replace(
        &mut self,
        flow: &Arc<Megaflow>,
        generation: Generation,
    ) -> Result<Stats, ProviderError> {
        self.check(flow)?;
        let slot = *self.by_ufid.get(&flow.ufid).ok_or(ProviderError::NotFound)?;
        let entry = self.slots[slot as usize].entry.as_mut().ok_or(ProviderError::NotFound)?;
        if entry.flow.matching != flow.matching {
            return Err(ProviderError::NotFound);
        }
        entry.flow = flow.clone();
        entry.generation = generation;
        Ok(std::mem::take(&mut entry.stats))
    }

    fn remove(&mut self, ufid: Ufid) -> Result<Stats, ProviderError> {
        let slot = self.by_ufid.remove(&ufid).ok_or(ProviderError::NotFound)?;
        let place = &mut self.slots[slot as usize];
        let entry = place.entry.take().ok_or(ProviderError::NotFound)?;
        // The life ends now, not when the slot is used again, so that no cache line names it.
        place.life = place.life.checked_add(1).unwrap_or(1);
        self.free.push(slot);
        self.classifier.remove(&entry.flow.matching);
        self.overlaps.remove(&entry.flow.matching);
        Ok(entry.stats)
    }
}

impl Provider for FlowTable {
    fn name(&self) -> &str {
        "host"
    }

    fn admission(&self) -> Arc<dyn Admission> {
        self.admission.clone()
    }

    fn apply(&mut self, ops: &[Op], done: &mut Vec<Completion>) {
        for op in ops {
            let result = match op {
                Op::Install { flow, generation } => self.install(flow, *generation),
                Op::Replace { flow, generation } => self.replace(flow, *generation),
                Op::Remove { ufid } => self.remove(*ufid),
            };
            done.push(Completion { ufid: op.ufid(), kind: op.kind(), result });
        }
    }

    fn stats(&mut self, out: &mut Vec<(Ufid, Stats)>) -> Result<(), ProviderError> {
        let entries = self.slots.iter().filter_map(|slot| slot.entry.as_ref());
        out.extend(entries.map(|entry| (entry.flow.ufid, entry.stats)));
        Ok(())
    }

    fn dump(&mut self, out: &mut Vec<Dumped>) -> Result<(), ProviderError> {
        let entries = self.slots.iter().filter_map(|slot| slot.entry.as_ref());
        out.extend(entries.map(|entry| Dumped {
            ufid: entry.flow.ufid,
            generation: entry.generation,
            flow: Some(entry.flow.clone()),
            stats: entry.stats,
            active: true,
        }));
        Ok(())
    }

    /// The host table dies with its process, so this process has installed all its megaflows.
    fn adopt(&mut self, found: &[Dumped]) -> Vec<Ufid> {
        let ours = |dumped: &&Dumped| {
            let slot = self.by_ufid.get(&dumped.ufid).and_then(|slot| self.entry(*slot));
            slot.is_some_and(|entry| entry.generation == dumped.generation)
        };
        found.iter().filter(ours).map(|dumped| dumped.ufid).collect()
    }

    fn tables(&self) -> Vec<TableUsage> {
        let entries = self.len() as u64;
        vec![TableUsage {
            table: "megaflow",
            holds_megaflows: true,
            entries,
            capacity: Some(self.limit as u64),
        }]
    }

    fn events(&mut self) -> Vec<ProviderEvent> {
        Vec::new()
    }
}

/// Gives the cache another hash than the classifier's, whose low bits would be the same.
const CACHE_SEED: u64 = 0x0ca_c4e5_eed0_f00d;
