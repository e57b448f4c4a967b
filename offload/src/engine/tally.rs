//! What the engine counts of its own work: the engine's part of the metrics.

use std::collections::BTreeMap;
use std::time::Duration;

use flow::{Completion, Correction, Moment, Placement, Reason};
use metrics::{ProviderMetrics, Snapshot, Transition};

/// Counters of the engine, absolute since its start.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) providers: BTreeMap<String, ProviderMetrics>,
    pub(super) placement_changes: BTreeMap<Transition, u64>,
    pub(super) placed: BTreeMap<Placement, u64>,
    pub(super) removals: BTreeMap<&'static str, u64>,
    pub(super) evictions: u64,
    pub(super) overflows: u64,
}

/// The kinds of corrections that a reconciliation or an adoption makes.
const CORRECTIONS: [&str; 5] = ["missing", "foreign", "counter-reset", "adopted", "orphan"];

/// The possible changes of placement, with their causes.
const CHANGES: [(Placement, Placement, &str); 9] = [
    (Placement::Host, Placement::Nic, "install"),
    (Placement::Host, Placement::Refused, "refused"),
    (Placement::Nic, Placement::Host, "missing"),
    (Placement::Nic, Placement::Host, "remove"),
    (Placement::Nic, Placement::Refused, "missing"),
    (Placement::Nic, Placement::Refused, "refused"),
    (Placement::Nic, Placement::Refused, "remove"),
    (Placement::Refused, Placement::Host, "replace"),
    (Placement::Refused, Placement::Nic, "install"),
];

/// Returns the reason that has this code, for counters that are kept by code.
fn reason_of(code: &str) -> Option<Reason> {
    Reason::ALL.iter().copied().find(|reason| reason.code() == code)
}

impl Tally {
    fn provider(&mut self, name: &str) -> &mut ProviderMetrics {
        self.providers.entry(name.to_owned()).or_default()
    }

    /// Returns the counters as metrics. Counters whose labels are known in advance exist from the
    /// start, with 0.
    pub(super) fn snapshot(&self, providers: &[&str]) -> Snapshot {
        let mut snapshot = Snapshot {
            flows: self.placed.clone(),
            placement_changes: self.placement_changes.clone(),
            providers: self.providers.clone(),
            ..Snapshot::default()
        };
        for (from, to, cause) in CHANGES {
            snapshot.placement_changes.entry(Transition { from, to, cause }).or_default();
        }
        for name in providers {
            let provider = snapshot.providers.entry((*name).to_owned()).or_default();
            for kind in CORRECTIONS.into_iter().chain(Correction::ALL.map(Correction::name)) {
                provider.corrections.entry(kind).or_default();
            }
        }
        snapshot
    }

    /// Counts a decision of admission: "admitted" or the code of the reason for the refusal.
    pub(super) fn decided(&mut self, provider: &str, decision: &str) {
        let metrics = self.provider(provider);
        match reason_of(decision) {
            Some(reason) => *metrics.refused.entry(reason).or_default() += 1,
            None => metrics.admitted += 1,
        }
    }

    /// Counts the operations of a completed batch, with their duration.
    pub(super) fn operations(&mut self, provider: &str, done: &[Completion], took: Duration) {
        let each = took / u32::try_from(done.len()).unwrap_or(u32::MAX).max(1);
        let metrics = self.provider(provider);
        for completion in done {
            let operation = metrics.operations.entry(completion.kind).or_default();
            operation.duration.observe_duration(each);
            match &completion.result {
                Ok(_) => operation.ok += 1,
                Err(error) => *operation.errors.entry(error.name()).or_default() += 1,
            }
        }
    }

    /// Notes that the engine's state and the device's were compared and made equal.
    pub(super) fn reconciled(&mut self, provider: &str, now: Moment) {
        self.provider(provider).last_reconcile_seconds = now.since(Moment::default()).as_secs_f64();
    }

    /// Counts one correction of this kind.
    pub(super) fn correction(&mut self, provider: &str, kind: &'static str) {
        self.corrections(provider, kind, 1);
    }

    /// Counts corrections of this kind, one for each megaflow.
    pub(super) fn corrections(&mut self, provider: &str, kind: &'static str, megaflows: u64) {
        *self.provider(provider).corrections.entry(kind).or_default() += megaflows;
    }

    /// Counts a megaflow that has changed its placement or has its first one.
    pub(super) fn moved(&mut self, from: Option<Placement>, to: Placement, cause: &'static str) {
        *self.placed.entry(to).or_default() += 1;
        if let Some(from) = from {
            *self.placed.entry(from).or_default() -= 1;
            *self.placement_changes.entry(Transition { from, to, cause }).or_default() += 1;
        }
    }

    /// Takes a megaflow that no longer exists out of the count of its last placement.
    pub(super) fn left(&mut self, from: Placement) {
        *self.placed.entry(from).or_default() -= 1;
    }

    /// Counts a removed megaflow.
    pub(super) fn removed(&mut self, cause: &'static str) {
        *self.removals.entry(cause).or_default() += 1;
    }
}
