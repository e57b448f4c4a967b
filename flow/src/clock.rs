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

    /// Returns the time that the calling thread has run. Under a manual clock a thread always runs.
    fn thread_ran(&self, now: Moment) -> Duration {
        if let Source::Manual(_) = self.source {
            return now.since(Moment::default());
        }
        // This clock can't fail; it is never negative.
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        Duration::try_from(time).unwrap_or_default()
    }

    /// Returns the seconds from 1970 to the clock's start.
    #[must_use]
    pub fn epoch(&self) -> f64 {
        self.epoch
    }
}

/// Tells how long each step kept its thread busy, which waits between steps.
///
/// The time that the thread ran is dear to ask for, so it is asked for only now and then, and for
/// each long step: such a step is not longer than the thread ran since the last time, which was at
/// most [`StepTimer::GRAIN`] before the step. A thread that was stopped by another one within a
/// step is therefore no long step.
#[derive(Debug)]
pub struct StepTimer {
    clock: Clock,
    asked: Moment,
    ran: Duration,
}

impl StepTimer {
    /// Time for which the time of running is not asked for again.
    pub const GRAIN: Duration = Duration::from_micros(200);

    /// Returns a timer for the steps of one thread.
    #[must_use]
    pub fn new(clock: Clock) -> StepTimer {
        StepTimer { clock, asked: Moment::default(), ran: Duration::ZERO }
    }

    /// Ends a step of the calling thread that began at this moment. Returns the moment at which it
    /// ended, and how long it kept the thread busy.
    pub fn end(&mut self, begun: Moment) -> (Moment, Duration) {
        let now = self.clock.now();
        let took = now.since(begun);
        if now.since(self.asked) < StepTimer::GRAIN {
            return (now, took);
        }
        let before = std::mem::replace(&mut self.ran, self.clock.thread_ran(now));
        self.asked = now;
        (now, took.min(self.ran.saturating_sub(before)))
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
    fn a_step_is_as_long_as_its_thread_ran() {
        let time = ManualTime::default();
        let mut timer = StepTimer::new(time.clock());
        let micros = Duration::from_micros;
        for (rest, long) in [(0, 5), (1, 150), (0, 150), (1000, 3), (0, 7000)]
            .map(|(rest, long)| (micros(rest), micros(long)))
        {
            time.pass(rest);
            let begun = time.clock().now();
            time.pass(long);
            assert_eq!(timer.end(begun), (begun + long, long));
        }
    }

    /// Sleep stands for another thread that has the core.
    #[test]
    fn a_step_whose_thread_was_stopped_is_not_longer() {
        let clock = Clock::start();
        let mut timer = StepTimer::new(clock.clone());
        let (begun, _) = timer.end(clock.now());
        std::thread::sleep(Duration::from_millis(20));
        let (ended, busy) = timer.end(begun);
        assert!(ended.since(begun) >= Duration::from_millis(20));
        assert!(busy * 2 < ended.since(begun), "{busy:?}");
    }

    #[test]
    fn the_system_s_time_does_not_go_back() {
        let clock = Clock::start();
        let first = clock.now();
        assert!(clock.now() >= first && clock.epoch() > 0.0);
    }
}
