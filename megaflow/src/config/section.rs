//! A table of the file, with the lines of its keys.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::ConfigError;
use super::keys::known;

/// The text of the file, and the file's name for errors.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) name: &'a str,
    pub(super) text: &'a str,
}

impl Source<'_> {
    /// Makes an error at a place of the text.
    pub(super) fn error(&self, at: &Range<usize>, message: impl Into<String>) -> ConfigError {
        let before = &self.text.as_bytes()[..at.start.min(self.text.len())];
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        ConfigError { place: format!("{}:{line}", self.name), message: message.into() }
    }

    /// Makes an error of the file as a whole.
    pub(super) fn whole(&self, message: impl Into<String>) -> ConfigError {
        ConfigError { place: self.name.to_owned(), message: message.into() }
    }
}

/// One table of the file.
pub(super) struct Section<'a> {
    source: Source<'a>,
    /// The section as it is written in the file, for errors: `[datapath]`.
    title: &'static str,
    at: Range<usize>,
    table: &'a DeTable<'a>,
}

impl<'a> Section<'a> {
    /// Returns the whole file as a table of sections.
    pub(super) fn root(
        source: Source<'a>,
        table: &'a Spanned<DeTable<'a>>,
    ) -> Result<Section<'a>, ConfigError> {
        let root = Section { source, title: "the file", at: 0..0, table: table.get_ref() };
        root.only(&["datapath", "port", "provider", "l2", "control", "http"])?;
        Ok(root)
    }

    /// Returns an error if a key is unknown. The error names the nearest known key.
    fn only(&self, known: &[&str]) -> Result<(), ConfigError> {
        for key in self.table.keys() {
            let name: &str = key.get_ref();
            if !known.contains(&name) {
                let hint = match nearest(name, known) {
                    Some(near) => format!("did you mean '{near}'?"),
                    None => format!("known: {}", known.join(", ")),
                };
                let message = format!("unknown key '{name}' in {}; {hint}", self.title);
                return Err(self.source.error(&key.span(), message));
            }
        }
        Ok(())
    }

    fn get(&self, key: &str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.table.iter().find(|(name, _)| name.get_ref() == key).map(|(_, value)| value)
    }

    /// Makes an error at a key, or at the section if the key is missing.
    pub(super) fn error(&self, key: &str, message: impl std::fmt::Display) -> ConfigError {
        let at = self.get(key).map_or_else(|| self.at.clone(), Spanned::span);
        self.source.error(&at, format!("{}: {key}: {message}", self.title))
    }

    /// Makes an error of the section as a whole.
    pub(super) fn whole(&self, message: impl std::fmt::Display) -> ConfigError {
        self.source.error(&self.at, format!("{} {message}", self.title))
    }

    /// Returns the value of a key that has to be there, or an error if the key is missing.
    pub(super) fn need<T>(&self, key: &str, value: Option<T>) -> Result<T, ConfigError> {
        value.ok_or_else(|| {
            self.source.error(&self.at, format!("{}: the key '{key}' is missing", self.title))
        })
    }

    /// Returns the table of that key, or `None` if the key is missing.
    pub(super) fn section(
        &self,
        key: &str,
        title: &'static str,
    ) -> Result<Option<Section<'a>>, ConfigError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        self.sub(key, value, title).map(Some)
    }

    /// Returns the array of tables of that key; the array is empty if the key is missing.
    pub(super) fn sections(
        &self,
        key: &str,
        title: &'static str,
    ) -> Result<Vec<Section<'a>>, ConfigError> {
        let Some(value) = self.get(key) else { return Ok(Vec::new()) };
        let Some(array) = value.get_ref().as_array() else {
            return Err(self.error(key, format_args!("write it as {title}, one for each")));
        };
        array.iter().map(|value| self.sub(key, value, title)).collect()
    }

    fn sub(
        &self,
        key: &str,
        value: &'a Spanned<DeValue<'a>>,
        title: &'static str,
    ) -> Result<Section<'a>, ConfigError> {
        let Some(table) = value.get_ref().as_table() else {
            return Err(self.error(key, format_args!("must be a table, {title}")));
        };
        let section = Section { source: self.source, title, at: value.span(), table };
        let mut known = known(title);
        if title == "[[provider]]" {
            known.push("budget");
        }
        section.only(&known)?;
        Ok(section)
    }

    /// Returns the string of that key. An empty string is an error.
    pub(super) fn string(&self, key: &str) -> Result<Option<&'a str>, ConfigError> {
        match self.get(key).map(Spanned::get_ref) {
            None => Ok(None),
            Some(DeValue::String(text)) if !text.is_empty() => Ok(Some(text)),
            Some(DeValue::String(_)) => Err(self.error(key, "must not be empty")),
            Some(other) => Err(self.wrong(key, "a string", other)),
        }
    }

    /// Returns the list of strings of that key. An empty string is an error.
    pub(super) fn strings(&self, key: &str) -> Result<Option<Vec<&'a str>>, ConfigError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let Some(array) = value.get_ref().as_array() else {
            return Err(self.wrong(key, "a list of strings", value.get_ref()));
        };
        let one = |item: &'a Spanned<DeValue<'a>>| match item.get_ref() {
            DeValue::String(text) if !text.is_empty() => Ok(&**text),
            DeValue::String(_) => Err(self.error(key, "must not be empty")),
            other => Err(self.wrong(key, "a list of strings", other)),
        };
        array.iter().map(one).collect::<Result<_, _>>().map(Some)
    }

    /// Returns the whole number of that key. A number outside the range is an error.
    pub(super) fn number(
        &self,
        key: &str,
        range: std::ops::RangeInclusive<u64>,
    ) -> Result<Option<u64>, ConfigError> {
        self.get(key).map(|value| self.as_number(key, value.get_ref(), range)).transpose()
    }

    /// Returns the list of whole numbers of that key. A number outside the range is an error.
    pub(super) fn numbers(
        &self,
        key: &str,
        range: std::ops::RangeInclusive<u64>,
    ) -> Result<Option<Vec<u64>>, ConfigError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let Some(array) = value.get_ref().as_array() else {
            return Err(self.wrong(key, "a list of numbers", value.get_ref()));
        };
        let one = |item: &Spanned<DeValue<'a>>| self.as_number(key, item.get_ref(), range.clone());
        array.iter().map(one).collect::<Result<_, _>>().map(Some)
    }

    fn as_number(
        &self,
        key: &str,
        value: &DeValue<'a>,
        range: std::ops::RangeInclusive<u64>,
    ) -> Result<u64, ConfigError> {
        let Some(integer) = value.as_integer() else {
            return Err(self.wrong(key, "a whole number", value));
        };
        u64::from_str_radix(integer.as_str(), integer.radix())
            .ok()
            .filter(|number| range.contains(number))
            .ok_or_else(|| {
                let message =
                    format!("{integer} is not within {}..={}", range.start(), range.end());
                self.error(key, message)
            })
    }

    /// Returns true if the key is there and its value is a table.
    pub(super) fn is_table(&self, key: &str) -> bool {
        self.get(key).is_some_and(|value| value.get_ref().is_table())
    }

    /// Returns an error if one of the keys is there. The keys are those that make no sense with
    /// the section's other values.
    pub(super) fn without(&self, keys: &[&str], why: &str) -> Result<(), ConfigError> {
        match keys.iter().find(|key| self.get(key).is_some()) {
            Some(key) => Err(self.error(key, why)),
            None => Ok(()),
        }
    }

    fn wrong(&self, key: &str, want: &str, is: &DeValue<'_>) -> ConfigError {
        self.error(key, format_args!("must be {want}, is {}", is.type_str()))
    }
}

/// Returns the known word nearest to this one, if it is near enough to be meant.
pub(super) fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let near = known.iter().map(|other| (distance(word, other), *other)).min()?;
    (near.0 <= near.1.len().max(word.len()) / 2).then_some(near.1)
}

/// Edit distance (Levenshtein), by the one-row form of the textbook recurrence.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replace = corner + usize::from(x != *y);
            corner = row[j + 1];
            row[j + 1] = replace.min(corner + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
