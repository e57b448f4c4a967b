//! Windows of work, their CPU time and their rate.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use flow::Clock;
use serde::Serialize;

/// Does a little of the work and returns the number of units done.
pub(super) type Work = Box<dyn FnMut() -> u64>;

/// One measurement.
pub(super) struct Case {
    pub(super) name: &'static str,
    /// The unit of work that is counted.
    pub(super) unit: &'static str,
    pub(super) what: &'static str,
    pub(super) setup: fn() -> Result<Work, String>,
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
fn window(work: &mut Work, length: Duration) -> Result<(f64, f64), String> {
    let (cpu, start) = (cpu_time()?, Clock::start());
    let mut units = 0;
    while start.elapsed() < length {
        units += work();
    }
    let (wall, cpu) = (start.elapsed().as_secs_f64(), cpu_time()?.saturating_sub(cpu));
    let units = units.max(1) as f64;
    Ok((cpu as f64 / units, units / wall))
}

/// Nanoseconds that this thread has run. The kernel updates the number at each tick and at each
/// context switch, so it can be some milliseconds late.
fn cpu_time() -> Result<u64, String> {
    let path = "/proc/thread-self/schedstat";
    let text = std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
    let first = text.split_whitespace().next().and_then(|word| word.parse().ok());
    first.ok_or_else(|| format!("{path}: not as expected"))
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
        let mut busy: Work = Box::new(|| {
            (0..10_000_u64).for_each(|number| {
                std::hint::black_box(number);
            });
            1
        });
        let measured = measure("busy", &mut busy, 2, Duration::from_millis(50)).unwrap();
        assert!(measured.cpu_ns.median > 0.0 && measured.rate.min > 0.0);
    }
}
