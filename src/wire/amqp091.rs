//! AMQP 0-9-1: headers of a delivery, and a check of field tables before a decoder that recurses sees them.

use crate::wire::body::Body;
use crate::wire::fields::Fields;
use crate::wire::scalar::Scalar;
use crate::wire::{Amqp091Message, HeaderValue, Profile, Reject};

mod table;

pub use table::{MAX_DEPTH, check_table};

/// A message that a guard took apart says nothing any more.
pub(super) fn check_quarantine(message: &Amqp091Message) -> Result<(), Reject> {
    match &message.quarantined {
        None => Ok(()),
        Some(quarantined) => Err(Reject::new(
            quarantined.reason,
            "the client library must not decode it: nested too deep, broken, or too large",
        )),
    }
}

/// Collects the fields of a delivery. There are no annotations: all that a broker stamps stands in headers.
pub(super) fn fields<'a>(message: &'a Amqp091Message, profile: &Profile) -> Fields<'a> {
    let mut fields = Fields {
        routing_key: Some(&message.routing_key),
        body: Body::bytes(&message.body[..]),
        ..Fields::default()
    };
    for (name, value) in &message.headers {
        let Ok(()) = fields.property(profile, name.as_bytes(), || {
            Ok::<_, std::convert::Infallible>(Scalar::from(value))
        });
    }
    fields
}

impl<'a> From<&'a HeaderValue> for Scalar<'a> {
    fn from(value: &'a HeaderValue) -> Self {
        match value {
            HeaderValue::Text(text) => Self::Text(text),
            HeaderValue::Integer(number) => Self::Integer(*number),
            HeaderValue::Boolean(flag) => Self::Boolean(*flag),
            HeaderValue::Time(at) => Self::Time(*at),
            HeaderValue::Other => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Quarantined, RejectReason};

    #[test]
    fn a_quarantined_message_is_rejected_for_its_reason() {
        let mut message = Amqp091Message::default();
        assert_eq!(check_quarantine(&message), Ok(()));
        message.quarantined =
            Some(Quarantined { reason: RejectReason::Hostile, properties: bytes::Bytes::new() });
        let rejected = check_quarantine(&message).unwrap_err();
        assert_eq!(rejected.reason, RejectReason::Hostile);
    }
}
