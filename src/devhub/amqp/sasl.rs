//! SASL (OASIS AMQP 1.0, part 5, section 5.3).

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::connection::ConnectionError;
use super::{Endpoint, frame, token};
use crate::devhub::value::{Value, decode_described};

pub(super) const AMQP_HEADER: [u8; 8] = *b"AMQP\x00\x01\x00\x00";
const SASL_HEADER: [u8; 8] = *b"AMQP\x03\x01\x00\x00";

const MECHANISMS: u64 = 0x40;
const INIT: u64 = 0x41;
const OUTCOME: u64 = 0x44;

/// `code` of an outcome.
const OK: u8 = 0;
const AUTH_FAILED: u8 = 1;

/// Negotiates up to and including the client's second protocol header. True if PLAIN showed the key.
pub(super) async fn negotiate<S>(
    stream: &mut S,
    input: &mut BytesMut,
    endpoint: &Endpoint,
) -> Result<bool, ConnectionError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let header = read_header(stream, input).await?;
    let mut out = BytesMut::new();
    out.extend_from_slice(&SASL_HEADER);
    if header != SASL_HEADER {
        stream.write_all(&out).await?;
        return Err(ConnectionError::Protocol);
    }
    let offered = ["MSSBCBS", "PLAIN", "ANONYMOUS"].map(Value::symbol);
    frame::put_sasl(&mut out, MECHANISMS, vec![Value::Array(offered.to_vec())]);
    stream.write_all(&out).await?;
    stream.flush().await?;

    let mut body = read_frame(stream, input).await?.body;
    let (code, init) = decode_described(&mut body)?;
    if code != INIT {
        return Err(ConnectionError::Protocol);
    }
    let keyed = match (init.field(0).text(), init.field(1)) {
        (Some("ANONYMOUS" | "MSSBCBS"), _) => Ok(false),
        (Some("PLAIN"), Value::Binary(response)) if plain(response, endpoint) => Ok(true),
        _ => Err(ConnectionError::Refused),
    };
    out.clear();
    let outcome = if keyed.is_ok() { OK } else { AUTH_FAILED };
    let fields = vec![Value::Ubyte(outcome), Value::Null];
    frame::put_sasl(&mut out, OUTCOME, fields);
    stream.write_all(&out).await?;
    stream.flush().await?;
    let keyed = keyed?;
    if read_header(stream, input).await? != AMQP_HEADER {
        stream.write_all(&AMQP_HEADER).await?;
        return Err(ConnectionError::Protocol);
    }
    Ok(keyed)
}

/// `authzid NUL user NUL password` (RFC 4616): the key's name and the key; or, as on an IoT Hub, `NAME@sas.root.HUB` and a token.
fn plain(response: &[u8], endpoint: &Endpoint) -> bool {
    let options = endpoint.hub.options();
    let mut parts = response.split(|byte| *byte == 0).skip(1);
    let (Some(user), Some(password), None) = (parts.next(), parts.next(), parts.next()) else {
        return false;
    };
    if endpoint.hub.faults().state().refuse_tokens {
        return false;
    }
    let service_user = format!("{}@sas.root.{}", options.key_name, options.name);
    if user == service_user.as_bytes() {
        return std::str::from_utf8(password)
            .is_ok_and(|password| token::check(password, options, crate::clock::wall()).is_ok());
    }
    user == options.key_name.as_bytes() && password == options.key.as_bytes()
}

async fn read_header<S>(stream: &mut S, input: &mut BytesMut) -> Result<[u8; 8], ConnectionError>
where
    S: AsyncRead + Unpin,
{
    loop {
        if let Some(header) = input.first_chunk::<8>().copied() {
            input.advance(8);
            return Ok(header);
        }
        fill(stream, input).await?;
    }
}

async fn read_frame<S>(
    stream: &mut S,
    input: &mut BytesMut,
) -> Result<frame::Frame, ConnectionError>
where
    S: AsyncRead + Unpin,
{
    loop {
        if let Some(frame) = frame::take(input)? {
            return Ok(frame);
        }
        fill(stream, input).await?;
    }
}

async fn fill<S>(stream: &mut S, input: &mut BytesMut) -> Result<(), ConnectionError>
where
    S: AsyncRead + Unpin,
{
    match stream.read_buf(input).await? {
        0 => Err(ConnectionError::Gone),
        _ => Ok(()),
    }
}
