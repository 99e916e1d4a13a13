//! One partition: an append-only log with contiguous sequence numbers.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use crate::engine::Timestamp;

/// The largest event: 1 MiB ("Azure Event Hubs quotas and limits", size of an event).
pub(in crate::devhub) const MAX_MESSAGE_BYTES: usize = 1_048_576;

/// Where a message stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::devhub) struct Place {
    pub(in crate::devhub) sequence: i64,
    pub(in crate::devhub) offset: u64,
    pub(in crate::devhub) appended: Timestamp,
}

/// A message as a reader gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its sequence number.
    pub sequence: i64,
    /// The encoded sections of the message, without delivery annotations.
    pub encoded: Bytes,
}

/// The runtime information of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionInfo {
    /// Sequence number of the oldest message that is kept, or of the next one if none is.
    pub begin_sequence: i64,
    /// Sequence number of the newest message; -1 if there never was one.
    pub last_sequence: i64,
    /// Offset of the newest message; `-1` if there never was one.
    pub last_offset: String,
    /// Append time of the newest message; the creation time if there never was one.
    pub last_appended: Timestamp,
    /// True if no message is kept.
    pub is_empty: bool,
    /// Sequence number of the next message that will be appended (above those still on their route).
    pub next_sequence: i64,
}

/// Where a reader wants to start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartFrom {
    /// The oldest message.
    Earliest,
    /// Behind the newest message.
    Latest,
    /// Behind (or, inclusive, at) an offset.
    Offset {
        /// The offset.
        offset: u64,
        /// Whether that message is wanted too.
        inclusive: bool,
    },
    /// Behind (or, inclusive, at) a sequence number.
    Sequence {
        /// The sequence number.
        sequence: i64,
        /// Whether that message is wanted too.
        inclusive: bool,
    },
    /// Messages appended after (or, inclusive, at) a time.
    Appended {
        /// The time.
        time: Timestamp,
        /// Whether messages of exactly that time are wanted too.
        inclusive: bool,
    },
}

/// A position that this log has not reached: it belongs to another stream. The texts are those of the vendor's service.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PositionError {
    /// An offset behind the end.
    #[error(
        "The supplied offset '{supplied}' is invalid. The last offset in the system is '{last}'"
    )]
    Offset {
        /// What was asked for.
        supplied: u64,
        /// Where the log ends.
        last: String,
    },
    /// A sequence number behind the end.
    #[error(
        "The supplied sequence number '{supplied}' is invalid. The last sequence number in the system is '{last}'"
    )]
    Sequence {
        /// What was asked for.
        supplied: i64,
        /// Where the log ends.
        last: i64,
    },
}

#[derive(Debug)]
struct Entry {
    offset: u64,
    appended: Timestamp,
    /// `None`: at once.
    visible_at: Option<Instant>,
    encoded: Bytes,
}

/// A partition.
#[derive(Debug)]
pub(super) struct PartitionLog {
    created: Timestamp,
    retention: usize,
    entries: VecDeque<Entry>,
    begin: i64,
    next_offset: u64,
    last: Option<Place>,
}

impl PartitionLog {
    pub(super) fn new(created: Timestamp, retention: usize) -> Self {
        Self { created, retention, entries: VecDeque::new(), begin: 0, next_offset: 0, last: None }
    }

    pub(super) fn reset(&mut self, now: Timestamp) {
        *self = Self::new(now, self.retention);
    }

    pub(super) fn created(&self) -> Timestamp {
        self.created
    }

    fn end(&self) -> i64 {
        self.begin.saturating_add(i64::try_from(self.entries.len()).unwrap_or(i64::MAX))
    }

    /// A message may not overtake one that is still on its route, so its delay is at least what is left of the other's.
    pub(super) fn append(
        &mut self,
        now: Timestamp,
        delay_ms: u32,
        encode: impl FnOnce(&Place) -> Bytes,
    ) -> i64 {
        let queued_until = self.entries.back().and_then(|entry| entry.visible_at);
        let (delay, visible_at) = route(u64::from(delay_ms), queued_until);
        let place =
            Place { sequence: self.end(), offset: self.next_offset, appended: now.plus(delay) };
        let encoded = encode(&place);
        self.next_offset += (encoded.len() as u64).max(1);
        self.entries.push_back(Entry {
            offset: place.offset,
            appended: place.appended,
            visible_at,
            encoded,
        });
        if self.entries.len() > self.retention {
            self.drop_oldest();
        }
        place.sequence
    }

