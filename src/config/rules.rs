//! `rules`: who is judged by which window.

use super::section::Section;
use crate::engine::Millis;
use crate::engine::identity::{MAX_ID_BYTES, check_id};
use crate::engine::rules::{
    Condition, MAX_CONDITIONS, MAX_WINDOW_MS, MIN_WINDOW_MS, Pattern, Policy, ProofOfLife, Rule,
    Terms,
};

/// Enough for jitter of a device and its network.
const DEFAULT_GRACE_MS: Millis = 10_000;
/// Enough to install a device after it was created.
const DEFAULT_FIRST_WINDOW_MS: Millis = 600_000;
/// Takes the place of a window that could not be read, until the mistake is reported.
const UNREAD_WINDOW_MS: Millis = 60_000;
/// Rules are tried one after another for each new identity.
const MAX_RULES: usize = 1_000;
/// A glob may escape every character of an id.
const MAX_GLOB_BYTES: usize = 2 * MAX_ID_BYTES;

/// Reads `rules`. What a rule does not say, the default says.
pub(super) fn read(section: &Section<'_>) -> Policy {
    let mut conditions = Vec::new();
    let fallback = Terms {
        window_ms: UNREAD_WINDOW_MS,
        grace_ms: DEFAULT_GRACE_MS,
        first_window_ms: DEFAULT_FIRST_WINDOW_MS,
        proof_of_life: ProofOfLife::Any,
    };
    section.require("default", "write at least default: { window: 60s }");
    let default = section.optional_child("default", |terms| {
        terms.require("window", "write the longest normal silence, for example 60s");
        read_terms(terms, fallback, &mut conditions)
    });
    let default = default.unwrap_or(fallback);
    let rules: Vec<Option<Rule>> =
        section.children("match", |rule| read_rule(rule, default, &mut conditions));
    if rules.len() > MAX_RULES {
        section.problem(
            "match",
            Some(&rules.len().to_string()),
            "are too many rules",
            "use globs: at most 1000 rules",
        );
    }
    if conditions.len() > MAX_CONDITIONS {
        section.problem(
            "match",
            Some(&conditions.len().to_string()),
            "are too many different proof_of_life properties",
            "name at most 32 different ones",
        );
    }
    Policy { default, rules: rules.into_iter().flatten().collect(), conditions }
}

fn read_rule(
    section: &Section<'_>,
    default: Terms,
    conditions: &mut Vec<Condition>,
) -> Option<Rule> {
    let hub = section.text("hub").map(str::to_ascii_lowercase);
    let device = read_pattern(section, "device", "device_is");
    if !section.has("device") && !section.has("device_is") {
        section.problem(
            "device",
            None,
            "is missing",
            "write a glob such as \"pump-*\", or device_is: with an exact id",
        );
    }
    let module = read_pattern(section, "module", "module_is");
    let terms = read_terms(section, default, conditions);
    Some(Rule { hub, device: device?, module, terms })
}

fn read_pattern(
    section: &Section<'_>,
    glob_key: &'static str,
    exact_key: &'static str,
) -> Option<Pattern> {
    match (section.text(glob_key), section.text(exact_key)) {
        (None, None) => None,
        (Some(glob), None) => {
            if let Some((wrong, remedy)) = glob_fault(glob) {
                section.problem(glob_key, Some(glob), wrong, remedy);
            }
            Some(Pattern::Glob(glob.to_owned()))
        }
        (None, Some(id)) => {
            if let Err(error) = check_id(id) {
                let remedy = "write the id as the hub shows it";
                section.problem(exact_key, Some(id), error.to_string(), remedy);
            }
            Some(Pattern::Exact(id.to_owned()))
        }
        (Some(_), Some(id)) => {
            let wrong = format!("stands beside {glob_key}");
            let remedy = format!("keep {glob_key} for a glob or {exact_key} for an exact id");
            section.problem(exact_key, Some(id), wrong, remedy);
            None
        }
    }
}

fn glob_fault(glob: &str) -> Option<(&'static str, &'static str)> {
    let trailing = glob.bytes().rev().take_while(|&byte| byte == b'\\').count();
    if trailing % 2 == 1 {
        return Some(("ends with a \\ that escapes nothing", "write \\\\ for a backslash"));
    }
    if glob.len() > MAX_GLOB_BYTES {
        return Some(("is too long", "write at most 256 bytes"));
    }
    (!glob.bytes().all(|byte| (0x20..=0x7e).contains(&byte)))
        .then_some(("can match nothing: ids are printable ASCII", "write only printable ASCII"))
}

fn read_terms(section: &Section<'_>, default: Terms, conditions: &mut Vec<Condition>) -> Terms {
    let window = section.duration("window", MIN_WINDOW_MS..=MAX_WINDOW_MS);
    let grace = section.duration("grace", 0..=MAX_WINDOW_MS);
    let first_window = section.duration("first_window", MIN_WINDOW_MS..=MAX_WINDOW_MS);
    let proof_of_life = read_proof_of_life(section, conditions);
    Terms {
        window_ms: window.unwrap_or(default.window_ms),
        grace_ms: grace.unwrap_or(default.grace_ms),
        first_window_ms: first_window.unwrap_or(default.first_window_ms),
        proof_of_life: proof_of_life.unwrap_or(default.proof_of_life),
    }
}

fn read_proof_of_life(
    section: &Section<'_>,
    conditions: &mut Vec<Condition>,
) -> Option<ProofOfLife> {
    const KEY: &str = "proof_of_life";
    if section.value(KEY)?.is_object() {
        let condition = section.optional_child(KEY, |mark| {
            let property = mark.required_text("property", "name the application property");
            let value = mark.text("value").map(str::to_owned);
            Some(Condition { property: property?.to_owned(), value })
        });
        let condition = condition.flatten()?;
        let index = conditions.iter().position(|known| *known == condition).unwrap_or_else(|| {
            conditions.push(condition);
            conditions.len() - 1
        });
        return Some(ProofOfLife::Condition(u8::try_from(index).unwrap_or(u8::MAX)));
    }
    match section.text(KEY)? {
        "any" => Some(ProofOfLife::Any),
        other => {
            section.problem(
                KEY,
                Some(other),
                "is not known",
                "write any, or { property: NAME, value: V }",
            );
            None
        }
    }
}
