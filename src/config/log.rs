//! `log`: what is logged, and how it looks.

use tracing_subscriber::EnvFilter;

use super::section::Section;

/// `log`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// A `tracing` filter: `info`, or `lastseen=debug,warn`.
    pub level: String,
    /// How lines look.
    pub format: LogFormat,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl LogConfig {
    pub(super) fn read(section: &Section<'_>) -> Self {
        let level = section.text("level").unwrap_or("info");
        if let Err(error) = EnvFilter::try_new(level) {
            section.problem(
                "level",
                Some(level),
                format!("is no filter ({error})"),
                "write error, warn, info, debug or trace, or a list such as lastseen=debug,warn",
            );
        }
        let format =
            section.choice("format", &[("text", LogFormat::Text), ("json", LogFormat::Json)]);
        Self { level: level.to_owned(), format: format.unwrap_or(LogFormat::Text) }
    }
}
