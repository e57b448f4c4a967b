//! What the engine counts of its own work.

use std::collections::BTreeMap;

use flow::{Correction, Moment, Placement, Reason, Transition};

/// Counters of the engine, absolute since its start.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// What is counted for each place, by the name of its provider.
    pub providers: BTreeMap<String, ProviderTally>,
    /// Changes of placement. Those that can happen exist from the start, with 0.
    pub placement_changes: BTreeMap<Transition, u64>,
    /// Megaflows that live now, by placement.
    pub placed: BTreeMap<Placement, u64>,
    /// Removed megaflows, by the cause's name.
    pub removals: BTreeMap<&'static str, u64>,
    /// Megaflows that gave up their room in a NIC for others.
    pub evictions: u64,
    /// Upcalls that were answered without a megaflow, because the flow limit was reached.
    pub overflows: u64,
}

/// What is counted for one provider.
#[derive(Clone, Debug, Default)]
pub struct ProviderTally {
    /// Megaflows that admission let through.
    pub admitted: u64,
    /// Refused megaflows, by reason.
    pub refused: BTreeMap<Reason, u64>,
    /// When belief and device were last made equal; `None` if never.
    pub reconciled: Option<Moment>,
    /// What reconciliations repaired, by kind. The kinds that can happen exist from the start,
    /// with 0.
    pub corrections: BTreeMap<&'static str, u64>,
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

impl Tally {
    fn provider(&mut self, name: &str) -> &mut ProviderTally {
        self.providers.entry(name.to_owned()).or_default()
    }

    /// Makes the counters whose labels are known in advance, with 0.
    pub(super) fn of_host(host: &str) -> Tally {
        let changes = CHANGES.map(|(from, to, cause)| (Transition { from, to, cause }, 0));
        let mut tally = Tally { placement_changes: changes.into(), ..Tally::default() };
        tally.add_provider(host);
        tally
    }

    /// Makes the counters of a provider, with 0.
    pub(super) fn add_provider(&mut self, name: &str) {
        let kinds = CORRECTIONS.into_iter().chain(Correction::ALL.map(Correction::name));
        self.provider(name).corrections = kinds.map(|kind| (kind, 0)).collect();
    }

    /// Counts a decision of admission; `refused` is the reason for a refusal.
    pub(super) fn decided(&mut self, provider: &str, refused: Option<Reason>) {
        let metrics = self.provider(provider);
        match refused {
            Some(reason) => *metrics.refused.entry(reason).or_default() += 1,
            None => metrics.admitted += 1,
        }
    }

    /// Notes that the engine's state and the device's were compared and made equal.
    pub(super) fn reconciled(&mut self, provider: &str, now: Moment) {
        self.provider(provider).reconciled = Some(now);
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