    fn drop_oldest(&mut self) {
        if let Some(entry) = self.entries.pop_front() {
            self.last = Some(Place {
                sequence: self.begin,
                offset: entry.offset,
                appended: entry.appended,
            });
            self.begin += 1;
        }
    }

    pub(super) fn expire(&mut self, sequence: i64) {
        while self.begin < sequence && !self.entries.is_empty() {
            self.drop_oldest();
        }
    }

    /// How many entries readers can see.
    fn visible(&self) -> usize {
        match self.entries.back().and_then(|entry| entry.visible_at) {
            None => self.entries.len(),
            Some(_) => {
                let now = Instant::now();
                self.entries.partition_point(|entry| entry.visible_at.is_none_or(|at| at <= now))
            }
        }
    }

    fn place(&self, index: usize) -> Option<Place> {
        self.entries.get(index).map(|entry| Place {
            sequence: self.sequence_at(index),
            offset: entry.offset,
            appended: entry.appended,
        })
    }

    fn sequence_at(&self, index: usize) -> i64 {
        self.begin.saturating_add(i64::try_from(index).unwrap_or(i64::MAX))
    }

    /// The newest visible message, also if it is not kept any more.
    fn newest(&self) -> Option<Place> {
        match self.visible().checked_sub(1) {
            Some(index) => self.place(index),
            None => self.last,
        }
    }

    pub(super) fn info(&self) -> PartitionInfo {
        let newest = self.newest();
        PartitionInfo {
            begin_sequence: self.begin,
            last_sequence: newest.map_or(-1, |place| place.sequence),
            last_offset: newest.map_or_else(|| "-1".to_owned(), |place| place.offset.to_string()),
            last_appended: newest.map_or(self.created, |place| place.appended),
            is_empty: self.visible() == 0,
            next_sequence: self.end(),
        }
    }

    pub(super) fn resolve(&self, start: &StartFrom) -> Result<i64, PositionError> {
        let newest = self.newest();
        let last_sequence = newest.map_or(-1, |place| place.sequence);
        match *start {
            StartFrom::Earliest => Ok(self.begin),
            StartFrom::Latest => Ok(last_sequence + 1),
            StartFrom::Offset { offset, inclusive } => {
                if newest.is_none_or(|place| offset > place.offset) {
                    return Err(PositionError::Offset {
                        supplied: offset,
                        last: self.info().last_offset,
                    });
                }
                Ok(self.first(|entry| entry.offset > offset || inclusive && entry.offset == offset))
            }
            StartFrom::Sequence { sequence, inclusive } => {
                if sequence > last_sequence {
                    return Err(PositionError::Sequence {
                        supplied: sequence,
                        last: last_sequence,
                    });
                }
                Ok(sequence.saturating_add(i64::from(!inclusive)).max(self.begin))
            }
            StartFrom::Appended { time, inclusive } => {
                Ok(self.first(|entry| entry.appended > time || inclusive && entry.appended == time))
            }
        }
    }

    fn first(&self, wanted: impl Fn(&Entry) -> bool) -> i64 {
        let index = self.entries.iter().position(wanted);
        self.sequence_at(index.unwrap_or(self.entries.len()))
    }

    pub(super) fn read(&self, from: i64, max: usize, records: &mut Vec<Record>) -> Option<Instant> {
        let visible = self.visible();
        let skip = usize::try_from(from.saturating_sub(self.begin)).unwrap_or(0);
        let upto = visible.min(skip.saturating_add(max));
        records.extend((skip..upto).filter_map(|index| {
            self.entries.get(index).map(|entry| Record {
                sequence: self.sequence_at(index),
                encoded: entry.encoded.clone(),
            })
        }));
        self.entries.get(visible).and_then(|entry| entry.visible_at)
    }
}

/// The delay of a message in ms, and when it becomes visible.
fn route(delay_ms: u64, queued_until: Option<Instant>) -> (i64, Option<Instant>) {
    if delay_ms == 0 && queued_until.is_none() {
        return (0, None);
    }
    let now = Instant::now();
    let wanted = now + Duration::from_millis(delay_ms);
    let visible_at = queued_until.map_or(wanted, |queued| queued.max(wanted));
    let delay = i64::try_from(visible_at.duration_since(now).as_millis()).unwrap_or(i64::MAX);
    (delay, (visible_at > now).then_some(visible_at))
}
