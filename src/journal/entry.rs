//! What one entry of a journal holds.

use serde::{Deserialize, Serialize};

use super::frame::{self, FrameError, Kind};
use crate::alert::Message;
use crate::engine::{Change, PartitionClock};

/// One create-only object of a journal.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The number under which it stands.
    pub number: u64,
    /// The process that wrote it: makes the bytes of two writers differ.
    pub owner: String,
    /// The latest snapshot that was durable when it was written.
    pub snapshot: Option<u64>,
    /// The partition's clock and position at its end; `None` for a journal without a partition.
    pub clock: Option<PartitionClock>,
    /// Alerts are held back: an old log is being read for the first time.
    pub muted: bool,
    /// What changed, in order.
    pub records: Vec<Record>,
    /// What sinks have to be told. The index is the message's place here.
    pub owed: Vec<Owed>,
    /// Messages of this and earlier entries that need no more telling.
    pub settled: Vec<Mark>,
    /// State of a journal without a partition; with one, who was heard there ([`crate::engine::Heard`]), or nothing where
    /// that is not known.
    pub extra: Vec<u8>,
}

/// Something that can't be read from the log again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The last message of the log that was applied before it; `None`: none.
    pub after: Option<i64>,
    /// What it is.
    pub what: What,
}

/// See [`Record`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum What {
    /// A change of the partition's state.
    Changed(Change),
    /// The message at that place was refused because of the time at which it was read.
    Refused,
}

/// A message that a sink has to be told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Owed {
    /// Name of the sink.
    pub sink: String,
    /// The message, as it is sent byte for byte.
    pub message: Message,
}

/// Where an owed message stands: entry, and index within it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Mark {
    /// Number of the entry.
    pub entry: u64,
    /// Place among what it owes.
    pub index: u32,
}

impl Entry {
    /// As bytes.
    pub fn encode(&self) -> Result<Vec<u8>, FrameError> {
        frame::seal_value(Kind::Entry, self)
    }

    /// Back from bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, FrameError> {
        frame::open_value(Kind::Entry, bytes)
    }

    /// Back from the bytes that stand under this number: those of another entry are refused.
    pub fn decode_as(number: u64, bytes: &[u8]) -> Result<Self, FrameError> {
        let entry = Self::decode(bytes)?;
        if entry.number == number { Ok(entry) } else { Err(FrameError::Displaced(entry.number)) }
    }
}
