//! Recorded messages: one JSON object a line.
//!
//! ```json
//! {"messageAnnotations":{"x-opt-sequence-number":184467,"x-opt-enqueued-time":1767225661250,
//!  "iothub-connection-device-id":"pump-07","iothub-enqueuedtime":"2026-01-01T00:01:01.187Z",
//!  "iothub-message-source":"Telemetry"},
//!  "properties":{"content-type":"application/json"},
//!  "applicationProperties":{"kind":"heartbeat"},
//!  "body":{"temperature":21.5}}
//! ```
//!
//! (One line; broken here for reading.) All members are optional. Timestamps are milliseconds since the epoch or
//! RFC 3339. The body stands as a JSON value in `body`, as text in `data` or in `dataBase64`; the first of them counts.
//! `routingKey` is for mapped fleets. Other members are ignored.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::wire::body::Body;
use crate::wire::fields::Fields;
use crate::wire::scalar::Scalar;
use crate::wire::{Profile, Reject, RejectReason};

/// A parsed line.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Record {
    message_annotations: Map<String, Value>,
    application_properties: Map<String, Value>,
    routing_key: Option<String>,
    body: Option<Value>,
    data: Option<String>,
    data_base64: Option<String>,
}

impl Record {
    /// Nesting is limited by the parser (128 levels).
    pub(super) fn parse(line: &[u8]) -> Result<Self, Reject> {
        serde_json::from_slice(line).map_err(|error| {
            // The parser's own text quotes the input.
            let class = match error.classify() {
                serde_json::error::Category::Data => "a member has the wrong type",
                serde_json::error::Category::Eof => "the line ends in the middle of a value",
                serde_json::error::Category::Io | serde_json::error::Category::Syntax => {
                    "the line is not JSON, or nested too deep"
                }
            };
            Reject::new(RejectReason::Malformed, format!("{class}, column {}", error.column()))
        })
    }

    /// Collects the fields of the message.
    pub(super) fn fields(&self, profile: &Profile) -> Result<Fields<'_>, Reject> {
        let mut fields = Fields {
            routing_key: self.routing_key.as_deref(),
            body: self.body()?,
            ..Fields::default()
        };
        for (name, value) in &self.message_annotations {
            fields.annotation(name.as_bytes(), || Ok::<_, Reject>(Scalar::from(value)))?;
        }
        for (name, value) in &self.application_properties {
            fields.property(profile, name.as_bytes(), || Ok::<_, Reject>(Scalar::from(value)))?;
        }
        Ok(fields)
    }

    fn body(&self) -> Result<Body<'_>, Reject> {
        if let Some(value) = &self.body {
            return Ok(Body::json_value(value));
        }
        if let Some(text) = &self.data {
            return Ok(Body::bytes(text.as_bytes()));
        }
        let Some(encoded) = &self.data_base64 else {
            return Ok(Body::default());
        };
        let bytes = STANDARD.decode(encoded).map_err(|_| {
            Reject::new(RejectReason::Malformed, "`dataBase64` is not standard base64")
        })?;
        Ok(Body::bytes(bytes))
    }
}
