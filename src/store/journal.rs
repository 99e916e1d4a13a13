//! One partition's journal: numbered entries that are created and never overwritten, and snapshots beside them. What is in
//! an entry or a snapshot is not known here.
//!
//! Creating the next number is commit, fence and renewal in one: of all that try, one succeeds, and the others learn that
//! they are not alone. A writer has one entry in flight, and repeats it, number and bytes, until it knows.
//!
//! ```text
//! <journal>/entries/<number / 1000>/<number>      fixed width, so that names sort as numbers do
//! <journal>/snapshots/<number>
//! ```

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use tokio::sync::Mutex;

use super::StoreError;
use super::objects::Created;
use super::objects::backend::{Backend, Size};
use super::objects::names::{ENTRIES, SNAPSHOTS};

mod collect;

use collect::Sweep;

/// The largest entry. With [`READ_AHEAD`] it bounds what a reader holds; a second of a full queue is a tenth of it.
pub const MAX_ENTRY_BYTES: u64 = 16 * 1024 * 1024;
/// The largest snapshot: of 70 million identities, at the 15 bytes that one takes.
pub const MAX_SNAPSHOT_BYTES: u64 = 1024 * 1024 * 1024;
/// Entries asked for at once by a reader: hides the time of an answer, and asks for that many too many at the end.
pub const READ_AHEAD: usize = 8;
/// The most numbers listed: a week of an entry every 150 ms that nobody collected, in 32 MB.
pub const MAX_NUMBERS: usize = 4_000_000;
/// The most entries and snapshots that one call of [`Journal::collect`] removes: seconds on a slow store.
pub const MAX_COLLECTED: usize = 1000;
/// Entries in one folder: what a provider lists in one answer.
const GROUP: u64 = 1000;
/// More groups than [`MAX_NUMBERS`] fills; each may be left with a single entry that was pinned.
const MAX_GROUPS: usize = 1_000_000;
/// A few are kept; a collector that fails for long leaves more.
const MAX_SNAPSHOTS: usize = 100_000;

/// Why an entry was not created.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CreateError {
    /// The number is taken by other bytes: somebody else writes this journal. Nothing was changed.
    #[error(
        "store: {object} was written by somebody else: this replica has lost the partition; if there is only one, look \
         for another that uses the same store"
    )]
    Taken {
        /// The entry.
        object: String,
    },
    /// It may or may not be there. The same call with the same bytes settles it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// One journal. Clones are the same journal, and share what [`Self::collect`] remembers.
#[derive(Clone)]
pub struct Journal {
    inner: Arc<Inner>,
}

struct Inner {
    backend: Arc<Backend>,
    path: String,
    sweep: Mutex<Sweep>,
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal").field("path", &self.inner.path).finish_non_exhaustive()
    }
}

impl Journal {
    pub(in crate::store) fn new(backend: Arc<Backend>, path: String) -> Self {
        Self { inner: Arc::new(Inner { backend, path, sweep: Mutex::default() }) }
    }

    /// Creates entry `number` with at most [`MAX_ENTRY_BYTES`]; once this returns `Ok`, it is durable. `Ok` also if it is
    /// there already with the same bytes: a try of ours had landed. Never overwrites. Returns within a minute.
    ///
    /// Where entries are collected the number of a writer that slept may be free again: whoever has not written for as
    /// long as entries are kept reads its last entry first, and if that is gone, has lost the journal.
    pub async fn create(&self, number: u64, bytes: Bytes) -> Result<(), CreateError> {
        let path = self.entry_path(number);
        check_size(&path, &bytes, MAX_ENTRY_BYTES)?;
        match self.inner.backend.create(&path, bytes.clone()).await? {
            Created::New => return Ok(()),
            Created::Exists => {}
        }
        match self.inner.backend.read(&path, MAX_ENTRY_BYTES, Size::Entry).await {
            Ok(Some(there)) if there == bytes => {
                Ok(self.inner.backend.confirm(&path, bytes).await?)
            }
            Ok(Some(_)) | Err(StoreError::TooLarge { .. }) => {
                Err(CreateError::Taken { object: path })
            }
            Ok(None) => Err(CreateError::Store(StoreError::Unavailable {
                doing: "creating",
                object: path,
                reason: "it was there, and gone a moment later".to_owned(),
            })),
            Err(error) => Err(error.into()),
        }
    }

    /// Entry `number`, if it is there.
    pub async fn entry(&self, number: u64) -> Result<Option<Bytes>, StoreError> {
        self.inner.backend.read(&self.entry_path(number), MAX_ENTRY_BYTES, Size::Entry).await
    }

    /// The entries from `from` on, in order, up to the first number that is missing. Holds [`READ_AHEAD`] of them. An
    /// error ends it; it can be begun again where it ended.
    pub fn entries(
        &self,
        from: u64,
    ) -> impl Stream<Item = Result<(u64, Bytes), StoreError>> + Send + Unpin + use<> {
        let journal = self.clone();
        let read = move |number| {
            let journal = journal.clone();
            async move { Ok(journal.entry(number).await?.map(|bytes| (number, bytes))) }
        };
        let mut is_over = false;
        stream::iter(from..=u64::MAX)
            .map(read)
            .buffered(READ_AHEAD)
            .try_take_while(|entry| std::future::ready(Ok(entry.is_some())))
            .take_while(move |entry| {
                let was_over = std::mem::replace(&mut is_over, entry.is_err());
                std::future::ready(!was_over)
            })
            .try_filter_map(|entry| std::future::ready(Ok(entry)))
            .boxed()
    }

