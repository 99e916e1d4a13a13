//! `lastseen run` as a process, with a configuration like the README's.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::rabbitmq::ports;
use super::receiver::{Receiver, SECRET};
use super::{GRACE_MS, WINDOW_MS, eventually};

pub(crate) struct Program {
    child: Child,
    pub(crate) http: SocketAddr,
    folder: tempfile::TempDir,
}

/// A source of the configuration, and the secret file it needs: name and content.
pub(crate) struct Source {
    pub(crate) yaml: String,
    pub(crate) secret: (String, String),
}

/// `store.url`, and the content of `store.options_file`.
pub(crate) struct ObjectStore {
    pub(crate) url: String,
    pub(crate) options: String,
}

impl Source {
    pub(crate) fn event_hub(name: &str, connection_string: &str) -> Self {
        let file = format!("{name}.connection");
        Self {
            yaml: format!(
                "  - {{ name: {name}, type: event_hubs, hub: example-hub, connection_string_file: {file}, consumer_group: $Default, start: earliest }}\n"
            ),
            secret: (file, connection_string.to_owned()),
        }
    }

    pub(crate) fn rabbit(name: &str, uri: &str, settings: &str) -> Self {
        let file = format!("{name}.uri");
        Self {
            yaml: format!(
                "  - {{ name: {name}, type: amqp091, hub: {name}, uri_file: {file}, {settings} }}\n"
            ),
            secret: (file, uri.to_owned()),
        }
    }
}

impl Program {
    /// Starts it and waits until it says that it is ready.
    pub(crate) async fn start(sources: &[Source], receiver: &Receiver) -> Self {
        Self::start_with(sources, receiver, "").await
    }

    /// The same with more lines of configuration.
    pub(crate) async fn start_with(sources: &[Source], receiver: &Receiver, more: &str) -> Self {
        let program = Self::launch_with(sources, receiver, more);
        eventually("the service is ready", 60, || {
            program.get("/readyz").starts_with("HTTP/1.1 200")
        })
        .await;
        program
    }

    pub(crate) fn launch(sources: &[Source], receiver: &Receiver) -> Self {
        Self::launch_with(sources, receiver, "")
    }

    fn launch_with(sources: &[Source], receiver: &Receiver, more: &str) -> Self {
        Self::launch_on(sources, receiver, None, more)
    }

    /// Keeps its journals in an object store, of which these are the options.
    pub(crate) async fn start_over(
        sources: &[Source],
        receiver: &Receiver,
        store: &ObjectStore,
    ) -> Self {
        let program = Self::launch_over(sources, receiver, Some(store));
        eventually("the service is ready", 60, || {
            program.get("/readyz").starts_with("HTTP/1.1 200")
        })
        .await;
        program
    }

    pub(crate) fn launch_over(
        sources: &[Source],
        receiver: &Receiver,
        store: Option<&ObjectStore>,
    ) -> Self {
        Self::launch_on(sources, receiver, store, "")
    }

    fn launch_on(
        sources: &[Source],
        receiver: &Receiver,
        store: Option<&ObjectStore>,
        more: &str,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let http = SocketAddr::from(([127, 0, 0, 1], ports::reserve()));
        write_secret(folder.path(), "ops.whsec", SECRET);
        for Source { secret: (file, content), .. } in sources {
            write_secret(folder.path(), file, content);
        }
        let mut place = "path: ./data".to_owned();
        if let Some(ObjectStore { url, options }) = store {
            write_secret(folder.path(), "store.options", options);
            place += &format!(", url: {url}, options_file: store.options");
        }
        let yaml = configuration(sources, &receiver.url, http, &place) + more;
        let path = folder.path().join("lastseen.yaml");
        std::fs::write(&path, yaml).unwrap();
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_lastseen"))
            .arg("run")
            .arg("--config")
            .arg(&path)
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Self { child, http, folder }
    }

    /// The whole answer to a GET, as text.
    pub(crate) fn get(&self, path: &str) -> String {
        let mut answer = String::new();
        if let Ok(mut stream) = TcpStream::connect_timeout(&self.http, Duration::from_secs(5)) {
            stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
            let read = stream
                .write_all(request.as_bytes())
                .and_then(|()| stream.read_to_string(&mut answer));
            if read.is_err() {
                answer.clear();
            }
        }
        answer
    }

    /// The sum of all samples of a metric.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let text = self.get("/metrics");
        let samples = text.lines().filter(|line| {
            line.strip_prefix(name)
                .is_some_and(|rest| rest.starts_with('{') || rest.starts_with(' '))
        });
        samples.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// Sends it a signal, such as `STOP`.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args([&format!("-{name}"), &pid]).status().unwrap();
        assert!(sent.success());
    }

    /// Sends SIGTERM and waits for the exit code.
    pub(crate) async fn terminate(&mut self, limit: Duration) -> Option<i32> {
        self.signal("TERM");
        let mut code = None;
        eventually("the program ends", limit.as_secs(), || {
            code = self.child.try_wait().unwrap().map(|status| status.code());
            code.is_some()
        })
        .await;
        code.flatten()
    }

    /// Ends it as a crash does.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Its exit code, if it has ended by itself.
    pub(crate) fn ended(&mut self) -> Option<Option<i32>> {
        self.child.try_wait().unwrap().map(|status| status.code())
    }

    /// What it logged, for the message of a failed assertion.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    pub(crate) fn dead_letters(&self) -> String {
        let mut all = String::new();
        let folder = self.folder.path().join("data/dead-letters/ingest");
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            all += &std::fs::read_to_string(entry.path()).unwrap_or_default();
        }
        all
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("log of the program:\n{}", self.log());
        }
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn write_secret(folder: &Path, name: &str, content: &str) {
    let path = folder.join(name);
    std::fs::write(&path, content).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

fn configuration(sources: &[Source], url: &str, http: SocketAddr, store: &str) -> String {
    let sources: String = sources.iter().map(|source| source.yaml.as_str()).collect();
    format!(
        "sources:
{sources}clock: {{ allowance: 1s, tick: 100ms, bridge: 1s }}
rules:
  default: {{ window: {WINDOW_MS}ms, grace: {GRACE_MS}ms, first_window: 4s, proof_of_life: any }}
  match:
    - {{ device: \"gw-*\", module: \"sensor\", window: {WINDOW_MS}ms, grace: {GRACE_MS}ms }}
sinks:
  - name: ops
    type: webhook
    url: {url}
    secret_file: ops.whsec
    allow_http: true
    allow_cidrs: [127.0.0.0/8]
store: {{ {store} }}
http: {{ listen: \"{http}\" }}
log: {{ level: info, format: text }}
"
    )
}
