//! The check framework: named checks, one line each, a numbered result line at the end.

use std::fmt;

use flow::Clock;
use flow::testing::conformance::Finding;

/// Why a check, or the work towards one, failed: text for a person.
#[derive(Debug)]
pub(crate) struct Failure(String);

impl Failure {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self(error.to_string())
    }
}

impl From<Finding> for Failure {
    fn from(finding: Finding) -> Self {
        match finding {
            Finding::Broken(how) => Self(how),
            Finding::NotHere(why) => Self(format!("not shown: {why}")),
        }
    }
}

pub(crate) type Outcome<T = ()> = Result<T, Failure>;

/// Names what was attempted where an error's own text does not.
pub(crate) trait WithContext<T> {
    /// Prefixes the error with `what`.
    fn context(self, what: impl fmt::Display) -> Outcome<T>;
}

impl<T, E: fmt::Display> WithContext<T> for Result<T, E> {
    fn context(self, what: impl fmt::Display) -> Outcome<T> {
        self.map_err(|error| Failure(format!("{what}: {error}")))
    }
}

/// Fails with both values unless they are equal.
pub(crate) fn equal<T: PartialEq + fmt::Debug>(what: &str, got: &T, want: &T) -> Outcome {
    if got == want { Ok(()) } else { Err(Failure(format!("{what}: got {got:?}, want {want:?}"))) }
}

/// Fails unless `text` has `part` in it.
pub(crate) fn contains(text: &str, part: &str) -> Outcome {
    if text.contains(part) {
        Ok(())
    } else {
        Err(Failure(format!("no {part:?} in:\n{}", text.trim_end())))
    }
}

/// One lane's checks as they run. Each prints its line at once; `finish` prints the lane's line.
pub(crate) struct Checks {
    lane: &'static str,
    evidence: fn() -> String,
    clock: Clock,
    passed: u32,
    failed: u32,
}

/// The start of the line that ends a lane; the host's side looks for it and what follows.
pub(crate) const LANE_LINE: &str = "lane ";

impl Checks {
    /// `evidence` is called after a failure and shows what an operator would look at then.
    pub(crate) fn new(lane: &'static str, evidence: fn() -> String) -> Self {
        println!("running {lane}");
        Self { lane, evidence, clock: Clock::start(), passed: 0, failed: 0 }
    }

    /// Runs one check. A failure is printed and counted, and the lane goes on.
    pub(crate) fn check(&mut self, name: &str, body: impl FnOnce() -> Outcome) {
        let clock = Clock::start();
        let result = body();
        let number = self.passed + self.failed + 1;
        let took = clock.elapsed().as_millis();
        match result {
            Ok(()) => {
                self.passed += 1;
                println!("ok   {number:>3} {name} ({took} ms)");
            }
            Err(failure) => {
                self.failed += 1;
                println!("FAIL {number:>3} {name} ({took} ms)");
                for line in failure.0.lines().chain((self.evidence)().lines()) {
                    println!("         | {line}");
                }
            }
        }
    }

    /// Prints the lane's line. Returns whether the lane passed: no check failed and one passed.
    pub(crate) fn finish(self) -> bool {
        let seconds = self.clock.elapsed().as_secs_f64();
        println!(
            "{LANE_LINE}{}: {} passed, {} failed, {seconds:.1} s",
            self.lane, self.passed, self.failed
        );
        self.failed == 0 && self.passed > 0
    }
}

/// What a lane's line says, read back on the host's side.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LaneLine {
    pub(crate) lane: String,
    pub(crate) passed: u32,
    pub(crate) failed: u32,
    pub(crate) seconds: f64,
}

impl LaneLine {
    /// Reads a lane's line; `None` for any other line.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let (lane, rest) = line.strip_prefix(LANE_LINE)?.split_once(": ")?;
        let mut parts = rest.split(", ");
        let mut number = |unit: &str| parts.next()?.strip_suffix(unit);
        let passed = number(" passed")?.parse().ok()?;
        let failed = number(" failed")?.parse().ok()?;
        let seconds = number(" s")?.parse().ok()?;
        Some(Self { lane: lane.to_owned(), passed, failed, seconds })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lane_lines_are_read_back_and_nothing_else_is_one() {
        let line = LaneLine::parse("lane simulator: 41 passed, 2 failed, 9.5 s");
        let want = LaneLine { lane: "simulator".into(), passed: 41, failed: 2, seconds: 9.5 };
        assert_eq!(line, Some(want));
        for other in ["", "lane x", "lane x: 1 passed", "ok 1 lane x: 1 passed, 0 failed, 1 s"] {
            assert_eq!(LaneLine::parse(other), None, "{other:?}");
        }
    }

    #[test]
    fn a_lane_without_checks_does_not_pass() {
        assert!(!Checks::new("empty", String::new).finish());
        let mut one = Checks::new("one", String::new);
        one.check("true", || Ok(()));
        assert!(one.finish());
        let mut two = Checks::new("two", String::new);
        two.check("true", || Ok(()));
        two.check("false", || equal("numbers", &1, &2));
        assert!(!two.finish());
    }
}
