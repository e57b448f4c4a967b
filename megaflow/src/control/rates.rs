//! How often events happen: `coverage/show` gives the rates of the last seconds, minute and hour.
//!
//! As in OVS, time is cut into slots of five seconds. A counter keeps its events for each slot of
//! the last minute, and for each minute of the last hour, including the one under way. That is 72
//! numbers, however long the daemon runs.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The time span of the first rate, and the period at which counters are read.
pub(super) const SLOT: Duration = Duration::from_secs(5);
/// Slots in a minute.
const MINUTE: usize = 12;
/// Minutes in an hour.
const HOUR: usize = 60;

/// The rates of all counters. Cheap to clone; all clones share one state.
#[derive(Clone, Default)]
pub struct Rates(Arc<Mutex<Slots>>);

/// The rates of one counter, in events per second.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(super) struct Rate {
    /// The rate over the last whole slot.
    pub(super) slot: f64,
    /// The rate over the last twelve whole slots.
    pub(super) minute: f64,
    /// The rate over the last sixty minutes, including the one under way.
    pub(super) hour: f64,
}

impl Rates {
    /// Takes the absolute counters as of `now`, the time since the first call.
    pub(super) fn sample(&self, now: Duration, counters: &[(String, u64)]) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).sample(now, counters);
    }

    /// Returns the rates of one counter; zero if the counter is not known.
    pub(super) fn of(&self, name: &str) -> Rate {
        let slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        slots.counters.get(name).map_or_else(Rate::default, |counter| counter.rate(slots.done))
    }
}

#[derive(Default)]
struct Slots {
    /// Whole slots so far.
    done: usize,
    counters: BTreeMap<String, Counter>,
}

struct Counter {
    /// The counter's value when it was last read.
    total: u64,
    minute: [u64; MINUTE],
    hour: [u64; HOUR],
}

impl Slots {
    /// Closes the slots that are over. Events of several slots are spread over the slots evenly,
    /// since their real times are unknown; the last slot takes the rest of the division. A
    /// counter that is new, or that began again (its port was made again), counts from zero. A
    /// counter that is gone is forgotten.
    fn sample(&mut self, now: Duration, counters: &[(String, u64)]) {
        let over = usize::try_from(now.as_secs() / SLOT.as_secs()).unwrap_or(usize::MAX);
        let slots = over.saturating_sub(self.done);
        if slots == 0 {
            return;
        }
        let mut before = std::mem::take(&mut self.counters);
        for (name, total) in counters {
            let mut counter = before.remove(name).unwrap_or_default();
            let events = total.checked_sub(counter.total).unwrap_or(*total);
            counter.total = *total;
            let [each, rest] = [events / slots as u64, events % slots as u64];
            // Slots before the last hour and minute would be overwritten anyhow.
            let first = self.done.max(over.saturating_sub(MINUTE * (HOUR + 1)));
            for slot in first..over {
                counter.put(slot, each + if slot + 1 == over { rest } else { 0 });
            }
            self.counters.insert(name.clone(), counter);
        }
        self.done = over;
    }
}

impl Default for Counter {
    fn default() -> Counter {
        Counter { total: 0, minute: [0; MINUTE], hour: [0; HOUR] }
    }
}

impl Counter {
    fn put(&mut self, slot: usize, events: u64) {
        let minute = &mut self.hour[slot / MINUTE % HOUR];
        *minute = if slot.is_multiple_of(MINUTE) { events } else { *minute + events };
        self.minute[slot % MINUTE] = events;
    }

    fn rate(&self, done: usize) -> Rate {
        let last = done.checked_sub(1).map_or(0, |last| self.minute[last % MINUTE]);
        Rate {
            slot: per_second(last, 5.0),
            minute: per_second(self.minute.iter().sum(), 60.0),
            hour: per_second(self.hour.iter().sum(), 3600.0),
        }
    }
}

#[allow(clippy::cast_precision_loss, reason = "a rate for people")]
fn per_second(events: u64, seconds: f64) -> f64 {
    events as f64 / seconds
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The slow twin: all slots since the start, added up at each question.
    #[derive(Default)]
    struct History {
        slots: Vec<u64>,
        total: u64,
    }

    impl History {
        fn sample(&mut self, now: u64, total: u64) {
            let before = self.slots.len() as u64;
            let events = if total < self.total { total } else { total - self.total };
            for left in (0..(now / 5).saturating_sub(before)).rev() {
                let slots = now / 5 - before;
                let rest = if left == 0 { events % slots } else { 0 };
                self.slots.push(events / slots + rest);
                self.total = total;
            }
        }

        fn rate(&self) -> Rate {
            let sum = |slots: &[u64]| slots.iter().sum::<u64>();
            let last = |count: usize| &self.slots[self.slots.len().saturating_sub(count)..];
            // The hour is 59 whole minutes and the one under way, which may just be whole.
            let under_way = (self.slots.len().max(1) - 1) % 12 + 1;
            Rate {
                slot: per_second(sum(last(1)), 5.0),
                minute: per_second(sum(last(12)), 60.0),
                hour: per_second(sum(last(59 * 12 + under_way)), 3600.0),
            }
        }
    }

    #[test]
    fn rates_are_those_of_the_whole_history() {
        for seed in 1..9_u64 {
            let mut dice = seed;
            let mut below = |end: u64| {
                dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (dice >> 33) % end
            };
            let (rates, mut twin) = (Rates::default(), History::default());
            let (mut now, mut total) = (0, 0);
            for step in 0..3000 {
                // Samples mostly come in time, now and then late, and once hours late.
                now += if step == 2000 { 20_000 } else { below(3) * below(8) };
                total = if below(400) == 0 { below(9) } else { total + below(50) * below(50) };
                twin.sample(now, total);
                let other = ("other".to_owned(), now);
                rates.sample(Duration::from_secs(now), &[("this".to_owned(), total), other]);
                assert_eq!(rates.of("this"), twin.rate(), "seed {seed}, {now} s");
            }
            assert!(now > 4 * 3600, "the rings went round");
        }
    }

    #[test]
    fn a_steady_counter_has_one_rate_and_a_silent_one_ends_at_zero() {
        let rates = Rates::default();
        let at = |now: u64, total: u64| {
            rates.sample(Duration::from_secs(now), &[("x".to_owned(), total)]);
            rates.of("x")
        };
        for now in 1..=7200 {
            at(now, now * 10);
        }
        assert_eq!(rates.of("x"), Rate { slot: 10.0, minute: 10.0, hour: 10.0 });
        assert_eq!(at(7205, 72_000), Rate { slot: 0.0, ..rates.of("x") });
        assert_eq!(at(7260, 72_000).minute, 0.0);
        assert_eq!(at(7200 + 3600, 72_000), Rate::default());
        assert_eq!(rates.of("y"), Rate::default());
    }
}
