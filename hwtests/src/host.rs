//! The side outside the virtual machine: makes the lab, boots, reads the console, judges.

mod card;
mod initramfs;
mod lab;
mod vm;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use flow::Clock;

use crate::check::{Failure, LaneLine, Outcome, WithContext};
use crate::lane::{Binary, CARD_MACHINE, Lane};
use crate::lanes::PASS;
use card::CardProcess;
use lab::Lab;
use vm::{Machine, Vm};

/// For the boot and the power-off, on top of the lanes' own limits.
const BOOT_LIMIT: Duration = Duration::from_secs(60);

/// Runs lanes, those with the same machine in one boot.
pub(crate) fn run(lanes: &[&'static Lane]) -> ExitCode {
    match run_all(lanes) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            eprintln!("megaflow-hwtests: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run_all(lanes: &[&'static Lane]) -> Outcome<bool> {
    let began = Clock::start();
    let binaries = Binaries::find(lanes)?;
    let lab = Lab::prepare()?;
    println!("lab: ready in {:.1} s: {}", began.elapsed().as_secs_f64(), lab.dir().display());
    let mut boots: BTreeMap<&str, Vec<&Lane>> = BTreeMap::new();
    for lane in lanes {
        boots.entry(lane.machine).or_default().push(lane);
    }
    let mut verdicts = Vec::new();
    for (machine, lanes) in &boots {
        verdicts.extend(boot(&lab, machine, lanes, &binaries)?);
    }
    let passed = verdicts.iter().all(Verdict::passed);
    println!();
    for verdict in &verdicts {
        println!("{verdict}");
    }
    let checks: u32 = verdicts.iter().filter_map(|v| v.line.as_ref()).map(|l| l.passed).sum();
    println!(
        "{}: {checks} checks passed, {} lanes, {} boots, {:.1} s in all",
        if passed { "passed" } else { "FAILED" },
        verdicts.len(),
        boots.len(),
        began.elapsed().as_secs_f64()
    );
    Ok(passed)
}

/// What became of one lane.
struct Verdict {
    lane: &'static str,
    line: Option<LaneLine>,
    /// How the boot that it was in ended, where not well.
    boot: Option<String>,
}

impl Verdict {
    fn passed(&self) -> bool {
        self.boot.is_none() && self.line.as_ref().is_some_and(|l| l.failed == 0 && l.passed > 0)
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let word = if self.passed() { "pass" } else { "FAIL" };
        write!(f, "{word} {:<12}", self.lane)?;
        match &self.line {
            Some(l) => {
                write!(f, " {:>3} passed {:>3} failed {:>6.1} s", l.passed, l.failed, l.seconds)?;
            }
            None => write!(f, " did not end")?,
        }
        match &self.boot {
            Some(boot) => write!(f, "; {boot}"),
            None => Ok(()),
        }
    }
}

fn boot(
    lab: &Lab,
    name: &str,
    lanes: &[&'static Lane],
    binaries: &Binaries,
) -> Outcome<Vec<Verdict>> {
    let names: Vec<&str> = lanes.iter().map(|lane| lane.name).collect();
    let log = lab.dir().join(format!("log/vm-{name}.log"));
    println!("boot {name}: {} (console: {})", names.join(", "), log.display());
    let initrd = lab.dir().join(format!("run-{name}.cpio"));
    let arguments = names.join(" ");
    let script =
        format!("#!/bin/sh\nexport PATH=/t:$PATH\nexec /t/megaflow-hwtests guest {arguments}\n");
    initramfs::write(&lab.base_initramfs(), &initrd, &binaries.paths, &script)?;
    let limit = lanes.iter().map(|lane| lane.limit).sum::<Duration>() + BOOT_LIMIT;
    let card = if name == CARD_MACHINE { Some(CardProcess::start(&binaries.own)?) } else { None };
    let sockets = card.as_ref().map(CardProcess::sockets);
    // One CPU where two are not needed: QEMU's emulation now and then lets a CPU run kernel code
    // that another has just patched back, and the kernel dies of the breakpoint. It patches with
    // each first and last socket that wants time stamps (ping), and with each first qdisc.
    let cpus = if card.is_some() { 2 } else { 1 };
    let machine = Machine { cpus, memory_mb: 1024, card: sockets };
    let vm = Vm { lab, machine, initrd: &initrd, log: &log, limit };
    let mut lines = BTreeMap::new();
    let end = vm.run(|line| {
        if let Some(lane) = LaneLine::parse(line) {
            lines.insert(lane.lane.clone(), lane);
        }
        if ["ok ", "FAIL ", "    ", "lane ", "running "].iter().any(|p| line.starts_with(p)) {
            println!("  {line}");
        }
    })?;
    let ended_well = end.value == Some(PASS);
    Ok(lanes
        .iter()
        .map(|lane| Verdict {
            lane: lane.name,
            line: lines.remove(lane.name),
            boot: (!ended_well).then(|| end.to_string()),
        })
        .collect())
}

/// The programs that go into the guest: this one, and what the lanes ask for from beside it.
struct Binaries {
    own: PathBuf,
    paths: Vec<PathBuf>,
}

impl Binaries {
    fn find(lanes: &[&'static Lane]) -> Outcome<Self> {
        let own = std::env::current_exe().context("finding this program's own file")?;
        let beside = own.parent().unwrap_or(Path::new("/")).to_owned();
        let mut paths = vec![own.clone()];
        for binary in lanes.iter().flat_map(|lane| lane.needs) {
            let Binary { name, package } = binary;
            let path = beside.join(name);
            if !path.exists() {
                return Err(Failure::new(format!(
                    "{} is missing: build it in the same profile with `cargo build -p {package}`",
                    path.display()
                )));
            }
            if !paths.contains(&path) {
                paths.push(path);
            }
        }
        Ok(Self { own, paths })
    }
}
