//! A provider with faults: it keeps the contract, as badly as the contract allows.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::capability::Admission;
use crate::id::Ufid;
use crate::provider::{
    Blocking, Completion, Cursor, Dumped, Op, Provider, ProviderError, ProviderEvent, Submission,
    Tag,
};
use crate::stats::{Counters, Stats};
use crate::table::TableUsage;
use crate::traffic::PortTraffic;

/// How often each fault happens: once in this number of chances; 0 for never.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Faults {
    /// An operation is begun, or its completion delivered, later than it could be. Operations on
    /// other megaflows overtake it.
    pub late: u32,
    /// The provider has no more room for operations just now.
    pub full: u32,
    /// An operation fails as "busy" and changes nothing.
    pub busy: u32,
    /// A reading breaks off as "busy".
    pub broken_off: u32,
    /// A reading leaves a megaflow out that is in the device.
    pub left_out: u32,
    /// The device begins to count a megaflow's hits from zero again.
    pub reset: u32,
    /// The device is gone, with everything in it.
    pub gone: u32,
    /// One counter update is never told, as a device with a fault of its own would do. This is the
    /// one fault that nobody can make good: a check of the sums must find it.
    pub lost_update: bool,
}

/// A test's view of a provider with faults, which lives on another thread or in a box.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    is_calm: Arc<AtomicBool>,
    unreadable: Arc<Mutex<Counters>>,
}

impl Watch {
    /// Ends the faults, or lets them begin again.
    pub fn set_calm(&self, is_calm: bool) {
        self.is_calm.store(is_calm, Ordering::SeqCst);
    }

    /// Returns the hits that the device counted and that nobody can read any more: the device was
    /// gone before they were told.
    #[must_use]
    pub fn unreadable(&self) -> Counters {
        *self.unreadable.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lose(&self, hits: Counters) {
        *self.unreadable.lock().unwrap_or_else(PoisonError::into_inner) += hits;
    }
}

/// What was told of the counters of one life of a megaflow.
#[derive(Clone, Copy, Default)]
struct Told {
    /// The last absolute value.
    last: Counters,
    /// What the device had counted when it began from zero again.
    base: Counters,
    /// The base before that, as long as nobody can have noticed.
    before: Option<Counters>,
}

impl Told {
    /// Returns what is told for this absolute value of the device.
    fn tell(&mut self, actual: Counters) -> Counters {
        let mut shown = actual.since(self.base).unwrap_or_default();
        if let Some(before) = self.before {
            // A counter that was reset and is past the last value that was told can't be told from
            // one that went on: such a reset did not happen.
            if shown.packets < self.last.packets {
                self.before = None;
            } else {
                self.base = before;
                shown = actual.since(self.base).unwrap_or_default();
            }
        }
        self.last = shown;
        shown
    }
}

/// A provider around another one that adds faults. The seed determines them all.
pub struct Faulty {
    inner: Box<dyn Provider>,
    faults: Faults,
    dice: u64,
    /// Operations that the inner provider does not have yet.
    held: VecDeque<Submission>,
    /// Operations that the inner provider has.
    passed: HashMap<Tag, Submission>,
    /// Completions that were not delivered yet.
    done: VecDeque<Completion>,
    told: HashMap<Ufid, Told>,
    watch: Watch,
    is_gone: bool,
    events: Vec<ProviderEvent>,
}

/// The largest number of operations in flight, so that a provider with little room is met often.
const WINDOW: usize = 32;

impl Faulty {
    /// Puts faults in front of a provider that has nothing in flight.
    #[must_use]
    pub fn new(inner: Box<dyn Provider>, faults: Faults, seed: u64) -> Faulty {
        Faulty {
            inner,
            faults,
            dice: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            held: VecDeque::new(),
            passed: HashMap::new(),
            done: VecDeque::new(),
            told: HashMap::new(),
            watch: Watch::default(),
            is_gone: false,
            events: Vec::new(),
        }
    }

    /// Returns a view that stays up to date.
    #[must_use]
    pub fn watch(&self) -> Watch {
        self.watch.clone()
    }

    fn roll(&mut self, sides: u64) -> u64 {
        self.dice = self
            .dice
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.dice >> 33) % sides.max(1)
    }

