//! Messages that could not be read, kept on disk with reason and position until newer ones need the room.
//!
//! A dead letter holds the original bytes, so that it can be read again after a fix: whatever secrets a device put into
//! its message are in it too. Files are created for this user only (0600 in folders of 0700).
//!
//! One thread does the writing. Letters that wait together are written and synced together.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use metrics::Counter;
use tokio::sync::{mpsc, oneshot};

use crate::engine::Timestamp;
use crate::wire::{RawMessage, Reject};

mod letter;
mod segments;

pub use letter::{DeadLetter, MAX_ORIGINAL_BYTES, OriginalForm};

use segments::Segments;

/// The most letters that wait for the writer; also the most that are synced together.
const QUEUE: usize = 64;
/// Longer than a disk takes that works: after it the letter counts as not kept, and ingest goes on.
const PUT_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a dead letter was not kept, or can't be read.
#[derive(Debug, thiserror::Error)]
pub enum DeadLetterError {
    /// The disk said no. Letters already kept are not affected; the next one begins a new file.
    #[error("dead letters in {}: {doing}: {source}: free space or correct the permissions", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The disk did not answer. The letter may still be written.
    #[error("dead letters: the disk did not answer within {} s: look for a full or failing disk", PUT_TIMEOUT.as_secs())]
    Slow,
    /// The writer is gone.
    #[error("dead letters: the writer has ended: restart the service")]
    Ended,
}

/// The dead letters of this process. Clones share the writer; it ends when the last is dropped.
#[derive(Clone, Debug)]
pub struct DeadLetters {
    folder: PathBuf,
    writer: mpsc::Sender<Put>,
}

#[derive(Debug)]
struct Put {
    line: Bytes,
    done: oneshot::Sender<Result<(), DeadLetterError>>,
}

impl DeadLetters {
    /// Opens `dead-letters/ingest` below `store`, creating what is missing. Blocks for the time of a directory listing.
    /// At most `max_bytes` are kept: then the oldest file goes, and `removed` counts its letters.
    pub fn open(store: &Path, max_bytes: u64, removed: Counter) -> Result<Self, DeadLetterError> {
        let folder = store.join("dead-letters").join("ingest");
        let mut segments = Segments::open(folder.clone(), max_bytes, removed)?;
        let (writer, mut puts) = mpsc::channel::<Put>(QUEUE);
        let run = move || {
            while let Some(first) = puts.blocking_recv() {
                let mut group = vec![first];
                while group.len() < QUEUE
                    && let Ok(next) = puts.try_recv()
                {
                    group.push(next);
                }
                write_group(&mut segments, group);
            }
        };
        std::thread::Builder::new().name("dead-letters".to_owned()).spawn(run).map_err(
            |source| DeadLetterError::Io {
                doing: "starting the writer",
                path: folder.clone(),
                source,
            },
        )?;
        Ok(Self { folder, writer })
    }

    /// Keeps a letter: once this returns `Ok` it is on disk. Returns within 5 s in any case.
    pub async fn put(&self, letter: &DeadLetter) -> Result<(), DeadLetterError> {
        let line = letter.to_line();
        let put = async {
            let (done, result) = oneshot::channel();
            self.writer.send(Put { line, done }).await.map_err(|_| DeadLetterError::Ended)?;
            result.await.map_err(|_| DeadLetterError::Ended)?
        };
        tokio::time::timeout(PUT_TIMEOUT, put).await.unwrap_or(Err(DeadLetterError::Slow))
    }

    /// The newest `limit` letters, oldest first. What can't be read, such as a line cut by a crash, is left out.
    pub async fn list(&self, limit: usize) -> Result<Vec<DeadLetter>, DeadLetterError> {
        let folder = self.folder.clone();
        tokio::task::spawn_blocking(move || segments::newest(&folder, limit))
            .await
            .map_err(|_| DeadLetterError::Ended)?
    }
}

/// Writes and syncs the letters of a group, then answers each. The first failure fails the rest: they are
/// not on disk for sure.
fn write_group(segments: &mut Segments, group: Vec<Put>) {
    let lines = group.iter().map(|put| put.line.as_ref());
    match segments.append(lines) {
        Ok(()) => {
            for put in group {
                // A caller that has given up needs no answer.
                let _gone = put.done.send(Ok(()));
            }
        }
        Err(fault) => {
            for put in group {
                let _gone = put.done.send(Err(segments.error(&fault)));
            }
        }
    }
}

impl DeadLetter {
    /// The dead letter of a message that was refused.
    pub fn of(
        raw: &RawMessage,
        reject: &Reject,
        source: &str,
        partition: &str,
        sequence: i64,
        at: Timestamp,
    ) -> Self {
        let (form, original) = letter::original(raw);
        Self {
            at,
            source: source.to_owned(),
            partition: partition.to_owned(),
            sequence,
            reason: reject.reason.as_str().to_owned(),
            detail: reject.detail.clone(),
            form,
            original_bytes: original.len() as u64,
            original: original.slice(..original.len().min(MAX_ORIGINAL_BYTES)),
        }
    }
}

#[cfg(test)]
mod tests;
