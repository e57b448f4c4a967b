//! The house rules that no lint knows: sizes, layers, where unsafe may be, links, licences.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod house;

use std::collections::BTreeMap;
use std::process::Command;

use house::imports::Crate;
use house::names::declared;
use house::{files, root};

fn is_test(name: &str) -> bool {
    name.contains("/tests/") || name.ends_with("/tests.rs") || name.contains("/testing")
}

/// A file that is longer holds more than one idea. In the engine a part is one type with its
/// methods beside it, however long: see [`a_types_methods_are_in_one_place`].
const MOST_LINES: usize = 500;

#[test]
fn files_are_short_and_narrow() {
    let mut wrong = Vec::new();
    for (name, text) in files(&[".rs"]) {
        let lines = text.lines().count();
        if lines > MOST_LINES && !is_test(&name) && !name.starts_with("offload/") {
            wrong.push(format!("{name}: {lines} lines, at most {MOST_LINES}"));
        }
        for (number, line) in text.lines().enumerate() {
            if line.chars().count() > 100 {
                wrong.push(format!("{name}:{}: wider than 100 columns", number + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn nothing_is_left_open() {
    // Written so that this file does not contain what it looks for.
    let banned =
        [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X:"), concat!("#[", "ignore")];
    let mut wrong = Vec::new();
    for (name, text) in files(&[".rs", ".sh", ".toml", ".md", ".c"]) {
        for (number, line) in text.lines().enumerate() {
            for word in banned.iter().filter(|word| line.contains(**word)) {
                wrong.push(format!("{name}:{}: {word}", number + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn unsafe_code_is_where_it_may_be() {
    let allowed = ["vfio/src/sys/", "hostdp/src/port/"];
    let mut wrong = Vec::new();
    for (name, text) in files(&[".rs"]) {
        let word = concat!("unsafe", " {");
        let has = text.contains(word) || text.contains(concat!("unsafe", " impl"));
        if has && !allowed.iter().any(|folder| name.starts_with(folder)) {
            wrong.push(format!("{name}: unsafe outside {}", allowed.join(" and ")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The layer of each crate; imports go to lower layers only.
const LAYERS: [(&str, u32); 9] = [
    ("flow", 0),
    ("hostdp", 1),
    ("tc-flower", 1),
    ("vfio", 1),
    ("metrics", 1),
    ("pipeline", 1),
    ("offload", 1),
    ("megaflow", 2),
    ("hwtests", 3),
];

#[test]
fn imports_go_downward() {
    let layers = BTreeMap::from(LAYERS);
    let mut wrong = Vec::new();
    for (name, layer) in LAYERS {
        let manifest = std::fs::read_to_string(root().join(name).join("Cargo.toml")).unwrap();
        // Tests may use neighbours of their layer.
        let own = manifest.split("[dev-dependencies]").next().unwrap_or_default();
        for line in own.lines().filter(|line| line.contains("workspace = true")) {
            let dependency = line.split(['.', ' ']).next().unwrap_or_default();
            if let Some(other) = layers.get(dependency)
                && *other >= layer
            {
                wrong.push(format!("{name} (layer {layer}) imports {dependency} (layer {other})"));
            }
        }
    }
    let members = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    for (name, _) in LAYERS {
        assert!(members.contains(&format!("\"{name}\"")), "{name} is no member of the workspace");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A module can be read, tested and moved with what it imports only if none of that leads back.
#[test]
fn no_module_imports_itself_over_others() {
    let all = files(&[".rs"]);
    let mut found = Vec::new();
    for (name, _) in LAYERS {
        let inside = |(file, text): &(String, String)| {
            let below = file.strip_prefix(name)?.strip_prefix("/src/")?;
            let is_code = !is_test(file) && below != "main.rs";
            is_code.then(|| (below.to_owned(), text.clone()))
        };
        let own: Vec<(String, String)> = all.iter().filter_map(inside).collect();
        for (above, parts) in Crate::read(&own).circles() {
            found.push(format!("{name} {above}: {}", parts.join(", ")));
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// The engine is pure because it has no crate to be impure with: besides the vocabulary only
/// crates of data structures and of error types.
#[test]
fn the_engine_depends_on_nothing_that_acts() {
    let manifest = std::fs::read_to_string(root().join("offload/Cargo.toml")).unwrap();
    let dependencies = manifest.split("[dependencies]").nth(1).unwrap();
    let dependencies = dependencies.split("[dev-dependencies]").next().unwrap();
    let named = dependencies.lines().filter_map(|line| line.split(['.', ' ']).next());
    let pure = ["", "flow", "thiserror", "serde", "slab", "hashbrown", "foldhash", "smallvec"];
    let wrong: Vec<&str> = named.filter(|name| !pure.contains(name)).collect();
    assert!(wrong.is_empty(), "offload depends on {}", wrong.join(", "));
    let mut acts = Vec::new();
    for (name, text) in files(&[".rs"]) {
        let is_engine = name.starts_with("offload/src/") && !is_test(&name);
        for word in ["std::thread", "std::net", "std::fs", "std::sync::Mutex", "std::time::Instant"]
        {
            if is_engine && text.contains(word) {
                acts.push(format!("{name}: {word}"));
            }
        }
    }
    assert!(acts.is_empty(), "{}", acts.join("\n"));
}

/// Types whose methods stand in more than two files, and why.
const SPREAD: [(&str, &str); 4] = [
    ("FlowerKeys", "the keys of a filter are collected header by header, one file for each"),
    ("List", "the actions of a filter are collected action by action, one file for each"),
    ("FpgaProvider", "not divided into parts yet"),
    ("CardCore", "not divided into parts yet"),
];

/// A type has its methods beside it. A type whose methods are spread over many files holds more
/// than one idea: it wants to be several types.
#[test]
fn a_types_methods_are_in_one_place() {
    let mut found: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    for (name, text) in files(&[".rs"]).into_iter().filter(|(name, _)| !is_test(name)) {
        let crate_name = name.split('/').next().unwrap_or_default().to_owned();
        let inherent = |line: &&str| line.starts_with("impl") && !line.contains(" for ");
        for line in text.lines().filter(inherent) {
            let mut rest = line.trim_start_matches("impl");
            if rest.starts_with('<') {
                let Some(end) = rest.find("> ") else { continue };
                rest = &rest[end + 1..];
            }
            let of = rest.trim_start().split(['<', ' ', '{']).next().unwrap_or_default();
            let files = found.entry((crate_name.clone(), of.to_owned())).or_default();
            if !files.contains(&name) {
                files.push(name.clone());
            }
        }
    }
    let spread = found.iter().filter(|(_, files)| files.len() > 2);
    let wrong: Vec<String> = spread
        .filter(|((_, of), _)| !SPREAD.iter().any(|(listed, _)| listed == of))
        .map(|((_, of), files)| format!("{of}: {}", files.join(", ")))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Names that several types have: the name, how many have it, and why.
const SHARED_NAMES: &[(&str, usize, &str)] =
    &[("Args", 13, "each subcommand has its own, in its own file, as clap wants it")];

/// One name, one meaning, in the whole workspace: who reads a name knows which type it is.
#[test]
fn a_name_means_one_type() {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (file, text) in files(&[".rs"]) {
        if file.contains("/src/") && !is_test(&file) {
            for name in declared(&text) {
                found.entry(name).or_default().push(file.clone());
            }
        }
    }
    found.retain(|_, files| files.len() > 1);
    let listed = |name: &str| SHARED_NAMES.iter().find(|(listed, ..)| *listed == name);
    let mut wrong = Vec::new();
    for (name, files) in &found {
        if listed(name).is_none_or(|(_, count, _)| *count < files.len()) {
            wrong.push(format!("{name} means several types: {}", files.join(", ")));
        }
    }
    for (name, count, _) in SHARED_NAMES {
        let has = found.get(*name).map_or(0, Vec::len);
        if has < *count {
            wrong.push(format!("{name} is listed for {count} types, and {has} have the name"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn links_in_the_docs_lead_somewhere() {
    let mut wrong = Vec::new();
    for (name, text) in files(&[".md"]) {
        let folder = root().join(&name).parent().unwrap().to_path_buf();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let path = target.split('#').next().unwrap_or_default();
            let outside = path.contains("://") || path.is_empty();
            if !outside && !folder.join(path).exists() {
                wrong.push(format!("{name}: {target}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_licence_is_a_permissive_one() {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["metadata", "--format-version", "1", "--locked"]).current_dir(root());
    let output = cargo.output().expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let permissive = ["MIT", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "Zlib", "0BSD"];
    let more = ["Unlicense", "Unicode-3.0", "CC0-1.0", "BSL-1.0", "MIT-0", "OR", "AND", "WITH"];
    let exceptions = ["LLVM-exception"];
    let known =
        |word: &&str| permissive.contains(word) || more.contains(word) || exceptions.contains(word);
    let mut wrong = Vec::new();
    for package in metadata["packages"].as_array().unwrap() {
        let licence = package["license"].as_str().unwrap_or("none");
        let mut words = licence.split([' ', '/', '(', ')']).filter(|word| !word.is_empty());
        // Of alternatives one permissive one is enough.
        let chosen = licence.contains(" OR ") && words.clone().any(|w| permissive.contains(&w));
        if !chosen && !words.all(|word| known(&word)) {
            wrong.push(format!("{}: {licence}", package["name"]));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