    /// Returns true if a fault happens now.
    fn strikes(&mut self, once_in: u32) -> bool {
        let is_calm = self.watch.is_calm.load(Ordering::SeqCst);
        once_in > 0 && !is_calm && self.roll(u64::from(once_in)) == 0
    }

    fn in_flight(&self) -> usize {
        self.held.len() + self.passed.len() + self.done.len()
    }

    fn gone(&self) -> ProviderError {
        ProviderError::Gone("a fault took the device away".to_owned())
    }

    /// Begins held operations, or lets them fail. Those on one megaflow keep their order.
    fn pass_on(&mut self) {
        let mut behind = HashSet::new();
        for held in std::mem::take(&mut self.held) {
            let waits = behind.contains(&held.op.ufid()) || self.strikes(self.faults.late);
            if waits {
                behind.insert(held.op.ufid());
                self.held.push_back(held);
            } else if self.may_fail(&held) && self.strikes(self.faults.busy) {
                let busy = ProviderError::Busy("a fault says so".to_owned());
                self.done.push_back(held.completed(Err(busy)));
            } else {
                let mut one = VecDeque::from([held.clone()]);
                self.inner.submit(&mut one);
                match one.pop_front() {
                    // The inner provider is full.
                    Some(held) => {
                        behind.insert(held.op.ufid());
                        self.held.push_back(held);
                    }
                    None => drop(self.passed.insert(held.tag, held)),
                }
            }
        }
    }

    /// An operation may only fail before the earlier ones on its megaflow if there are none.
    fn may_fail(&self, held: &Submission) -> bool {
        self.passed.values().all(|passed| passed.op.ufid() != held.op.ufid())
    }

    /// Takes the inner provider's completions in.
    fn take_in(&mut self, wait: Duration) {
        let mut ended = Vec::new();
        self.inner.poll(wait, &mut ended);
        for completion in ended {
            self.passed.remove(&completion.tag);
            self.done.push_back(completion);
        }
    }

    /// Delivers completions; those of one megaflow keep their order.
    fn deliver(&mut self, out: &mut Vec<Completion>) {
        let mut behind = HashSet::new();
        for mut completion in std::mem::take(&mut self.done) {
            if behind.contains(&completion.ufid) || self.strikes(self.faults.late) {
                behind.insert(completion.ufid);
                self.done.push_back(completion);
                continue;
            }
            if let Ok(stats) = &mut completion.result {
                // A life has ended, and another one may have begun.
                let mut told = self.told.remove(&completion.ufid).unwrap_or_default();
                stats.counters = told.tell(stats.counters);
            }
            out.push(completion);
        }
    }

    /// The device goes, with everything in it.
    fn take_away(&mut self) {
        while !self.passed.is_empty() {
            self.take_in(Duration::from_millis(1));
        }
        let gone = self.gone();
        // What was done without anybody being told is lost with the device.
        for completion in &mut self.done {
            if let Ok(stats) = &completion.result {
                let told = self.told.remove(&completion.ufid).unwrap_or_default();
                self.watch.lose(unread(told, stats.counters));
            }
            completion.result = Err(gone.clone());
        }
        self.done.extend(self.held.drain(..).map(|held| held.completed(Err(gone.clone()))));
        self.empty();
        self.told.clear();
        self.is_gone = true;
        self.events.push(ProviderEvent::Gone(gone.to_string()));
    }

    /// Removes everything from the device that is being lost.
    fn empty(&mut self) {
        let mut found = Vec::new();
        // What can't be listed is found in the device when it is opened again.
        let _ = self.inner.all_dumped(&mut found);
        let removals: Vec<Op> = found.iter().map(|one| Op::Remove { ufid: one.ufid }).collect();
        let mut removed = Vec::new();
        self.inner.apply(&removals, &mut removed);
        for completion in removed {
            if let Ok(stats) = completion.result {
                let told = self.told.remove(&completion.ufid).unwrap_or_default();
                self.watch.lose(unread(told, stats.counters));
            }
        }
    }

    /// Returns true if an operation on the megaflow is in flight.
    fn is_busy(&self, ufid: Ufid) -> bool {
        let of = |submission: &Submission| submission.op.ufid() == ufid;
        self.held.iter().any(of)
            || self.passed.values().any(of)
            || self.done.iter().any(|completion| completion.ufid == ufid)
    }

