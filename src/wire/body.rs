//! The body of a message: kept as it came, parsed as JSON at most once and only if somebody asks.

use std::borrow::Cow;
use std::cell::OnceCell;

use serde_json::Value;

/// A body.
#[derive(Debug, Default)]
pub(super) struct Body<'a> {
    content: Content<'a>,
    parsed: OnceCell<Option<Value>>,
}

#[derive(Debug, Default)]
enum Content<'a> {
    #[default]
    Empty,
    Bytes(Cow<'a, [u8]>),
    Json(&'a Value),
}

impl<'a> Body<'a> {
    pub(super) fn bytes(bytes: impl Into<Cow<'a, [u8]>>) -> Self {
        Self { content: Content::Bytes(bytes.into()), parsed: OnceCell::new() }
    }

    pub(super) fn json_value(value: &'a Value) -> Self {
        Self { content: Content::Json(value), parsed: OnceCell::new() }
    }

    /// Adds a data section: an AMQP 1.0 body is the concatenation of all of them (part 3, section 3.2.6).
    pub(super) fn append(&mut self, section: &'a [u8]) {
        match &mut self.content {
            Content::Bytes(bytes) if !bytes.is_empty() => bytes.to_mut().extend_from_slice(section),
            Content::Empty | Content::Bytes(_) | Content::Json(_) => *self = Self::bytes(section),
        }
    }

    /// The body as JSON; `None` if it isn't. Nesting is limited by the parser (128 levels).
    pub(super) fn json(&self) -> Option<&Value> {
        match &self.content {
            Content::Empty => None,
            Content::Json(value) => Some(value),
            Content::Bytes(bytes) => {
                self.parsed.get_or_init(|| serde_json::from_slice(bytes).ok()).as_ref()
            }
        }
    }

    /// A text member at the top level of a JSON body.
    pub(super) fn member(&self, name: &str) -> Option<&str> {
        self.json()?.get(name)?.as_str()
    }
}
