//! Performatives and errors (OASIS AMQP 1.0, part 2, sections 2.7 and 2.8).

use crate::devhub::value::Value;

/// The performatives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Performative {
    Open,
    Begin,
    Attach,
    Flow,
    Transfer,
    Disposition,
    Detach,
    End,
    Close,
}

impl Performative {
    pub(super) fn from_code(code: u64) -> Option<Self> {
        const ALL: [Performative; 9] = [
            Performative::Open,
            Performative::Begin,
            Performative::Attach,
            Performative::Flow,
            Performative::Transfer,
            Performative::Disposition,
            Performative::Detach,
            Performative::End,
            Performative::Close,
        ];
        ALL.into_iter().find(|known| known.code() == code)
    }

    pub(super) const fn code(self) -> u64 {
        match self {
            Self::Open => 0x10,
            Self::Begin => 0x11,
            Self::Attach => 0x12,
            Self::Flow => 0x13,
            Self::Transfer => 0x14,
            Self::Disposition => 0x15,
            Self::Detach => 0x16,
            Self::End => 0x17,
            Self::Close => 0x18,
        }
    }
}

/// Descriptors of what performatives contain.
pub(super) const ACCEPTED: u64 = 0x24;
pub(super) const REJECTED: u64 = 0x25;
pub(super) const SOURCE: u64 = 0x28;
pub(super) const TARGET: u64 = 0x29;
const ERROR: u64 = 0x1d;

/// Error conditions, as AMQP and Event Hubs name them.
pub(super) mod condition {
    pub(in super::super) const ARGUMENT: &str = "com.microsoft:argument-error";
    pub(in super::super) const DECODE: &str = "amqp:decode-error";
    pub(in super::super) const FRAMING: &str = "amqp:connection:framing-error";
    pub(in super::super) const NOT_ALLOWED: &str = "amqp:not-allowed";
    pub(in super::super) const NOT_FOUND: &str = "amqp:not-found";
    pub(in super::super) const OUT_OF_RANGE: &str = "com.microsoft:argument-out-of-range";
    pub(in super::super) const REDIRECT: &str = "amqp:link:redirect";
    pub(in super::super) const RESOURCE_LIMIT: &str = "amqp:resource-limit-exceeded";
    pub(in super::super) const SERVER_BUSY: &str = "com.microsoft:server-busy";
    pub(in super::super) const STOLEN: &str = "amqp:link:stolen";
    pub(in super::super) const TOO_LARGE: &str = "amqp:link:message-size-exceeded";
    pub(in super::super) const UNAUTHORIZED: &str = "amqp:unauthorized-access";
}

/// An AMQP error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) condition: &'static str,
    pub(super) description: String,
    /// The redirect's fields.
    pub(super) info: Vec<(Value, Value)>,
}

impl Fault {
    pub(super) fn new(condition: &'static str, description: impl Into<String>) -> Self {
        Self { condition, description: description.into(), info: Vec::new() }
    }

    pub(super) fn value(self) -> Value {
        let info = if self.info.is_empty() { Value::Null } else { Value::Map(self.info) };
        described(ERROR, vec![Value::symbol(self.condition), Value::String(self.description), info])
    }
}

pub(super) fn described(code: u64, fields: Vec<Value>) -> Value {
    Value::Described(Box::new(Value::Ulong(code)), Box::new(Value::List(fields)))
}

/// The list inside a described value: a source, a target.
pub(super) fn inside(value: &Value) -> &Value {
    if let Value::Described(_, content) = value { content } else { value }
}

/// An unsigned field; `None` where it is null or too large.
pub(super) fn uint(value: &Value) -> Option<u32> {
    value.integer().and_then(|n| u32::try_from(n).ok())
}
