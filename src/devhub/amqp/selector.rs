//! The selector filter of a partition receiver.

use super::performative::{Fault, condition};
use crate::devhub::hub::StartFrom;
use crate::devhub::value::Value;
use crate::engine::Timestamp;

/// The key of the filter in the source's filter set, and one of its descriptors.
const NAME: &str = "apache.org:selector-filter:string";

/// The numeric descriptors in use: the one of the Apache filter registry, and one of the vendor's older clients.
const DESCRIPTORS: [u64; 2] = [0x0000_468c_0000_0004, 0x0000_0137_0000_000a];

/// Where a receiver starts, from the filter set of its source. No filter means the oldest message.
pub(super) fn start(filters: &Value) -> Result<StartFrom, Fault> {
    let Some(filter) = filters.entry(NAME) else {
        return Ok(StartFrom::Earliest);
    };
    let expression = if let Value::Described(descriptor, content) = filter
        && known(descriptor)
    {
        content.text()
    } else {
        None
    };
    expression.and_then(parse).ok_or_else(|| {
        let given = expression.unwrap_or("a filter of another type");
        Fault::new(condition::ARGUMENT, format!("The selector filter is not supported: {given}"))
    })
}

fn known(descriptor: &Value) -> bool {
    if let Value::Ulong(code) = descriptor {
        DESCRIPTORS.contains(code)
    } else {
        descriptor.text() == Some(NAME)
    }
}

/// `amqp.annotation.NAME > 'VALUE'` or `>=`; the quotes may be missing.
fn parse(expression: &str) -> Option<StartFrom> {
    let (name, value) = expression.split_once('>')?;
    let name = name.trim().strip_prefix("amqp.annotation.")?;
    let (inclusive, value) = match value.strip_prefix('=') {
        Some(value) => (true, value),
        None => (false, value),
    };
    let value = value.trim();
    let value =
        value.strip_prefix('\'').and_then(|value| value.strip_suffix('\'')).unwrap_or(value);
    match (name, value) {
        ("x-opt-offset" | "x-opt-sequence-number", "@latest") => Some(StartFrom::Latest),
        ("x-opt-offset" | "x-opt-sequence-number", "-1") => Some(StartFrom::Earliest),
        ("x-opt-offset", value) => {
            Some(StartFrom::Offset { offset: value.parse().ok()?, inclusive })
        }
        ("x-opt-sequence-number", value) => {
            Some(StartFrom::Sequence { sequence: value.parse().ok()?, inclusive })
        }
        ("x-opt-enqueued-time" | "x-opt-enqueuedtimeutc", value) => {
            Some(StartFrom::Appended { time: Timestamp::from_ms(value.parse().ok()?), inclusive })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filters(descriptor: Value, expression: &str) -> Value {
        let described = Value::Described(Box::new(descriptor), Box::new(Value::string(expression)));
        Value::Map(vec![(Value::symbol(NAME), described)])
    }

    #[test]
    fn all_three_descriptors_and_all_expressions_are_understood() {
        let offset = |inclusive| StartFrom::Offset { offset: 12, inclusive };
        for descriptor in [
            Value::symbol(NAME),
            Value::Ulong(0x0000_468c_0000_0004),
            Value::Ulong(0x0000_0137_0000_000a),
        ] {
            let filter = filters(descriptor, "amqp.annotation.x-opt-offset > '12'");
            assert_eq!(start(&filter), Ok(offset(false)));
        }
        let expressions = [
            ("x-opt-offset > '-1'", StartFrom::Earliest),
            ("x-opt-offset > '@latest'", StartFrom::Latest),
            ("x-opt-offset >= '12'", offset(true)),
            ("x-opt-sequence-number > '7'", StartFrom::Sequence { sequence: 7, inclusive: false }),
            (
                "x-opt-enqueuedtimeutc > 99",
                StartFrom::Appended { time: Timestamp::from_ms(99), inclusive: false },
            ),
        ];
        for (expression, wanted) in expressions {
            let filter = filters(Value::symbol(NAME), &format!("amqp.annotation.{expression}"));
            assert_eq!(start(&filter), Ok(wanted), "{expression}");
        }
        assert_eq!(start(&Value::Null), Ok(StartFrom::Earliest));
    }

    #[test]
    fn an_unknown_filter_is_refused_and_not_taken_for_earliest() {
        for filter in [
            filters(Value::Ulong(1), "amqp.annotation.x-opt-offset > '12'"),
            filters(Value::symbol(NAME), "amqp.annotation.x-opt-offset < '12'"),
            filters(Value::symbol(NAME), "colour > 'red'"),
            filters(Value::symbol(NAME), "amqp.annotation.x-opt-offset > 'a:b'"),
        ] {
            assert_eq!(start(&filter).unwrap_err().condition, condition::ARGUMENT);
        }
    }
}
