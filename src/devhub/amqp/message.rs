//! Messages that clients send (OASIS AMQP 1.0, part 3, section 3.2).

use bytes::{Bytes, BytesMut};

use crate::devhub::value::{DecodeError, Value, decode_described, put_described};

const MESSAGE_ANNOTATIONS: u64 = 0x72;
const PROPERTIES: u64 = 0x73;
const APPLICATION_PROPERTIES: u64 = 0x74;
const DATA: u64 = 0x75;
const SEQUENCE: u64 = 0x76;
const VALUE: u64 = 0x77;

/// A message, taken apart.
#[derive(Debug)]
pub(super) struct Message {
    /// Message annotations: a map, or null.
    pub(super) annotations: Value,
    /// Properties: a list, or null.
    pub(super) properties: Value,
    /// Application properties: a map, or null.
    pub(super) application: Value,
    /// The content of each data section.
    pub(super) data: Vec<Bytes>,
    /// The content of the amqp-value section.
    pub(super) value: Value,
    /// The encoded bare message: properties, application properties and body as they came.
    pub(super) bare: BytesMut,
}

impl Message {
    /// Takes a payload apart.
    pub(super) fn decode(mut payload: Bytes) -> Result<Self, DecodeError> {
        let mut message = Self {
            annotations: Value::Null,
            properties: Value::Null,
            application: Value::Null,
            data: Vec::new(),
            value: Value::Null,
            bare: BytesMut::with_capacity(payload.len()),
        };
        while !payload.is_empty() {
            let whole = payload.clone();
            let (code, content) = decode_described(&mut payload)?;
            if (PROPERTIES..=VALUE).contains(&code) {
                let length = whole.len() - payload.len();
                message.bare.extend_from_slice(&whole[..length]);
            }
            match (code, content) {
                (MESSAGE_ANNOTATIONS, content) => message.annotations = content,
                (PROPERTIES, content) => message.properties = content,
                (APPLICATION_PROPERTIES, content) => message.application = content,
                (DATA, Value::Binary(bytes)) => message.data.push(bytes),
                (VALUE, content) => message.value = content,
                (SEQUENCE, _) => {}
                // Header, delivery annotations, footer: for the hop, not for the log.
                (_, _) => {}
            }
        }
        Ok(message)
    }

    /// Text under a key of the application properties.
    pub(super) fn property(&self, name: &str) -> Option<&str> {
        self.application.entry(name).and_then(Value::text)
    }
}

/// The answer to a request: correlated by the request's message id in its own type.
pub(super) fn reply(
    request: &Message,
    status: i32,
    description: &str,
    error: Option<&str>,
    body: Value,
) -> Bytes {
    let mut out = BytesMut::with_capacity(512);
    let mut properties = vec![Value::Null; 13];
    properties[5] = request.properties.field(0).clone();
    put_described(&mut out, PROPERTIES, &Value::List(properties));
    let mut application = vec![
        (Value::string("status-code"), Value::Int(status)),
        (Value::string("status-description"), Value::string(description)),
    ];
    if let Some(condition) = error {
        application.push((Value::string("error-condition"), Value::symbol(condition)));
    }
    put_described(&mut out, APPLICATION_PROPERTIES, &Value::Map(application));
    put_described(&mut out, VALUE, &body);
    out.freeze()
}
