//! What the API tells of the fleet, and who answers it.
//!
//! The listener is bound to loopback only: there are no tokens yet.

use std::collections::BTreeMap;

use futures_util::future::BoxFuture;
use serde::{Serialize, Serializer};

use crate::engine::{IdentityRef, Millis, Timestamp};
use crate::store::dead_letter::{DeadLetter, DeliveryLetter};

mod routes;

pub use routes::{MAX_LIMIT, serve};

/// Answers the questions of the API. Everything is a future, so that an answer may need the disk or another task.
pub trait Data: Send + Sync {
    /// All partitions, in the order of their keys.
    fn partitions(&self) -> BoxFuture<'_, Vec<PartitionInfo>>;

    /// One device or module. The hub name is lower-case.
    fn identity<'a>(&'a self, identity: IdentityRef<'a>) -> BoxFuture<'a, Option<IdentityInfo>>;

    /// The open alerts in the order of their ids: at most `limit`, those after `after`.
    fn open_alerts(
        &self,
        limit: usize,
        after: Option<String>,
    ) -> BoxFuture<'_, Result<AlertPage, DataError>>;

    /// The newest messages that could not be read, oldest first.
    fn ingest_letters(&self, limit: usize) -> BoxFuture<'_, Result<Vec<DeadLetter>, DataError>>;

    /// The newest messages that could not be delivered, oldest first.
    fn delivery_letters(
        &self,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<DeliveryLetter>, DataError>>;

    /// Sends a message of the delivery dead letters again, under the same id. Returns once it is on its way.
    fn replay<'a>(&'a self, message_id: &'a str) -> BoxFuture<'a, Result<Replayed, DataError>>;
}

/// Why there is no answer. What it says is shown to the caller: no secret.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// There is no such thing.
    #[error("{error}")]
    NotFound {
        /// What there is not.
        error: String,
        /// What to do.
        remedy: String,
    },
    /// Not at the moment.
    #[error("{error}")]
    Unavailable {
        /// What does not work.
        error: String,
        /// What to do.
        remedy: String,
    },
}

/// A partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PartitionInfo {
    /// Name of the source.
    pub source: String,
    /// Name of the partition within it.
    pub partition: String,
    /// Up to when everything is known to have been applied; `None` if nothing has been seen.
    #[serde(serialize_with = "instant")]
    pub clock: Option<Timestamp>,
    /// How far that is behind real time.
    pub clock_age_ms: Option<Millis>,
    /// Why the clock can't advance, if it can't: then its identities are unknown.
    pub blind: Option<&'static str>,
    /// Whether what comes is new: the backlog at the attach has been applied.
    pub live: bool,
    /// Identities by state.
    pub identities: BTreeMap<&'static str, u64>,
    /// Identities that gaps have put off for two windows past their first deadline.
    pub unjudgeable: u64,
    /// Part of the last hour that was not observed.
    pub unobserved_percent: i64,
    /// The earliest instant at which something may become due.
    #[serde(serialize_with = "instant")]
    pub next_deadline: Option<Timestamp>,
}

/// A device or module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct IdentityInfo {
    /// Name of the hub.
    pub hub: String,
    /// Device id.
    pub device_id: String,
    /// Module id; absent for a device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub module_id: Option<String>,
    /// What is stored of it: `online`, `late`, `offline`, `pending`, `deleted`.
    pub state: &'static str,
    /// Why that can't be relied on: its partition is blind for this reason. Absent if it can.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unknown: Option<&'static str>,
    /// Its last proof of life; `None` if it was never heard.
    #[serde(serialize_with = "instant")]
    pub last_seen: Option<Timestamp>,
    /// When its silence becomes an outage, with what gaps have added, or became one; `None` if it is deleted.
    #[serde(serialize_with = "instant")]
    pub deadline: Option<Timestamp>,
    /// Name of the source on which it was heard last.
    pub source: String,
    /// Name of the partition on which it was heard last.
    pub partition: String,
}

/// An open alert. What it is about is a device or module, a source, or a sink.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AlertInfo {
    /// The same as in its messages.
    pub alert_id: String,
    /// `device.silent`, `path.blind`, ...
    pub r#type: &'static str,
    /// `critical` or `warning`.
    pub severity: &'static str,
    /// Name of the hub.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hub: Option<String>,
    /// Device id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_id: Option<String>,
    /// Module id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub module_id: Option<String>,
    /// Name of the source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Name of the sink.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sink: Option<String>,
    /// When the trouble began.
    #[serde(serialize_with = "instant")]
    pub since: Option<Timestamp>,
    /// When it was found.
    #[serde(serialize_with = "instant")]
    pub detected_at: Option<Timestamp>,
}

/// Some open alerts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AlertPage {
    /// In the order of their ids.
    pub alerts: Vec<AlertInfo>,
    /// Whether there are more after the last of them.
    pub has_more: bool,
}

/// A message that is sent again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Replayed {
    /// Which.
    pub message_id: String,
    /// Name of the sink.
    pub sink: String,
}

/// RFC 3339 with milliseconds, or null.
#[expect(clippy::ref_option, reason = "serde hands over a reference to the field")]
fn instant<S: Serializer>(at: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => serializer.collect_str(at),
        None => serializer.serialize_none(),
    }
}
