//! A message that ends the process: the shipped program dies of it, twice, and then goes on without it.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

/// 2026-01-01T00:00:00Z.
const MIDNIGHT_MS: i64 = 1_767_225_600_000;
const DEADLINE: Duration = Duration::from_secs(60);
const POISON: &str = "poison";
/// Of each recording; more than one batch.
const MESSAGES: i64 = 1_200;
const SIGABRT: i32 = 6;

fn beat(device: &str, sequence: i64) -> String {
    let at_ms = MIDNIGHT_MS + sequence * 100;
    let annotations = json!({
        "x-opt-sequence-number": sequence, "x-opt-enqueued-time": at_ms,
        "iothub-connection-device-id": device, "iothub-enqueuedtime": at_ms,
        "iothub-message-source": "Telemetry",
    });
    json!({ "messageAnnotations": annotations, "body": {} }).to_string() + "\n"
}

/// Heartbeats of 40 devices, and the poison at these places.
fn recording(poison_at: &[i64]) -> String {
    let line = |n: i64| {
        let device = format!("pump-{}", n % 40);
        beat(if poison_at.contains(&n) { POISON } else { &device }, n)
    };
    (1..=MESSAGES).map(line).collect()
}

struct Folder {
    folder: tempfile::TempDir,
    http: SocketAddr,
}

impl Folder {
    fn new(poison_at: &[i64]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let http = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        fs::write(folder.path().join("bad.jsonl"), recording(poison_at)).unwrap();
        fs::write(folder.path().join("good.jsonl"), recording(&[])).unwrap();
        let yaml = format!(
            "sources:
  - {{ name: bad, type: file, hub: h, path: bad.jsonl }}
  - {{ name: good, type: file, hub: h, path: good.jsonl }}
rules: {{ default: {{ window: 60s, grace: 10s }} }}
http: {{ listen: \"{http}\" }}
"
        );
        fs::write(folder.path().join("lastseen.yaml"), yaml).unwrap();
        Self { folder, http }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn start(&self) -> Child {
        let log =
            fs::OpenOptions::new().create(true).append(true).open(self.path().join("log")).unwrap();
        Command::new(env!("CARGO_BIN_EXE_lastseen"))
            .args(["run", "--config"])
            .arg(self.path().join("lastseen.yaml"))
            .env("LASTSEEN_FAILMESSAGE", POISON)
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap()
    }

    /// Until it has died of the message.
    fn dies(&self) {
        let status = self.start().wait().unwrap();
        assert_eq!(status.signal(), Some(SIGABRT), "{}", self.log());
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path().join("log")).unwrap_or_default()
    }

    /// The value of a sample of a metric.
    fn metric(&self, sample: &str) -> i64 {
        let mut answer = String::new();
        if let Ok(mut stream) = TcpStream::connect(self.http) {
            let request = "GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
            let asked = stream.write_all(request.as_bytes());
            let _gone = asked.and_then(|()| stream.read_to_string(&mut answer));
        }
        let value = answer.lines().find_map(|line| line.strip_prefix(sample)?.trim().parse().ok());
        value.unwrap_or(0)
    }

    fn letters(&self) -> Vec<Value> {
        let folder = fs::read_dir(self.path().join("data/dead-letters/ingest")).unwrap();
        let texts = folder.map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap());
        let all: String = texts.collect();
        all.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

struct Running<'a>(Child, &'a Folder);

impl Running<'_> {
    async fn eventually(&mut self, what: &str, holds: impl Fn() -> bool) {
        let begun = tokio::time::Instant::now();
        while !holds() {
            let ended = self.0.try_wait().unwrap();
            assert_eq!(ended, None, "{what}: it ended: {}", self.1.log());
            assert!(begun.elapsed() < DEADLINE, "{what}: {}", self.1.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn read_of(source: &str) -> String {
    format!("lastseen_messages_total{{source=\"{source}\",kind=\"signal\"}}")
}

#[tokio::test]
async fn a_message_that_ends_the_process_is_in_the_dead_letters_after_two_restarts_and_all_others_are_read()
 {
    let folder = Folder::new(&[700]);
    folder.dies();
    folder.dies();
    let mut running = Running(folder.start(), &folder);
    running
        .eventually("everything else is read", || {
            folder.metric(&read_of("bad")) == MESSAGES - 1
                && folder.metric(&read_of("good")) == MESSAGES
        })
        .await;
    let rejected = "lastseen_rejected_messages_total{source=\"bad\",reason=\"ended_process\"}";
    running.eventually("it is counted", || folder.metric(rejected) == 1).await;
    running.eventually("it is kept", || folder.letters().len() == 1).await;
    let letters = folder.letters();
    assert_eq!(letters[0]["sequence"], 700);
    assert_eq!(letters[0]["source"], "bad");
    assert_eq!(letters[0]["reason"], "ended_process");
    assert_eq!(letters[0]["original_bytes"], beat(POISON, 700).len() - 1);
}

#[tokio::test]
async fn a_second_such_message_costs_two_more_restarts_at_most() {
    let folder = Folder::new(&[3, 5]);
    folder.dies();
    folder.dies();
    // Both were suspected by the first death, so that the second one is alone already.
    folder.dies();
    let mut running = Running(folder.start(), &folder);
    running
        .eventually("everything else is read", || {
            folder.metric(&read_of("bad")) == MESSAGES - 2
                && folder.metric(&read_of("good")) == MESSAGES
        })
        .await;
    let reasons: Vec<_> =
        folder.letters().iter().map(|letter| letter["sequence"].as_i64()).collect();
    assert!(reasons.contains(&Some(3)) && reasons.contains(&Some(5)), "{reasons:?}");
}
