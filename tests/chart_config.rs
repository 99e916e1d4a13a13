//! What the chart in `helm/lastseen` renders, against the real thing: `lastseen.yaml` is read by the configuration reader,
//! and the alerts name metrics and reasons that there are. `tests/chart.sh` holds the golden renders to the chart.
#![expect(clippy::expect_used, clippy::panic, reason = "helpers of tests fail as tests do")]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use lastseen::config::{Config, Loaded};
use lastseen::engine::BlindReason;
use lastseen::metrics::CATALOGUE;
use serde_json::Value;

/// Where a container of the pod keeps the token in the set `object_store`.
const TOKENS: &str = "/var/run/tokens";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The documents of every golden render, by name.
fn renders() -> Vec<(String, Vec<Value>)> {
    let folder = root().join("tests/chart/golden");
    let mut paths: Vec<PathBuf> = fs::read_dir(folder)
        .expect("golden renders")
        .map(|entry| entry.expect("readable").path())
        .collect();
    paths.sort();
    assert!(paths.len() >= 4, "the test looks in the wrong place");
    let documents = |path: &PathBuf| {
        let text = fs::read_to_string(path).expect("UTF-8");
        let documents = text.split("\n---\n").map(|text| text.trim_start_matches("---\n"));
        documents.map(|text| serde_saphyr::from_str(text).expect("YAML")).collect()
    };
    let name = |path: &PathBuf| path.file_name().expect("a file").to_string_lossy().into_owned();
    paths.iter().map(|path| (name(path), documents(path))).collect()
}

fn of_kind<'a>(documents: &'a [Value], kind: &str) -> Option<&'a Value> {
    documents.iter().find(|document| document["kind"] == kind)
}

/// What stands in a secret of that name.
fn content(path: &str) -> &'static str {
    if path.ends_with(".connection") {
        "Endpoint=sb://h.servicebus.windows.net/;SharedAccessKeyName=listen;SharedAccessKey=a2V5;EntityPath=hub"
    } else if path.ends_with("uri") {
        "amqps://user:password@broker.example.org/%2f"
    } else if path.ends_with(".whsec") {
        "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
    } else if path.ends_with(".pem") {
        "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"
    } else if path.ends_with(".options") {
        "account_name=fleet\n"
    } else {
        panic!("nobody knows what {path} holds")
    }
}

fn write(path: &Path, content: &str) {
    fs::create_dir_all(path.parent().expect("a folder")).expect("writable");
    fs::write(path, content).expect("writable");
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("it is ours");
}

/// Mounts what the pod mounts below a folder, and reads the configuration there.
fn load(documents: &[Value], folder: &Path) -> Result<Loaded, String> {
    let config_map = of_kind(documents, "ConfigMap").expect("it is rendered");
    let yaml = config_map["data"]["lastseen.yaml"].as_str().expect("text");
    let tokens = folder.join("tokens");
    write(&tokens.join("eventhubs"), "token");
    let config = folder.join("lastseen.yaml");
    write(&config, &yaml.replace(TOKENS, tokens.to_str().expect("UTF-8")));
    let pod = &of_kind(documents, "StatefulSet").expect("it is rendered")["spec"]["template"];
    let volumes = pod["spec"]["volumes"].as_array().expect("volumes");
    let volume = volumes.iter().find(|volume| volume["name"] == "config").expect("it is mounted");
    let sources = volume["projected"]["sources"].as_array().expect("sources");
    let items = sources.iter().filter_map(|source| source["secret"]["items"].as_array());
    for path in items.flatten().filter_map(|item| item["path"].as_str()) {
        write(&folder.join(path), content(path));
    }
    Config::load(&config).map_err(|errors| errors.to_string())
}

/// Whether the reader knows object stores; the example has every key that it knows.
fn knows_object_stores() -> bool {
    let text = fs::read_to_string(root().join("src/config/example.yaml")).expect("it ships");
    let example: Value = serde_saphyr::from_str(&text).expect("it is YAML");
    example["store"]["url"].is_string()
}

#[test]
fn every_rendered_configuration_is_accepted_and_has_what_the_chart_decides() {
    for (name, documents) in renders() {
        let folder = tempfile::tempdir().expect("a folder");
        let loaded = load(&documents, folder.path());
        if name == "object_store.yaml" && !knows_object_stores() {
            let mistakes = loaded.expect_err("these keys are not known yet");
            assert!(mistakes.contains("has 2 mistakes"), "{mistakes}");
            assert!(mistakes.contains("store.url: unknown key"), "{mistakes}");
            assert!(mistakes.contains("store.options_file: unknown key"), "{mistakes}");
            continue;
        }
        let Loaded { config, warnings } = loaded.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(config.http.listen.to_string(), "0.0.0.0:8080", "{name}");
        assert_eq!(config.store.path, Path::new("/var/lib/lastseen"), "{name}");
        let expected_warnings = usize::from(config.sinks.is_empty());
        assert_eq!(warnings.len(), expected_warnings, "{name}: {warnings:?}");
        if name == "full.yaml" {
            assert_eq!((config.sources.len(), config.sinks.len()), (3, 1));
            assert_eq!(config.store.dead_letter_bytes, 128 * 1024 * 1024);
            assert_eq!(config.shutdown_deadline_ms, 60_000);
        }
    }
}

/// The words of a text that look like names of metrics.
fn metrics_in(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| word.starts_with("lastseen_"))
}

#[test]
fn alerts_name_metrics_that_there_are() {
    let known: BTreeSet<&str> = CATALOGUE.iter().map(|family| family.name).collect();
    let mut named = BTreeSet::new();
    for file in ["alerts.yaml", "watchdog.yaml"] {
        let path = root().join("helm/lastseen/files").join(file);
        let text = fs::read_to_string(path).expect("it ships");
        named.extend(metrics_in(&text).map(str::to_owned));
    }
    let unknown: Vec<_> = named.iter().filter(|name| !known.contains(name.as_str())).collect();
    assert!(unknown.is_empty(), "unknown metrics: {unknown:?}");
    assert!(named.len() >= 10, "{named:?}");
}

#[test]
fn the_alert_about_blind_partitions_says_what_to_do_for_every_reason() {
    let path = root().join("helm/lastseen/files/alerts.yaml");
    let text = fs::read_to_string(path).expect("it ships");
    let from = text.find("alert: LastseenBlind\n").expect("there is such an alert");
    let end = text[from..].find("\n\n").expect("it is not the last");
    let alert = &text[from..from + end];
    for reason in BlindReason::ALL {
        assert!(alert.contains(reason.as_str()), "{} in\n{alert}", reason.as_str());
    }
}
