//! The imports between the modules of a crate, read from its `use` lines and paths.

use std::collections::{BTreeMap, BTreeSet};

/// A path, segment by segment, from the crate's root.
type Path = Vec<String>;

/// The modules of one crate. An inline module belongs to its file.
#[derive(Default)]
pub(crate) struct Crate {
    modules: BTreeMap<Path, Module>,
}

#[derive(Default)]
struct Module {
    /// The module of the file that holds it.
    file: Path,
    /// What its `use` lines name here: a name, and the path that it stands for.
    names: Vec<(String, Path)>,
    /// The paths that its code uses. A re-export alone passes a name on and uses nothing.
    used: Vec<Path>,
}

fn path(text: &str) -> Path {
    text.split("::").map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()
}

/// The code without comments, strings and tests: these hold no imports of the program.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let lines = text.lines().map(|line| match line.trim_start().starts_with("//") {
        true => "",
        false => line.split(" // ").next().unwrap_or_default(),
    });
    let text = lines.collect::<Vec<_>>().join("\n");
    text.replace("'\"'", "' '").split('"').step_by(2).collect::<Vec<_>>().join("\"\"")
}

/// Divides at the commas that stand in no braces.
fn branches(tree: &str) -> Vec<&str> {
    let (mut depth, mut start, mut parts) = (0, 0, Vec::new());
    for (at, letter) in tree.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&tree[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&tree[start..]);
    parts
}

/// The names that a `use` line gives, each with its path as written.
fn leaves(prefix: &str, tree: &str, out: &mut Vec<(String, Path)>) {
    for branch in branches(tree).into_iter().map(str::trim).filter(|branch| !branch.is_empty()) {
        if let Some((before, inside)) = branch.split_once('{') {
            let inside = inside.rsplit_once('}').map_or(inside, |(inside, _)| inside);
            leaves(&format!("{prefix}{before}"), inside, out);
            continue;
        }
        let (branch, alias) =
            branch.split_once(" as ").map_or((branch, None), |(b, a)| (b, Some(a)));
        let mut whole = path(&format!("{prefix}{branch}"));
        if whole.len() > 1 && whole.last().is_some_and(|last| last == "self") {
            whole.pop();
        }
        let name = alias.map(str::to_owned).or_else(|| whole.last().cloned());
        out.push((name.unwrap_or_default(), whole));
    }
}

/// The paths in code that begin with one of these words.
fn paths_from<'a>(code: &'a str, first: &str, out: &mut Vec<&'a str>) {
    let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    for (at, _) in code.match_indices(&format!("{first}::")) {
        let before = &code[..at];
        // A visibility, `pub(in …)`, imports nothing.
        if !before.ends_with(is_part) && !before.ends_with('$') && !before.ends_with("(in ") {
            let end = code[at..].find(|c| !is_part(c)).map_or(code.len(), |end| at + end);
            out.push(code[at..end].trim_end_matches(':'));
        }
    }
}

impl Crate {
    /// Reads the files of a crate: names below its `src`, with their texts.
    pub(crate) fn read(files: &[(String, String)]) -> Crate {
        let mut whole = Crate::default();
        // A program's root imports, and nothing imports it.
        whole.modules.insert(Path::new(), Module::default());
        let mut texts = Vec::new();
        for (name, text) in files {
            let name = name.trim_end_matches(".rs").trim_end_matches("/mod");
            let at: Path = match name {
                "lib" => Path::new(),
                name => path(&name.replace('/', "::")),
            };
            whole.modules.insert(at.clone(), Module { file: at.clone(), ..Module::default() });
            texts.push((at, code(text)));
        }
        let mut parts = Vec::new();
        for (at, text) in texts {
            // An inline module begins and ends at the left edge.
            let mut own = String::new();
            let mut inline: Option<(Path, String)> = None;
            for line in text.lines() {
                let begin = line
                    .split_once("mod ")
                    .filter(|(before, _)| before.starts_with("pub") || before.is_empty());
                if let Some(name) = begin.and_then(|(_, rest)| rest.strip_suffix(" {")) {
                    let inner = [at.clone(), path(name)].concat();
                    let module = Module { file: at.clone(), ..Module::default() };
                    whole.modules.insert(inner.clone(), module);
                    inline = Some((inner, String::new()));
                } else if line == "}" && inline.is_some() {
                    parts.extend(inline.take());
                } else {
                    let into = inline.as_mut().map_or(&mut own, |(_, text)| text);
                    into.push_str(line);
                    into.push('\n');
                }
            }
            parts.push((at, own));
        }
        for (at, text) in parts {
            whole.read_module(&at, &text);
        }
        whole
    }

