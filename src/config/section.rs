//! Reads a mapping of the configuration key by key. Every mistake is noted and reading goes on, so that all are
//! reported together. The keys that are asked for are the keys that are known.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::duration::{format_duration, parse_duration};
use super::problem::Problem;
use super::suggest::closest;
use crate::engine::Millis;

/// What has been found so far.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// The folder that relative paths start from.
    pub(super) base: PathBuf,
    pub(super) problems: RefCell<Vec<Problem>>,
    pub(super) warnings: RefCell<Vec<String>>,
    /// Every key asked for, with `[]` for positions.
    pub(super) known: RefCell<BTreeSet<String>>,
}

/// One mapping.
pub(super) struct Section<'a> {
    report: &'a Report,
    path: String,
    entries: Option<&'a Map<String, Value>>,
    asked: RefCell<BTreeSet<&'static str>>,
}

impl<'a> Section<'a> {
    /// Gives the mapping at `path` to `read`, then reports the keys that `read` did not ask for.
    pub(super) fn read<T>(
        report: &'a Report,
        path: String,
        value: &'a Value,
        read: impl FnOnce(&Section<'a>) -> T,
    ) -> T {
        let entries = match value {
            Value::Object(entries) => Some(entries),
            Value::Null => None,
            Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                let place = if path.is_empty() { "the file" } else { &path };
                report.problems.borrow_mut().push(Problem::new(
                    place.to_owned(),
                    None,
                    format!("{} where keys with values are expected", kind_of(value)),
                    "write `key: value` lines, indented below it",
                ));
                None
            }
        };
        let section = Section { report, path, entries, asked: RefCell::default() };
        let result = read(&section);
        section.report_unknown();
        result
    }

