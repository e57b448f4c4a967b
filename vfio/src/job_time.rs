//! The time that a job of the host may wait for the card.

use std::time::Duration;

use flow::{Clock, Moment};

use crate::error::Error;

/// The fixed part of a job's time, in units of the time that one command may take.
const FIXED: u32 = 2;
/// The time that each command adds to its job. A command takes microseconds; a card that is a
/// hundred times slower than the slowest one that is worth using still keeps this limit.
const COMMAND: Duration = Duration::from_millis(10);

/// What is left of the time of the job that a thread does now: a batch, a statistics pass, a dump.
/// A card that answers each command just in time would otherwise hold up a job of many commands for
/// hours.
pub(crate) struct JobTime {
    clock: Clock,
    /// The longest time that one command may take.
    patience: Duration,
    left: Duration,
}

impl JobTime {
    /// Creates the budget of no job.
    pub(crate) fn new(clock: Clock, patience: Duration) -> JobTime {
        JobTime { clock, patience, left: Duration::ZERO }
    }

    /// Begins a job.
    pub(crate) fn begin(&mut self) {
        self.left = self.patience * FIXED;
    }

    /// Gives the job more time, for one more command.
    pub(crate) fn extend(&mut self) {
        self.left += COMMAND;
    }

    pub(crate) fn now(&self) -> Moment {
        self.clock.now()
    }

    /// Returns true if the card has let the job wait for too long since this moment.
    pub(crate) fn is_over(&self, since: Moment) -> bool {
        self.now().since(since) > self.left.min(self.patience)
    }

    /// Takes the time since this moment, for which the job waited for the card, from what is left.
    /// The time of one command is the most that a single wait takes, so a thread that was stopped
    /// meanwhile does not give the card up.
    pub(crate) fn spend(&mut self, since: Moment, what: &'static str) -> Result<(), Error> {
        let waited = self.now().since(since).min(self.patience);
        self.left = self.left.checked_sub(waited).ok_or(Error::Timeout(what))?;
        Ok(())
    }
}
