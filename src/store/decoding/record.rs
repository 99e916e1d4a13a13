//! PURE. What stands in the file of a partition.

use serde::{Deserialize, Serialize};

use super::fingerprint::Fingerprint;

/// The most messages that are remembered for having ended the process; then the oldest is forgotten, and would end it
/// twice more.
pub(super) const MAX_QUARANTINED: usize = 8;
/// Room for the longest record: checksum, length, and some 30 bytes for each message that is remembered.
pub(super) const MAX_RECORD_BYTES: usize = 512;
const HEAD_BYTES: usize = 6;

/// Which messages may be the one that ended the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Suspects {
    /// These places of a log.
    Places { first: i64, last: i64 },
    /// So many of a queue, beginning with the first that is given.
    Next(u32),
}

/// What is being decoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Noted {
    #[default]
    Nothing,
    /// Some messages; their places mean nothing in a queue.
    Batch { first: i64, last: i64 },
    /// One that was suspected.
    One(Fingerprint),
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) noted: Noted,
    pub(super) suspects: Option<Suspects>,
    /// Messages that ended the process while nothing else was being decoded of their partition; the oldest first.
    pub(super) quarantined: Vec<Fingerprint>,
}

impl Record {
    /// What follows from the death of the process that wrote it. True if a message is known to have ended it.
    pub(super) fn after_death(&mut self, queue_suspects: Option<u32>) -> bool {
        match std::mem::take(&mut self.noted) {
            Noted::Nothing => false,
            Noted::Batch { first, last } => {
                self.suspects = Some(match (queue_suspects, self.suspects) {
                    (Some(count), _) => Suspects::Next(count),
                    (None, Some(Suspects::Places { first: known, last: end })) => {
                        Suspects::Places { first: known.min(first), last: end.max(last) }
                    }
                    (None, Some(Suspects::Next(_)) | None) => Suspects::Places { first, last },
                });
                false
            }
            Noted::One(message) => {
                self.quarantined.retain(|known| *known != message);
                if self.quarantined.len() >= MAX_QUARANTINED {
                    self.quarantined.remove(0);
                }
                self.quarantined.push(message);
                true
            }
        }
    }

    /// Writes it to the buffer; what of it is the record. None only if it does not fit, which its bounds rule out.
    pub(super) fn encode<'a>(&self, buffer: &'a mut [u8; MAX_RECORD_BYTES]) -> Option<&'a [u8]> {
        let (head, body) = buffer.split_at_mut(HEAD_BYTES);
        let body_bytes = postcard::to_slice(self, body).ok()?.len();
        let length = u16::try_from(body_bytes).ok()?;
        head[4..].copy_from_slice(&length.to_be_bytes());
        let end = HEAD_BYTES + body_bytes;
        let checksum = crc32fast::hash(&buffer[4..end]);
        buffer[..4].copy_from_slice(&checksum.to_be_bytes());
        buffer.get(..end)
    }

    /// Back from the beginning of a file; none if it is no record, such as one cut by a loss of power.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let [a, b, c, d, rest @ ..] = bytes else { return None };
        let [high, low, ..] = rest else { return None };
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let checked = rest.get(..2 + length)?;
        let is_whole = crc32fast::hash(checked) == u32::from_be_bytes([*a, *b, *c, *d]);
        is_whole.then(|| postcard::from_bytes(&checked[2..]).ok()).flatten()
    }
}