    /// Reads the mapping under `key`; one that is absent reads as empty.
    pub(super) fn child<T>(&self, key: &'static str, read: impl FnOnce(&Section<'a>) -> T) -> T {
        let value = self.value(key).unwrap_or(&Value::Null);
        Section::read(self.report, self.path_of(key), value, read)
    }

    /// Reads the mapping under `key`, if it is there.
    pub(super) fn optional_child<T>(
        &self,
        key: &'static str,
        read: impl FnOnce(&Section<'a>) -> T,
    ) -> Option<T> {
        let value = self.value(key)?;
        Some(Section::read(self.report, self.path_of(key), value, read))
    }

    /// Reads each mapping of the list under `key`.
    pub(super) fn children<T>(
        &self,
        key: &'static str,
        mut read: impl FnMut(&Section<'a>) -> T,
    ) -> Vec<T> {
        let items = match self.value(key) {
            None => return Vec::new(),
            Some(Value::Array(items)) => items,
            Some(other) => {
                self.problem(
                    key,
                    None,
                    format!("{} where a list is expected", kind_of(other)),
                    "begin each entry with `- `",
                );
                return Vec::new();
            }
        };
        let path_of = |position| format!("{}[{position}]", self.path_of(key));
        items
            .iter()
            .enumerate()
            .map(|(position, item)| Section::read(self.report, path_of(position), item, &mut read))
            .collect()
    }

    /// What stands under `key`; `null` counts as absent.
    pub(super) fn value(&self, key: &'static str) -> Option<&'a Value> {
        self.asked.borrow_mut().insert(key);
        self.report.known.borrow_mut().insert(without_positions(&self.path_of(key)));
        self.entries?.get(key).filter(|value| !value.is_null())
    }

    /// Whether there is a value.
    pub(super) fn has(&self, key: &'static str) -> bool {
        self.value(key).is_some()
    }

    /// A text that is not empty.
    pub(super) fn text(&self, key: &'static str) -> Option<&'a str> {
        let value = self.value(key)?;
        match value {
            Value::String(text) if text.is_empty() => {
                self.problem(key, None, "is empty", "write a value or remove the key");
                None
            }
            Value::String(text) => Some(text),
            Value::Bool(_) | Value::Number(_) => {
                let shown = value.to_string();
                self.problem(
                    key,
                    Some(&shown),
                    format!("{} where text is expected", kind_of(value)),
                    format!("put it in quotes: \"{shown}\""),
                );
                None
            }
            Value::Null | Value::Array(_) | Value::Object(_) => {
                self.wrong_kind(key, value, "text");
                None
            }
        }
    }

    /// A text that has to be there.
    pub(super) fn required_text(&self, key: &'static str, remedy: &str) -> Option<&'a str> {
        self.require(key, remedy).then(|| self.text(key)).flatten()
    }

    /// Reports a missing key; whether it is there.
    pub(super) fn require(&self, key: &'static str, remedy: &str) -> bool {
        let present = self.has(key);
        if !present {
            self.problem(key, None, "is missing", remedy);
        }
        present
    }

    /// `true` or `false`; `false` if absent.
    pub(super) fn flag(&self, key: &'static str) -> bool {
        match self.value(key) {
            None => false,
            Some(Value::Bool(flag)) => *flag,
            Some(other) => {
                self.problem(
                    key,
                    Some(&other.to_string()),
                    "is neither true nor false",
                    "write true or false",
                );
                false
            }
        }
    }

    /// A whole number of that range.
    pub(super) fn number(&self, key: &'static str, range: RangeInclusive<i64>) -> Option<i64> {
        let value = self.value(key)?;
        let number = value.as_i64().filter(|number| range.contains(number));
        if number.is_none() {
            self.problem(
                key,
                scalar(value).as_deref(),
                "is not a whole number that can be used here",
                format!("write a number from {} to {}", range.start(), range.end()),
            );
        }
        number
    }

    /// A duration of that range, in milliseconds.
    pub(super) fn duration(
        &self,
        key: &'static str,
        range: RangeInclusive<Millis>,
    ) -> Option<Millis> {
        let value = self.value(key)?;
        let text = scalar(value).unwrap_or_default();
        let bounds = format!(
            "write {} to {}, for example 90s, 10m or 100ms",
            format_duration(*range.start()),
            format_duration(*range.end())
        );
        match parse_duration(&text) {
            Ok(ms) if range.contains(&ms) => Some(ms),
            Ok(ms) => {
                let wrong = if ms < *range.start() { "is too short" } else { "is too long" };
                self.problem(key, Some(&text), wrong, bounds);
                None
            }
            Err(error) => {
                self.problem(key, Some(&text), error.to_string(), bounds);
                None
            }
        }
    }

    /// One of some words.
    pub(super) fn choice<T: Copy>(
        &self,
        key: &'static str,
        choices: &[(&'static str, T)],
    ) -> Option<T> {
        let text = self.text(key)?;
        let found = choices.iter().find(|(word, _)| *word == text);
        if found.is_none() {
            let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
            self.problem(key, Some(text), "is not known", format!("write {}", words.join(" or ")));
        }
        found.map(|(_, meaning)| *meaning)
    }

    /// An address with a port; `example` shows some.
    pub(super) fn address(&self, key: &'static str, example: &str) -> Option<SocketAddr> {
        let text = self.text(key)?;
        let address = text.parse().ok();
        if address.is_none() {
            let remedy = format!("write ADDRESS:PORT, for example {example}");
            self.problem(key, Some(text), "is no address with a port", remedy);
        }
        address
    }

    /// A path, from the folder of the configuration file unless it is absolute.
    pub(super) fn resolve(&self, path: &str) -> PathBuf {
        self.report.base.join(Path::new(path))
    }

    /// Notes a mistake.
    pub(super) fn problem(
        &self,
        key: &str,
        value: Option<&str>,
        wrong: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let problem = Problem::new(self.path_of(key), value, wrong, remedy);
        self.report.problems.borrow_mut().push(problem);
    }

    /// Notes something that works but is probably not meant.
    pub(super) fn warn(&self, key: &str, text: &str) {
        let warning = format!("{}: {text}", self.path_of(key));
        self.report.warnings.borrow_mut().push(warning);
    }

    /// Reports no unknown keys here: what is known depends on a key that is itself wrong.
    pub(super) fn accept_all_keys(&self) {
        self.asked.borrow_mut().insert(ANY_KEY);
    }

    /// The key, from the top.
    pub(super) fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    fn wrong_kind(&self, key: &str, value: &Value, expected: &str) {
        self.problem(
            key,
            None,
            format!("{} where {expected} is expected", kind_of(value)),
            "see the documented example",
        );
    }

    fn report_unknown(&self) {
        let asked = self.asked.borrow();
        if asked.contains(ANY_KEY) {
            return;
        }
        let Some(entries) = self.entries else { return };
        for key in entries.keys().filter(|key| !asked.contains(key.as_str())) {
            let remedy = match closest(key, asked.iter().copied()) {
                Some(near) => format!("did you mean '{near}'?"),
                None => {
                    let known: Vec<&str> = asked.iter().copied().collect();
                    format!("remove it; known here: {}", known.join(", "))
                }
            };
            self.problem(&key.escape_debug().to_string(), None, "unknown key", remedy);
        }
    }
}

/// Stands for every key in [`Section::asked`]; no key of ours has a star.
const ANY_KEY: &str = "*";

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a mapping",
    }
}

/// A scalar as it was written, as far as YAML keeps that.
fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// `sources[0].queue` as `sources[].queue`.
fn without_positions(path: &str) -> String {
    let mut inside = false;
    path.chars()
        .filter(|&c| {
            inside = (inside || c == '[') && c != ']';
            !(inside && c.is_ascii_digit())
        })
        .collect()
}
