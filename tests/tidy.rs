//! Rules of the house that a machine can check: the boundary of the pure code, sizes, and that the README names every
//! configuration key and every metric.
#![expect(clippy::expect_used, reason = "helpers of tests fail as tests do")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use lastseen::metrics::{CATALOGUE, Kind};
use serde_json::Value;

/// Folders of pure code. Elsewhere a file is pure if its first line says so.
const PURE_FOLDERS: [&str; 4] = ["engine", "alert", "wire", "journal"];

/// Names that pure code has no use for: they mean I/O, a clock, randomness, logs or metrics.
const IMPURE: [&str; 13] = [
    "tokio",
    "std::time",
    "std::fs",
    "std::io",
    "std::env",
    "std::thread",
    "std::process",
    "crate::clock",
    "rand",
    "tracing",
    "metrics",
    "rustix",
    "DashMap",
];

/// In the pure folders also these: addresses and the types of clients belong to adapters.
const FOREIGN: [&str; 7] =
    ["std::net", "lapin", "fe2o3_amqp", "serde_amqp", "hyper", "hyper_util", "axum"];

/// Lines of code, without comments and blank lines.
const MAX_FILE_LINES: usize = 400;

/// A source file without its tests.
struct Source {
    path: PathBuf,
    code: String,
}

impl Source {
    /// The lines of code, without comments, numbered from 1.
    fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        let without_comment = |line| match str::find(line, "//") {
            Some(at) => &line[..at],
            None => line,
        };
        self.code.lines().enumerate().map(move |(index, line)| (index + 1, without_comment(line)))
    }

    fn is_in_pure_folder(&self) -> bool {
        let folder = self.path.components().nth(1);
        let top = folder.and_then(|top| Path::new(&top).file_stem().map(ToOwned::to_owned));
        top.is_some_and(|top| PURE_FOLDERS.iter().any(|&pure| top == pure))
    }

    /// The names that have no place in it.
    fn forbidden(&self) -> impl Iterator<Item = &'static str> {
        let foreign: &[&str] = if self.is_in_pure_folder() { &FOREIGN } else { &[] };
        let says_so = self.code.starts_with("//! PURE");
        let impure: &[&str] = if says_so || self.is_in_pure_folder() { &IMPURE } else { &[] };
        impure.iter().chain(foreign).copied()
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files_below(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder of the project") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            files_below(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// Every file of the program and of the load test but those that hold only tests, relative to the project, cut where its tests begin.
fn sources() -> Vec<Source> {
    let mut files = Vec::new();
    for folder in ["src", "loadtest/src"] {
        files_below(&root().join(folder), &mut files);
    }
    files.sort();
    let is_test = |path: &PathBuf| {
        path.components().any(|part| part.as_os_str() == "tests" || part.as_os_str() == "tests.rs")
    };
    files
        .into_iter()
        .filter(|path| !is_test(path))
        .map(|path| {
            let text = fs::read_to_string(&path).expect("UTF-8");
            let tests = text.find("\n#[cfg(test)]\nmod ").unwrap_or(text.len());
            Source {
                code: text[..tests].to_owned(),
                path: path.strip_prefix(root()).expect("below it").to_owned(),
            }
        })
        .collect()
}

/// Whether `word` stands in `line` with no letter, digit or `_` beside it.
fn has_word(line: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        !line[..at].ends_with(is_part) && !line[at + word.len()..].starts_with(is_part)
    })
}

#[test]
fn only_one_small_module_has_unsafe_code() {
    let with_unsafe: Vec<PathBuf> = sources()
        .into_iter()
        .filter(|source| source.lines().any(|(_, line)| has_word(line, "unsafe")))
        .map(|source| source.path)
        .collect();
    assert_eq!(with_unsafe, [Path::new("src/engine/prefetch.rs")]);
}

#[test]
fn pure_code_names_no_io_clock_randomness_logs_or_metrics() {
    let mut found = Vec::new();
    let sources = sources();
    for source in &sources {
        for (number, line) in source.lines() {
            let names = source.forbidden().filter(|name| has_word(line, name));
            found.extend(names.map(|name| format!("{}:{number}: {name}", source.path.display())));
        }
    }
    let guarded = sources.iter().filter(|source| source.is_in_pure_folder());
    assert!(guarded.count() >= 10, "the test looks in the wrong place");
    assert!(found.is_empty(), "impure:\n{}", found.join("\n"));
}

