//! The house rule on programs: whatever code, tests, scripts and pages start is declared in
//! `programs.txt` with its Debian package, and nothing is declared that nobody starts.
//!
//! The rule reads text, so it can miss a program whose name is put together at run time. The
//! `fresh` lane of `test.sh`, which runs in a root that holds nothing else, finds those.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod house;

use std::collections::{BTreeMap, BTreeSet};

use house::{files, root, shell};

/// The declared programs, or the paths that stand for them, and when they are there.
fn declared() -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(root().join("hwtests/programs.txt")).unwrap();
    let rows = text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    let mut names = BTreeMap::new();
    for row in rows {
        let words: Vec<&str> = row.split_whitespace().collect();
        let [when, _package, program] = words[..] else { panic!("not three columns: {row}") };
        assert!(["base", "readme", "tests", "lab"].contains(&when), "unknown column one: {row}");
        names.insert(program.to_owned(), when.to_owned());
    }
    names
}

/// Programs that are not from a package: our own, and what the lab makes.
const OWN: [&str; 3] = ["megaflow", "megaflow-hwtests", "qemu-system-x86_64"];

/// Where a program's name is a variable: the file, and why that is right.
const NAMED_AT_RUN_TIME: [(&str, &str); 7] = [
    ("hwtests/src/guest.rs", "the first word of a line that the rule finds where it is written"),
    ("hwtests/src/host/vm.rs", "the lab's QEMU, and a launcher that a test writes"),
    ("hwtests/src/host/card.rs", "its own binary"),
    ("hwtests/src/host/initramfs.rs", "copies that the test unpacked"),
    ("hwtests/tests/tidy.rs", "the cargo that runs the test"),
    ("megaflow/src/control/tests.rs", "its own binary"),
    ("megaflow/tests/command.rs", "the megaflow binary, or the program that a caller names"),
];

/// The programs that a Rust file starts by name, and how often the name is a variable.
fn started_by_rust(text: &str) -> (BTreeSet<String>, usize) {
    let mut found = BTreeSet::new();
    let mut variables = 0;
    for (at, start) in text.match_indices("Command::new(") {
        let argument = text[at + start.len()..].trim_start();
        match argument.strip_prefix('"') {
            Some(rest) => {
                found.insert(rest.split('"').next().unwrap_or_default().to_owned());
            }
            // The card's commands have numbers, and the tests' own binary a constant.
            None => {
                let card = ["Op::", "CardOp::", "op)"];
                let own = ["MEGAFLOW)", "env!(\"CARGO_BIN_EXE_megaflow\")"];
                let known = |words: &[&str]| words.iter().any(|word| argument.starts_with(word));
                variables += usize::from(!known(&card) && !known(&own));
            }
        }
    }
    (found, variables)
}

/// The programs of the command lines that a lane runs in the guest: `run("ip link …")`.
fn started_in_guest(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for call in ["run(", "run_in(", "refused(", "command(", "command_in(", "shell("] {
        for (at, _) in text.match_indices(call) {
            let argument = &text[at + call.len()..];
            let Some((before, rest)) = argument.split_once('"') else { continue };
            if before.contains([';', '{', ')']) {
                continue;
            }
            let line = rest.split('"').next().unwrap_or_default();
            let program = line.split(' ').next().unwrap_or_default();
            if line.contains(' ') && is_program_name(program) {
                found.insert(program.to_owned());
            }
        }
    }
    found
}

fn is_program_name(word: &str) -> bool {
    let part = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.+".contains(c);
    !word.is_empty() && word.starts_with(|c: char| c.is_ascii_lowercase()) && word.chars().all(part)
}

/// The commands of a page that its readers are to type.
fn page_commands(text: &str) -> String {
    let mut on = false;
    let mut commands = String::new();
    for line in text.lines() {
        match line {
            "```sh" => on = true,
            _ if line.starts_with("```") => on = false,
            _ if on => commands = commands + line + "\n",
            _ => {}
        }
    }
    commands
}