    /// Tells a reading of a megaflow's counters, perhaps with a fault.
    fn tell(&mut self, ufid: Ufid, actual: Counters) -> Counters {
        let (resets, loses) = (self.strikes(self.faults.reset), self.faults.lost_update);
        let told = self.told.entry(ufid).or_default();
        let before = told.last;
        let shown = told.tell(actual);
        if loses && shown.packets > before.packets {
            self.faults.lost_update = false;
            told.base += shown.since(before).unwrap_or_default();
            told.last = before;
            return before;
        }
        if resets && told.before.is_none() && shown.packets > 0 {
            told.before = Some(told.base);
            told.base = actual;
        }
        shown
    }
}

/// Returns the hits that were never told.
fn unread(told: Told, actual: Counters) -> Counters {
    let base = told.before.unwrap_or(told.base);
    actual.since(base).and_then(|all| all.since(told.last)).unwrap_or_default()
}

impl Provider for Faulty {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn admission(&self) -> Arc<dyn Admission> {
        self.inner.admission()
    }

    fn window(&self) -> usize {
        WINDOW
    }

    fn submit(&mut self, waiting: &mut VecDeque<Submission>) {
        while self.in_flight() < WINDOW && !self.strikes(self.faults.full) {
            let Some(next) = waiting.pop_front() else { return };
            if self.is_gone {
                self.done.push_back(next.completed(Err(self.gone())));
            } else {
                self.held.push_back(next);
            }
        }
    }

    fn poll(&mut self, wait: Duration, done: &mut Vec<Completion>) {
        if !self.is_gone && self.strikes(self.faults.gone) {
            self.take_away();
        }
        if self.is_gone {
            done.extend(self.done.drain(..));
            return;
        }
        self.pass_on();
        let wait = if self.done.is_empty() { wait } else { Duration::ZERO };
        self.take_in(wait);
        self.deliver(done);
    }

    fn stats(
        &mut self,
        from: Cursor,
        out: &mut Vec<(Ufid, Stats)>,
    ) -> Result<Option<Cursor>, ProviderError> {
        if !self.is_gone && self.strikes(self.faults.gone) {
            self.take_away();
        }
        if self.is_gone {
            return Err(self.gone());
        }
        if self.strikes(self.faults.broken_off) {
            return Err(ProviderError::Busy("a fault breaks the reading off".to_owned()));
        }
        let mut part = Vec::new();
        let next = self.inner.stats(from, &mut part)?;
        for (ufid, mut stats) in part {
            if !self.is_busy(ufid) && !self.strikes(self.faults.left_out) {
                stats.counters = self.tell(ufid, stats.counters);
                out.push((ufid, stats));
            }
        }
        Ok(next)
    }

    fn dump(
        &mut self,
        from: Cursor,
        out: &mut Vec<Dumped>,
    ) -> Result<Option<Cursor>, ProviderError> {
        if self.is_gone {
            return Err(self.gone());
        }
        let mut part = Vec::new();
        let next = self.inner.dump(from, &mut part)?;
        for mut dumped in part {
            if !self.is_busy(dumped.ufid) {
                let told = self.told.entry(dumped.ufid).or_default();
                dumped.stats.counters = told.tell(dumped.stats.counters);
                out.push(dumped);
            }
        }
        Ok(next)
    }

    fn adopt(&mut self, found: &[Dumped]) -> Vec<Ufid> {
        if self.is_gone { Vec::new() } else { self.inner.adopt(found) }
    }

    fn tables(&self) -> Vec<TableUsage> {
        self.inner.tables()
    }

    fn traffic(&mut self) -> Result<Vec<PortTraffic>, ProviderError> {
        self.inner.traffic()
    }

    fn events(&mut self) -> Vec<ProviderEvent> {
        self.events.extend(self.inner.events());
        std::mem::take(&mut self.events)
    }

    fn reopen(&mut self) -> Result<(), ProviderError> {
        if self.is_gone && self.roll(3) > 0 {
            return Err(self.gone());
        }
        self.is_gone = false;
        Ok(())
    }

    fn close(&mut self) -> Result<(), ProviderError> {
        self.inner.close()
    }
}
