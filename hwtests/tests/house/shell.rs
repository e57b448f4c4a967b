//! Which programs does a shell script start?

use std::collections::BTreeSet;

use tree_sitter::{Node, Parser};

/// The programs that a script starts by name: no builtins, no functions of its own, no paths.
pub(crate) fn programs(script: &str) -> BTreeSet<String> {
    let mut found = Found::default();
    found.script(script);
    let Found { started, functions } = found;
    let is_own = |word: &String| functions.contains(word) || BUILTINS.contains(&word.as_str());
    started.into_iter().filter(|word| !is_own(word)).collect()
}

const BUILTINS: [&str; 33] = [
    ".", "alias", "break", "cd", "command", "continue", "declare", "echo", "eval", "exec", "exit",
    "export", "false", "hash", "jobs", "kill", "local", "printf", "pwd", "read", "return", "set",
    "shift", "source", "test", "times", "trap", "true", "type", "ulimit", "umask", "unset", "wait",
];
/// Commands whose arguments, behind their options, are a command.
const STARTERS: [&str; 7] = ["env", "exec", "nice", "retry", "runuser", "timeout", "unshare"];

#[derive(Default)]
struct Found {
    started: BTreeSet<String>,
    functions: BTreeSet<String>,
}

impl Found {
    fn script(&mut self, script: &str) {
        let mut parser = Parser::new();
        parser.set_language(&tree_sitter_bash::LANGUAGE.into()).unwrap();
        let tree = parser.parse(script, None).unwrap();
        assert!(!tree.root_node().has_error(), "not understood as a script:\n{script}");
        self.node(tree.root_node(), script);
    }

    fn node(&mut self, node: Node<'_>, script: &str) {
        let text = |node: Node<'_>| script[node.byte_range()].to_owned();
        match node.kind() {
            "function_definition" => {
                self.functions.extend(node.child_by_field_name("name").map(text));
            }
            "command" => {
                let mut cursor = node.walk();
                let name = node.child_by_field_name("name").map(text);
                let arguments = node.children_by_field_name("argument", &mut cursor).map(text);
                self.command(&name.into_iter().chain(arguments).collect::<Vec<_>>());
            }
            _ => {}
        }
        for child in node.children(&mut node.walk()) {
            self.node(child, script);
        }
    }

    /// Notes the program of a command, and the one that it starts in turn.
    fn command(&mut self, words: &[String]) {
        let Some((program, arguments)) = words.split_first() else { return };
        let part = |c: char| c.is_ascii_alphanumeric() || "-_.+[".contains(c);
        if program.chars().all(part) && program != "[" {
            self.started.insert(program.clone());
        }
        if ["bash", "sh"].contains(&program.as_str()) {
            for script in arguments.iter().filter_map(|word| word.strip_prefix('\'')) {
                self.script(script.split('\'').next().unwrap_or_default());
            }
        }
        if STARTERS.contains(&program.as_str()) {
            let behind = arguments.iter().position(|word| word == "--");
            let rest = &arguments[behind.map_or(0, |at| at + 1)..];
            let is_option = |word: &String| {
                let number = word.parse::<f64>().is_ok();
                number || word.starts_with(['-', '$']) || word.contains('=')
            };
            let command = rest.iter().position(|word| !is_option(word)).unwrap_or(rest.len());
            self.command(&rest[command..]);
        }
    }
}
