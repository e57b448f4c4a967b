//! The one place where time enters.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use flow::Moment;

/// Time since the start of the process, and what the calendar said then.
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

    /// Now.
    #[must_use]
    pub fn now(&self) -> Moment {
        Moment(u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    /// Seconds since 1970 at the start.
    #[must_use]
    pub fn epoch(&self) -> f64 {
        self.epoch
    }
}
