//! What is counted of the operations on each place: results and durations.

use std::collections::BTreeMap;
use std::time::Duration;

use flow::{Completion, OpKind};
use metrics::OperationMetrics;
use offload::Place;

/// The operations on each place, by kind.
#[derive(Default)]
pub(super) struct Operations(BTreeMap<Place, BTreeMap<OpKind, OperationMetrics>>);

impl Operations {
    /// Counts the operations of a batch that took this long from its sending to its completion.
    pub(super) fn completed(&mut self, place: Place, done: &[Completion], took: Duration) {
        let each = took / u32::try_from(done.len()).unwrap_or(u32::MAX).max(1);
        let of_place = self.0.entry(place).or_default();
        for completion in done {
            let operation = of_place.entry(completion.kind).or_default();
            operation.duration.observe_duration(each);
            match &completion.result {
                Ok(_) => operation.ok += 1,
                Err(error) => *operation.errors.entry(error.name()).or_default() += 1,
            }
        }
    }

    /// Returns the operations on a place, by kind.
    pub(super) fn of(&self, place: Place) -> BTreeMap<OpKind, OperationMetrics> {
        self.0.get(&place).cloned().unwrap_or_default()
    }
}
