//! A bucketed accumulator with fixed bounds.

use std::time::Duration;

/// Bounds for durations, in seconds: a ring doorbell takes a microsecond, a netlink round trip
/// tens of them, a stuck device seconds.
const DURATIONS: &[f64] =
    &[1e-6, 3e-6, 1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0, 3.0, 10.0];

/// Bounds for recirculation depths: at most 8 are allowed.
const DEPTHS: &[f64] = &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0];

/// Observations in buckets. Plain data: whoever owns it adds to it, a snapshot is a clone.
#[derive(Clone, PartialEq, Debug)]
pub struct Histogram {
    bounds: &'static [f64],
    /// One per bound, and one for what is above all of them; not cumulative.
    counts: Vec<u64>,
    sum: f64,
}

impl Histogram {
    /// Empty, for seconds from 1 µs to 10 s.
    #[must_use]
    pub fn durations() -> Histogram {
        Histogram::with(DURATIONS)
    }

    /// Empty, for recirculation depths from 0 to 8.
    #[must_use]
    pub fn depths() -> Histogram {
        Histogram::with(DEPTHS)
    }

    fn with(bounds: &'static [f64]) -> Histogram {
        Histogram { bounds, counts: vec![0; bounds.len() + 1], sum: 0.0 }
    }

    /// Adds one observation. What is not a number is not counted.
    pub fn observe(&mut self, value: f64) {
        self.observe_many(value, 1);
    }

    /// Adds the same observation `times` times, as from a batch or a fixed-size counter array.
    #[allow(clippy::cast_precision_loss, reason = "the sum of a histogram is a float")]
    pub fn observe_many(&mut self, value: f64, times: u64) {
        if value.is_nan() {
            return;
        }
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        if let Some(count) = self.counts.get_mut(bucket) {
            *count += times;
            self.sum += value * times as f64;
        }
    }

    /// Adds one duration, in seconds.
    pub fn observe_duration(&mut self, time: Duration) {
        self.observe(time.as_secs_f64());
    }

    /// Adds all of another one with the same bounds; one with other bounds is left out.
    pub fn merge(&mut self, other: &Histogram) {
        if self.bounds == other.bounds {
            self.counts.iter_mut().zip(&other.counts).for_each(|(sum, count)| *sum += count);
            self.sum += other.sum;
        }
    }

    /// How many observations.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Their sum.
    #[must_use]
    pub fn sum(&self) -> f64 {
        self.sum
    }

    /// Upper bounds with how many observations are at or below each.
    pub fn cumulative(&self) -> impl Iterator<Item = (f64, u64)> + '_ {
        self.bounds.iter().zip(&self.counts).scan(0, |total, (bound, count)| {
            *total += count;
            Some((*bound, *total))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_its_bucket() {
        let mut depths = Histogram::depths();
        depths.observe(0.0);
        depths.observe(1.0);
        depths.observe_many(2.0, 3);
        depths.observe(9.0);
        depths.observe(f64::NAN);
        let buckets: Vec<_> = depths.cumulative().collect();
        assert_eq!(buckets[..3], [(0.0, 1), (1.0, 2), (2.0, 5)]);
        assert_eq!(buckets.last(), Some(&(8.0, 5)));
        assert_eq!((depths.count(), depths.sum()), (6, 16.0));
    }

    #[test]
    fn merging_adds_and_keeps_kinds_apart() {
        let mut sum = Histogram::durations();
        let mut other = Histogram::durations();
        other.observe_duration(Duration::from_millis(2));
        sum.merge(&other);
        sum.merge(&other);
        sum.merge(&Histogram::depths());
        assert_eq!((sum.count(), sum.sum()), (2, 0.004));
    }
}
