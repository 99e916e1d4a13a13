//! Runs the shipped program as a process, with one folder over all its lives, and ends it in every way there is.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use super::eventually;

/// The variable that names the point at which the program ends itself, and at which passing.
const FAILPOINT: &str = "LASTSEEN_FAILPOINT";
/// How much of the log is shown on failure.
const LOG_TAIL: usize = 6_000;
/// What `kill -9` and `abort` leave as the signal that ended the process.
const SIGKILL: i32 = 9;
pub(crate) const SIGABRT: i32 = 6;

/// A signal that is sent by hand.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Signal {
    Term,
    Stop,
    Continue,
}

/// The program and its folder.
pub(crate) struct Supervisor {
    folder: tempfile::TempDir,
    child: Option<Child>,
    launches: u64,
    environment: Vec<(String, String)>,
}

impl Supervisor {
    /// `files` are secrets that the configuration names. Nothing is started.
    pub(crate) fn new(yaml: &str, files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in files {
            let path = folder.path().join(name);
            std::fs::write(&path, content).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        }
        std::fs::write(folder.path().join("lastseen.yaml"), yaml).unwrap();
        Self { folder, child: None, launches: 0, environment: Vec::new() }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Sets a variable of the environment for all launches to come.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    pub(crate) fn launch(&mut self) {
        self.launch_with(None);
    }

    /// Starts it so that it aborts at the `passing`-th passing of a named point.
    pub(crate) fn launch_to_abort_at(&mut self, point: &str, passing: i64) {
        self.launch_with(Some(format!("{point}:{passing}")));
    }

    fn launch_with(&mut self, failpoint: Option<String>) {
        assert!(self.child.is_none(), "it runs already");
        self.launches += 1;
        let log = std::fs::File::create(self.log_file()).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_lastseen"));
        command
            .arg("run")
            .arg("--config")
            .arg(self.folder().join("lastseen.yaml"))
            .envs(self.environment.iter().cloned())
            .env_remove(FAILPOINT)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        if let Some(failpoint) = failpoint {
            command.env(FAILPOINT, failpoint);
        }
        self.child = Some(command.spawn().unwrap());
    }

    /// Of the last two lives, so that a long campaign does not fill the disk.
    fn log_file(&self) -> PathBuf {
        self.folder().join(format!("log-{}", self.launches % 2))
    }

    /// Ends it without warning.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            let status = child.wait().unwrap();
            assert_eq!(status.signal(), Some(SIGKILL), "it had ended by itself: {}", self.log());
        }
    }

    /// Ends it while it ends by itself: which of the two comes first is not known.
    pub(crate) fn kill_while_it_ends(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            let status = child.wait().unwrap();
            let is_expected = status.success() || status.signal() == Some(SIGKILL);
            assert!(is_expected, "it ended with {status}: {}", self.log());
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let name = match signal {
            Signal::Term => "-TERM",
            Signal::Stop => "-STOP",
            Signal::Continue => "-CONT",
        };
        let pid = self.child.as_ref().expect("it runs").id().to_string();
        let sent = Command::new("kill").args([name, &pid]).status().unwrap();
        assert!(sent.success(), "kill {name}");
    }

    /// How it ended, if it did by itself. Then it is not running any more.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.child.as_mut()?.try_wait().unwrap()?;
        self.child = None;
        Some(status)
    }

    pub(crate) fn is_running(&self) -> bool {
        self.child.is_some()
    }

    /// Fails if it ended by itself.
    pub(crate) fn assert_running(&mut self) {
        if let Some(status) = self.ended() {
            panic!("the program ended by itself, {status}; its log:\n{}", self.log());
        }
    }

    /// Asks it to end and waits.
    pub(crate) async fn terminate(&mut self, limit: Duration) -> ExitStatus {
        self.signal(Signal::Term);
        let mut status = None;
        eventually("the program ends after SIGTERM", limit, || {
            status = self.ended();
            status.is_some()
        })
        .await;
        status.unwrap()
    }

    /// Where it serves health and metrics, as it says itself.
    fn http(&self) -> Option<SocketAddr> {
        let log = std::fs::read_to_string(self.log_file()).ok()?;
        let (_, rest) = log.split_once("ready to read http=")?;
        rest.split_whitespace().next()?.parse().ok()
    }

    /// The answer to a GET, or nothing.
    pub(crate) fn get(&self, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect_timeout(&self.http()?, Duration::from_secs(2)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.get("/readyz").is_some_and(|answer| answer.starts_with("HTTP/1.1 200"))
    }

    /// The end of what it logged in this life.
    pub(crate) fn log(&self) -> String {
        let log = std::fs::read_to_string(self.log_file()).unwrap_or_default();
        log[log.floor_char_boundary(log.len().saturating_sub(LOG_TAIL))..].to_owned()
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().ok();
            child.wait().ok();
        }
    }
}
