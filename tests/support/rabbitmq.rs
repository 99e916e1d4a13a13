//! A RabbitMQ node for one test binary: own name, ports and folder, loopback only, stopped when the binary ends.
//!
//! ```ignore
//! #[path = "support/rabbitmq.rs"]
//! mod rabbitmq;
//! static NODE: tokio::sync::OnceCell<RabbitMq> = tokio::sync::OnceCell::const_new();
//! let node = NODE.get_or_init(RabbitMq::start).await;
//! ```
//!
//! Enabled: AMQP 0-9-1 (plain and TLS) and AMQP 1.0 on the same port, streams, management. User `guest`, password
//! `guest`.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses its own part of this")]
#![allow(clippy::expect_used, clippy::panic, reason = "a test without its broker ends here")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[path = "ports.rs"]
pub mod ports;

/// Where Debian keeps the scripts that don't change the user.
const BIN: &str = "/usr/lib/rabbitmq/bin";
/// A start takes 7 s on an idle machine and half a minute on a loaded one.
const START_TIMEOUT: Duration = Duration::from_secs(150);

/// A running node. Dropping it, or the end of the process, stops it and removes its folder.
pub struct RabbitMq {
    dir: PathBuf,
    ports: Ports,
    server: Mutex<Option<Child>>,
    watch: Child,
}

/// A node that stands still; it goes on when this is dropped.
pub struct Paused<'a> {
    node: &'a RabbitMq,
}

impl Drop for Paused<'_> {
    fn drop(&mut self) {
        self.node.send("-CONT");
    }
}

/// Where the node listens, all on 127.0.0.1.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    /// AMQP 0-9-1 and AMQP 1.0.
    pub amqp: u16,
    /// The same over TLS.
    pub tls: u16,
    /// Management over HTTP.
    pub management: u16,
    /// The stream protocol.
    pub stream: u16,
    distribution: u16,
    epmd: u16,
}