#[test]
fn the_engine_knows_nothing_of_ours_outside_the_engine() {
    let mut found = Vec::new();
    for source in sources() {
        if !source.path.starts_with("src/engine") && source.path != Path::new("src/engine.rs") {
            continue;
        }
        for (number, line) in source.lines() {
            let outside = line
                .match_indices("crate::")
                .any(|(at, _)| !line[at..].starts_with("crate::engine"));
            if outside || line.contains("lastseen::") {
                found.push(format!("{}:{number}: {}", source.path.display(), line.trim()));
            }
        }
    }
    assert!(found.is_empty(), "outside:\n{}", found.join("\n"));
}

#[test]
fn modules_are_files_with_their_own_name_and_no_longer_than_a_person_reads() {
    let mut found = Vec::new();
    for source in sources() {
        if source.path.ends_with("mod.rs") {
            found.push(format!("{}: name the file after its module", source.path.display()));
        }
        let lines = source.lines().filter(|(_, line)| !line.trim().is_empty()).count();
        if lines > MAX_FILE_LINES {
            found.push(format!("{}: {lines} lines", source.path.display()));
        }
        if !source.code.starts_with("//! ") {
            found.push(format!("{}: does not say what it is for", source.path.display()));
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn nothing_is_left_to_be_done_later() {
    let mut files = Vec::new();
    for folder in ["src", "loadtest/src", "tests"] {
        files_below(&root().join(folder), &mut files);
    }
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
    for path in files {
        let text = fs::read_to_string(&path).unwrap_or_default();
        for mark in marks {
            assert!(!has_word(&text, mark), "{}: {mark}", path.display());
        }
    }
}

/// The first cells of the table in a section of the README: what stands between backticks.
fn readme_table(section: &str) -> BTreeSet<String> {
    let readme = fs::read_to_string(root().join("README.md")).expect("there is a README");
    let heading = format!("\n## {section}\n");
    let begin = readme.find(&heading).expect("the section is there") + heading.len();
    let end = readme[begin..].find("\n## ").map_or(readme.len(), |at| begin + at);
    readme[begin..end]
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split(" | ").next())
        .flat_map(|cell| cell.split('`').step_by(2).map(str::to_owned).collect::<Vec<_>>())
        .filter(|name| !name.is_empty())
        .collect()
}

#[test]
fn the_readme_lists_every_metric_and_no_other() {
    let listed = readme_table("Metrics");
    let known: BTreeSet<String> = CATALOGUE.iter().map(|family| family.name.to_owned()).collect();
    assert_eq!(listed, known);
}

#[test]
fn the_readme_tells_the_type_and_the_help_text_of_every_metric() {
    let readme = fs::read_to_string(root().join("README.md")).expect("there is a README");
    for family in CATALOGUE {
        let kind = match family.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let row = format!("| `{}` | {kind} | {} |", family.name, family.help);
        assert!(readme.contains(&row), "README.md lacks the row\n{row}");
    }
}

/// Every key of the shipped example that has a value of its own. A unit test holds the example to every key there is.
fn leaf_keys(tree: &Value, path: &str, keys: &mut BTreeSet<String>) {
    let is_place = ["device", "module", "event_time"]
        .iter()
        .any(|field| path.ends_with(&format!("mapping.{field}")));
    match tree {
        Value::Object(entries) if !is_place => {
            for (key, value) in entries {
                let separator = if path.is_empty() { "" } else { "." };
                leaf_keys(value, &format!("{path}{separator}{key}"), keys);
            }
        }
        Value::Array(items) if items.iter().any(Value::is_object) => {
            for item in items {
                leaf_keys(item, &format!("{path}[]"), keys);
            }
        }
        Value::Object(_)
        | Value::Array(_)
        | Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_) => {
            keys.insert(path.to_owned());
        }
    }
}

#[test]
fn the_readme_lists_every_configuration_key_and_no_other() {
    let text = fs::read_to_string(root().join("src/config/example.yaml")).expect("it ships");
    let example: Value = serde_saphyr::from_str(&text).expect("it is YAML");
    let mut known = BTreeSet::new();
    leaf_keys(&example, "", &mut known);
    // Without a mapping below it, the same key is a word.
    known.insert("rules.default.proof_of_life".to_owned());
    let listed = readme_table("Configuration");
    let missing: Vec<_> = known.difference(&listed).collect();
    let unknown: Vec<_> = listed.difference(&known).collect();
    assert!(missing.is_empty() && unknown.is_empty(), "missing {missing:?}, unknown {unknown:?}");
}
