//! The only place that reads the system's clocks.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use flow::Moment;

/// Measures time since its start, and knows the time of day at its start.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
    epoch: f64,
}

impl Clock {
    /// A clock that starts now.
    #[must_use]
    #[allow(clippy::disallowed_methods, reason = "this is the file that may")]
    pub fn start() -> Clock {
        let epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Clock { start: Instant::now(), epoch: epoch.as_secs_f64() }
    }

    /// The time since the clock's start.
    #[must_use]
    pub fn now(&self) -> Moment {
        Moment(u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    /// Seconds since 1970 at the clock's start.
    #[must_use]
    pub fn epoch(&self) -> f64 {
        self.epoch
    }
}
