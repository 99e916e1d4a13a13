//! A tunnel through an HTTP proxy: `CONNECT` (RFC 9110, section 9.3.6).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use url::Url;

use super::dial::{DialError, tcp};

/// Longest answer to CONNECT that is read.
const MAX_ANSWER_BYTES: usize = 8 << 10;

/// Connects to `host`:`port` through `proxy`.
pub(super) async fn connect_through(
    proxy: &Url,
    host: &str,
    port: u16,
) -> Result<TcpStream, DialError> {
    let (proxy_host, proxy_port) =
        (proxy.host_str().unwrap_or_default(), proxy.port_or_known_default().unwrap_or(80));
    let failed = |message: String| DialError::Proxy {
        proxy: format!("{proxy_host}:{proxy_port}"),
        host: host.to_owned(),
        message,
    };
    if proxy.scheme() != "http" {
        return Err(failed("only http:// proxies are supported".to_owned()));
    }
    let mut stream = tcp(proxy_host.trim_matches(['[', ']']), proxy_port).await?;
    let authorization = authorization(proxy);
    let request =
        format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n{authorization}\r\n");
    stream.write_all(request.as_bytes()).await.map_err(|error| failed(error.to_string()))?;
    let status = answer(&mut stream).await.map_err(failed)?;
    if (200..300).contains(&status) {
        Ok(stream)
    } else {
        Err(failed(format!("it answered {status}")))
    }
}

fn authorization(proxy: &Url) -> String {
    if proxy.username().is_empty() {
        return String::new();
    }
    let decode = |text| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let credentials =
        format!("{}:{}", decode(proxy.username()), decode(proxy.password().unwrap_or_default()));
    format!("Proxy-Authorization: Basic {}\r\n", STANDARD.encode(credentials))
}

/// The status of the answer. Reads not one byte further than its head.
async fn answer(stream: &mut TcpStream) -> Result<u16, String> {
    let mut head = Vec::with_capacity(256);
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= MAX_ANSWER_BYTES {
            return Err("its answer is too long".to_owned());
        }
        let byte = stream.read_u8().await.map_err(|error| error.to_string())?;
        head.push(byte);
    }
    let line = String::from_utf8_lossy(&head);
    line.strip_prefix("HTTP/1.")
        .and_then(|rest| rest.get(2..5))
        .and_then(|status| status.parse().ok())
        .ok_or_else(|| "its answer is not HTTP".to_owned())
}
