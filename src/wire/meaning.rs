//! What a message means: dispatch on the hub's stamped source, never on what a device can write.

use std::borrow::Cow;

use crate::engine::{Generation, SignalKind, Timestamp};
use crate::wire::fields::{Fields, Name};
use crate::wire::identity::{self, Claimed, Ids};
use crate::wire::notification::{self, Class};
use crate::wire::scalar::Scalar;
use crate::wire::{
    Decoded, IgnoredKind, Instants, Meaning, Profile, Reject, RejectReason, Stamps, dates, spoof,
};

/// Reads the fields of a message.
#[inline]
pub(super) fn read<'a>(
    fields: &Fields<'a>,
    profile: &'a Profile,
    now: Instants,
) -> Result<Decoded<'a>, Reject> {
    let dates = dates::read(fields, profile, now);
    if dates.event_time.is_some_and(|at| at > now.latest_plausible) {
        return Err(Reject::new(
            RejectReason::FutureTime,
            "the event time is further ahead of the clock than clocks can differ",
        ));
    }
    let (meaning, spoof_suspected) = match origin(fields, profile) {
        Origin::Telemetry => telemetry(fields, profile)?,
        Origin::Notification(class) => (notified(fields, profile, class)?, false),
        Origin::Ignored(kind) => (Meaning::Ignored(kind), false),
    };
    if dates.event_time.is_none() && matches!(meaning, Meaning::Signal { .. }) {
        return Err(Reject::new(
            RejectReason::NoTime,
            "there is no event time where this source has it",
        ));
    }
    Ok(Decoded {
        event_time: dates.event_time,
        append_time: dates.append_time,
        clamped: dates.clamped,
        spoof_suspected,
        meaning,
    })
}

/// Who speaks.
enum Origin {
    Telemetry,
    Notification(Class),
    Ignored(IgnoredKind),
}

/// Decides by `iothub-message-source`. A mapped fleet has no IoT Hub, hence only telemetry; a queue's message without
/// a source is telemetry too.
fn origin(fields: &Fields<'_>, profile: &Profile) -> Origin {
    if profile.mapping.is_some() {
        return Origin::Telemetry;
    }
    match (fields.stamp(profile.stamps, Name::Source), profile.stamps) {
        (Some(source), _) => {
            source.text().map_or(Origin::Ignored(IgnoredKind::UnknownSource), named_origin)
        }
        (None, Stamps::Properties) => Origin::Telemetry,
        (None, Stamps::Annotations) => Origin::Ignored(IgnoredKind::UnknownSource),
    }
}

fn named_origin(source: &str) -> Origin {
    let is = |name: &str| source.eq_ignore_ascii_case(name);
    if is("Telemetry") {
        Origin::Telemetry
    } else if is("deviceLifecycleEvents") {
        Origin::Notification(Class::DeviceLifecycle)
    } else if is("moduleLifecycleEvents") {
        Origin::Notification(Class::ModuleLifecycle)
    } else if is("deviceConnectionStateEvents") {
        Origin::Notification(Class::ConnectionState)
    } else if is("twinChangeEvents") {
        Origin::Ignored(IgnoredKind::TwinChange)
    } else if is("digitalTwinChangeEvents") {
        Origin::Ignored(IgnoredKind::DigitalTwinChange)
    } else if is("deviceJobLifecycleEvents") {
        Origin::Ignored(IgnoredKind::JobLifecycle)
    } else {
        Origin::Ignored(IgnoredKind::UnknownSource)
    }
}

/// Telemetry, and whether it tries to pass for something else.
#[inline]
fn telemetry<'a>(fields: &Fields<'a>, profile: &'a Profile) -> Result<(Meaning<'a>, bool), Reject> {
    let (claimed, spoof_suspected) = match &profile.mapping {
        Some(mapping) => (Claimed::mapped(fields, mapping), false),
        None => {
            let stamped = Claimed::stamped(fields, profile);
            let suspected = spoof::suspected(fields, &stamped);
            (stamped, suspected)
        }
    };
    let will = (fields.properties.text(Name::MessageType))
        .is_some_and(|kind| kind.eq_ignore_ascii_case("Will"));
    let kind = if will { SignalKind::LastWill } else { SignalKind::Telemetry };
    let hub = identity::hub(fields, profile, None)?;
    let meaning = signal(fields, profile, hub, claimed.check()?, kind);
    Ok((meaning, spoof_suspected))
}

fn notified<'a>(
    fields: &Fields<'a>,
    profile: &'a Profile,
    class: Class,
) -> Result<Meaning<'a>, Reject> {
    let Some(kind) = notification::kind(fields, class) else {
        return Ok(Meaning::Ignored(IgnoredKind::UnknownOperation));
    };
    let ids = notification::ids(fields, profile, class)?;
    let hub = identity::hub(fields, profile, notification::hub(fields))?;
    Ok(signal(fields, profile, hub, ids, kind))
}

#[inline]
fn signal<'a>(
    fields: &Fields<'a>,
    profile: &Profile,
    hub: Cow<'a, str>,
    (device, module): Ids<'a>,
    kind: SignalKind,
) -> Meaning<'a> {
    let generation = (fields.stamp(profile.stamps, Name::Generation))
        .and_then(Scalar::text)
        .map_or(Generation::UNKNOWN, Generation::parse);
    Meaning::Signal {
        hub,
        device,
        module,
        kind,
        generation,
        conditions: fields.conditions,
        created_by_device: created(fields),
    }
}

/// The device's own clock: a property in the documented form, or as the HTTPS and batch forms prefix it.
fn created(fields: &Fields<'_>) -> Option<Timestamp> {
    [&fields.properties, &fields.annotations]
        .into_iter()
        .flat_map(|slots| [slots.get(Name::Created), slots.get(Name::CreatedByApp)])
        .flatten()
        .find_map(Scalar::instant)
}
