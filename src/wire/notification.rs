//! Notifications of the hub itself: lifecycle and connection state. Their properties and body are the hub's, so they may
//! fill in what the stamps lack ("IoT Hub non-telemetry event schemas": an endpoint may carry only a part of them).

use std::borrow::Cow;

use crate::engine::{ConnectionSequence, SignalKind};
use crate::wire::fields::{Fields, Name};
use crate::wire::identity::{Claimed, Ids};
use crate::wire::{Profile, Reject, RejectReason};

/// The notifications that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// `deviceLifecycleEvents`: of devices, and in the present wording of modules too.
    DeviceLifecycle,
    /// `moduleLifecycleEvents`.
    ModuleLifecycle,
    /// `deviceConnectionStateEvents`.
    ConnectionState,
}

/// What a notification says; `None` for an operation that is not known.
pub(super) fn kind(fields: &Fields<'_>, class: Class) -> Option<SignalKind> {
    let operation = operation(fields)?;
    let is = |names: [&str; 2]| (names.iter()).any(|name| operation.eq_ignore_ascii_case(name));
    match class {
        Class::DeviceLifecycle | Class::ModuleLifecycle => {
            if is(["createDeviceIdentity", "createModuleIdentity"]) {
                Some(SignalKind::Created)
            } else if is(["deleteDeviceIdentity", "deleteModuleIdentity"]) {
                Some(SignalKind::Deleted)
            } else {
                None
            }
        }
        Class::ConnectionState => {
            if is(["deviceConnected", "moduleConnected"]) {
                Some(SignalKind::Connected(sequence(fields)))
            } else if is(["deviceDisconnected", "moduleDisconnected"]) {
                Some(SignalKind::Disconnected(sequence(fields)))
            } else {
                None
            }
        }
    }
}

/// Whom it is about: stamps first, then properties, then body. What speaks of a module and names none is refused, lest
/// a module's end be taken for its device's.
pub(super) fn ids<'a>(
    fields: &Fields<'a>,
    profile: &Profile,
    class: Class,
) -> Result<Ids<'a>, Reject> {
    let property = |name| fields.properties.text(name).map(Cow::Borrowed);
    let member = |name| fields.body.member(name).map(|id| Cow::Owned(id.to_owned()));
    let claimed = Claimed::stamped(fields, profile)
        .or(property(Name::NotifiedDevice), property(Name::NotifiedModule))
        .or(member("deviceId"), member("moduleId"));
    let of_module = class == Class::ModuleLifecycle
        || operation(fields).is_some_and(|name| name.to_ascii_lowercase().contains("module"));
    if of_module && claimed.module.is_none() {
        return Err(Reject::new(
            RejectReason::NoIdentity,
            "the notification is about a module and has no module id",
        ));
    }
    claimed.check()
}

/// The hub's name as the notification has it.
pub(super) fn hub<'a>(fields: &Fields<'a>) -> Option<Cow<'a, str>> {
    let property = fields.properties.text(Name::NotifiedHub).map(Cow::Borrowed);
    property.or_else(|| fields.body.member("hubName").map(|name| Cow::Owned(name.to_owned())))
}

fn operation<'f>(fields: &'f Fields<'_>) -> Option<&'f str> {
    (fields.properties.text(Name::Operation)).or_else(|| fields.body.member("opType"))
}

/// The `sequenceNumber` of a connection event. One that can't be read is zero: it is never newer than another.
fn sequence(fields: &Fields<'_>) -> ConnectionSequence {
    fields.body.member("sequenceNumber").and_then(parse_sequence).unwrap_or_default()
}

/// Up to 64 hexadecimal digits of either case, padded on the left.
fn parse_sequence(text: &str) -> Option<ConnectionSequence> {
    let digits = text.as_bytes();
    if digits.is_empty() || digits.len() > 64 {
        return None;
    }
    let mut number = [0_u8; 32];
    for (place, digit) in digits.iter().rev().enumerate() {
        let value = u8::try_from(char::from(*digit).to_digit(16)?).ok()?;
        number[31 - place / 2] |= if place % 2 == 0 { value } else { value << 4 };
    }
    Some(ConnectionSequence(number))
}
