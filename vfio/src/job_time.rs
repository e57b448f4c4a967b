//! The time that the card may take.

use std::time::Duration;

use flow::{Clock, Moment};

/// The fixed part of a job's time, in units of the time that one command may take.
const FIXED: u32 = 2;
/// The time that each command adds to its job. A command takes microseconds; a card that is a
/// hundred times slower than the slowest one that is worth using still keeps this limit.
const COMMAND: Duration = Duration::from_millis(10);

/// The time for which the card was waited for, by which it has to answer.
///
/// A single command has its own limit. A job (an operation, a part of a reading) has one limit for
/// all its commands: a card that answers each command just in time would otherwise hold up a job
/// of many commands for hours.
pub(crate) struct JobTime {
    clock: Clock,
    /// The longest time that one command may take.
    patience: Duration,
    looked: Moment,
    waited: Duration,
}

impl JobTime {
    pub(crate) fn new(clock: Clock, patience: Duration) -> JobTime {
        let looked = clock.now();
        JobTime { clock, patience, looked, waited: Duration::ZERO }
    }

    /// Returns the clock's time.
    pub(crate) fn now(&self) -> Moment {
        self.clock.now()
    }

    /// Counts the time since the last look at the card, and returns the time waited for it so far.
    /// To be called before a look at what the card has done. The time of one command is the most
    /// that counts, so a thread that was stopped meanwhile does not give the card up.
    pub(crate) fn look(&mut self) -> Duration {
        let now = self.clock.now();
        self.waited += now.since(self.looked).min(self.patience);
        self.looked = now;
        self.waited
    }

    /// Returns the time at which a command has to be done that is given now, behind others.
    pub(crate) fn command(&self, others: usize) -> Duration {
        self.waited + self.patience + times(COMMAND, others)
    }

    /// Returns the time at which a job of so many commands has to be done that begins now.
    pub(crate) fn job(&self, commands: usize) -> Duration {
        self.waited + self.patience * FIXED + times(COMMAND, commands)
    }

    /// Returns the limit of a job that has one more command than it had with this limit.
    pub(crate) fn extended(&self, limit: Duration) -> Duration {
        limit + COMMAND
    }
}

fn times(part: Duration, count: usize) -> Duration {
    part.saturating_mul(u32::try_from(count).unwrap_or(u32::MAX))
}
