//! Configuration: one YAML file, parsed once into small checked types, one section per file. Every mistake is reported
//! at once, with its key, its value (never a secret) and the remedy, before anything is bound or connected.
//!
//! `src/config/example.yaml` shows every key.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use crate::alert::self_health::MAX_SINKS;
use crate::engine::Millis;
use crate::engine::rules::Policy;

mod api;
mod clock;
mod duration;
mod flow;
mod http;
mod log;
mod problem;
mod rules;
mod secret;
mod section;
mod sink;
mod source;
mod store;
mod suggest;
mod watchdog;
mod yaml;

pub use api::ApiConfig;
pub use clock::ClockConfig;
pub use duration::{DurationError, format_duration, parse_duration};
pub use http::HttpConfig;
pub use log::{LogConfig, LogFormat};
pub use problem::{ConfigErrors, Problem};
pub use sink::{RedactedUrl, WebhookConfig};
pub use source::{
    Amqp10Config, Amqp091Config, EventHubsAuth, EventHubsConfig, FileConfig, QueueType,
    SourceConfig, SourceKind, Start, Transport,
};
pub use store::{Provider, RemoteStoreConfig, StoreConfig};
pub use watchdog::WatchdogConfig;

use section::{Report, Section};

/// A name is a label of metrics and part of dead letters.
const MAX_NAME_BYTES: usize = 64;
/// Ends before Kubernetes' default of 30 s kills the process.
const DEFAULT_SHUTDOWN_MS: Millis = 20_000;
/// Longer than any orchestrator waits.
const MAX_SHUTDOWN_MS: Millis = 600_000;

/// Everything, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// At least one.
    pub sources: Vec<SourceConfig>,
    /// Time.
    pub clock: ClockConfig,
    /// Windows.
    pub policy: Policy,
    /// Where alerts go.
    pub sinks: Vec<WebhookConfig>,
    /// That all is at work, at fixed intervals, if it is asked for.
    pub watchdog: Option<WatchdogConfig>,
    /// What is kept, and where.
    pub store: StoreConfig,
    /// Health and metrics.
    pub http: HttpConfig,
    /// The data of the fleet over HTTP, if it is asked for.
    pub api: Option<ApiConfig>,
    /// Logs.
    pub log: LogConfig,
    /// How long SIGTERM may take (`shutdown.deadline`).
    pub shutdown_deadline_ms: Millis,
}

/// A configuration that can be used, and what is odd about it.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What was read.
    pub config: Config,
    /// One line each; no secret.
    pub warnings: Vec<String>,
}

impl Config {
    /// Reads and checks the file. Relative paths in it start from its folder.
    pub fn load(path: &Path) -> Result<Loaded, ConfigErrors> {
        let base = path.parent().unwrap_or(Path::new(""));
        let (result, _) = match yaml::read_file(path) {
            Ok(tree) => read(&tree, base),
            Err(problem) => (Err(vec![problem]), BTreeSet::new()),
        };
        result.map_err(|problems| ConfigErrors { file: path.to_owned(), problems })
    }
}

/// The configuration or everything that is wrong with it, and the keys that were asked for.
fn read(tree: &Value, base: &Path) -> (Result<Loaded, Vec<Problem>>, BTreeSet<String>) {
    let report = Report { base: base.to_owned(), ..Report::default() };
    let config = Section::read(&report, String::new(), tree, read_root);
    let problems = report.problems.into_inner();
    let mut warnings = report.warnings.into_inner();
    warnings.extend(config.iter().flat_map(Config::flow_warnings));
    let result = match config {
        Some(config) if problems.is_empty() => Ok(Loaded { config, warnings }),
        Some(_) | None => Err(problems),
    };
    (result, report.known.into_inner())
}

fn read_root(root: &Section<'_>) -> Option<Config> {
    let sources = root.children("sources", SourceConfig::read);
    if sources.is_empty() {
        let remedy = "name at least one source: `sources:` with `- name: ...` below it";
        root.problem("sources", None, "nothing to read from", remedy);
    }
    let policy = root.child("rules", rules::read);
    let smallest_grace_ms = policy.smallest_grace_ms();
    let clock = root.child("clock", |clock| ClockConfig::read(clock, smallest_grace_ms));
    check_windows(root, &policy, clock);
    let sinks = root.children("sinks", WebhookConfig::read);
    if sinks.is_empty() {
        root.warn("sinks", "none is configured: nobody is told about an outage");
    }
    if sinks.len() > MAX_SINKS {
        let remedy = format!("name at most {MAX_SINKS}, and let one of them tell the others");
        root.problem("sinks", Some(&sinks.len().to_string()), "are too many sinks", remedy);
    }
    check_names(root, "sources");
    check_names(root, "sinks");
    let names: Vec<&str> = sinks.iter().flatten().map(|sink| &*sink.name).collect();
    let watchdog =
        root.optional_child("watchdog", |watchdog| WatchdogConfig::read(watchdog, &names));
    let store = root.child("store", StoreConfig::read);
    let http = root.child("http", HttpConfig::read);
    let api = root.optional_child("api", ApiConfig::read);
    let log = root.child("log", LogConfig::read);
    let deadline =
        root.child("shutdown", |shutdown| shutdown.duration("deadline", 1_000..=MAX_SHUTDOWN_MS));
    Some(Config {
        sources: sources.into_iter().collect::<Option<_>>()?,
        clock,
        policy,
        sinks: sinks.into_iter().collect::<Option<_>>()?,
        watchdog,
        store,
        http,
        api,
        log,
        shutdown_deadline_ms: deadline.unwrap_or(DEFAULT_SHUTDOWN_MS),
    })
}

/// A verdict within the allowance would be judged on messages that may still be on their way.
fn check_windows(root: &Section<'_>, policy: &Policy, clock: ClockConfig) {
    let all = policy.rules.iter().map(|rule| rule.terms);
    let shortest = all
        .chain([policy.default])
        .map(|terms| terms.window_ms.saturating_add(terms.grace_ms))
        .min();
    if shortest.is_some_and(|ms| ms <= clock.allowance_ms) {
        root.problem(
            "clock.allowance",
            Some(&format_duration(clock.allowance_ms)),
            "is no shorter than the shortest window with its grace",
            "shorten it, or lengthen that window",
        );
    }
}

/// Names stand in metrics, state and alerts, so two entries must not share one.
fn check_names(root: &Section<'_>, key: &'static str) {
    let entries = root.value(key).and_then(Value::as_array);
    let mut seen = BTreeSet::new();
    for (position, entry) in entries.into_iter().flatten().enumerate() {
        let Some(name) = entry.get("name").and_then(Value::as_str) else {
            continue;
        };
        let key = format!("{key}[{position}].name");
        if !seen.insert(name) {
            let remedy = "give each a name of its own";
            root.problem(&key, Some(name), "is used twice", remedy);
        }
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        if name.len() > MAX_NAME_BYTES || !name.bytes().all(is_plain) {
            let remedy = "use up to 64 letters, digits, and - _ .";
            root.problem(&key, Some(name), "can't be a name", remedy);
        }
    }
}

#[cfg(test)]
mod tests;
