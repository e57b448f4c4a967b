//! The house rule on programs: whatever code, tests, scripts and pages start is declared in
//! `programs.txt` with its Debian package, and nothing is declared that nobody starts.
//!
//! The rule reads text, so it can miss a program whose name is put together at run time. The
//! `fresh` lane of `test.sh`, which runs in a root that holds nothing else, finds those.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod house;

use std::collections::{BTreeMap, BTreeSet};

use house::{files, root, scripts, shell};

/// The declared programs, or the paths that stand for them, and where each is there.
fn declared() -> BTreeMap<String, BTreeSet<String>> {
    let text = std::fs::read_to_string(root().join("hwtests/programs.txt")).unwrap();
    let rows = text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    let mut names: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for row in rows {
        let words: Vec<&str> = row.split_whitespace().collect();
        let [when, _package, program] = words[..] else { panic!("not three columns: {row}") };
        let known = ["base", "readme", "tests", "lab", "guest", "hand"];
        assert!(known.contains(&when), "unknown column one: {row}");
        names.entry(program.to_owned()).or_default().insert(when.to_owned());
    }
    names
}

/// Programs that are not from a package: our own, and what the lab makes.
const OWN: [&str; 3] = ["megaflow", "megaflow-hwtests", "qemu-system-x86_64"];

/// Where a program's name is a variable: the file, and why that is right.
const NAMED_AT_RUN_TIME: [(&str, &str); 9] = [
    ("hwtests/src/guest.rs", "the first word of a line that the rule finds where it is written"),
    ("hwtests/src/host/vm.rs", "the lab's QEMU, and a launcher that a test writes"),
    ("hwtests/src/host/card.rs", "its own binary"),
    ("hwtests/src/host/initramfs.rs", "copies that the test unpacked"),
    ("hwtests/tests/tidy.rs", "the cargo that runs the test"),
    ("megaflow/src/cmd/bench/child.rs", "its own binary, or the build that a caller names"),
    ("megaflow/src/cmd/bench/dpdk/ovs.rs", "Open vSwitch on DPDK, by the path in its package"),
    ("megaflow/src/control/tests.rs", "its own binary"),
    ("megaflow/tests/command.rs", "the megaflow binary, or the program that a caller names"),
];

/// The programs that a Rust file starts by name, and how often the name is a variable.
fn started_by_rust(text: &str) -> (BTreeSet<String>, usize) {
    let mut found = BTreeSet::new();
    let mut variables = 0;
    for (at, start) in text.match_indices("Command::new(") {
        if text[..at].ends_with(char::is_alphanumeric) {
            // A type of ours, such as the card's CardCommand.
            continue;
        }
        let argument = text[at + start.len()..].trim_start();
        match argument.strip_prefix('"') {
            Some(rest) => {
                found.insert(rest.split('"').next().unwrap_or_default().to_owned());
            }
            // The tests' own binary is a constant.
            None => {
                let own = ["MEGAFLOW)", "env!(\"CARGO_BIN_EXE_megaflow\")"];
                variables += usize::from(!own.iter().any(|word| argument.starts_with(word)));
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

/// The programs that are started on the machine and in the VM's guest, each with a file that does.
#[derive(Default)]
struct Started {
    here: BTreeMap<String, String>,
    in_guest: BTreeMap<String, String>,
    wrong: Vec<String>,
}

/// The script that is the first process of the guest.
const INIT: &str = "hwtests/lab/init";

impl Started {
    fn by_rust(&mut self, declared: &BTreeMap<String, BTreeSet<String>>) {
        for (name, text) in files(&[".rs"]) {
            if name.ends_with("tests/programs.rs") || name.contains("tests/house/") {
                continue;
            }
            let (programs, variables) = started_by_rust(&text);
            self.here.extend(programs.into_iter().map(|program| (program, name.clone())));
            if name.starts_with("hwtests/src/") {
                let lines = started_in_guest(&text);
                self.in_guest.extend(lines.into_iter().map(|program| (program, name.clone())));
            }
            // What another program starts in turn: `timeout 60 chromium`.
            let named = declared.keys().filter(|p| text.contains(&format!("\"{p}\"")));
            self.here.extend(named.map(|program| (program.clone(), name.clone())));
            if variables > 0 && !NAMED_AT_RUN_TIME.iter().any(|(file, _)| *file == name) {
                self.wrong.push(format!("{name}: starts a program whose name the rule can't see"));
            }
        }
    }

    fn by_scripts(&mut self) {
        for (name, interpreter, text) in scripts() {
            let users = if name == INIT { &mut self.in_guest } else { &mut self.here };
            if ["bash", "sh"].contains(&interpreter.as_str()) {
                let programs = shell::programs(&text);
                users.extend(programs.into_iter().map(|program| (program, name.clone())));
            }
            users.insert(interpreter, name);
        }
        for (name, text) in files(&[".md"]) {
            let commands = shell::programs(&page_commands(&text));
            self.here.extend(commands.into_iter().map(|program| (program, name.clone())));
        }
    }
}

/// The programs of the machine that the guest gets a copy of.
fn copied_to_guest() -> BTreeSet<String> {
    let script = std::fs::read_to_string(root().join("hwtests/lab/initramfs.sh")).unwrap();
    let lists = script.lines().filter_map(|line| {
        let (name, list) = line.split_once("=\"")?;
        ["TOOLS", "OPTIONAL_TOOLS"].contains(&name).then(|| list.trim_end_matches('"'))
    });
    lists.flat_map(str::split_whitespace).map(str::to_owned).collect()
}

#[test]
fn every_program_that_is_started_is_declared() {
    let declared = declared();
    let mut started = Started::default();
    started.by_rust(&declared);
    started.by_scripts();
    let Started { here, in_guest, mut wrong } = started;
    let copied = copied_to_guest();
    let is_known = |program: &String, guest: bool| {
        let mut places = declared.get(program).into_iter().flatten();
        let is_declared = places.any(|place| (place == "guest") == guest);
        is_declared || guest && copied.contains(program) || OWN.contains(&program.as_str())
    };
    for (program, user) in &here {
        if !is_known(program, false) {
            wrong.push(format!("{user} starts {program}, which hwtests/programs.txt lacks"));
        }
    }
    for (program, user) in &in_guest {
        if !is_known(program, true) {
            wrong.push(format!(
                "{user} starts {program} in the guest, for which hwtests/programs.txt has no \
                 applet and hwtests/lab/initramfs.sh no copy"
            ));
        }
    }
    for (program, places) in declared.iter().filter(|(program, _)| !program.starts_with('/')) {
        for place in places {
            let is_started = match place.as_str() {
                // Cargo starts the README's.
                "readme" => true,
                "guest" => in_guest.contains_key(program),
                _ => here.contains_key(program) || copied.contains(program),
            };
            if !is_started {
                wrong.push(format!("{program} is declared ({place}), and nobody starts it"));
            }
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
fn a_script_is_one_by_its_first_line() {
    let named = |name: &str| scripts().into_iter().find(|script| script.0 == name);
    assert_eq!(named(INIT).unwrap().1, "sh");
    assert_eq!(named("hwtests/lab/setup.sh").unwrap().1, "bash");
    assert!(named("hwtests/programs.txt").is_none());
}

#[test]
fn programs_are_found_in_code() {
    let text = r#"let x = Command::new("one"); guest::run("two a")?; run_in(name, "three b");
        run(&format!("four {c}")); Command::new(own); CardCommand::new(op);"#;
    assert_eq!(started_by_rust(text), (["one".to_owned()].into(), 1));
    assert_eq!(started_in_guest(text), ["two", "three", "four"].map(str::to_owned).into());
}
