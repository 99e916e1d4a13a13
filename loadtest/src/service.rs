//! The shipped program as a process, over two lives.

use std::fs::{File, Permissions};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use lastseen::clock;
use lastseen::devhub::receiver;
use lastseen::engine::Millis;
use secrecy::{ExposeSecret, SecretString};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::carrier::{SECRET_FILE, Source};
use crate::profile::Profile;
use crate::vitals::Vitals;

/// How long a start may take until the program is ready.
const READY_LIMIT_MS: Millis = 120_000;

const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How much of its log is shown if it fails.
const LOG_TAIL: usize = 2_000;

/// The program and its folder, until dropped.
pub(crate) struct Service {
    program: PathBuf,
    folder: TempDir,
    child: Option<Child>,
}

impl Service {
    /// Writes its configuration.
    pub(crate) fn set_up(
        program: &Path,
        profile: &Profile,
        source: &Source,
        webhook: SocketAddr,
        secret: &SecretString,
    ) -> anyhow::Result<Self> {
        ensure!(
            program.is_file(),
            "{} is not there: build it with `cargo build --release`, or name it with --bin",
            program.display()
        );
        let folder = tempfile::Builder::new().prefix("lastseen-load-").tempdir()?;
        let private = |name: &str, content: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, content)?;
            std::fs::set_permissions(&path, Permissions::from_mode(0o600))
        };
        private(SECRET_FILE, &source.secret)?;
        private("load.whsec", secret.expose_secret())?;
        private("lastseen.yaml", &configuration(profile, &source.entry, webhook))?;
        Ok(Self { program: program.to_owned(), folder, child: None })
    }

    /// Starts it and waits until it is ready. Says how long that took.
    pub(crate) async fn start(&mut self) -> anyhow::Result<Millis> {
        let began_ms = clock::boot_ms();
        let child = Command::new(&self.program)
            .arg("run")
            .arg("--config")
            .arg(self.folder.path().join("lastseen.yaml"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(self.log_file())?)
            .spawn()
            .with_context(|| format!("can't start {}", self.program.display()))?;
        self.child = Some(child);
        while !self.is_ready().await {
            self.check()?;
            if clock::boot_ms() - began_ms > READY_LIMIT_MS {
                bail!(
                    "the service is not ready after {READY_LIMIT_MS} ms; its log:\n{}",
                    self.log()
                );
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(clock::boot_ms() - began_ms)
    }

    /// Ends it without warning (SIGKILL).
    pub(crate) fn kill(&mut self) -> anyhow::Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// An error if it has ended by itself.
    pub(crate) fn check(&mut self) -> anyhow::Result<()> {
        if let Some(child) = self.child.as_mut()
            && let Some(status) = child.try_wait()?
        {
            bail!("the service ended by itself, {status}; its log:\n{}", self.log());
        }
        Ok(())
    }

    pub(crate) fn vitals(&self) -> anyhow::Result<Vitals> {
        Vitals::of(self.child.as_ref().context("the service does not run")?.id())
    }

    /// Bytes of messages that it could not read or deliver, with what it says about them.
    pub(crate) fn dead_letter_bytes(&self) -> u64 {
        bytes_below(&self.folder.path().join("data/dead-letters"))
    }

    async fn is_ready(&self) -> bool {
        let Some(address) = self.http() else {
            return false;
        };
        let asked = async {
            let mut stream = TcpStream::connect(address).await?;
            stream
                .write_all(b"GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
                .await?;
            let mut answer = Vec::new();
            stream.take(1_024).read_to_end(&mut answer).await?;
            Ok::<_, std::io::Error>(answer)
        };
        let answer = tokio::time::timeout(Duration::from_secs(2), asked).await;
        answer.is_ok_and(|answer| answer.is_ok_and(|text| text.starts_with(b"HTTP/1.1 200")))
    }

    /// Where it listens, as it says itself.
    fn http(&self) -> Option<SocketAddr> {
        let log = std::fs::read_to_string(self.log_file()).ok()?;
        let (_, rest) = log.split_once("ready to read http=")?;
        rest.split_whitespace().next()?.parse().ok()
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    fn log(&self) -> String {
        let log = std::fs::read_to_string(self.log_file()).unwrap_or_default();
        log[log.floor_char_boundary(log.len().saturating_sub(LOG_TAIL))..].to_owned()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // Nobody is left to tell if that fails.
        self.kill().ok();
    }
}

/// Of all files; a folder that is not there has none.
fn bytes_below(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(found) if found.is_dir() => bytes_below(&entry.path()),
        Ok(found) => found.len(),
        Err(_) => 0,
    });
    sizes.sum()
}

fn configuration(profile: &Profile, source: &str, webhook: SocketAddr) -> String {
    let Profile { window_ms, grace_ms, allowance_ms, .. } = profile;
    format!(
        "sources:
  - {source}
clock: {{ allowance: {allowance_ms}ms }}
rules:
  default: {{ window: {window_ms}ms, grace: {grace_ms}ms }}
sinks:
  - name: load
    type: webhook
    url: http://{webhook}{}
    secret_file: load.whsec
    allow_http: true
    allow_cidrs: [127.0.0.0/8]
store: {{ path: data }}
http: {{ listen: \"127.0.0.1:0\" }}
log: {{ level: info, format: text }}
",
        receiver::PATH
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_counted_through_all_folders_and_a_missing_one_has_none() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("ingest/old")).unwrap();
        std::fs::write(folder.path().join("ingest/old/0.jsonl"), "12345").unwrap();
        std::fs::write(folder.path().join("ingest/1.jsonl"), "678").unwrap();
        assert_eq!(bytes_below(folder.path()), 8);
        assert_eq!(bytes_below(&folder.path().join("delivery")), 0);
    }
}