#[test]
fn every_program_that_is_started_is_declared() {
    let declared = declared();
    let mut users: BTreeMap<String, String> = BTreeMap::new();
    let mut wrong = Vec::new();
    for (name, text) in files(&[".rs"]) {
        if name.ends_with("tests/programs.rs") || name.contains("tests/house/") {
            continue;
        }
        let (programs, variables) = started_by_rust(&text);
        let lines = if name.starts_with("hwtests/src/") {
            started_in_guest(&text)
        } else {
            BTreeSet::new()
        };
        users.extend(programs.into_iter().chain(lines).map(|program| (program, name.clone())));
        // What another program starts in turn: `timeout 60 chromium`.
        let named = |program: &&String| text.contains(&format!("\"{program}\""));
        users.extend(declared.keys().filter(named).map(|program| (program.clone(), name.clone())));
        if variables > 0 && !NAMED_AT_RUN_TIME.iter().any(|(file, _)| *file == name) {
            wrong.push(format!("{name}: starts a program whose name the rule can't see"));
        }
    }
    // The guest's init runs under busybox, which brings all that it starts.
    for (name, text) in files(&[".sh", ".ci/run"]) {
        users.extend(shell::programs(&text).into_iter().map(|program| (program, name.clone())));
    }
    for (name, text) in files(&[".md"]) {
        let commands = shell::programs(&page_commands(&text));
        users.extend(commands.into_iter().map(|program| (program, name.clone())));
    }
    for (program, user) in &users {
        if !declared.contains_key(program) && !OWN.contains(&program.as_str()) && !in_guest(program)
        {
            wrong.push(format!("{user} starts {program}, which hwtests/programs.txt lacks"));
        }
    }
    let copied = std::fs::read_to_string(root().join("hwtests/lab/initramfs.sh")).unwrap();
    // Cargo starts the README's.
    let by_us = |when: &str, program: &str| when != "readme" && !program.starts_with('/');
    for program in declared.iter().filter(|(p, when)| by_us(when, p)).map(|(p, _)| p) {
        let is_copied = copied.split([' ', '"', '\n']).any(|word| word == program);
        if !users.contains_key(program) && !is_copied {
            wrong.push(format!("hwtests/programs.txt declares {program}, which nobody starts"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_readme_names_what_has_to_be_there() {
    let text = std::fs::read_to_string(root().join("hwtests/programs.txt")).unwrap();
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    for row in text.lines().filter(|row| row.starts_with("readme ")) {
        let package = row.split_whitespace().nth(1).unwrap();
        let named = format!("`{package}`");
        assert!(package == "rustup" || readme.contains(&named), "the README lacks {package}");
    }
}

/// Applets of the guest's busybox.
fn in_guest(program: &str) -> bool {
    ["insmod", "rmmod", "stty", "sysctl"].contains(&program)
}

#[test]
fn programs_are_found_in_scripts() {
    let script = r#"
        # not-this
        case $1 in /*) [ -e "$1" ] ;; *) PATH=$PATH:/sbin one -v "$1" ;; esac
        helper() { local a; a=$(two "$(three x)") || exec four; }
        helper five && ! six | seven >/dev/null; for i in eight nine; do ten; done
        cat <<X
not-that
X
        unshare --net bash -c '
          eleven' </dev/null
        timeout 10 twelve; runuser -u nobody -- "$dir/own"
        if grep -q "thirteen (" x; then awk '/x/ { fourteen }'; fi
        grep 'x' <<<"$out"; a="a b" fifteen
        n=$(( (a + 1) * 512 ))
    "#;
    let found = shell::programs(script);
    let wanted = "one two three four six seven ten cat unshare bash eleven timeout twelve runuser \
                  grep awk fifteen";
    assert_eq!(found, wanted.split_whitespace().map(str::to_owned).collect());
}

#[test]
fn programs_are_found_in_code() {
    let text = r#"let x = Command::new("one"); guest::run("two a")?; run_in(name, "three b");
        run(&format!("four {c}")); Command::new(own); Command::new(Op::Nop);"#;
    assert_eq!(started_by_rust(text), (["one".to_owned()].into(), 1));
    assert_eq!(started_in_guest(text), ["two", "three", "four"].map(str::to_owned).into());
}
