//! What brokers write as one of several AMQP types, read as one of ours.

use fe2o3_amqp::types::primitives::{OrderedMap, SimpleValue, Value};

use crate::engine::Timestamp;

/// A string or symbol.
pub fn text(value: &Value) -> Option<&str> {
    if let Value::String(text) = value {
        return Some(text);
    }
    if let Value::Symbol(symbol) = value {
        return Some(symbol.as_str());
    }
    None
}

/// An integer of the types in use for ports, counts and sequence numbers.
pub fn integer(value: &Value) -> Option<i64> {
    if let Value::Long(number) = value {
        return Some(*number);
    }
    if let Value::Int(number) = value {
        return Some(i64::from(*number));
    }
    if let Value::Uint(number) = value {
        return Some(i64::from(*number));
    }
    if let Value::Ushort(number) = value {
        return Some(i64::from(*number));
    }
    None
}

/// A point in time.
pub fn time(value: &Value) -> Option<Timestamp> {
    if let Value::Timestamp(time) = value {
        return Some(Timestamp::from_ms(time.milliseconds()));
    }
    None
}

/// The elements of an array or list.
pub fn items(value: &Value) -> Option<&[Value]> {
    if let Value::Array(items) = value {
        return Some(&items.0);
    }
    if let Value::List(items) = value {
        return Some(items);
    }
    None
}

/// The value of a key that is a string or symbol.
pub fn entry<'a>(map: &'a OrderedMap<Value, Value>, key: &str) -> Option<&'a Value> {
    map.get(&Value::String(key.to_owned())).or_else(|| map.get(&Value::Symbol(key.into())))
}

/// A status code among application properties.
pub fn status(value: &SimpleValue) -> Option<i32> {
    if let SimpleValue::Int(number) = value {
        return Some(*number);
    }
    if let SimpleValue::Long(number) = value {
        return i32::try_from(*number).ok();
    }
    if let SimpleValue::Uint(number) = value {
        return i32::try_from(*number).ok();
    }
    None
}