    fn read_module(&mut self, at: &Path, text: &str) {
        let (mut names, mut used, mut rest) = (Vec::new(), Vec::new(), String::new());
        let mut passed_on = Vec::new();
        for (number, statement) in text.split("use ").enumerate() {
            let before = text_before(text, statement);
            let starts_a_line = before.rsplit('\n').next().unwrap_or_default().trim();
            let is_use =
                number > 0 && (starts_a_line.is_empty() || starts_a_line.starts_with("pub"));
            let Some((tree, after)) = statement.split_once(';').filter(|_| is_use) else {
                rest.push_str(statement);
                continue;
            };
            let mut found = Vec::new();
            leaves("", tree, &mut found);
            let found = found
                .into_iter()
                .filter_map(|(name, path)| Some((name, self.absolute(at, &path)?)));
            let found: Vec<(String, Path)> = found.collect();
            if starts_a_line.is_empty() {
                used.extend(found.iter().map(|(_, path)| path.clone()));
            } else {
                passed_on.extend(found.iter().cloned());
            }
            names.extend(found);
            rest.push_str(after);
        }
        let children: Vec<String> =
            self.children(at).filter_map(|child| child.last().cloned()).collect();
        let mut written = Vec::new();
        for first in ["crate", "super"].into_iter().chain(children.iter().map(String::as_str)) {
            paths_from(&rest, first, &mut written);
        }
        used.extend(written.iter().filter_map(|written| self.absolute(at, &path(written))));
        let words: BTreeSet<&str> =
            rest.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
        passed_on.retain(|(name, _)| words.contains(name.as_str()));
        used.extend(passed_on.into_iter().map(|(_, path)| path));
        if let Some(module) = self.modules.get_mut(at) {
            (module.names, module.used) = (names, used);
        }
    }

    fn children<'a>(&'a self, at: &'a Path) -> impl Iterator<Item = &'a Path> {
        self.modules.keys().filter(|one| one.len() == at.len() + 1 && one.starts_with(at))
    }

    /// The path from the crate's root; none if it leads to another crate.
    fn absolute(&self, at: &Path, written: &Path) -> Option<Path> {
        let (first, mut rest) = written.split_first()?;
        let mut from = at.clone();
        match first.as_str() {
            "crate" => from.clear(),
            "self" => {}
            "super" => {
                from.pop();
                while rest.first().is_some_and(|next| next == "super") {
                    from.pop();
                    rest = &rest[1..];
                }
            }
            child if self.modules.contains_key(&[at.clone(), path(child)].concat()) => {
                from.push(child.to_owned());
            }
            _ => return None,
        }
        from.extend(rest.iter().cloned());
        Some(from)
    }

    /// The file that defines what a path names, through re-exports.
    fn file_of(&self, wanted: &Path, steps: u32) -> Option<&Path> {
        let mut at = Path::new();
        for (number, part) in wanted.iter().enumerate() {
            let next = [at.clone(), vec![part.clone()]].concat();
            if self.modules.contains_key(&next) {
                at = next;
                continue;
            }
            let names = &self.modules.get(&at)?.names;
            let other = names.iter().find(|(name, other)| name == part && *other != next);
            let Some((_, other)) = other.filter(|_| steps > 0) else { break };
            let on = [other.clone(), wanted[number + 1..].to_vec()].concat();
            return self.file_of(&on, steps - 1);
        }
        self.modules.get(&at).map(|module| &module.file)
    }

    /// The imports between files.
    fn edges(&self) -> BTreeSet<(&Path, &Path)> {
        let of = |module: &'_ Module| -> Vec<&Path> {
            module.used.iter().filter_map(|path| self.file_of(path, 8)).collect()
        };
        let all = self
            .modules
            .values()
            .flat_map(|module| of(module).into_iter().map(|to| (&module.file, to)));
        all.filter(|(from, to)| from != to).collect()
    }

    /// The circles: below each module, its own file and the folders and files beside each other
    /// there, as far as they import each other both ways, maybe over others.
    pub(crate) fn circles(&self) -> Vec<(String, Vec<String>)> {
        let edges = self.edges();
        let mut circles = Vec::new();
        for above in self.modules.keys() {
            // Where a file stands, seen from here; the module's own file is the empty name.
            let part = |file: &Path| {
                let rest = file.strip_prefix(above.as_slice())?;
                Some(rest.first().cloned().unwrap_or_default())
            };
            let mut reach: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
            for (from, to) in &edges {
                if let (Some(from), Some(to)) = (part(from), part(to))
                    && from != to
                {
                    reach.entry(from).or_default().insert(to);
                }
            }
            // What is reached over others is added until nothing changes.
            loop {
                let mut more = reach.clone();
                for to in more.values_mut() {
                    let over = to.iter().filter_map(|over| reach.get(over)).flatten();
                    let over: Vec<String> = over.cloned().collect();
                    to.extend(over);
                }
                if more == reach {
                    break;
                }
                reach = more;
            }
            let mut told = BTreeSet::new();
            for (from, to) in &reach {
                let both = to.iter().filter(|to| reach.get(*to).is_some_and(|r| r.contains(from)));
                let circle: BTreeSet<&String> = both.collect();
                if circle.len() > 1 && told.insert(circle.clone()) {
                    let name = |part: &&String| {
                        if part.is_empty() { "mod" } else { part.as_str() }.to_owned()
                    };
                    let names: Vec<String> = circle.iter().map(name).collect();
                    circles.push((above.join("::"), names));
                }
            }
        }
        circles
    }
}

/// The text before a part of it.
fn text_before<'a>(text: &'a str, part: &str) -> &'a str {
    let at = part.as_ptr() as usize - text.as_ptr() as usize;
    text[..at].strip_suffix("use ").unwrap_or(&text[..at])
}
