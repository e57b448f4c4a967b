//! Time: the only file of the workspace that reads the system's clocks.
#![allow(clippy::disallowed_types, reason = "this is the file that may")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::stats::Moment;

/// Measures the time since its start, and knows the time of day at its start. Clones agree.
#[derive(Clone, Debug)]
pub struct Clock {
    source: Source,
    epoch: f64,
}

#[derive(Clone, Debug)]
enum Source {
    System(Instant),
    Manual(Arc<AtomicU64>),
}

impl Clock {
    /// Returns a clock that starts now and follows the system's time.
    #[must_use]
    pub fn start() -> Clock {
        let epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Clock { source: Source::System(Instant::now()), epoch: epoch.as_secs_f64() }
    }

    /// Returns the time since the clock's start.
    #[must_use]
    pub fn now(&self) -> Moment {
        match &self.source {
            Source::System(start) => Moment::default() + start.elapsed(),
            Source::Manual(now) => Moment(now.load(Ordering::SeqCst)),
        }
    }

    /// Returns the time since the clock's start: the clock as a stop watch.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.now().since(Moment::default())
    }

    /// Returns the seconds from 1970 to the clock's start.
    #[must_use]
    pub fn epoch(&self) -> f64 {
        self.epoch
    }
}

/// Time that stands still until its owner moves it on, for tests and simulations.
#[derive(Clone, Debug, Default)]
pub struct ManualTime(Arc<AtomicU64>);

impl ManualTime {
    /// Returns a clock that shows this time. The clock started in 1970.
    #[must_use]
    pub fn clock(&self) -> Clock {
        Clock { source: Source::Manual(self.0.clone()), epoch: 0.0 }
    }

    /// Moves the time on.
    pub fn pass(&self, time: Duration) {
        let later = |now| Some((Moment(now) + time).0);
        // `later` never returns `None`, so the update can't fail.
        let _ = self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, later);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manual_time_stands_still_until_it_is_moved_on() {
        let time = ManualTime::default();
        let clock = time.clock();
        assert_eq!((clock.now(), clock.clone().now()), (Moment(0), Moment(0)));
        time.pass(Duration::from_micros(3));
        assert_eq!((clock.now(), clock.epoch()), (Moment(3000), 0.0));
        assert_eq!(clock.elapsed(), Duration::from_micros(3));
        time.pass(Duration::MAX);
        assert_eq!(clock.now(), Moment(u64::MAX), "and stays there");
    }

    #[test]
    fn the_system_s_time_does_not_go_back() {
        let clock = Clock::start();
        let first = clock.now();
        assert!(clock.now() >= first && clock.epoch() > 0.0);
    }
}
