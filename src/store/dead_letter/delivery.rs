//! Alert messages that were not delivered, kept until somebody sends them again or newer ones need the room.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::alert::Message;
use crate::alert::body::Status;
use crate::engine::Timestamp;

use super::{DeadLetterError, Letter, Letters};

/// The letters of messages that were not delivered. The same message can stand there more than once: it was sent again
/// and given up again, or the disk took so long over the first letter that another was written.
pub type DeliveryLetters = Letters<DeliveryLetter>;

/// A detail is the receiver's answer or an error of the connection in words.
const MAX_DETAIL_CHARACTERS: usize = 1_000;

/// Why nobody took a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UndeliveredReason {
    /// The last retry of the schedule failed.
    Failed,
    /// The receiver rejected it again and again.
    Rejected,
    /// The endpoint answered 410, to this message or to one before.
    Disabled,
}

impl UndeliveredReason {
    /// The name used in letters.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Rejected => "rejected",
            Self::Disabled => "disabled",
        }
    }
}

/// A message that was not delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryLetter {
    /// When it was given up.
    pub at: Timestamp,
    /// Name of the sink that it was for.
    pub sink: String,
    /// What was to be told, with its ids.
    pub message: Message,
    /// Why it was given up.
    pub reason: UndeliveredReason,
    /// What the last attempt came to; no secret.
    pub detail: String,
    /// Attempts that failed.
    pub failures: u64,
}

/// A letter as it is written.
#[derive(Serialize, Deserialize)]
struct Written {
    time_ms: i64,
    time: String,
    sink: String,
    message_id: String,
    alert_id: String,
    status: String,
    lane: u64,
    reason: UndeliveredReason,
    detail: String,
    failures: u64,
    /// The body, if it is text; else [`Written::body_base64`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    body: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    body_base64: Option<String>,
}

impl Letter for DeliveryLetter {
    const FOLDER: &'static str = "delivery";

    fn to_line(&self) -> Bytes {
        let Message { message_id, alert_id, lane, status, body } = &self.message;
        let text = std::str::from_utf8(body).ok().map(str::to_owned);
        let written = Written {
            time_ms: self.at.as_ms(),
            time: self.at.to_string(),
            sink: self.sink.clone(),
            message_id: message_id.clone(),
            alert_id: alert_id.clone(),
            status: status.as_str().to_owned(),
            lane: *lane,
            reason: self.reason,
            detail: self.detail.chars().take(MAX_DETAIL_CHARACTERS).collect(),
            failures: self.failures,
            body_base64: text.is_none().then(|| STANDARD.encode(body)),
            body: text,
        };
        let mut line = serde_json::json!(written).to_string().into_bytes();
        line.push(b'\n');
        line.into()
    }

    fn from_line(line: &str) -> Option<Self> {
        let written: Written = serde_json::from_str(line).ok()?;
        let body = match (written.body, written.body_base64) {
            (Some(text), _) => text.into(),
            (None, Some(encoded)) => STANDARD.decode(encoded).ok()?.into(),
            (None, None) => return None,
        };
        Some(Self {
            at: Timestamp::from_ms(written.time_ms),
            sink: written.sink,
            message: Message {
                message_id: written.message_id,
                alert_id: written.alert_id,
                lane: written.lane,
                status: Status::named(&written.status)?,
                body,
            },
            reason: written.reason,
            detail: written.detail,
            failures: written.failures,
        })
    }
}

impl DeliveryLetters {
    /// The newest letter of a message, by its `webhook-id`. Its [`DeliveryLetter::message`] is what was to be sent,
    /// byte for byte: put into the queue of its sink, it is delivered under the same id. The letter stays where it is.
    pub async fn get(&self, message_id: &str) -> Result<Option<DeliveryLetter>, DeadLetterError> {
        let wanted = message_id.to_owned();
        let found = self.newest(1, move |letter| letter.message.message_id == wanted).await?;
        Ok(found.into_iter().next())
    }
}
