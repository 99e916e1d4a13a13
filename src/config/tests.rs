use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use proptest::prelude::*;

use super::*;
use crate::engine::rules::{Condition, Pattern, ProofOfLife};
use crate::wire::{EventTimeFrom, FieldFrom, HubName};

mod store;
mod watchdog;

const EXAMPLE: &str = include_str!("example.yaml");
const WHSEC: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const CONNECTION: &str = "Endpoint=sb://h.servicebus.windows.net/;SharedAccessKeyName=n;\
                          SharedAccessKey=c2VjcmV0;EntityPath=e";

/// A folder with a configuration and the files that the example names.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().expect("a temporary folder"));
        folder.write("hub.connection", CONNECTION);
        folder.write("entra.token", "e.y.J");
        folder.write("queue.uri", "amqps://user:password@host:5671");
        folder.write("lab.uri", "amqp://user:password@host:5672/vhost\n");
        folder.write("ops.whsec", WHSEC);
        folder.write("ops-old.whsec", WHSEC);
        folder.write("store.options", "region=eu-north-1\n");
        folder.write("ca.pem", "-----BEGIN CERTIFICATE-----\n");
        folder
    }

    fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, content).expect("the folder is writable");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("it is ours");
        path
    }

    fn load(&self, yaml: &str) -> Result<Loaded, ConfigErrors> {
        Config::load(&self.write("lastseen.yaml", yaml))
    }

    fn config(&self, yaml: &str) -> Config {
        self.load(yaml).unwrap_or_else(|errors| panic!("{errors}")).config
    }

    /// The mistakes as they are printed, one a line.
    fn mistakes(&self, yaml: &str) -> Vec<String> {
        let errors = self.load(yaml).err();
        let problems = errors.map(|errors| errors.problems).unwrap_or_default();
        problems.iter().map(ToString::to_string).collect()
    }
}

/// The smallest configuration, with `more` below it.
fn with(more: &str) -> String {
    format!(
        "sources: [{{ name: f, type: file, hub: h, path: '-' }}]\n\
         rules: {{ default: {{ window: 60s }} }}\n{more}"
    )
}

#[test]
fn the_configuration_of_the_readme_loads_with_these_meanings() {
    let folder = Folder::new();
    folder.write("rabbit.uri", "amqp://127.0.0.1");
    let config = folder.config(
        r#"
sources:
  - name: hub
    type: event_hubs
    hub: Example-Hub
    connection_string_file: hub.connection
    consumer_group: $Default
    start: 2026-01-31T06:00:00Z
  - name: lab
    type: amqp091
    hub: lab
    uri_file: rabbit.uri
    queue: heartbeats
    event_time: trusted_header
clock: { allowance: 1s, tick: 100ms, bridge: 10s }
rules:
  default: { window: 60s, grace: 10s, first_window: 10m, proof_of_life: any }
  match:
    - { device: "pump-*", window: 5m, grace: 30s }
    - { device: "gw-*", module: "sensor", window: 2m, proof_of_life: { property: kind } }
sinks:
  - name: ops
    type: webhook
    url: http://127.0.0.1:9000/hook
    secret_file: ops.whsec
    allow_http: true
    allow_cidrs: [127.0.0.0/8]
store: { path: ./data }
http: { listen: 127.0.0.1:8080 }
log: { level: info, format: text }
"#,
    );
    assert_eq!(config.sources[0].hub, HubName::Fixed("example-hub".into()));
    let SourceKind::EventHubs(hub) = &config.sources[0].kind else { panic!("not an event hub") };
    assert_eq!(hub.consumer_group, "$Default");
    assert!(matches!(hub.start, Start::At(at) if at.as_ms() == 1_769_839_200_000));
    assert_eq!(hub.auth, EventHubsAuth::CbsSas);
    let SourceKind::Amqp091(lab) = &config.sources[1].kind else { panic!("not a queue") };
    assert_eq!(lab.event_time, EventTimeFrom::TrustedHeader);
    assert_eq!((lab.prefetch, lab.create), (1_000, false));
    assert_eq!(config.policy.default.window_ms, 60_000);
    let gateway = &config.policy.rules[1];
    assert_eq!(gateway.module, Some(Pattern::Glob("sensor".into())));
    assert_eq!(gateway.terms.grace_ms, 10_000);
    assert_eq!(gateway.terms.proof_of_life, ProofOfLife::Condition(0));
    let kind = Condition { property: "kind".into(), value: None };
    assert_eq!(config.policy.conditions, [kind]);
    assert_eq!(config.store.path, folder.0.path().join("./data"));
    assert_eq!(config.shutdown_deadline_ms, 20_000);
}

