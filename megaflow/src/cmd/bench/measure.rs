//! Windows of work, their CPU time and their rate.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use flow::Clock;
use nix::time::{ClockId, clock_gettime};
use serde::Serialize;

/// Does a little of the work and returns the number of units done.
pub(super) type Work = Box<dyn FnMut(&mut Aside) -> Result<u64, String>>;

/// The time of what a work has to do besides, which is not measured.
#[derive(Default)]
pub(super) struct Aside {
    cpu: u64,
    wall: Duration,
}

impl Aside {
    /// Does something besides.
    pub(super) fn run(&mut self, what: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
        let (cpu, start) = (cpu_time()?, Clock::start());
        what()?;
        self.cpu += cpu_time()?.saturating_sub(cpu);
        self.wall += start.elapsed();
        Ok(())
    }
}

/// One measurement.
pub(super) struct Case<S> {
    pub(super) name: &'static str,
    /// The unit of work that is counted.
    pub(super) unit: &'static str,
    pub(super) what: &'static str,
    /// Prepares what is measured. A case of many megaflows takes no more than this number of them.
    pub(super) setup: fn(u32) -> Result<S, String>,
}

/// What a case prepares: the work itself, or something that becomes work.
pub(super) trait Measurable {
    fn work(self) -> Result<Work, String>;
}

impl Measurable for Work {
    fn work(self) -> Result<Work, String> {
        Ok(self)
    }
}

#[derive(Serialize)]
pub(super) struct Spread {
    pub(super) min: f64,
    pub(super) median: f64,
    pub(super) max: f64,
}

pub(super) struct Measured {
    pub(super) windows: u64,
    /// CPU nanoseconds of this thread per unit.
    pub(super) cpu_ns: Spread,
    /// Units per second of the wall clock.
    pub(super) rate: Spread,
}

pub(super) fn measure(
    name: &str,
    work: &mut Work,
    windows: u64,
    length: Duration,
) -> Result<Measured, String> {
    window(work, length)?;
    let (mut cpu_ns, mut rate) = (Vec::new(), Vec::new());
    let progress = std::io::stderr().is_terminal();
    for number in 1..=windows {
        if progress {
            eprint!("\r{name}: window {number} of {windows} ");
        }
        let (cpu, units) = window(work, length)?;
        cpu_ns.push(cpu);
        rate.push(units);
    }
    if progress {
        eprint!("\r{:60}\r", "");
        // A failure leaves the cursor at the wrong place and does no other harm.
        let _ = std::io::stderr().flush();
    }
    Ok(Measured { windows, cpu_ns: spread(cpu_ns), rate: spread(rate) })
}

/// CPU nanoseconds per unit, and units per second.
#[allow(clippy::cast_precision_loss, reason = "ratios")]
pub(super) fn window(work: &mut Work, length: Duration) -> Result<(f64, f64), String> {
    let (cpu, start) = (cpu_time()?, Clock::start());
    let (mut units, mut aside) = (0, Aside::default());
    while start.elapsed() < length {
        units += work(&mut aside)?;
    }
    let wall = start.elapsed().saturating_sub(aside.wall).as_secs_f64();
    let cpu = cpu_time()?.saturating_sub(cpu + aside.cpu);
    let units = units.max(1) as f64;
    Ok((cpu as f64 / units, units / wall))
}

/// Nanoseconds that this thread has run.
fn cpu_time() -> Result<u64, String> {
    cpu_of(ClockId::CLOCK_THREAD_CPUTIME_ID)
}

/// Nanoseconds of such a clock.
pub(super) fn cpu_of(clock: ClockId) -> Result<u64, String> {
    let time = clock_gettime(clock).map_err(|error| format!("CPU time: {error}"))?;
    let time = Duration::from(time).as_nanos();
    u64::try_from(time).map_err(|error| error.to_string())
}

pub(super) fn spread(mut values: Vec<f64>) -> Spread {
    values.sort_by(f64::total_cmp);
    let at = |place: usize| values.get(place).copied().unwrap_or(f64::NAN);
    let last = values.len().saturating_sub(1);
    let median = f64::midpoint(at(last / 2), at(last - last / 2));
    Spread { min: at(0), median, max: at(last) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_timed_and_spread() {
        let odd = spread(vec![3.0, 1.0, 2.0]);
        assert_eq!((odd.min, odd.median, odd.max), (1.0, 2.0, 3.0));
        assert_eq!(spread(vec![4.0, 1.0]).median, 2.5);
        let mut busy: Work = Box::new(|_| {
            spin();
            Ok(1)
        });
        let measured = measure("busy", &mut busy, 2, WINDOW).unwrap();
        assert!(measured.cpu_ns.median > 0.0 && measured.rate.min > 0.0);
        let mut besides: Work = Box::new(|aside| {
            aside.run(|| {
                spin();
                Ok(())
            })?;
            Ok(1)
        });
        let nearly_idle = measure("besides", &mut besides, 2, WINDOW).unwrap();
        assert!(nearly_idle.cpu_ns.median < measured.cpu_ns.median / 2.0);
        let mut failing: Work = Box::new(|_| Err("no".to_owned()));
        assert!(measure("failing", &mut failing, 2, WINDOW).is_err_and(|why| why == "no"));
    }

    const WINDOW: Duration = Duration::from_millis(50);

    fn spin() {
        (0..100_000_u64).for_each(|number| {
            std::hint::black_box(number);
        });
    }
}
