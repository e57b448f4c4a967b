//! One hardware provider as the engine sees it.

use std::sync::Arc;

use flow::refusal::Full;
use flow::{Admission, Detail, Moment, Reason, Reasons, Refusal, Subject, TableUsage};

use crate::record::FlowRecord;
use crate::request::Standing;

/// The number of operations that may wait for a provider before nothing more is begun. It covers
/// what the fastest device does in a few milliseconds.
pub const QUEUE_LIMIT: usize = 4096;

/// The number of megaflows that a full provider may refuse between two statistics passes.
pub(super) const FULL_TRIES: u32 = 16;

/// One hardware provider.
pub(super) struct Device {
    pub(super) name: Arc<str>,
    pub(super) admission: Arc<dyn Admission>,
    /// Why the provider no longer answers; `None` while it answers.
    pub(super) gone: Option<String>,
    /// True once the engine knows what the provider held at start. Before, nothing is installed
    /// in the provider.
    pub(super) known: bool,
    /// True if the provider was lost after that, and opened again.
    pub(super) is_back: bool,
    /// When the provider's counters were last read.
    pub(super) read_at: Moment,
    pub(super) budget: Budget,
    pub(super) tables: Vec<TableUsage>,
    /// The policy considers the provider too full for new megaflows.
    pub(super) crowded: bool,
    /// Megaflows that may be tried until the next statistics pass; `None` unless the provider has
    /// lately refused one as "full".
    tries: Option<u32>,
    /// The number of operations sent and not completed.
    pub(super) queued: usize,
}

impl Device {
    pub(super) fn new(name: &str, admission: Arc<dyn Admission>, budget: Budget) -> Device {
        Device {
            name: name.into(),
            admission,
            gone: None,
            known: false,
            is_back: false,
            read_at: Moment::default(),
            budget,
            tables: Vec::new(),
            crowded: false,
            tries: None,
            queued: 0,
        }
    }

    /// The provider does not answer any more.
    pub(super) fn lost(&mut self, why: &str) {
        self.gone = Some(why.to_owned());
        self.queued = 0;
        self.tables.clear();
    }

    /// The provider answers again, and what it holds is not known.
    pub(super) fn opened(&mut self) {
        self.gone = None;
        self.is_back |= std::mem::take(&mut self.known);
        self.crowded = false;
        self.tries = None;
    }

    /// Returns true while the provider answers.
    pub(super) fn is_up(&self) -> bool {
        self.gone.is_none()
    }

    /// Returns true if the provider's tables are crowded or an operation was refused as "full".
    pub(super) fn short_of_room(&self) -> bool {
        self.crowded || self.tries.is_some()
    }

    /// Returns true if nothing more is to be tried before there is room. A table that is not
    /// crowded by its numbers may have no place for most megaflows, and the device searches long
    /// before it says so.
    pub(super) fn is_full(&self) -> bool {
        self.crowded || self.tries == Some(0)
    }

    /// Returns true if a megaflow may be tried that the provider may refuse as "full".
    pub(super) fn may_try(&self) -> bool {
        self.tries.is_none_or(|tries| self.queued < tries as usize)
    }

    /// The provider has refused a megaflow as "full".
    pub(super) fn said_full(&mut self) {
        self.tries = Some(self.tries.unwrap_or(FULL_TRIES).saturating_sub(1));
    }

    /// A megaflow has left the provider.
    pub(super) fn made_room(&mut self) {
        self.tries = self.tries.map(|tries| tries.saturating_add(1));
    }

    /// A statistics pass has ended. A provider that has refused all tries gets as many again.
    pub(super) fn passed(&mut self) {
        self.tries = self.tries.filter(|tries| *tries == 0).map(|_| FULL_TRIES);
    }

    /// Returns the number of ports whose megaflows the provider can hold now.
    pub(super) fn ports(&self) -> u64 {
        let ports = self.admission.capabilities().ports.len();
        if self.is_up() { ports as u64 } else { 0 }
    }

    /// Returns true if the provider answers and the engine knows what it holds.
    pub(super) fn is_ready(&self) -> bool {
        self.is_up() && self.known
    }

