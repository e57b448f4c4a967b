//! ODP text over generated values: printing and parsing undo each other, damaged text is an
//! error and never a panic, and OVS's own tool reads and prints the same.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod generate;

use std::process::Command;

use flow::{Action, odp};
use generate::Rng;

#[test]
fn matches_are_round_trips() {
    for seed in 0..20_000 {
        let matching = generate::matching(&mut Rng(seed));
        let text = odp::format_match(&matching);
        let parsed = odp::parse_match(&text).unwrap_or_else(|e| panic!("seed {seed}: {text}: {e}"));
        assert_eq!(parsed, matching, "seed {seed}: {text}");
        assert_eq!(odp::format_match(&parsed), text, "seed {seed}");
        let valid = flow::validate(&matching, &[]);
        assert_eq!(valid, Ok(()), "seed {seed}: {text}");
    }
}

#[test]
fn actions_are_round_trips() {
    for seed in 0..20_000 {
        let actions = generate::actions(&mut Rng(seed), false, 0);
        let text = odp::format_actions(&actions);
        let parsed =
            odp::parse_actions(&text).unwrap_or_else(|e| panic!("seed {seed}: {text}: {e}"));
        assert_eq!(*parsed, *actions, "seed {seed}: {text}");
        assert_eq!(odp::format_actions(&parsed), text, "seed {seed}");
    }
}

#[test]
fn keys_are_round_trips() {
    for seed in 0..5_000 {
        let key = generate::key(&mut Rng(seed));
        let text = odp::format_key(&key);
        let parsed = odp::parse_key(&text).unwrap_or_else(|e| panic!("seed {seed}: {text}: {e}"));
        assert_eq!(odp::format_key(&parsed), text, "seed {seed}");
    }
}

/// Whole dumped lines, with statistics.
#[test]
fn flows_are_round_trips() {
    for seed in 0..2_000 {
        let mut rng = Rng(seed);
        let flow = flow::Megaflow::new(
            generate::matching(&mut rng),
            generate::actions(&mut rng, false, 0),
        );
        let keys = odp::format_match(&flow.matching);
        let actions = odp::format_actions(&flow.actions);
        let text = format!(
            "{}, {keys}, packets:7, bytes:700, used:1.5s, flags:S., offloaded:yes, dp:fpga, \
             actions:{actions}",
            flow.ufid
        );
        let parsed = odp::parse_flow(&text).unwrap_or_else(|e| panic!("seed {seed}: {text}: {e}"));
        let wanted = (Some(flow.ufid), flow.matching, Some(flow.actions));
        assert_eq!(parsed, wanted, "seed {seed}: {text}");
    }
}

/// Printed texts with bytes changed, cut out, doubled and put together.
#[test]
fn damaged_text_never_panics() {
    let pieces = [
        "(",
        ")",
        ",",
        "/",
        "0x",
        "-1",
        "99999999999999999999999999999999999999999",
        "encap(",
        "sample(",
        "é",
        "\0",
        "=",
        ":",
        "%",
        "ufid:",
        "actions:",
        "drop",
        "::",
        ".",
    ];
    let mut errors = 0;
    for seed in 0..30_000 {
        let mut rng = Rng(seed);
        let keys = odp::format_match(&generate::matching(&mut rng));
        let actions = odp::format_actions(&generate::actions(&mut rng, false, 0));
        let mut text: Vec<char> = format!("{keys}, actions:{actions}").chars().collect();
        for _ in 0..=rng.below(4) {
            let at = rng.below(text.len() + 1);
            let to = (at + rng.below(12)).min(text.len());
            match rng.below(3) {
                0 => drop(text.drain(at..to)),
                1 => {
                    let piece = pieces[rng.below(pieces.len())];
                    text.splice(at..at, piece.chars());
                }
                _ => {
                    let copy = text[at..to].to_vec();
                    let there = rng.below(text.len() + 1);
                    text.splice(there..there, copy);
                }
            }
        }
        let text: String = text.into_iter().collect();
        for error in [
            odp::parse_flow(&text).err(),
            odp::parse_actions(&text).err(),
            odp::parse_key(&text).err(),
        ] {
            let Some(error) = error else { continue };
            errors += 1;
            assert!((1..=text.len() + 1).contains(&error.column), "{text}: {error}");
            assert!(!error.message.is_empty() && !error.message.contains('\n'), "{text}: {error}");
        }
    }
    assert!(errors > 30_000, "{errors}");
}

/// Runs a command of `ovs-dpctl` that needs no datapath.
fn ovs_dpctl(arguments: &[&str]) -> Result<String, String> {
    let output = Command::new("ovs-dpctl").args(arguments).output().unwrap_or_else(|error| {
        panic!("ovs-dpctl can't be run ({error}): apt-get install openvswitch-switch")
    });
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

/// OVS prints a recirculation in hexadecimal and reads it in decimal.
fn for_ovs(actions: &[Action]) -> String {
    let mut text = String::new();
    for (index, part) in odp::format_actions(actions).split("recirc(0x").enumerate() {
        if index == 0 {
            text.push_str(part);
            continue;
        }
        let (id, rest) = part.split_once(')').unwrap();
        text.push_str(&format!("recirc({}){rest}", u32::from_str_radix(id, 16).unwrap()));
    }
    text
}

#[test]
fn ovs_reads_and_prints_the_same_actions() {
    for seed in 0..1000 {
        let actions = generate::actions(&mut Rng(seed), true, 0);
        let text = for_ovs(&actions);
        let printed = ovs_dpctl(&["parse-actions", &text])
            .unwrap_or_else(|error| panic!("seed {seed}: {text}: {error}"));
        assert_eq!(printed.trim_end(), odp::format_actions(&actions), "seed {seed}: {text}");
        assert_eq!(odp::parse_actions(printed.trim_end()).as_deref(), Ok(&actions[..]));
    }
}

#[test]
fn ovs_reads_and_prints_the_same_keys() {
    for seed in 0..300 {
        let key = generate::key(&mut Rng(seed));
        let text = odp::format_key(&key);
        let printed = ovs_dpctl(&["normalize-actions", &text, "1"])
            .unwrap_or_else(|error| panic!("seed {seed}: {text}: {error}"));
        let printed = printed.lines().next().and_then(|line| line.strip_prefix("input flow: "));
        assert_eq!(printed, Some(text.as_str()), "seed {seed}");
    }
}