impl RabbitMq {
    /// Starts a node and waits until it answers.
    pub async fn start() -> Self {
        assert!(
            Path::new(BIN).join("rabbitmq-server").exists(),
            "RabbitMQ is not installed: run tests/parts/rabbitmq.sh"
        );
        let dir = tempfile::Builder::new()
            .prefix("lastseen-rabbitmq-")
            .tempdir()
            .expect("a temporary folder")
            .keep();
        let ports = Ports::pick();
        write_config(&dir, ports);
        let watch = Command::new("setsid")
            .arg("sh")
            .args(["-c", include_str!("rabbitmq_watch.sh"), "rabbitmq_watch"])
            .arg(&dir)
            .arg(ports.epmd.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the watch of the node");
        let node = Self { dir, ports, server: Mutex::new(None), watch };
        node.restart().await;
        node
    }

    /// Where it listens.
    pub fn ports(&self) -> Ports {
        self.ports
    }

    /// `amqp://` URI of the default virtual host.
    pub fn uri(&self) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}/%2f", self.ports.amqp)
    }

    /// `amqps://` URI of the default virtual host; the certificate is for `localhost` and is signed by [`Self::ca_file`].
    pub fn tls_uri(&self) -> String {
        format!("amqps://guest:guest@localhost:{}/%2f", self.ports.tls)
    }

    /// The certificate authority of the TLS listener (PEM).
    pub fn ca_file(&self) -> PathBuf {
        self.dir.join("ca.pem")
    }

    /// Ends the node without warning (`kill -9`). Durable data stays.
    pub fn kill(&self) {
        let mut server = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(mut script) = server.take() {
            // A node that never came up has no process id, and ends with the script that should have started it.
            if !self.send("-KILL") {
                let _ = script.kill();
            }
            // The script that started the node ends with it.
            let _ = script.wait();
        }
    }

    /// Starts the node again after [`Self::kill`], and waits until it answers.
    pub async fn restart(&self) {
        self.kill();
        let child = self.command("rabbitmq-server").spawn().expect("the node starts");
        *self.server.lock().unwrap_or_else(PoisonError::into_inner) = Some(child);
        if tokio::time::timeout(START_TIMEOUT, self.ready()).await.is_err() {
            let log = std::fs::read_to_string(self.dir.join("console")).unwrap_or_default();
            panic!("the node is not ready after {START_TIMEOUT:?}; its log:\n{log}");
        }
    }

    /// Stops the node where it is (`SIGSTOP`) until the guard is dropped: connections stay open, nothing answers.
    pub fn pause(&self) -> Paused<'_> {
        self.signal("-STOP");
        Paused { node: self }
    }

    /// Closes every client connection from the broker's side.
    pub fn close_all_connections(&self) {
        self.ctl(&["close_all_connections", "test"]);
    }

    /// Runs `rabbitmqctl`, and gives what it printed. Takes seconds on a loaded machine: [`Self::manage`] is faster.
    pub fn ctl(&self, arguments: &[&str]) -> String {
        let output = self
            .command("rabbitmqctl")
            .arg("--quiet")
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .output()
            .expect("rabbitmqctl runs");
        assert!(
            output.status.success(),
            "rabbitmqctl {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Asks the management API: the status code and the JSON body (null if there is none). `path` begins with `/api/`.
    pub async fn manage(
        &self,
        method: &str,
        path: &str,
        body: &serde_json::Value,
    ) -> (u16, serde_json::Value) {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let credentials = base64::engine::general_purpose::STANDARD.encode("guest:guest");
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Basic {credentials}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut stream = TcpStream::connect(("127.0.0.1", self.ports.management))
            .await
            .expect("the management port");
        stream.write_all(request.as_bytes()).await.expect("the request is sent");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.expect("the answer is read");
        let answer = String::from_utf8(answer).expect("an answer in UTF-8");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a complete answer");
        let status =
            head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status code");
        (status, serde_json::from_str(body).unwrap_or_default())
    }

    /// Signals the node itself, not the script that started it.
    fn signal(&self, signal: &str) {
        assert!(self.send(signal), "kill {signal}");
    }

    /// The same without a panic: whether there was a node that took it.
    fn send(&self, signal: &str) -> bool {
        let Ok(pid) = std::fs::read_to_string(self.dir.join("pid")) else { return false };
        let sent = Command::new("kill").args([signal, pid.trim()]).status();
        sent.is_ok_and(|status| status.success())
    }

    /// A script of RabbitMQ with the environment of this node only.
    fn command(&self, script: &str) -> Command {
        let console = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.dir.join("console"))
            .expect("the console file");
        let errors = console.try_clone().expect("the console file");
        let at = |name: &str| self.dir.join(name);
        let mut command = Command::new(Path::new(BIN).join(script));
        command
            .stdin(Stdio::null())
            .stdout(console)
            .stderr(errors)
            .current_dir(&self.dir)
            .env("HOME", at("home"))
            .env("RABBITMQ_CONF_ENV_FILE", at("env.conf"))
            .env("RABBITMQ_NODENAME", format!("t{}@localhost", self.ports.amqp))
            .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_NODE_PORT", self.ports.amqp.to_string())
            .env("RABBITMQ_DIST_PORT", self.ports.distribution.to_string())
            .env("RABBITMQ_MNESIA_BASE", at("mnesia"))
            .env("RABBITMQ_LOG_BASE", at("log"))
            .env("RABBITMQ_SCHEMA_DIR", at("schema"))
            .env("RABBITMQ_GENERATED_CONFIG_DIR", at("config"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", at("enabled_plugins"))
            .env("RABBITMQ_CONFIG_FILE", at("rabbitmq.conf"))
            .env("RABBITMQ_ADVANCED_CONFIG_FILE", at("advanced.config"))
            .env("RABBITMQ_PID_FILE", at("pid"))
            .env("ERL_EPMD_PORT", self.ports.epmd.to_string())
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            .env(
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
                "-kernel inet_dist_use_interface {127,0,0,1} +S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none",
            )
            .env(
                "RABBITMQ_CTL_ERL_ARGS",
                "-kernel inet_dist_use_interface {127,0,0,1} +S 1:1",
            );
        command
    }

    /// Waits until every listener is there and AMQP 0-9-1 answers.
    async fn ready(&self) {
        let all = [self.ports.tls, self.ports.management, self.ports.stream];
        while !self.answers().await {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        for port in all {
            while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }

    async fn answers(&self) -> bool {
        let exchange = async {
            let mut stream = TcpStream::connect(("127.0.0.1", self.ports.amqp)).await?;
            stream.write_all(b"AMQP\x00\x00\x09\x01").await?;
            stream.read_u8().await
        };
        tokio::time::timeout(Duration::from_secs(5), exchange)
            .await
            .is_ok_and(|first| first.is_ok_and(|octet| octet == 1))
    }
}

impl Drop for RabbitMq {
    fn drop(&mut self) {
        self.kill();
        drop(self.watch.stdin.take());
        let _ = self.watch.wait();
    }
}

impl Ports {
    /// Ports that stay ours while the node is down.
    fn pick() -> Self {
        let [amqp, tls, management, stream, distribution, epmd] =
            std::array::from_fn(|_| ports::reserve());
        Self { amqp, tls, management, stream, distribution, epmd }
    }
}

/// Writes what the node reads at its start.
fn write_config(dir: &Path, ports: Ports) {
    let write = |name: &str, content: &str| {
        std::fs::write(dir.join(name), content).expect("the node's folder takes files");
    };
    std::fs::create_dir(dir.join("home")).expect("the node's home");
    write("env.conf", "");
    write("enabled_plugins", "[rabbitmq_management,rabbitmq_amqp1_0,rabbitmq_stream].\n");
    write_certificates(&write);
    let Ports { amqp, tls, management, stream, .. } = ports;
    let files = dir.display();
    write(
        "rabbitmq.conf",
        &format!(
            "listeners.tcp.1 = 127.0.0.1:{amqp}\n\
             listeners.ssl.1 = 127.0.0.1:{tls}\n\
             ssl_options.cacertfile = {files}/ca.pem\n\
             ssl_options.certfile = {files}/node.pem\n\
             ssl_options.keyfile = {files}/node.key\n\
             ssl_options.verify = verify_none\n\
             management.tcp.ip = 127.0.0.1\n\
             management.tcp.port = {management}\n\
             stream.listeners.tcp.1 = 127.0.0.1:{stream}\n\
             log.console = false\n\
             vm_memory_high_watermark.absolute = 1GB\n\
             disk_free_limit.absolute = 50MB\n"
        ),
    );
}

/// An authority of its own, and a certificate for `localhost` signed by it.
fn write_certificates(write: &impl Fn(&str, &str)) {
    let authority_key = rcgen::KeyPair::generate().expect("a key");
    let mut parameters =
        rcgen::CertificateParams::new(Vec::<String>::new()).expect("parameters of the authority");
    parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    parameters.distinguished_name.push(rcgen::DnType::CommonName, "lastseen test authority");
    let authority = parameters.self_signed(&authority_key).expect("the authority's certificate");
    let issuer = rcgen::Issuer::from_params(&parameters, &authority_key);
    let key = rcgen::KeyPair::generate().expect("a key");
    let node = rcgen::CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()])
        .and_then(|parameters| parameters.signed_by(&key, &issuer))
        .expect("the node's certificate");
    write("ca.pem", &authority.pem());
    write("node.pem", &node.pem());
    write("node.key", &key.serialize_pem());
}
