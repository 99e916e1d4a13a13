//! `$management`: reads of runtime information (AMQP Management, working draft 9; "AMQP 1.0 in Azure Event Hubs").

use bytes::Bytes;

use super::message::{Message, reply};
use super::performative::condition;
use crate::devhub::hub::Hub;
use crate::devhub::value::Value;

const EVENT_HUB: &str = "com.microsoft:eventhub";
const PARTITION: &str = "com.microsoft:partition";

/// Answers a request.
pub(super) fn answer(hub: &Hub, request: &Message) -> Bytes {
    if hub.faults().state().throttle_management {
        return failed(request, 503, condition::SERVER_BUSY, "The server is busy.");
    }
    if request.property("operation") != Some("READ") {
        return failed(request, 501, "amqp:not-implemented", "Only READ is supported.");
    }
    let entity = &hub.options().entity;
    let named = request.property("name").is_some_and(|name| name.eq_ignore_ascii_case(entity));
    if !named {
        return failed(
            request,
            404,
            condition::NOT_FOUND,
            "The messaging entity could not be found.",
        );
    }
    let body = match request.property("type") {
        Some(EVENT_HUB) => Some(event_hub(hub)),
        Some(PARTITION) => request.property("partition").and_then(|text| partition(hub, text)),
        Some(_) | None => None,
    };
    match body {
        Some(body) => {
            crate::devhub::hub::add(&hub.counters().management_reads);
            reply(request, 200, "OK", None, body)
        }
        None => failed(request, 400, condition::ARGUMENT, "The type or the partition is invalid."),
    }
}

fn failed(request: &Message, status: i32, error: &str, description: &str) -> Bytes {
    reply(request, status, description, Some(error), Value::Null)
}

fn map(entries: Vec<(&str, Value)>) -> Value {
    Value::Map(entries.into_iter().map(|(name, value)| (Value::string(name), value)).collect())
}

fn event_hub(hub: &Hub) -> Value {
    let count = hub.partition_count();
    let ids = (0..count).map(|n| Value::string(n.to_string())).collect();
    map(vec![
        ("name", Value::string(&hub.options().entity)),
        ("type", Value::string(EVENT_HUB)),
        ("created_at", Value::Timestamp(hub.created().as_ms())),
        ("partition_count", Value::Int(i32::try_from(count).unwrap_or(i32::MAX))),
        ("partition_ids", Value::Array(ids)),
        ("georeplication_factor", Value::Int(1)),
    ])
}

fn partition(hub: &Hub, text: &str) -> Option<Value> {
    let info = hub.partition_info(text.parse().ok()?).ok()?;
    Some(map(vec![
        ("name", Value::string(&hub.options().entity)),
        ("type", Value::string(PARTITION)),
        ("partition", Value::string(text)),
        ("begin_sequence_number", Value::Long(info.begin_sequence)),
        ("last_enqueued_sequence_number", Value::Long(info.last_sequence)),
        ("last_enqueued_offset", Value::String(info.last_offset)),
        ("last_enqueued_time_utc", Value::Timestamp(info.last_appended.as_ms())),
        ("is_partition_empty", Value::Bool(info.is_empty)),
    ]))
}
