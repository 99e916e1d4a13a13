//! What can be wrong with an encoding.

use crate::wire::{Reject, RejectReason};

/// How deep values may be nested. The deepest that the protocol itself needs (a filter set in the source of an attach)
/// is 5; decoders that recurse end the process at a few hundred levels.
pub const MAX_DEPTH: usize = 32;

/// The most entries of a map that is read, of elements that take no bytes, and of sections of a message: many times
/// what fits into the 256 KiB of an IoT Hub message with names of a useful length.
pub const MAX_ENTRIES: usize = 4_096;

/// A broken or hostile encoding. As wide as a word: narrower, it makes every result that could hold one be copied in parts, and
/// decoding take half as long again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[repr(align(8))]
pub(in crate::wire) enum Fault {
    #[error("the encoding ends in the middle of a value")]
    Truncated,
    #[error("0x{0:02x} is no AMQP 1.0 format code")]
    FormatCode(u8),
    #[error("a list, map or array is not as long as it says")]
    Size,
    #[error("a list, map or array has more entries than bytes, or a map half an entry")]
    Count,
    #[error("an array has elements that are nested")]
    NestedArray,
    #[error("an array without elements has a constructor")]
    EmptyArray,
    #[error("a boolean is neither 0 nor 1")]
    Boolean,
    #[error("a text is not UTF-8")]
    NotUtf8,
    #[error("a section does not begin with the descriptor of a message section")]
    NotASection,
    #[error("a message section is repeated or out of order")]
    SectionOrder,
    #[error("a message section has a value of the wrong type")]
    SectionType,
    #[error("values are nested deeper than {MAX_DEPTH}")]
    TooDeep,
    #[error("there are more than {MAX_ENTRIES} entries or sections")]
    TooMany,
}

impl From<Fault> for Reject {
    fn from(fault: Fault) -> Self {
        let reason = match fault {
            Fault::TooDeep | Fault::TooMany => RejectReason::TooLarge,
            Fault::Truncated
            | Fault::FormatCode(_)
            | Fault::Size
            | Fault::Count
            | Fault::NestedArray
            | Fault::EmptyArray
            | Fault::Boolean
            | Fault::NotUtf8
            | Fault::NotASection
            | Fault::SectionOrder
            | Fault::SectionType => RejectReason::Malformed,
        };
        Self::new(reason, fault.to_string())
    }
}
