//! What several runs have shown, case by case.

use serde_json::{Value, json};

use super::measure::{Spread, spread};
use crate::cmd::outcome::{CommandOutcome, print, print_json};
use crate::control::render::table;

/// The results, by case in the order in which they came.
#[derive(Default)]
pub(super) struct BenchResults(Vec<Found>);

/// What all runs have shown about one thing.
struct Found {
    case: String,
    unit: &'static str,
    values: Vec<f64>,
    /// Why it can't be shown.
    lacks: Option<&'static str>,
}

impl BenchResults {
    fn of(&mut self, case: String, unit: &'static str) -> &mut Found {
        let place = self.0.iter().position(|found| found.case == case).unwrap_or_else(|| {
            self.0.push(Found { case, unit, values: Vec::new(), lacks: None });
            self.0.len() - 1
        });
        &mut self.0[place]
    }

    /// Adds what a run has shown.
    pub(super) fn add(&mut self, case: impl Into<String>, unit: &'static str, value: f64) {
        self.of(case.into(), unit).values.push(value);
    }

    /// Adds the median and the 99th percentile of the times, in milliseconds, that something took
    /// in a run: infinite if it never came to that.
    #[allow(clippy::cast_precision_loss, reason = "a count of times")]
    pub(super) fn add_times(&mut self, what: &str, mut millis: Vec<f64>) {
        millis.sort_by(f64::total_cmp);
        for (name, part) in [("median", 0.5), ("p99", 0.99)] {
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place")]
            let place = (millis.len() as f64 * part) as usize;
            let value = millis.get(place).copied().unwrap_or(f64::INFINITY);
            self.add(format!("{what}, {name}"), "ms", value);
        }
    }

    /// Notes why no run can show something.
    pub(super) fn skip(&mut self, case: impl Into<String>, unit: &'static str, why: &'static str) {
        self.of(case.into(), unit).lacks = Some(why);
    }

    /// Returns what the last run has shown.
    #[cfg(test)]
    pub(super) fn last(&self, case: &str) -> Option<f64> {
        self.0.iter().find(|found| found.case == case)?.values.last().copied()
    }

    /// Prints a table or JSON.
    pub(super) fn print(&self, as_json: bool) -> CommandOutcome {
        if as_json {
            return print_json(&self.0.iter().map(Found::as_value).collect::<Vec<_>>());
        }
        let mut rows = vec![["case", "median", "min", "max", "unit"].map(str::to_owned)];
        rows.extend(self.0.iter().map(Found::as_row));
        print(&table(&rows, &[1, 2, 3]))
    }
}

impl Found {
    fn as_value(&self) -> Value {
        let Found { case, unit, values, lacks } = self;
        match lacks {
            Some(why) => json!({"case": case, "unit": unit, "skipped": why}),
            None => {
                let (windows, value) = (values.len(), spread(values.clone()));
                json!({"case": case, "unit": unit, "windows": windows, "value": value})
            }
        }
    }

    fn as_row(&self) -> [String; 5] {
        let Spread { min, median, max } = spread(self.values.clone());
        let [median, min, max] = match self.lacks {
            Some(_) => [(); 3].map(|()| "-".to_owned()),
            None => [median, min, max].map(|value| format!("{value:.1}")),
        };
        let unit = self.lacks.map_or(self.unit.to_owned(), |why| format!("skipped: {why}"));
        [self.case.clone(), median, min, max, unit]
    }
}

/// Notes the longest step of each thread, by the bound of its bucket in the metrics' text, and how
/// many were longer than a millisecond.
pub(super) fn longest_steps(metrics: &str, to: &mut BenchResults) {
    for thread in ["engine", "host"] {
        let (longest, long) =
            (format!("longest step, {thread}"), format!("steps of more than 1 ms, {thread}"));
        let (bound, of_all) = ("ms at most", "of a million");
        match steps(metrics, thread) {
            Some(steps) => {
                to.add(longest, bound, steps.longest * 1e3);
                to.add(long, of_all, steps.long * 1e6);
            }
            None => {
                let why = "this build does not measure its steps";
                to.skip(longest, bound, why);
                to.skip(long, of_all, why);
            }
        }
    }
}

/// The steps of a thread.
#[derive(PartialEq, Debug)]
struct Steps {
    /// The bound of the last bucket that has a step, in seconds.
    longest: f64,
    /// The part that took more than a millisecond.
    long: f64,
}

#[allow(clippy::cast_precision_loss, reason = "counts of steps")]
fn steps(metrics: &str, thread: &str) -> Option<Steps> {
    let start = format!("megaflow_step_seconds_bucket{{thread=\"{thread}\",le=\"");
    let buckets = metrics.lines().filter_map(|line| line.strip_prefix(&start)?.split_once("\"} "));
    let counts: Option<Vec<(f64, u64)>> = buckets
        .map(|(bound, count)| {
            let bound = if bound == "+Inf" { f64::INFINITY } else { bound.parse().ok()? };
            Some((bound, count.parse().ok()?))
        })
        .collect();
    let counts = counts?;
    let all = counts.last()?.1;
    let (longest, _) = counts.iter().find(|(_, count)| *count == all)?;
    let (_, short) = counts.iter().rfind(|(bound, _)| *bound <= 1e-3)?;
    let long = (all - short.min(&all)) as f64 / all.max(1) as f64;
    Some(Steps { longest: *longest, long })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_by_their_ranks() {
        let mut results = BenchResults::default();
        results.add_times("it", (0..200).rev().map(f64::from).collect());
        assert_eq!(
            (results.last("it, median"), results.last("it, p99")),
            (Some(100.0), Some(198.0))
        );
        results.add_times("it", Vec::new());
        assert_eq!(results.last("it, p99"), Some(f64::INFINITY));
    }

    #[test]
    fn long_steps_are_found_in_the_buckets() {
        let line = |thread: &str, bound: &str, count: u32| {
            format!("megaflow_step_seconds_bucket{{thread=\"{thread}\",le=\"{bound}\"}} {count}\n")
        };
        let engine = [("0.001", 4), ("0.003", 7), ("0.01", 7), ("+Inf", 7)];
        let mut text: String = engine.iter().map(|(b, c)| line("engine", b, *c)).collect();
        text += &line("host", "0.001", 4);
        text += &line("host", "+Inf", 5);
        assert_eq!(steps(&text, "engine"), Some(Steps { longest: 0.003, long: 3.0 / 7.0 }));
        assert_eq!(steps(&text, "host"), Some(Steps { longest: f64::INFINITY, long: 0.2 }));
        assert_eq!(steps(&text, "other"), None);
    }
}
