//! Which messages are being decoded, noted in a small file for each partition, so that one that ends the process is known
//! to the next: `decoding/<source>-<partition>` below `store.path`.
//!
//! A batch is noted before it is decoded and cleared after it. What the file holds at a start was being decoded when the
//! process died: those messages are suspected, and decoded one at a time, each noted by itself. A message that was noted
//! by itself at a death ended the process a second time: it is quarantined, and goes to the ingest dead letters without
//! being looked at.
//!
//! One write of a few bytes, at most twice a batch and never synced: the system's cache outlives the process, and a
//! machine that loses power was not ended by a message.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::wire::RawMessage;

mod fingerprint;
mod record;

use fingerprint::Fingerprint;
use record::{MAX_RECORD_BYTES, Noted, Record, Suspects};

/// Messages of a queue that are decoded one at a time after a death: all that can have been given and not acknowledged
/// (`prefetch` and `credit` end at 65,535), since a broker gives those again, and first. A fraction of a second.
const QUEUE_SUSPECTS: u32 = 65_536;

/// The folder of all these files.
#[derive(Clone, Debug)]
pub struct Decodings {
    folder: PathBuf,
}

/// What is done with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Treatment {
    /// It is decoded with others.
    Together,
    /// It may have ended the process: it is decoded by itself.
    Alone,
    /// It ended the process twice: it is not decoded.
    Refused,
}

/// The file of one partition. One that can't be written costs nothing but what it is for.
#[derive(Debug)]
pub struct Decoding {
    path: PathBuf,
    file: Option<File>,
    record: Record,
    /// Of a queue, how many of the suspects are still to come.
    left: u32,
    has_places: bool,
    /// A write failed, and was logged.
    is_failing: bool,
}

impl Decodings {
    /// Creates the folder below `store` if it is missing.
    pub fn open(store: &Path) -> io::Result<Self> {
        let folder = store.join("decoding");
        DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        Ok(Self { folder })
    }

    /// The file of a partition, and what follows from what an earlier process left in it. `name` can be a file's.
    /// `has_places`: its messages have the same sequences when they are read again.
    pub fn of(&self, name: &str, has_places: bool) -> Decoding {
        let path = self.folder.join(name);
        let mut decoding = Decoding {
            path,
            file: None,
            record: Record::default(),
            left: 0,
            has_places,
            is_failing: false,
        };
        if let Err(error) = decoding.take_up() {
            decoding.failed(&error);
        }
        decoding
    }
}

impl Decoding {
    fn take_up(&mut self) -> io::Result<()> {
        let options = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .clone();
        let mut file = options.open(&self.path)?;
        let mut bytes = Vec::new();
        file.by_ref().take(MAX_RECORD_BYTES as u64).read_to_end(&mut bytes)?;
        self.file = Some(file);
        self.record = Record::decode(&bytes).unwrap_or_default();
        let had_noted = self.record.noted != Noted::Nothing;
        let is_known = self.record.after_death((!self.has_places).then_some(QUEUE_SUSPECTS));
        if let Some(Suspects::Next(count)) = self.record.suspects {
            self.left = count;
        }
        if had_noted {
            let (file, suspects) = (self.path.display(), self.record.suspects);
            tracing::warn!(
                %file, is_known, ?suspects,
                "the process ended while messages were being decoded: those that may have ended it are decoded one at a \
                 time, and one that ended it twice goes to the dead letters"
            );
        }
        self.write();
        Ok(())
    }

    /// Whether every message is decoded with others.
    pub fn is_calm(&self) -> bool {
        self.record.suspects.is_none() && self.record.quarantined.is_empty()
    }

    /// What is to be done with a message.
    pub fn treatment(&self, raw: &RawMessage, sequence: i64) -> Treatment {
        if self.record.quarantined.iter().any(|known| known.is_of(raw, !self.has_places)) {
            return Treatment::Refused;
        }
        match self.record.suspects {
            Some(Suspects::Places { first, last }) if (first..=last).contains(&sequence) => {
                Treatment::Alone
            }
            Some(Suspects::Next(_)) => Treatment::Alone,
            Some(Suspects::Places { .. }) | None => Treatment::Together,
        }
    }

    /// Messages with these sequences are about to be decoded together. Nothing if something is noted already.
    pub fn begin(&mut self, first: i64, last: i64) {
        if self.record.noted == Noted::Nothing {
            self.record.noted = Noted::Batch { first, last };
            self.write();
        }
    }

    /// This message is about to be decoded by itself.
    pub fn begin_alone(&mut self, raw: &RawMessage) {
        self.record.noted = Noted::One(Fingerprint::of(raw, !self.has_places));
        self.write();
    }

    /// Nothing is being decoded.
    pub fn end(&mut self) {
        if self.record.noted != Noted::Nothing {
            self.record.noted = Noted::Nothing;
            self.write();
        }
    }

    /// A message with this sequence was applied: suspects that all are behind it are none any more.
    pub fn passed(&mut self, sequence: i64) {
        let is_over = match self.record.suspects {
            None => false,
            Some(Suspects::Places { last, .. }) => sequence >= last,
            Some(Suspects::Next(_)) => {
                self.left = self.left.saturating_sub(1);
                self.left == 0
            }
        };
        if is_over {
            self.record.suspects = None;
            self.write();
        }
    }

    fn write(&mut self) {
        let Some(file) = &self.file else { return };
        let mut buffer = [0; MAX_RECORD_BYTES];
        let Some(bytes) = self.record.encode(&mut buffer) else { return };
        match file.write_all_at(bytes, 0) {
            Ok(()) => self.is_failing = false,
            Err(error) => self.failed(&error),
        }
    }

    fn failed(&mut self, error: &io::Error) {
        if !std::mem::replace(&mut self.is_failing, true) {
            tracing::warn!(
                file = %self.path.display(), %error,
                "what is being decoded can't be noted: a message that ends the process would end it again; free space or \
                 correct the permissions"
            );
        }
    }
}

#[cfg(test)]
mod tests;