    /// Returns true if more operations may wait for the provider.
    pub(super) fn has_room(&self) -> bool {
        self.queued < QUEUE_LIMIT
    }

    /// Returns true if the provider may be given new megaflows now.
    pub(super) fn takes(&mut self, now: Moment) -> bool {
        let may_try = !self.crowded && self.may_try();
        self.is_ready() && may_try && self.has_room() && self.budget.has(now)
    }

    /// Returns where a megaflow stands that the device admits; `record` is the megaflow if it is
    /// or was in the device.
    pub(super) fn standing(
        &self,
        record: Option<&FlowRecord>,
        obstacles: Reasons,
        now: Moment,
    ) -> Standing {
        if record.is_some_and(|record| record.nic.life.forwards()) {
            return Standing::Holds;
        }
        let mut reasons = Reasons::default();
        if let Some(why) = &self.gone {
            reasons.add(gone(why));
        }
        let obstacles = obstacles.into_refusals();
        // The device's own refusal: the admission function does not know of it.
        let said = record.filter(|record| record.stays_refused(now));
        let refused = said.and_then(FlowRecord::refusal);
        let refusals = obstacles.iter().chain(refused.map(|refused| &refused.why));
        let refusals = refusals.flat_map(|refusals| refusals.iter().cloned());
        reasons.extend(refusals.map(|refusal| self.with_usage(refusal)));
        let is_final = said.is_some_and(|record| record.retry.is_none()) || self.gone.is_some();
        match reasons.into_refusals() {
            None => Standing::Takes,
            Some(why) if is_final => Standing::Refuses(why),
            Some(why) => Standing::Waits(why),
        }
    }

    /// Adds the use of the tables to the detail of a `TableFull` refusal: of the table that the
    /// refusal names, and of each other table for megaflows that is full. If no known table is
    /// named, the use of every table for megaflows is added.
    fn with_usage(&self, mut refusal: Refusal) -> Refusal {
        if refusal.reason != Reason::TableFull {
            return refusal;
        }
        let is_named = |usage: &&TableUsage| refusal.subject == Subject::Table(usage.table);
        let has_named = self.tables.iter().any(|table| is_named(&table));
        let counts = |table: &&TableUsage| {
            let is_full = table.capacity.is_some_and(|capacity| table.entries >= capacity);
            is_named(table) || table.holds_megaflows && (is_full || !has_named)
        };
        let tables: Vec<TableUsage> = self.tables.iter().filter(counts).cloned().collect();
        if !tables.is_empty() {
            let why = std::mem::take(&mut refusal.detail);
            refusal.detail = Detail::Full(Arc::new(Full { why, tables }));
        }
        refusal
    }
}

/// The refusal of a device that is gone.
pub(super) fn gone(why: &str) -> Refusal {
    Refusal::new(Reason::DeviceGone, Subject::Device).said(why)
}

/// The number of inserts that a provider may be given: a bucket that fills with time.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    per_second: u32,
    tokens: f64,
    filled: Moment,
}

impl Budget {
    /// Returns a full bucket that holds a tenth of a second's inserts, at least one.
    #[must_use]
    pub fn new(per_second: u32) -> Budget {
        Budget { per_second, tokens: Budget::depth(per_second), filled: Moment::default() }
    }

    fn depth(per_second: u32) -> f64 {
        (f64::from(per_second) / 10.0).max(1.0)
    }

    /// Returns true if the budget allows an insert now.
    pub(super) fn has(&mut self, now: Moment) -> bool {
        let time = now.since(self.filled).as_secs_f64();
        self.filled = now;
        let filled = self.tokens + time * f64::from(self.per_second);
        self.tokens = filled.min(Budget::depth(self.per_second));
        self.tokens >= 1.0
    }

    pub(super) fn take(&mut self, now: Moment) -> bool {
        let has = self.has(now);
        if has {
            self.tokens -= 1.0;
        }
        has
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_kept_over_time() {
        let mut budget = Budget::new(100);
        let mut taken = 0;
        for millisecond in 0..1000_u64 {
            let now = Moment(millisecond * 1_000_000);
            while budget.take(now) {
                taken += 1;
            }
        }
        assert!((100..=110).contains(&taken), "{taken}");
    }
}
