//! What is wrong with a configuration: everything at once, each with its key, its value and the remedy.

use std::fmt;
use std::path::PathBuf;

use crate::telemetry::redact;

/// The longest part of a value that an error repeats, in characters.
const SHOWN_CHARACTERS: usize = 80;

/// One mistake. Never holds a secret: values of keys that may hold one are not repeated, and the rest is redacted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The key, from the top: `sources[0].queue`.
    pub key: String,
    /// What stands there, if it may be shown.
    pub value: Option<String>,
    /// What is wrong.
    pub wrong: String,
    /// What to do.
    pub remedy: String,
}

impl Problem {
    pub(super) fn new(
        key: String,
        value: Option<&str>,
        wrong: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            key,
            value: value.map(shown),
            wrong: redact(&wrong.into()).into_owned(),
            remedy: remedy.into(),
        }
    }
}

/// `key: value 'x': what is wrong: what to do`.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.key)?;
        if let Some(value) = &self.value {
            write!(f, "value '{value}': ")?;
        }
        write!(f, "{}: {}", self.wrong, self.remedy)
    }
}

/// A configuration that can't be used: nothing was started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors {
    /// The file.
    pub file: PathBuf,
    /// At least one, in the order of the file as far as sections go.
    pub problems: Vec<Problem>,
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.problems.len();
        let mistakes = if count == 1 { "mistake" } else { "mistakes" };
        write!(
            f,
            "configuration {} has {count} {mistakes}; nothing was started",
            self.file.display()
        )?;
        for problem in &self.problems {
            write!(f, "\n  {problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// A value as an error repeats it: on one line, short, redacted.
fn shown(value: &str) -> String {
    let escaped = redact(value).escape_debug().to_string();
    match escaped.char_indices().nth(SHOWN_CHARACTERS) {
        Some((end, _)) => format!("{}...", &escaped[..end]),
        None => escaped,
    }
}
