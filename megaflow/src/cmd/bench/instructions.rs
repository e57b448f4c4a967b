//! Instructions for each packet, as callgrind counts them. Unlike times they are the same on a busy
//! machine and on a quiet one, so that a test can hold them against those of the build before.
//!
//! Each case runs in a process of its own. What comes before its packets is not counted: how long
//! it takes to install megaflows depends on the seed of that process.

use std::process::Command;

use serde::{Deserialize, Serialize};

use super::host::CALL;
use crate::cmd::outcome::{CommandFailure, CommandOutcome, print, print_json};
use crate::control::render::table;

/// The cases whose instructions are counted if none is named: each of them goes another way.
pub(super) const CASES: [&str; 8] =
    ["emc1", "emc10k", "d10k_1", "d10k_30", "a_vlan", "a_all", "r_recirc", "tse_1000"];

/// Calls of the work.
const CALLS: u64 = 64;
/// Instructions are collected within this function.
const COUNTED: &str = "*bench*work_counted*";
/// The part of its instructions by which a case may grow unless the change says so: by its count
/// in the file.
const GROWTH: f64 = 0.03;

/// What the last change that was to change it has left: what `bench instructions --json` printed.
const RECORDED: &str = include_str!("instructions.json");

#[derive(Serialize, Deserialize, Clone, PartialEq, Debug)]
struct Count {
    case: String,
    /// Instructions for each packet.
    instructions: f64,
}

/// Counts the instructions of the cases; with `check` an error tells of those that have grown.
pub(super) fn run(cases: &[&str], check: bool, as_json: bool) -> CommandOutcome {
    let recorded: Vec<Count> = serde_json::from_str(RECORDED)
        .map_err(|error| CommandFailure::Job(format!("instructions.json: {error}")))?;
    let count = |case: &&str| {
        let instructions = instructions(case).map_err(CommandFailure::Job)?;
        Ok(Count { case: (*case).to_owned(), instructions: instructions.round() })
    };
    let counted: Vec<Count> = cases.iter().map(count).collect::<Result<_, CommandFailure>>()?;
    if as_json {
        print_json(&counted)?;
    } else {
        print(&as_text(&counted, &recorded))?;
    }
    match grown(&counted, &recorded) {
        Some(grown) if check => Err(CommandFailure::Job(format!("more than 3 % dearer: {grown}"))),
        _ => Ok(()),
    }
}

fn before(count: &Count, recorded: &[Count]) -> Option<f64> {
    recorded.iter().find(|before| before.case == count.case).map(|before| before.instructions)
}

/// The cases that have grown by more than they may.
fn grown(counted: &[Count], recorded: &[Count]) -> Option<String> {
    let has_grown = |count: &&Count| {
        before(count, recorded).is_some_and(|before| count.instructions > before * (1.0 + GROWTH))
    };
    let grown: Vec<&str> =
        counted.iter().filter(has_grown).map(|count| count.case.as_str()).collect();
    (!grown.is_empty()).then(|| grown.join(", "))
}

fn as_text(counted: &[Count], recorded: &[Count]) -> String {
    let mut rows = vec![["case", "instructions", "recorded", "growth"].map(str::to_owned)];
    for count in counted {
        let [recorded, growth] = match before(count, recorded) {
            Some(before) => {
                let growth = (count.instructions / before - 1.0) * 100.0;
                [format!("{before:.0}"), format!("{growth:+.1} %")]
            }
            None => ["-", "-"].map(str::to_owned),
        };
        rows.push([count.case.clone(), format!("{:.0}", count.instructions), recorded, growth]);
    }
    table(&rows, &[1, 2, 3])
}

/// Instructions for each packet of a case.
#[allow(clippy::cast_precision_loss, reason = "counts of instructions are below 2^53")]
fn instructions(case: &str) -> Result<f64, String> {
    let program = std::env::current_exe().map_err(|error| format!("this program: {error}"))?;
    let out = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(format!("--toggle-collect={COUNTED}"))
        .arg(program)
        .args(["bench", "host", "--case", case, "--calls", &CALLS.to_string()])
        .output()
        .map_err(|error| format!("valgrind: {error} (Debian's package valgrind has it)"))?;
    let said = String::from_utf8_lossy(&out.stderr);
    let count = said.lines().find_map(|line| line.split_once("Collected : ")?.1.parse().ok());
    let count = count.filter(|count| *count > 0 && out.status.success());
    let count: u64 = count.ok_or_else(|| {
        format!("valgrind: {}: {}", out.status, said.lines().last().unwrap_or_default())
    })?;
    Ok(count as f64 / (CALLS * CALL) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_found_and_shown() {
        let count = |case: &str, instructions| Count { case: case.to_owned(), instructions };
        let before = [count("a", 100.0), count("b", 100.0)];
        let now = [count("a", 103.0), count("b", 104.0), count("c", 5.0)];
        assert_eq!(grown(&now, &before).as_deref(), Some("b"));
        assert_eq!(grown(&before, &now), None);
        let text = as_text(&now, &before);
        assert!(text.contains("+4.0 %") && text.lines().last().unwrap().ends_with('-'), "{text}");
    }

    #[test]
    fn each_case_that_is_counted_by_itself_is_recorded() {
        let recorded: Vec<Count> = serde_json::from_str(RECORDED).unwrap();
        let names: Vec<&str> = recorded.iter().map(|count| count.case.as_str()).collect();
        assert_eq!(names, CASES);
    }
}
