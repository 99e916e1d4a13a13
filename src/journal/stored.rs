//! What a store gives back at a start, and the content of a snapshot.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use super::entry::{Entry, Mark, Record, What};
use super::frame::{self, FrameError, Kind};
use crate::engine::{Change, GapReason, PartitionClock};

/// The content of a snapshot: everything up to and including the entry of its number.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The number under which it stands.
    pub number: u64,
    /// The engine's state ([`crate::engine::Partition::image`]); empty for a journal without a partition.
    pub image: Vec<u8>,
    /// What sinks were owed: name of the sink, and where the message stands.
    pub owed: Vec<(String, Mark)>,
    /// As in [`Entry::extra`].
    pub extra: Vec<u8>,
}

impl Snapshot {
    /// As bytes.
    pub fn encode(&self) -> Result<Vec<u8>, FrameError> {
        frame::seal_value(Kind::Snapshot, self)
    }

    /// Back from bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, FrameError> {
        frame::open_value(Kind::Snapshot, bytes)
    }

    /// Back from the bytes that stand under this number: those of another snapshot are refused.
    pub fn decode_as(number: u64, bytes: &[u8]) -> Result<Self, FrameError> {
        let known = Self::decode(bytes)?;
        if known.number == number { Ok(known) } else { Err(FrameError::Displaced(known.number)) }
    }
}

/// What a journal's store held at the start.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stored {
    /// The newest snapshot that can be read, with its number.
    pub snapshot: Option<(u64, Snapshot)>,
    /// The entries behind it, in order and without a hole; without a snapshot all that can be read.
    pub entries: Vec<(u64, Entry)>,
    /// Something that was written can't be read any more.
    pub damaged: bool,
    /// The number of the next entry: no entry of that or a higher number was ever created.
    pub next: u64,
}

/// Where a source goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resume {
    /// The messages behind this place in the log are wanted.
    pub after: i64,
    /// Which log it is a place in.
    pub stream: Option<u64>,
}

/// What has to be made again of the span between a snapshot and the end of the journal.
#[derive(Debug, Default)]
pub(super) struct Redo {
    pub(super) records: VecDeque<Record>,
    /// Messages that were refused because of the time at which they were read.
    pub(super) refused: BTreeSet<i64>,
    pub(super) clock: Option<PartitionClock>,
    /// [`Entry::extra`] of the last.
    pub(super) extra: Vec<u8>,
    pub(super) muted: bool,
}

impl Redo {
    /// Takes out what was recorded up to the last change of the log.
    pub(super) fn up_to_reset(&mut self) -> Vec<Record> {
        let is_reset = |record: &Record| match &record.what {
            What::Changed(Change::Gap(gap)) => gap.reason == GapReason::StreamReset,
            What::Changed(_) | What::Refused => false,
        };
        let count = self.records.iter().rposition(is_reset).map_or(0, |last| last + 1);
        self.records.drain(..count).collect()
    }
}

impl Stored {
    /// Whether there was a snapshot, and none can be read. What other partitions told stands in no log.
    pub(super) fn lost_its_snapshot(&self) -> bool {
        self.snapshot.is_none() && self.entries.iter().any(|(_, entry)| entry.snapshot.is_some())
    }

    /// Whether anything was ever told on the strength of this journal: there was a snapshot, or there never is a log.
    pub(super) fn was_in_force(&self, has_log: bool) -> bool {
        let knew_snapshot = |(_, entry): &(u64, Entry)| entry.snapshot.is_some();
        !has_log || self.snapshot.is_some() || self.entries.iter().any(knew_snapshot)
    }

    /// What sinks are still owed.
    pub(super) fn owed(&self) -> BTreeMap<Mark, String> {
        let mut owed: BTreeMap<Mark, String> = BTreeMap::new();
        if let Some((_, snapshot)) = &self.snapshot {
            owed.extend(snapshot.owed.iter().map(|(sink, mark)| (*mark, sink.clone())));
        }
        for (number, entry) in &self.entries {
            for (index, one) in (0..).zip(&entry.owed) {
                owed.insert(Mark { entry: *number, index }, one.sink.clone());
            }
            for mark in &entry.settled {
                owed.remove(mark);
            }
        }
        owed
    }

    pub(super) fn redo(self) -> Redo {
        let extra = self.snapshot.map(|(_, snapshot)| snapshot.extra).unwrap_or_default();
        let mut redo = Redo { extra, ..Redo::default() };
        for (_, entry) in self.entries {
            for record in &entry.records {
                if record.what == What::Refused
                    && let Some(after) = record.after
                {
                    redo.refused.insert(after);
                }
            }
            redo.records.extend(entry.records);
            redo.clock = entry.clock.or(redo.clock);
            redo.muted = entry.muted;
            redo.extra = entry.extra;
        }
        redo
    }
}
