//! PURE. One message that could not be read, and how it is written.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::engine::Timestamp;
use crate::wire::{Amqp091Message, HeaderValue, RawMessage, Reject};

use super::{Letter, Letters};

/// The letters of messages that could not be read.
pub type DeadLetters = Letters<DeadLetter>;

/// The most bytes of a message that are kept: the size limit of a device-to-cloud message ("IoT Hub quotas and
/// throttling": 256 KB).
pub const MAX_ORIGINAL_BYTES: usize = 256 * 1024;
/// A detail names what was wrong; it repeats at most names of this length.
const MAX_DETAIL_CHARACTERS: usize = 1_000;

/// A message that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// When it was refused.
    pub at: Timestamp,
    /// Name of the source.
    pub source: String,
    /// Name of the partition.
    pub partition: String,
    /// Place in the partition.
    pub sequence: i64,
    /// The class, as in the metric.
    pub reason: String,
    /// What exactly.
    pub detail: String,
    /// What the bytes are.
    pub form: OriginalForm,
    /// The message, at most its first [`MAX_ORIGINAL_BYTES`].
    pub original: Bytes,
    /// How many bytes it had.
    pub original_bytes: u64,
}

/// What the bytes of a dead letter are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OriginalForm {
    /// The encoded sections of an AMQP 1.0 message.
    Amqp10Sections,
    /// An AMQP 0-9-1 delivery as the client library left it: a JSON object with the body in base64.
    Amqp091Json,
    /// A line of a recording.
    Line,
}

/// A letter as it is written.
#[derive(Serialize, Deserialize)]
struct Written {
    time_ms: i64,
    time: String,
    source: String,
    partition: String,
    sequence: i64,
    reason: String,
    detail: String,
    form: OriginalForm,
    original_bytes: u64,
    original_base64: String,
}

impl Letter for DeadLetter {
    const FOLDER: &'static str = "ingest";

    fn to_line(&self) -> Bytes {
        let written = Written {
            time_ms: self.at.as_ms(),
            time: self.at.to_string(),
            source: self.source.clone(),
            partition: self.partition.clone(),
            sequence: self.sequence,
            reason: self.reason.clone(),
            detail: self.detail.chars().take(MAX_DETAIL_CHARACTERS).collect(),
            form: self.form,
            original_bytes: self.original_bytes,
            original_base64: STANDARD.encode(&self.original),
        };
        let mut line = json!(written).to_string().into_bytes();
        line.push(b'\n');
        line.into()
    }

    fn from_line(line: &str) -> Option<Self> {
        let written: Written = serde_json::from_str(line).ok()?;
        Some(Self {
            at: Timestamp::from_ms(written.time_ms),
            source: written.source,
            partition: written.partition,
            sequence: written.sequence,
            reason: written.reason,
            detail: written.detail,
            form: written.form,
            original_bytes: written.original_bytes,
            original: STANDARD.decode(written.original_base64).ok()?.into(),
        })
    }
}

impl DeadLetter {
    /// The dead letter of a message that was refused.
    pub fn of(
        raw: &RawMessage,
        reject: &Reject,
        source: &str,
        partition: &str,
        sequence: i64,
        at: Timestamp,
    ) -> Self {
        let (form, original) = original(raw);
        Self {
            at,
            source: source.to_owned(),
            partition: partition.to_owned(),
            sequence,
            reason: reject.reason.as_str().to_owned(),
            detail: reject.detail.clone(),
            form,
            original_bytes: original.len() as u64,
            original: original.slice(..original.len().min(MAX_ORIGINAL_BYTES)),
        }
    }
}

/// The bytes of a message, and what they are.
pub(super) fn original(raw: &RawMessage) -> (OriginalForm, Bytes) {
    match raw {
        RawMessage::Amqp10(sections) => (OriginalForm::Amqp10Sections, sections.clone()),
        RawMessage::Amqp091(message) => (OriginalForm::Amqp091Json, delivery(message)),
        RawMessage::Line(line) => (OriginalForm::Line, line.clone()),
    }
}

fn delivery(message: &Amqp091Message) -> Bytes {
    let headers: Vec<_> =
        message.headers.iter().map(|(name, value)| json!([name, header_value(value)])).collect();
    let delivery = json!({
        "routing_key": message.routing_key,
        "headers": headers,
        "timestamp_s": message.timestamp_s,
        "message_id": message.message_id,
        "content_type": message.content_type,
        "quarantined_properties_base64":
            message.quarantined.as_ref().map(|kept| STANDARD.encode(&kept.properties)),
        "body_base64": STANDARD.encode(&message.body),
    });
    delivery.to_string().into()
}

fn header_value(value: &HeaderValue) -> serde_json::Value {
    match value {
        HeaderValue::Text(text) => json!(text),
        HeaderValue::Integer(number) => json!(number),
        HeaderValue::Boolean(flag) => json!(flag),
        HeaderValue::Time(time) => json!({ "time_ms": time.as_ms() }),
        HeaderValue::Other => json!(null),
    }
}
