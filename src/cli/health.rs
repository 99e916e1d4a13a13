//! `lastseen health`: asks the listener of a running `lastseen`, for machines that have neither shell nor curl.

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use clap::Args;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio::time::timeout;
use url::{Host, Position, Url};

use crate::config::{HttpConfig, parse_duration};
use crate::engine::Millis;

/// Where `lastseen` listens if its configuration does not say otherwise.
const DEFAULT_AUTHORITY: &str = "127.0.0.1:8080";
/// Room for a reason a source and partition; the rest of a longer answer is not read.
const MAX_BODY_BYTES: usize = 64 * 1024;
/// Container engines keep the first 4 KiB of what a check prints.
const MAX_LINE_CHARS: usize = 1_000;

/// Arguments of `lastseen health`.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
#[command(
    about = "Ask a running lastseen whether it is alive, or ready",
    long_about = "Ask a running lastseen whether it is alive, or ready.

It asks /livez, or with --ready /readyz, on the listener of the configuration, prints one line and ends. It needs no \
shell and no secret, and reads nothing of the configuration but http.listen.",
    after_help = "Examples:
  lastseen health --config /etc/lastseen/lastseen.yaml
  lastseen health --url http://127.0.0.1:8080/readyz --timeout 5s

Exit status: 0 well; 1 not well, no answer, or the question could not be asked; 2 wrong arguments."
)]
pub struct HealthArgs {
    /// The configuration of the lastseen that is asked; without it and --url: 127.0.0.1:8080
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// What to ask instead: a http:// URL
    #[arg(long, value_name = "URL", conflicts_with_all = ["config", "ready"])]
    pub url: Option<Url>,
    /// Ask whether every source is attached and has caught up, not only whether the process runs
    #[arg(long)]
    pub ready: bool,
    /// How long the answer may take
    #[arg(long = "timeout", value_name = "D", default_value = "2s", value_parser = time_limit)]
    pub timeout_ms: Millis,
}

fn time_limit(text: &str) -> Result<Millis, String> {
    match parse_duration(text) {
        Ok(ms @ 1..=60_000) => Ok(ms),
        Ok(_) => Err("write 1ms to 60s".to_owned()),
        Err(error) => Err(format!("{error}: write for example 500ms or 2s")),
    }
}

/// Asks, prints one line, and says by the exit code whether all is well.
pub async fn run(args: HealthArgs) -> anyhow::Result<ExitCode> {
    let url = target(&args)?;
    let limit = Duration::from_millis(args.timeout_ms.unsigned_abs());
    let finding = match timeout(limit, ask(&url)).await {
        Ok(Ok((status, body))) => judge(&url, status, &body),
        Ok(Err(error)) => Finding::ill(format!("no answer from {}: {error:#}", shown(&url))),
        Err(_) => Finding::ill(format!("no answer from {} within {limit:?}", shown(&url))),
    };
    writeln!(io::stdout(), "{}", finding.line).context("can't write the answer")?;
    Ok(if finding.is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What was found out.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    is_well: bool,
    line: String,
}

impl Finding {
    fn well(line: String) -> Self {
        Self { is_well: true, line }
    }

    /// Control characters, of which an answer might be full, become spaces.
    fn ill(line: String) -> Self {
        let printable = line.chars().map(|c| if c.is_control() { ' ' } else { c });
        Self { is_well: false, line: printable.take(MAX_LINE_CHARS).collect() }
    }
}

fn target(args: &HealthArgs) -> anyhow::Result<Url> {
    if let Some(url) = &args.url {
        if url.scheme() != "http" {
            bail!("--url: the listener speaks plain HTTP only: write http://ADDRESS:PORT/livez");
        }
        return Ok(url.clone());
    }
    let authority = match &args.config {
        Some(path) => authority(path)?,
        None => DEFAULT_AUTHORITY.to_owned(),
    };
    let path = if args.ready { "readyz" } else { "livez" };
    Ok(Url::parse(&format!("http://{authority}/{path}"))?)
}

/// The configured listener as this machine reaches it: one on all addresses is asked on the loopback.
fn authority(path: &Path) -> anyhow::Result<String> {
    let mut listen = HttpConfig::load(path)?.listen;
    if listen.port() == 0 {
        bail!(
            "http.listen has port 0, so the system chose one: ask with --url what the log says behind http="
        );
    }
    match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => listen.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => listen.set_ip(Ipv6Addr::LOCALHOST.into()),
        IpAddr::V4(_) | IpAddr::V6(_) => {}
    }
    Ok(listen.to_string())
}

async fn ask(url: &Url) -> anyhow::Result<(StatusCode, Bytes)> {
    let stream = dial(url).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::get(&url[Position::BeforePath..Position::AfterQuery])
        .header(header::HOST, &url[Position::BeforeHost..Position::AfterPort])
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())?;
    let answer = async {
        let (head, body) = sender.send_request(request).await?.into_parts();
        let body = Limited::new(body, MAX_BODY_BYTES).collect().await;
        // A body that breaks off or is too long says nothing, but the status is there.
        Ok((head.status, body.map_or_else(|_| Bytes::new(), |body| body.to_bytes())))
    };
    let driven = async {
        let _ended = connection.await;
        std::future::pending::<std::convert::Infallible>().await
    };
    tokio::select! {
        answer = answer => answer,
        never = driven => match never {},
    }
}

