//! What could not be read or delivered, kept on disk with reason and place until newer letters need the room.
//!
//! There are two kinds: messages that could not be read ([`DeadLetter`], in `dead-letters/ingest`), and alert messages
//! that no receiver took ([`DeliveryLetter`], in `dead-letters/delivery`).
//!
//! A letter holds the original bytes, so that it can be read or sent again after a fix: whatever secrets a device put
//! into its message are in it too. Files are created for this user only (0600 in folders of 0700).
//!
//! One thread for each kind does the writing. Letters that wait together are written and synced together.

use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use metrics::Counter;
use tokio::sync::{mpsc, oneshot};

mod delivery;
mod ingest;
mod segments;

pub use delivery::{DeliveryLetter, DeliveryLetters, UndeliveredReason};
pub use ingest::{DeadLetter, DeadLetters, MAX_ORIGINAL_BYTES, OriginalForm};

use segments::Segments;

/// The most letters that wait for the writer; also the most that are synced together.
const QUEUE: usize = 64;
/// Longer than a disk takes that works: after it the letter counts as not kept, and its caller goes on.
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

/// One letter of a kind: a line of JSON.
pub trait Letter: Sized + Send + 'static {
    /// The name of the kind's folder below `dead-letters`.
    const FOLDER: &'static str;

    /// One line with its end, and no other line break in it.
    fn to_line(&self) -> Bytes;

    /// Back from a line without its end; `None` if it is none, such as one cut by a crash.
    fn from_line(line: &str) -> Option<Self>;
}

/// The dead letters of one kind, in this process. Clones share the writer; it ends when the last is dropped.
#[derive(Debug)]
pub struct Letters<T> {
    folder: PathBuf,
    writer: mpsc::Sender<Put>,
    kind: PhantomData<fn() -> T>,
}

impl<T> Clone for Letters<T> {
    fn clone(&self) -> Self {
        Self { folder: self.folder.clone(), writer: self.writer.clone(), kind: PhantomData }
    }
}

#[derive(Debug)]
struct Put {
    line: Bytes,
    done: oneshot::Sender<Result<(), DeadLetterError>>,
}

impl<T: Letter> Letters<T> {
    /// Opens the kind's folder in `dead-letters` below `store`, creating what is missing. Blocks for the time of a
    /// directory listing. At most `max_bytes` are kept: then the oldest file goes, and `removed` counts its letters.
    pub fn open(store: &Path, max_bytes: u64, removed: Counter) -> Result<Self, DeadLetterError> {
        let folder = store.join("dead-letters").join(T::FOLDER);
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
        std::thread::Builder::new().name(format!("letters-{}", T::FOLDER)).spawn(run).map_err(
            |source| DeadLetterError::Io {
                doing: "starting the writer",
                path: folder.clone(),
                source,
            },
        )?;
        Ok(Self { folder, writer, kind: PhantomData })
    }

    /// Keeps a letter: once this returns `Ok` it is on disk. Returns within 5 s in any case.
    pub async fn put(&self, letter: &T) -> Result<(), DeadLetterError> {
        self.put_line(letter.to_line()).await
    }

    async fn put_line(&self, line: Bytes) -> Result<(), DeadLetterError> {
        let put = async {
            let (done, result) = oneshot::channel();
            self.writer.send(Put { line, done }).await.map_err(|_| DeadLetterError::Ended)?;
            result.await.map_err(|_| DeadLetterError::Ended)?
        };
        tokio::time::timeout(PUT_TIMEOUT, put).await.unwrap_or(Err(DeadLetterError::Slow))
    }

    /// The newest `limit` letters, oldest first. What can't be read, such as a line cut by a crash, is left out.
    pub async fn list(&self, limit: usize) -> Result<Vec<T>, DeadLetterError> {
        self.newest(limit, |_| true).await
    }

    /// The newest `limit` letters that `is_wanted` picks, oldest first. Reads files until it has them, at worst all.
    async fn newest(
        &self,
        limit: usize,
        is_wanted: impl Fn(&T) -> bool + Send + 'static,
    ) -> Result<Vec<T>, DeadLetterError> {
        let folder = self.folder.clone();
        tokio::task::spawn_blocking(move || segments::newest(&folder, limit, is_wanted))
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

#[cfg(test)]
mod tests;
