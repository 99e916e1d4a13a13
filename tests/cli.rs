//! The binary as a person or an orchestrator meets it.
#![expect(clippy::expect_used, reason = "helpers of tests fail as tests do")]

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use tokio::time::{sleep, timeout};

fn lastseen(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_lastseen")).args(arguments).output().expect("the binary runs")
}

#[test]
fn wrong_configuration_exits_with_64_and_tells_every_mistake_once_without_the_secret() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("lastseen.yaml");
    let yaml = "sources: [{ name: a, type: file, hub: h, pth: x }]\n\
                rules: { default: { window: 60 } }\n\
                connection_string: SharedAccessKey=s3cr3t\n";
    std::fs::write(&path, yaml).expect("writable");
    let output = lastseen(&["run", "--config", path.to_str().expect("UTF-8")]);
    let errors = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(64), "{errors}");
    assert!(output.stdout.is_empty());
    for expected in [
        "has 4 mistakes; nothing was started",
        "sources[0].path: is missing",
        "sources[0].pth: unknown key: did you mean 'path'?",
        "rules.default.window: value '60': a duration needs a unit",
        "connection_string: unknown key",
    ] {
        assert_eq!(errors.matches(expected).count(), 1, "'{expected}' in\n{errors}");
    }
    assert!(!errors.contains("s3cr3t"), "{errors}");
}

#[test]
fn help_and_version_go_to_standard_output() {
    let help = lastseen(&["--help"]);
    assert_eq!(help.status.code(), Some(0));
    let text = String::from_utf8(help.stdout).expect("UTF-8");
    assert!(text.contains("lastseen demo") && text.contains("Exit status"), "{text}");
    let version = lastseen(&["--version"]);
    let expected = format!("lastseen {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(version.stdout, expected.as_bytes());
}

#[test]
fn wrong_arguments_exit_with_2() {
    assert_eq!(lastseen(&["run"]).status.code(), Some(2));
    assert_eq!(lastseen(&["demo", "--interval", "5"]).status.code(), Some(2));
}

/// A service that reads standard input, and where it listens.
fn serve(folder: &Path) -> (Child, PathBuf) {
    let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = free.local_addr().expect("it is bound");
    drop(free);
    let path = folder.join("lastseen.yaml");
    let yaml = format!(
        "sources: [{{ name: a, type: file, hub: h, path: '-' }}]\n\
         rules: {{ default: {{ window: 60s }} }}\nhttp: {{ listen: '{address}' }}\n"
    );
    std::fs::write(&path, yaml).expect("writable");
    let process = Command::new(env!("CARGO_BIN_EXE_lastseen"))
        .args(["run", "--config", path.to_str().expect("UTF-8")])
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary runs");
    (process, path)
}

#[tokio::test]
async fn health_tells_a_service_that_runs_from_one_that_does_not_in_one_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut process, path) = serve(folder.path());
    let path = path.to_str().expect("UTF-8");
    let ask = |more: &[&str]| {
        let output = lastseen(&[&["health", "--config", path], more].concat());
        assert!(output.stderr.is_empty(), "{output:?}");
        (output.status.code(), String::from_utf8(output.stdout).expect("UTF-8"))
    };
    let well = timeout(Duration::from_secs(30), async {
        while ask(&[]).0 != Some(0) {
            sleep(Duration::from_millis(20)).await;
        }
        while ask(&["--ready"]).0 != Some(0) {
            sleep(Duration::from_millis(20)).await;
        }
        (ask(&[]), ask(&["--ready"]))
    });
    let well = well.await;
    process.kill().expect("it is our child");
    process.wait().expect("it ends");
    let ((alive, alive_line), (ready, ready_line)) = well.expect("it starts");
    assert_eq!((alive, ready), (Some(0), Some(0)));
    assert!(alive_line.starts_with("alive: http://127.0.0.1:"), "{alive_line}");
    assert!(ready_line.starts_with("ready: http://127.0.0.1:"), "{ready_line}");
    let (gone, line) = ask(&[]);
    assert_eq!(gone, Some(1));
    assert!(line.starts_with("no answer from http://127.0.0.1:"), "{line}");
    assert_eq!(line.lines().count(), 1, "{line}");
}

#[tokio::test]
async fn health_waits_no_longer_than_it_is_told_to() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}/livez", silent.local_addr().expect("it is bound"));
    let output = lastseen(&["health", "--url", &url, "--timeout", "50ms"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(output.stdout, format!("no answer from {url} within 50ms\n").as_bytes());
}

/// `SIGINT` and `SIGTERM` in the masks of `/proc/PID/status` (bit n-1 is signal n).
const END_SIGNALS: u64 = 1 << 1 | 1 << 14;

/// Whether the process handles the signals that ask it to end.
fn handles_end_signals(process: &Child) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.id()));
    let status = status.unwrap_or_default();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let mask = caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & END_SIGNALS == END_SIGNALS)
}

#[tokio::test]
async fn sigterm_ends_it_in_order_although_standard_input_stays_open() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("lastseen.yaml");
    let yaml = "sources: [{ name: a, type: file, hub: h, path: '-' }]\n\
                rules: { default: { window: 60s } }\nhttp: { listen: '127.0.0.1:0' }\n";
    std::fs::write(&path, yaml).expect("writable");
    let mut process = Command::new(env!("CARGO_BIN_EXE_lastseen"))
        .args(["run", "--config", path.to_str().expect("UTF-8")])
        .stdin(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let _open_input = process.stdin.take();
    let ended = timeout(Duration::from_secs(30), async {
        while !handles_end_signals(&process) {
            sleep(Duration::from_millis(10)).await;
        }
        let pid = process.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status();
        assert!(sent.expect("kill runs").success());
        loop {
            if let Some(status) = process.try_wait().expect("it is our child") {
                return status;
            }
            sleep(Duration::from_millis(10)).await;
        }
    });
    let status = match ended.await {
        Ok(status) => status,
        Err(_) => {
            process.kill().expect("it is our child");
            panic!("it did not end")
        }
    };
    assert_eq!(status.code(), Some(0));
}
