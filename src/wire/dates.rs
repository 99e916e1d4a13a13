//! When a message happened.

use crate::engine::Timestamp;
use crate::wire::fields::{Fields, Name};
use crate::wire::scalar::Scalar;
use crate::wire::{EventTimeFrom, Instants, Profile, identity};

/// The dates of a message.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Dates {
    pub(super) event_time: Option<Timestamp>,
    pub(super) append_time: Option<Timestamp>,
    pub(super) clamped: bool,
}

/// Dates a message. Stamps count only as annotations: an application property of the same name is the publisher's.
#[inline]
pub(super) fn read(fields: &Fields<'_>, profile: &Profile, now: Instants) -> Dates {
    let stamp = |name| fields.annotations.get(name).and_then(Scalar::instant);
    let append_time = stamp(Name::Append);
    match profile.event_time {
        EventTimeFrom::Stamps => clamp(stamp(Name::Ingress).or(append_time), append_time),
        EventTimeFrom::TrustedHeader => clamp(trusted(fields, profile), append_time),
        EventTimeFrom::Receipt => {
            Dates { event_time: Some(now.received_at), append_time: None, clamped: false }
        }
    }
}

/// An event is never later than the moment the broker stored it.
fn clamp(event_time: Option<Timestamp>, append_time: Option<Timestamp>) -> Dates {
    let clamped =
        matches!((event_time, append_time), (Some(event), Some(append)) if event > append);
    Dates { event_time: if clamped { append_time } else { event_time }, append_time, clamped }
}

fn trusted(fields: &Fields<'_>, profile: &Profile) -> Option<Timestamp> {
    let mapped = (profile.mapping.as_ref()).and_then(|mapping| mapping.event_time.as_ref());
    let value = match mapped {
        Some(from) => identity::find(fields, from, fields.configured.event_time),
        None => (fields.annotations.get(Name::Ingress)).or(fields.properties.get(Name::Ingress)),
    };
    value.and_then(Scalar::instant)
}
