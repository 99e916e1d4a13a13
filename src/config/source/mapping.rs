//! `mapping`: where identity and time stand in messages that IoT Hub did not stamp.

use crate::config::section::Section;
use crate::wire::{EventTimeFrom, FieldFrom, Mapping};

/// A routing key has at most 255 bytes, so at most 128 segments between dots.
const MAX_SEGMENT: i64 = 127;

/// Whether the source's messages have a routing key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Keys {
    /// AMQP 0-9-1.
    WithRoutingKey,
    /// AMQP 1.0.
    NoRoutingKey,
}

pub(super) fn read_mapping(
    section: &Section<'_>,
    keys: Keys,
    event_time_from: EventTimeFrom,
) -> Option<Mapping> {
    section
        .optional_child("mapping", |mapping| {
            mapping.require("device", "write device: { header: NAME }");
            let device = mapping.optional_child("device", |place| read_place(place, keys));
            let module = mapping.optional_child("module", |place| read_place(place, keys));
            let event_time = mapping.optional_child("event_time", |place| read_place(place, keys));
            if event_time.is_some() && event_time_from != EventTimeFrom::TrustedHeader {
                mapping.problem(
                    "event_time",
                    None,
                    "is not used, because the source does not trust its publishers with time",
                    "set event_time: trusted_header on the source, or remove it here",
                );
            }
            Some(Mapping {
                device: device??,
                module: module.flatten(),
                event_time: event_time.flatten(),
            })
        })
        .flatten()
}

fn read_place(place: &Section<'_>, keys: Keys) -> Option<FieldFrom> {
    let header = place.text("header").map(|name| FieldFrom::Header(name.to_owned()));
    let segment = match keys {
        Keys::NoRoutingKey => None,
        Keys::WithRoutingKey => place
            .number("routing_key", 0..=MAX_SEGMENT)
            .and_then(|segment| usize::try_from(segment).ok())
            .map(FieldFrom::RoutingKeySegment),
    };
    let pointer = read_pointer(place);
    let words = match keys {
        Keys::WithRoutingKey => "header: NAME, routing_key: SEGMENT or body: /JSON/POINTER",
        Keys::NoRoutingKey => "header: NAME or body: /JSON/POINTER",
    };
    let mut places = [header, segment, pointer].into_iter().flatten();
    match (places.next(), places.next()) {
        (Some(place), None) => Some(place),
        (None, _) | (Some(_), Some(_)) => {
            place.problem(
                "header",
                None,
                "names no place, or more than one",
                format!("write one of {words}"),
            );
            None
        }
    }
}

fn read_pointer(place: &Section<'_>) -> Option<FieldFrom> {
    let pointer = place.text("body")?;
    if !pointer.starts_with('/') {
        place.problem(
            "body",
            Some(pointer),
            "is no JSON pointer",
            "begin it with /, as in /device/id (RFC 6901)",
        );
        return None;
    }
    Some(FieldFrom::JsonPointer(pointer.to_owned()))
}
