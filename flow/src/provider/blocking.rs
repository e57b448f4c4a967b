//! Whole jobs on a provider, for callers that have nothing else to do until they are done: tools
//! and tests. The daemon's threads use the [`Provider`]'s own methods.

use std::collections::VecDeque;
use std::time::Duration;

use crate::id::Ufid;
use crate::stats::Stats;

use super::Provider;
use super::error::ProviderError;
use super::operation::{Completion, Op, Submission};
use super::reading::{Cursor, Dumped};

/// The time that one look for completions waits.
const LOOK: Duration = Duration::from_millis(10);

/// Whole jobs on a provider that has no operation in flight.
pub trait Blocking: Provider {
    /// Carries out operations and waits for their ends, which are pushed in the order of the
    /// operations.
    fn apply(&mut self, ops: &[Op], done: &mut Vec<Completion>) {
        let mut waiting: VecDeque<_> = Submission::number(ops.iter().cloned()).collect();
        let mut ended = Vec::with_capacity(ops.len());
        while ended.len() < ops.len() {
            self.submit(&mut waiting);
            self.poll(LOOK, &mut ended);
        }
        ended.sort_by_key(|completion| completion.tag);
        done.append(&mut ended);
    }

    /// Reads the statistics of all megaflows.
    fn all_stats(&mut self, out: &mut Vec<(Ufid, Stats)>) -> Result<(), ProviderError> {
        let mut next = Some(Cursor::default());
        while let Some(from) = next {
            next = self.stats(from, out)?;
        }
        Ok(())
    }

    /// Reads everything in the device that carries our cookie.
    fn all_dumped(&mut self, out: &mut Vec<Dumped>) -> Result<(), ProviderError> {
        let mut next = Some(Cursor::default());
        while let Some(from) = next {
            next = self.dump(from, out)?;
        }
        Ok(())
    }
}

impl<P: Provider + ?Sized> Blocking for P {}