#[test]
fn the_shipped_example_loads_and_holds_every_key_there_is() {
    let folder = Folder::new();
    let loaded = folder.load(EXAMPLE).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(loaded.warnings, Vec::<String>::new());
    let mapping = match &loaded.config.sources[2].kind {
        SourceKind::Amqp091(lab) => lab.mapping.clone(),
        SourceKind::EventHubs(_) | SourceKind::Amqp10(_) | SourceKind::File(_) => None,
    };
    assert_eq!(mapping.map(|mapping| mapping.device), Some(FieldFrom::RoutingKeySegment(1)));

    let tree = yaml::parse(EXAMPLE).expect("it is YAML");
    let (_, known) = read(&tree, folder.0.path());
    let mut written = BTreeSet::new();
    collect_keys(&tree, "", &mut written);
    // A place in a mapping is written in one of three ways; each stands in the example once.
    let written_elsewhere = |key: &String| {
        let way = key.rsplit('.').next().unwrap_or_default();
        key.starts_with("sources[].mapping.")
            && ["device", "module", "event_time"]
                .iter()
                .any(|field| written.contains(&format!("sources[].mapping.{field}.{way}")))
    };
    let missing: Vec<_> =
        known.difference(&written).filter(|key| !written_elsewhere(key)).collect();
    assert_eq!(missing, Vec::<&String>::new());
}

