//! `megaflow doctor`

use std::path::Path;
use std::process::ExitCode;

use super::outcome::{CommandOutcome, fail, print, print_json};
use crate::control::render::table;
use crate::host::{self, Finding, Goal};

/// Checks what this host has for Megaflow, and prints the fix for each thing that is missing.
///
/// With --for, the command checks only what that goal needs, and its exit status is 1 if the goal
/// can't work on this host.
#[derive(clap::Args)]
#[command(after_help = "Example: sudo megaflow doctor --for tc")]
pub(super) struct Args {
    /// Check only what this goal needs
    #[arg(long = "for", value_name = "GOAL")]
    goal: Option<Goal>,

    /// Print JSON: the findings, then a verdict for each goal
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> ExitCode {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut findings = host::look(Path::new("/"), &path);
    if args.goal.is_none_or(|goal| goal == Goal::Tc) {
        findings.extend(host::nic::tc_offload());
    }
    findings.push(host::af_xdp());
    if let Some(goal) = args.goal {
        findings.retain(|finding| finding.concerns(goal));
    }
    let goals = args.goal.map_or(Goal::ALL.to_vec(), |goal| vec![goal]);
    let verdicts: Vec<Finding> = goals.iter().map(|goal| verdict(*goal, &findings)).collect();
    let works = args.goal.is_none() || verdicts.iter().all(|verdict| verdict.ok);
    match show(findings, verdicts, args.json) {
        Ok(()) if works => ExitCode::SUCCESS,
        Ok(()) => ExitCode::FAILURE,
        Err(failure) => fail("doctor", &failure),
    }
}

fn show(mut findings: Vec<Finding>, verdicts: Vec<Finding>, json: bool) -> CommandOutcome {
    if json {
        findings.extend(verdicts);
        return print_json(&findings);
    }
    let rows: Vec<[String; 4]> = findings.iter().map(row).collect();
    let mut text = table(&rows, &[]);
    for Finding { what, found, .. } in verdicts {
        text += &format!("{what}: {found}\n");
    }
    print(&text)
}

fn row(finding: &Finding) -> [String; 4] {
    let Finding { what, ok, found, fix, needed_for, used_for } = finding;
    let mark = match (ok, needed_for.is_empty()) {
        (true, _) => "ok",
        (false, false) => "missing",
        (false, true) => "optional",
    };
    let goals: Vec<&str> = needed_for.iter().chain(*used_for).map(|goal| goal.name()).collect();
    let fix = fix.as_ref().map_or(String::new(), |fix| format!("\n-> {fix}"));
    [mark.to_owned(), (*what).to_owned(), goals.join(", "), format!("{found}{fix}")]
}

/// Whether the goal can work on this host, and what is missing if it can't.
fn verdict(goal: Goal, findings: &[Finding]) -> Finding {
    let missing = findings.iter().filter(|f| !f.ok && f.needed_for.contains(&goal));
    let why: Vec<String> = missing.map(|f| format!("{}: {}", f.what, f.found)).collect();
    let found = match why.is_empty() {
        true => "can work on this host".to_owned(),
        false => format!("can't work on this host: {}", why.join("; ").replace('\n', ", ")),
    };
    let what = match goal {
        Goal::Tc => "verdict for tc",
        Goal::Fpga => "verdict for fpga",
        Goal::Demo => "verdict for demo",
        Goal::Tests => "verdict for tests",
    };
    Finding { what, ok: why.is_empty(), found, fix: None, needed_for: &[], used_for: &[] }
}
