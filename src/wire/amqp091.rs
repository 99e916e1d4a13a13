//! AMQP 0-9-1: headers of a delivery, and a check of field tables before a decoder that recurses sees them.

use crate::wire::body::Body;
use crate::wire::fields::Fields;
use crate::wire::scalar::Scalar;
use crate::wire::{Amqp091Message, HeaderValue, Profile};

mod table;

pub use table::{MAX_DEPTH, check_table};

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