/// Every key of the tree as `sources[].name`.
fn collect_keys(tree: &Value, path: &str, keys: &mut BTreeSet<String>) {
    match tree {
        Value::Object(entries) => {
            for (key, value) in entries {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                collect_keys(value, &path, keys);
                keys.insert(path);
            }
        }
        Value::Array(items) => {
            for item in items {
                collect_keys(item, &format!("{path}[]"), keys);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn all_mistakes_are_reported_at_once_with_key_value_and_remedy() {
    let folder = Folder::new();
    let mistakes = folder.mistakes(
        "sources:\n  - { name: a, type: file, hub: h, path: 5, evnt_time: stamps }\n  \
         - { name: a, type: kafka }\n\
         rules: { default: { window: 90, grace: 1y }, match: [{ device: 'x\\', device_is: y }] }\n\
         clock: { tick: 30ms, allowance: 5h }\n\
         sinks: [{ name: 'b c', type: webhook, url: 'http://h/token', secret_file: none }]\n\
         http: { listen: localhost }\nlog: { format: xml, level: 'a=b=c' }\nstroe: {}\n",
    );
    let all = mistakes.join("\n");
    for expected in [
        "sources[0].path: value '5': a number where text is expected: put it in quotes: \"5\"",
        "sources[0].evnt_time: unknown key: did you mean 'event_time'?",
        "sources[1].type: value 'kafka': is not known: write event_hubs or amqp10 or amqp091 or file",
        "sources[1].hub: is missing",
        "sources[1].name: value 'a': is used twice",
        "rules.default.window: value '90': a duration needs a unit: write 1s to 366d",
        "rules.default.grace: value '1y': not a duration",
        "rules.match[0].device_is: value 'y': stands beside device",
        "clock.tick: value '30ms': a second is no whole number of ticks",
        "clock.allowance: value '5h': is too long",
        "sinks[0].name: value 'b c': can't be a name",
        "sinks[0].url: value 'http://h': sends alerts unencrypted: use https, or set allow_http: true",
        "sinks[0].secret_file: value 'none': the file can't be read",
        "http.listen: value 'localhost': is no address with a port",
        "log.format: value 'xml': is not known: write text or json",
        "log.level: value 'a=b=c': is no filter",
        "stroe: unknown key: did you mean 'store'?",
    ] {
        assert!(all.contains(expected), "no '{expected}' in\n{all}");
    }
    assert_eq!(mistakes.len(), 17, "{all}");
}

#[test]
fn what_contradicts_is_refused() {
    let folder = Folder::new();
    let cases = [
        (
            "rules: { default: { window: 1s, grace: 0s } }\nclock: { allowance: 1s }",
            "clock.allowance: value '1s'",
        ),
        ("rules: { default: { window: 367d } }", "is too long"),
        ("rules: { default: { window: 999ms } }", "is too short"),
        ("rules: { default: { window: 9s, proof_of_life: some } }", "proof_of_life: value 'some'"),
        (
            "rules: { default: { window: 9s }, match: [{ module: m }] }",
            "match[0].device: is missing",
        ),
        ("rules: { default: { window: 9s }, match: [{ device_is: '' }] }", "device_is: is empty"),
        ("rules: { default: { window: 9s }, match: [{ device: 'a\\' }] }", "escapes nothing"),
        (
            "rules: { default: { window: 9s }, match: { device: a } }",
            "a mapping where a list is expected",
        ),
        ("rules: []", "a list where keys with values are expected"),
        (
            "rules: { default: { window: 9s } }\nsinks: [{ name: s, type: webhook, url: 'https://u:p@h', secret_file: ops.whsec }]",
            "has a user or a password",
        ),
        (
            "rules: { default: { window: 9s } }\nsinks: [{ name: s, type: webhook, url: 'ftp://h', secret_file: ops.whsec }]",
            "neither https nor http",
        ),
        (
            "rules: { default: { window: 9s } }\nsinks: [{ name: s, type: webhook, url: 'https://h', secret_file: lab.uri }]",
            "does not begin with `whsec_`",
        ),
        (
            "rules: { default: { window: 9s } }\nsinks: [{ name: s, type: webhook, url: 'https://h', secret_file: ops.whsec, allow_cidrs: [10.0.0.0/99] }]",
            "is no list of address ranges",
        ),
    ];
    for (yaml, expected) in cases {
        let yaml = format!("sources: [{{ name: f, type: file, hub: h, path: '-' }}]\n{yaml}\n");
        let all = folder.mistakes(&yaml).join("\n");
        assert!(all.contains(expected), "no '{expected}' in '{all}' for\n{yaml}");
    }
}

#[test]
fn what_contradicts_in_a_source_is_refused() {
    let folder = Folder::new();
    let hub = "type: event_hubs, hub: h, connection_string_file: hub.connection";
    let lab = "type: amqp091, hub: h, uri_file: lab.uri, queue: q";
    let cases = [
        ("type: file, path: x".to_owned(), "hub: is missing"),
        ("type: file, path: x, hub: h, hub_property: p".to_owned(), "stands beside hub"),
        (format!("{hub}, proxy: 'http://h:1'"), "only with transport: websocket"),
        (format!("{hub}, transport: websocket, proxy: 'http://u:secretpw@h:1'"), "without user and password"),
        (format!("{hub}, auth: entra"), "token_file: is missing"),
        (format!("{hub}, token_file: entra.token"), "only with auth: entra"),
        (format!("{hub}, credit: 0"), "credit: value '0'"),
        (format!("{hub}, start: yesterday"), "neither a word that is known nor a time"),
        (format!("{hub}, queue: q"), "queue: unknown key: remove it; known here: "),
        (format!("{hub}, ca_file: lab.uri"), "holds no certificate"),
        ("type: event_hubs, hub: h, connection_string_file: lab.uri".to_owned(), "holds no connection string"),
        (format!("{lab}, start: latest"), "only a stream"),
        (format!("{lab}, event_time: stamps"), "event_time: value 'stamps': is not known"),
        (format!("{lab}, mapping: {{ module: {{ header: m }} }}"), "mapping.device: is missing"),
        (format!("{lab}, mapping: {{ device: {{ header: m, body: /m }} }}"), "names no place, or more than one"),
        (format!("{lab}, mapping: {{ device: {{ body: m }} }}"), "is no JSON pointer"),
        (format!("{lab}, mapping: {{ device: {{ header: m }}, event_time: {{ header: t }} }}"), "does not trust its publishers"),
        ("type: amqp10, hub: h, uri_file: hub.connection, address: a".to_owned(), "the file holds no URI"),
        ("type: amqp10, hub: h, uri_file: lab.uri, address: a, mapping: { device: { routing_key: 1 } }".to_owned(), "routing_key: unknown key"),
    ];
    for (source, expected) in cases {
        let yaml =
            format!("sources: [{{ name: s, {source} }}]\nrules: {{ default: {{ window: 60s }} }}");
        let all = folder.mistakes(&yaml).join("\n");
        assert!(all.contains(expected), "no '{expected}' in '{all}' for\n{yaml}");
        assert!(!all.contains("secretpw"), "{all}");
    }
}

#[test]
fn plaintext_to_another_machine_has_to_be_allowed() {
    let folder = Folder::new();
    folder.write("far.uri", "amqp://user:secretpw@broker.example/vhost");
    folder.write("near.uri", "amqp://user:secretpw@[::1]:5672/vhost");
    let with = |source: &str| {
        let source = format!("name: s, type: amqp091, hub: h, queue: q, {source}");
        format!("sources: [{{ {source} }}]\nrules: {{ default: {{ window: 60s }} }}")
    };
    let all = folder.mistakes(&with("uri_file: far.uri")).join("\n");
    assert!(all.contains("would send password and messages unencrypted"), "{all}");
    assert!(!all.contains("secretpw"), "{all}");
    for allowed in ["uri_file: far.uri, allow_plaintext: true", "uri_file: near.uri"] {
        assert!(folder.load(&with(allowed)).is_ok(), "{allowed}");
    }
}

#[test]
fn a_broken_file_a_missing_file_and_an_empty_file_are_mistakes_with_a_place() {
    let folder = Folder::new();
    assert!(folder.mistakes("sources: [")[0].starts_with("line "));
    let missing = Config::load(&folder.0.path().join("none.yaml")).err();
    assert!(missing.is_some_and(|errors| errors.to_string().contains("none.yaml")));
    let empty = folder.mistakes("").join("\n");
    assert!(empty.contains("sources: nothing to read from"), "{empty}");
    assert!(empty.contains("rules.default: is missing"), "{empty}");
}

#[test]
fn a_secret_file_that_others_can_read_and_a_fleet_without_sinks_are_warned_about() {
    let folder = Folder::new();
    let open = folder.write("open.whsec", WHSEC);
    fs::set_permissions(&open, fs::Permissions::from_mode(0o644)).expect("it is ours");
    let yaml =
        with("sinks: [{ name: s, type: webhook, url: 'https://h', secret_file: open.whsec }]");
    let loaded = folder.load(&yaml).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(loaded.warnings.len(), 1);
    assert!(loaded.warnings[0].contains("open.whsec can be read by others (mode 644)"));
    let loaded = folder.load(&with("")).unwrap_or_else(|e| panic!("{e}"));
    assert!(loaded.warnings[0].contains("nobody is told"));
}

#[test]
fn a_policy_that_may_do_everything_is_warned_about() {
    let folder = Folder::new();
    folder.write("hub.connection", &CONNECTION.replace("Name=n", "Name=RootManageSharedAccessKey"));
    let yaml = "sources: [{ name: h, type: event_hubs, hub: h, connection_string_file: hub.connection }]\n\
                rules: { default: { window: 60s } }";
    let loaded = folder.load(yaml).unwrap_or_else(|e| panic!("{e}"));
    assert!(loaded.warnings[0].contains("use one with Listen only"), "{:?}", loaded.warnings);
}

#[test]
fn the_api_is_off_unless_asked_for_and_listens_on_loopback_only() {
    let folder = Folder::new();
    assert_eq!(folder.config(&with("")).api, None);
    for (yaml, listen) in [
        ("api: {}", "127.0.0.1:8081"),
        ("api: { listen: 127.0.0.9:0 }", "127.0.0.9:0"),
        ("api: { listen: '[::1]:1' }", "[::1]:1"),
    ] {
        let listen = listen.parse().expect("an address");
        assert_eq!(folder.config(&with(yaml)).api, Some(ApiConfig { listen }));
    }
    for open in ["0.0.0.0:8081", "[::]:8081", "10.0.0.1:8081", "[::ffff:127.0.0.1]:1"] {
        let all = folder.mistakes(&with(&format!("api: {{ listen: '{open}' }}"))).join("\n");
        let expected = format!("api.listen: value '{open}': is no loopback address");
        assert!(all.contains(&expected) && all.contains("token"), "{all}");
    }
}

#[test]
fn more_sinks_than_are_watched_are_refused() {
    let folder = Folder::new();
    let sinks = |count: usize| {
        let sink = |n| {
            format!(
                "  - {{ name: s{n}, type: webhook, url: 'https://h', secret_file: ops.whsec }}\n"
            )
        };
        with(&format!("sinks:\n{}", (0..count).map(sink).collect::<String>()))
    };
    assert!(folder.load(&sinks(32)).is_ok());
    assert!(folder.mistakes(&sinks(33)).join("").contains("sinks: value '33': are too many sinks"));
}

#[test]
fn the_bridge_is_the_smallest_grace_unless_it_is_set_and_a_longer_one_is_warned_about() {
    let folder = Folder::new();
    let rules =
        "rules: { default: { window: 60s, grace: 20s }, match: [{ device: a, grace: 3s }] }";
    let source = "sources: [{ name: f, type: file, hub: h, path: '-' }]";
    let config = folder.config(&format!("{source}\n{rules}"));
    assert_eq!(config.clock.bridge_ms, 3_000);
    let yaml = format!("{source}\n{rules}\nclock: {{ bridge: 4s }}");
    let loaded = folder.load(&yaml).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(loaded.config.clock.bridge_ms, 4_000);
    assert!(loaded.warnings[0].starts_with("clock.bridge: "));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_secret_ever_appears_in_errors_warnings_or_debug(
        secret in "[A-Za-z0-9+/]{32}", broken in any::<bool>(), inline in 0..4_usize
    ) {
        let folder = Folder::new();
        let (begin, uri) = if broken { ("", "") } else { ("Endpoint=sb://h;SharedAccessKey=", "amqp://u:") };
        let in_uri: String = secret.replace(['/', '+'], "x");
        folder.write("hub.connection", &format!("{begin}{secret}"));
        folder.write("lab.uri", &format!("{uri}{in_uri}@host"));
        folder.write("queue.uri", &format!("{uri}{in_uri}@host"));
        folder.write("ops.whsec", &format!("{}{secret}", if broken { "" } else { "whsec_" }));
        folder.write("entra.token", &secret);
        let planted = [
            String::new(),
            format!("connection_string: '{begin}{secret}'\n"),
            format!("sinks: [{{ name: s, type: webhook, url: 'http://u:{in_uri}@h/{in_uri}', secret_file: whsec_{secret} }}]\n"),
            format!("log: {{ level: 'SharedAccessKey={secret}' }}\n"),
        ];
        let yaml = match inline {
            0 => EXAMPLE.to_owned(),
            other => format!("{EXAMPLE}{}", planted[other].replace("sinks", "sink")),
        };
        let shown = match folder.load(&yaml) {
            Ok(loaded) => format!("{loaded:?}"),
            Err(errors) => format!("{errors} {errors:?}"),
        };
        prop_assert!(!shown.contains(&secret) && !shown.contains(&in_uri), "{}", shown);
        let shown = format!("{:?}", folder.load(&with(&planted[inline])));
        prop_assert!(!shown.contains(&secret) && !shown.contains(&in_uri), "{}", shown);
    }

    #[test]
    fn no_text_makes_reading_fail_otherwise_than_with_mistakes(text in "\\PC{0,200}") {
        if let Ok(tree) = yaml::parse(&text) {
            let (result, _) = read(&tree, Path::new("/nonexistent"));
            prop_assert!(result.is_err_and(|problems| !problems.is_empty()));
        }
    }
}

#[test]
fn the_configuration_in_the_readme_is_one() {
    let folder = Folder::new();
    folder.write("ops.whsec", WHSEC);
    let readme = include_str!("../../README.md");
    let blocks: Vec<&str> = readme.split("```yaml\n").skip(1).collect();
    assert!(!blocks.is_empty());
    for block in blocks {
        let yaml = block.split("```").next().expect("the text before the end");
        assert_eq!(folder.mistakes(yaml), Vec::<String>::new(), "{yaml}");
    }
}
