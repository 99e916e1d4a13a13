//! `watchdog`: a message at fixed intervals, by which a receiver notices that this service is gone.

use std::sync::Arc;

use serde_json::Value;

use super::section::Section;
use crate::engine::Millis;

/// Often enough that somebody can be woken, and nothing beside what a fleet sends.
const DEFAULT_INTERVAL_MS: Millis = 60_000;
/// A part that makes no progress is found after ten seconds.
const MIN_INTERVAL_MS: Millis = 10_000;
/// Whoever waits longer than a day for news is not waiting.
const MAX_INTERVAL_MS: Millis = 86_400_000;

/// `watchdog`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchdogConfig {
    /// From one message to the next.
    pub interval_ms: Millis,
    /// Names of the sinks that get it; empty: all.
    pub sinks: Vec<Arc<str>>,
}

impl WatchdogConfig {
    /// `known`: names of the sinks.
    pub(super) fn read(section: &Section<'_>, known: &[&str]) -> Self {
        let interval = section.duration("interval", MIN_INTERVAL_MS..=MAX_INTERVAL_MS);
        Self {
            interval_ms: interval.unwrap_or(DEFAULT_INTERVAL_MS),
            sinks: read_sinks(section, known),
        }
    }
}

fn read_sinks(section: &Section<'_>, known: &[&str]) -> Vec<Arc<str>> {
    const KEY: &str = "sinks";
    let items = match section.value(KEY) {
        None => return Vec::new(),
        Some(Value::Array(items)) if !items.is_empty() => items.as_slice(),
        Some(_) => &[Value::Null],
    };
    let mut sinks = Vec::new();
    for item in items {
        match item.as_str().filter(|name| known.contains(name)) {
            Some(name) => sinks.push(name.into()),
            None => section.problem(
                KEY,
                item.as_str(),
                "is no list of names of sinks",
                format!(
                    "write for example [{}], or remove the key: all sinks get it then",
                    known.join(", ")
                ),
            ),
        }
    }
    sinks
}