async fn dial(url: &Url) -> io::Result<TcpStream> {
    let port = url.port_or_known_default().unwrap_or(80);
    match url.host() {
        Some(Host::Domain(name)) => TcpStream::connect((name, port)).await,
        Some(Host::Ipv4(ip)) => TcpStream::connect((ip, port)).await,
        Some(Host::Ipv6(ip)) => TcpStream::connect((ip, port)).await,
        None => Err(io::Error::new(io::ErrorKind::InvalidInput, "the URL has no host")),
    }
}

/// The body of `/readyz`.
#[derive(Deserialize)]
struct Reasons {
    reasons: Vec<String>,
}

fn judge(url: &Url, status: StatusCode, body: &[u8]) -> Finding {
    let shown = shown(url);
    if status == StatusCode::OK {
        let word = if url.path() == "/readyz" { "ready" } else { "alive" };
        return Finding::well(format!("{word}: {shown} answered 200"));
    }
    match serde_json::from_slice::<Reasons>(body) {
        Ok(Reasons { reasons }) if status == StatusCode::SERVICE_UNAVAILABLE => {
            Finding::ill(format!("not ready: {}", reasons.join("; ")))
        }
        Ok(_) | Err(_) => Finding::ill(format!(
            "not well: {shown} answered {}: is that the listener of lastseen?",
            status.as_u16()
        )),
    }
}

/// Without a query, which is nobody's business.
fn shown(url: &Url) -> &str {
    &url[..Position::AfterPath]
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    fn args(listen: &str, folder: &Path) -> HealthArgs {
        let config = folder.join("lastseen.yaml");
        let yaml = format!(
            "sources: [{{ connection_string_file: none }}]\nhttp: {{ listen: '{listen}' }}\n"
        );
        std::fs::write(&config, yaml).expect("writable");
        HealthArgs { config: Some(config), url: None, ready: true, timeout_ms: 2_000 }
    }

    #[test]
    fn a_listener_on_all_addresses_is_asked_on_the_loopback_and_no_secret_is_read() {
        let folder = tempfile::tempdir().expect("a folder");
        for (listen, expected) in [
            ("0.0.0.0:8080", "http://127.0.0.1:8080/readyz"),
            ("[::]:9", "http://[::1]:9/readyz"),
            ("10.1.2.3:80", "http://10.1.2.3/readyz"),
        ] {
            let url = target(&args(listen, folder.path())).expect("it has a listener");
            assert_eq!(url.as_str(), expected, "{listen}");
        }
        let error = target(&args("127.0.0.1:0", folder.path())).expect_err("nobody knows the port");
        assert!(error.to_string().contains("--url"), "{error}");
        let error = target(&args("8080", folder.path())).expect_err("no address");
        assert!(error.to_string().contains("http.listen: value '8080'"), "{error}");
    }

    #[test]
    fn only_200_is_well_and_the_reasons_of_503_are_told_in_one_line() {
        let ready = Url::parse("http://127.0.0.1:8080/readyz?token=x").expect("a URL");
        let is_ready = judge(&ready, StatusCode::OK, b"");
        let expected = "ready: http://127.0.0.1:8080/readyz answered 200";
        assert_eq!(is_ready, Finding::well(expected.to_owned()));
        let body = br#"{"ready":false,"reasons":["source hub: link_down","b\nc"]}"#;
        let not_ready = judge(&ready, StatusCode::SERVICE_UNAVAILABLE, body);
        assert_eq!(
            not_ready,
            Finding { is_well: false, line: "not ready: source hub: link_down; b c".to_owned() }
        );
        for (status, body) in [(503, b"<html>".as_slice()), (404, body), (302, b"")] {
            let status = StatusCode::from_u16(status).expect("a status");
            let finding = judge(&ready, status, body);
            assert!(!finding.is_well);
            assert!(finding.line.contains("is that the listener"), "{}", finding.line);
            assert!(!finding.line.contains("token"), "{}", finding.line);
        }
    }

    #[tokio::test]
    async fn what_follows_a_status_in_a_body_without_end_changes_nothing() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let serving = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("it is dialled");
            let mut request = vec![0; 1024];
            let read = stream.read(&mut request).await.expect("it asks");
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.expect("sent");
            while stream.write_all(&[b'x'; 4096]).await.is_ok() {}
            String::from_utf8_lossy(&request[..read]).into_owned()
        });
        let url = Url::parse(&format!("http://{address}/livez")).expect("a URL");
        let (status, body) = ask(&url).await.expect("it answers");
        assert_eq!((status, body.len()), (StatusCode::OK, 0));
        let request = serving.await.expect("no panic");
        assert!(request.starts_with("GET /livez HTTP/1.1\r\n"), "{request}");
        assert!(request.contains(&format!("host: {address}\r\n")), "{request}");
    }
}