    /// The numbers of all entries, in order; at most [`MAX_NUMBERS`]. Lists everything: only for a start without a
    /// snapshot that says where to begin.
    pub async fn numbers(&self) -> Result<Vec<u64>, StoreError> {
        let mut numbers = Vec::new();
        for group in self.groups().await? {
            numbers.extend(self.numbers_of(group).await?);
            if numbers.len() > MAX_NUMBERS {
                let object = self.entries_path();
                return Err(StoreError::TooMany { object, most: MAX_NUMBERS });
            }
        }
        Ok(numbers)
    }

    /// Keeps a snapshot of at most [`MAX_SNAPSHOT_BYTES`]; once this returns `Ok`, it is durable. Nobody ever sees a part
    /// of one. What stands under that number already is replaced: `number` has to be that of an entry which this writer
    /// created, then nobody else writes it. Returns within minutes.
    pub async fn put_snapshot(&self, number: u64, bytes: Bytes) -> Result<(), StoreError> {
        let path = self.snapshot_path(number);
        check_size(&path, &bytes, MAX_SNAPSHOT_BYTES)?;
        self.inner.backend.replace(&path, bytes, Size::Snapshot).await
    }

    /// The numbers of all snapshots, newest first.
    pub async fn snapshots(&self) -> Result<Vec<u64>, StoreError> {
        let inside = self.inner.backend.names(&self.snapshots_path(), MAX_SNAPSHOTS).await?;
        let mut numbers: Vec<u64> =
            inside.objects.iter().filter_map(|name| number_of(name)).collect();
        numbers.sort_unstable_by(|a, b| b.cmp(a));
        Ok(numbers)
    }

    /// Snapshot `number`, if it is there.
    pub async fn snapshot(&self, number: u64) -> Result<Option<Bytes>, StoreError> {
        let path = self.snapshot_path(number);
        self.inner.backend.read(&path, MAX_SNAPSHOT_BYTES, Size::Snapshot).await
    }

    /// Removes the entries below `before` except `pinned`, and the snapshots that are older than the newest of `keep`
    /// and not in it; at most [`MAX_COLLECTED`] in one call. Gives how many were removed: at the bound there may be more
    /// to do, and after an error the next call goes on. An entry that is no longer pinned goes with the next call.
    ///
    /// The first call lists the folders of entries; what was collected is not looked at again. Each call lists at least the
    /// snapshots and the newest folder below `before`: two requests.
    pub async fn collect(
        &self,
        before: u64,
        pinned: &BTreeSet<u64>,
        keep: &[u64],
    ) -> Result<usize, StoreError> {
        let mut sweep = self.inner.sweep.lock().await;
        let entries = sweep.entries(self, before, pinned).await?;
        let snapshots = collect::snapshots(self, keep, MAX_COLLECTED - entries).await?;
        Ok(entries + snapshots)
    }

    /// The thousands in which there are entries, in order.
    async fn groups(&self) -> Result<BTreeSet<u64>, StoreError> {
        let inside = self.inner.backend.names(&self.entries_path(), MAX_GROUPS).await?;
        let is_group = |name: &String| name.len() == GROUP_DIGITS;
        Ok(inside.folders.iter().filter(|name| is_group(name)).filter_map(digits).collect())
    }

    /// The numbers of the entries of one thousand, in order.
    async fn numbers_of(&self, group: u64) -> Result<Vec<u64>, StoreError> {
        let inside = self.inner.backend.names(&self.group_path(group), MAX_NUMBERS).await?;
        let mut numbers: Vec<u64> = inside
            .objects
            .iter()
            .filter_map(|name| number_of(name))
            .filter(|number| number / GROUP == group)
            .collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    fn entries_path(&self) -> String {
        format!("{}/{ENTRIES}", self.inner.path)
    }

    fn group_path(&self, group: u64) -> String {
        format!("{}/{group:0GROUP_DIGITS$}", self.entries_path())
    }

    fn entry_path(&self, number: u64) -> String {
        format!("{}/{number:0NUMBER_DIGITS$}", self.group_path(number / GROUP))
    }

    fn snapshots_path(&self) -> String {
        format!("{}/{SNAPSHOTS}", self.inner.path)
    }

    fn snapshot_path(&self, number: u64) -> String {
        format!("{}/{number:0NUMBER_DIGITS$}", self.snapshots_path())
    }
}

/// Digits of every 64-bit number.
const NUMBER_DIGITS: usize = 20;
/// Digits of a thousandth of it.
const GROUP_DIGITS: usize = 17;

/// The number that an object's name stands for; none if it is not ours.
fn number_of(name: &str) -> Option<u64> {
    (name.len() == NUMBER_DIGITS).then(|| digits(name)).flatten()
}

fn digits(text: impl AsRef<str>) -> Option<u64> {
    let text = text.as_ref();
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

fn check_size(path: &str, bytes: &Bytes, most: u64) -> Result<(), StoreError> {
    let bytes = bytes.len() as u64;
    if bytes > most {
        return Err(StoreError::TooLarge { object: path.to_owned(), bytes, most });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
