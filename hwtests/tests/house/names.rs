//! The names that a file declares for others: every `pub` type, however far it is seen.

/// The types that this text declares with `pub`, `pub(crate)`, `pub(super)` or `pub(in …)`.
pub(crate) fn declared(text: &str) -> Vec<String> {
    text.lines().filter_map(declaration).map(str::to_owned).collect()
}

fn declaration(line: &str) -> Option<&str> {
    let rest = line.trim_start().strip_prefix("pub")?;
    let rest = match rest.strip_prefix('(') {
        Some(within) => within.split_once(')')?.1,
        None => rest,
    };
    let mut words = rest.strip_prefix(' ')?.split(' ').skip_while(|word| *word == "unsafe");
    let is_type = matches!(words.next()?, "struct" | "enum" | "trait" | "type" | "union");
    let end = |c: char| !c.is_alphanumeric() && c != '_';
    let name = words.next()?.split(end).next().unwrap_or_default();
    (is_type && !name.is_empty()).then_some(name)
}

#[test]
fn declarations_are_found_however_far_they_are_seen() {
    let seen = "pub struct A<T>(T);\n    pub(crate) enum B {\n\
                pub(in crate::port) unsafe trait C: D {\npub(super) type E = F;\n";
    assert_eq!(declared(seen), ["A", "B", "C", "E"]);
    assert!(declared("struct G;\npub fn type_of() {}\npub use h::I;\n// pub struct J").is_empty());
}
