//! An Azurite (Microsoft's emulator of Azure Blob Storage) for one test binary: own port, in memory, loopback only.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses its own part of this")]
#![allow(clippy::expect_used, clippy::panic, reason = "a test without its store ends here")]

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Where `tests/parts/azurite.sh` puts it.
const MAIN: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/target/azurite/node_modules/azurite/dist/src/blob/main.js"
);
/// The account of every Azurite, and its key (<https://learn.microsoft.com/azure/storage/common/storage-use-azurite>).
pub const ACCOUNT: &str = "devstoreaccount1";
/// The published key.
pub const KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
/// A start takes 1 s on an idle machine and some on a loaded one.
const START_TIMEOUT: Duration = Duration::from_secs(120);
/// Ports that are tried, outside of those that the kernel gives to outgoing connections.
const PORTS: std::ops::Range<u16> = 20_000..60_000;

/// A running emulator. It ends with this, or with the process: its standard input closes then.
pub struct Azurite {
    port: u16,
    process: Child,
}

impl Azurite {
    /// Starts one and waits until it answers.
    pub async fn start() -> Self {
        Self::start_at(free_port()).await
    }

    /// The same at this port: for tests that run beside one another.
    pub async fn start_at(port: u16) -> Self {
        assert!(Path::new(MAIN).exists(), "Azurite is not installed: run tests/parts/azurite.sh");
        // The shell outlives a killed test, sees its input close, and ends what it started. Asked to end, an emulator would
        // wait for its clients.
        let script = "node \"$0\" --blobHost 127.0.0.1 --blobPort \"$1\" --inMemoryPersistence --silent \
                      --disableTelemetry --skipApiVersionCheck </dev/null & cat >/dev/null; kill -KILL \"$!\"; wait";
        let process = Command::new("setsid")
            .args(["sh", "-c", script, MAIN, &port.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell");
        let emulator = Self { port, process };
        let listens = async {
            while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        let is_there = tokio::time::timeout(START_TIMEOUT, listens).await.is_ok();
        assert!(is_there, "Azurite does not listen after {START_TIMEOUT:?}");
        emulator
    }

    /// Where it listens, on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Creates a container.
    pub async fn create_container(&self, name: &str) {
        let now = jiff::Timestamp::from_millisecond(lastseen::clock::wall().as_ms());
        let date = jiff::fmt::rfc2822::DateTimePrinter::new()
            .timestamp_to_rfc9110_string(&now.expect("a time of this age"))
            .expect("a date");
        let version = "2023-11-03";
        // Shared Key, https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key. The emulator's
        // path repeats the account.
        let to_sign = format!(
            "PUT\n\n\n\n\n\n\n\n\n\n\n\nx-ms-date:{date}\nx-ms-version:{version}\n\
             /{ACCOUNT}/{ACCOUNT}/{name}\nrestype:container"
        );
        let base64 = base64::engine::general_purpose::STANDARD;
        let key = base64.decode(KEY).expect("base64");
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("a key of any length");
        mac.update(to_sign.as_bytes());
        let signature = base64.encode(mac.finalize().into_bytes());
        let request = format!(
            "PUT /{ACCOUNT}/{name}?restype=container HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nConnection: close\r\n\
             Content-Length: 0\r\nx-ms-date: {date}\r\nx-ms-version: {version}\r\n\
             Authorization: SharedKey {ACCOUNT}:{signature}\r\n\r\n",
            self.port
        );
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await.expect("it listens");
        stream.write_all(request.as_bytes()).await.expect("the request is sent");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.expect("the answer is read");
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    }
}

impl Drop for Azurite {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

/// A port that nobody has and that the kernel gives to nobody in between.
fn free_port() -> u16 {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")
        .expect("Linux says which ports it gives away");
    let mut bounds = range.split_whitespace().map(|bound| bound.parse::<u16>().expect("a port"));
    let (low, high) = (bounds.next().expect("two bounds"), bounds.next().expect("two bounds"));
    let first = PORTS.start + u16::try_from(std::process::id() % 10_000).expect("it fits");
    (first..PORTS.end)
        .chain(PORTS.start..first)
        .filter(|port| !(low..=high).contains(port))
        .find(|&port| TcpListener::bind(("127.0.0.1", port)).is_ok())
        .expect("a free port outside the ephemeral range")
}
