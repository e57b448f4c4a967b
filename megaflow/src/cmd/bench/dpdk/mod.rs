//! `megaflow bench dpdk`: the cases of `bench host` in this process and in Open vSwitch on DPDK, on
//! one core.
//!
//! Both have the same packets, megaflows and actions, and stay where they are: Open vSwitch is
//! stopped while this process forwards, and goes on while this process waits. So each pair of
//! windows has the same core, clock and neighbours, as far as that goes.

mod ovs;

use std::time::Duration;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use serde_json::json;

use super::host::Scene;
use super::measure::{Case, Measurable, window};
use crate::cmd::outcome::{CommandFailure, CommandOutcome, print, print_json};
use crate::control::render::table;
use ovs::{OvsDpdk, WARM};

/// What the pairs of windows of a case have shown: CPU nanoseconds per packet.
struct Pairs {
    case: &'static str,
    ours: Vec<f64>,
    theirs: Vec<f64>,
}

pub(super) fn run(
    cases: &[&Case<Scene>],
    pairs: u64,
    length: Duration,
    as_json: bool,
) -> CommandOutcome {
    let core = LastCore::find().map_err(CommandFailure::Job)?;
    let mut all = Vec::new();
    for case in cases {
        let of_case = |error: String| CommandFailure::Job(format!("{}: {error}", case.name));
        let scene = (case.setup)(u32::MAX).map_err(of_case)?;
        if scene.is_ours_alone() {
            // What the ports of Open vSwitch cost by themselves can't be measured from outside.
            continue;
        }
        all.push(measure(case.name, scene, &core, pairs, length).map_err(of_case)?);
    }
    if all.is_empty() {
        let why = "Open vSwitch can't have these cases: io is our ports alone, and churn our table";
        return Err(CommandFailure::Input(why.to_owned()));
    }
    if as_json { print_json(&as_value(&all)) } else { print(&as_text(&all)) }
}

fn measure(
    case: &'static str,
    scene: Scene,
    core: &LastCore,
    pairs: u64,
    length: Duration,
) -> Result<Pairs, String> {
    let mut peer = OvsDpdk::start(&scene, core.number)?;
    peer.settle(length)?;
    let mut work = scene.work()?;
    let mut found = Pairs { case, ours: Vec::new(), theirs: Vec::new() };
    for _ in 0..pairs {
        found.theirs.push(peer.window(length)?);
        found.ours.push(core.run(|| {
            window(&mut work, WARM)?;
            Ok(window(&mut work, length)?.0)
        })?);
    }
    Ok(found)
}

/// The core that both forward on: the last one that this thread may use.
struct LastCore {
    number: usize,
    /// Where the thread is otherwise, and whatever it starts.
    others: CpuSet,
}

impl LastCore {
    fn find() -> Result<LastCore, String> {
        let others = sched_getaffinity(Pid::from_raw(0)).map_err(|error| error.to_string())?;
        let last = (0..CpuSet::count()).rev().find(|core| others.is_set(*core).unwrap_or(false));
        Ok(LastCore { number: last.ok_or("there is no core")?, others })
    }

    /// Calls the function on the core.
    fn run(&self, what: impl FnOnce() -> Result<f64, String>) -> Result<f64, String> {
        let mut only = CpuSet::new();
        let pinned = only.set(self.number).and_then(|()| stay_on(&only));
        let done = pinned.map_err(|error| error.to_string()).and_then(|()| what());
        stay_on(&self.others).map_err(|error| error.to_string())?;
        done
    }
}

fn stay_on(cores: &CpuSet) -> nix::Result<()> {
    sched_setaffinity(Pid::from_raw(0), cores)
}

impl Pairs {
    /// The ratios of the pairs, ours to theirs: their median and quartiles.
    fn ratios(&self) -> [f64; 3] {
        let ratios = self.ours.iter().zip(&self.theirs).map(|(ours, theirs)| ours / theirs);
        quartiles(ratios.collect())
    }
}

/// The lower quartile, the median and the upper quartile.
#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a place between two of a few values"
)]
fn quartiles(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    [0.25, 0.5, 0.75].map(|part| {
        let place = part * values.len().saturating_sub(1) as f64;
        let at = |place: f64| values.get(place as usize).copied().unwrap_or(f64::NAN);
        let (low, high) = (at(place.floor()), at(place.ceil()));
        low + (high - low) * place.fract()
    })
}

fn as_value(all: &[Pairs]) -> serde_json::Value {
    let object = |pairs: &Pairs| {
        let [lower, median, upper] = pairs.ratios();
        json!({
            "case": pairs.case,
            "pairs": pairs.ours.len(),
            "ratio": {"lower_quartile": lower, "median": median, "upper_quartile": upper},
            "ours_cpu_ns": pairs.ours,
            "theirs_cpu_ns": pairs.theirs,
        })
    };
    all.iter().map(object).collect()
}

fn as_text(all: &[Pairs]) -> String {
    let header = ["case", "ratio", "quartiles", "", "ours ns", "theirs ns", "pairs"];
    let mut rows = vec![header.map(str::to_owned)];
    for pairs in all {
        let [lower, median, upper] = pairs.ratios().map(|ratio| format!("{ratio:.2}"));
        let median_of = |values: &[f64]| format!("{:.1}", quartiles(values.to_vec())[1]);
        rows.push([
            pairs.case.to_owned(),
            median,
            lower,
            upper,
            median_of(&pairs.ours),
            median_of(&pairs.theirs),
            pairs.ours.len().to_string(),
        ]);
    }
    table(&rows, &[1, 2, 3, 4, 5, 6])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_of_pairs() {
        let pairs =
            Pairs { case: "c", ours: vec![1.0, 4.0, 9.0, 16.0, 50.0], theirs: vec![2.0; 5] };
        assert_eq!(pairs.ratios(), [2.0, 4.5, 8.0]);
        assert_eq!(quartiles(vec![1.0, 2.0]), [1.25, 1.5, 1.75]);
        assert_eq!(as_value(&[pairs])[0]["ratio"]["median"], 4.5);
    }
}
