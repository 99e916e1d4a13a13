//! The two ways in which objects are kept, behind the same few operations, each with a time-out.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Semaphore;

use super::folder::{Created, Folder, Found, Names};
use super::remote::{Doing, Remote};
use crate::store::StoreError;

/// An entry, written or read. Half of the shortest time after which an owner that writes nothing counts as gone (30 s),
/// so that a second attempt is still in time.
const ENTRY_TIMEOUT: Duration = Duration::from_secs(15);
/// A snapshot: 150 MB at 4 Mbit/s.
const SNAPSHOT_TIMEOUT: Duration = Duration::from_secs(300);
/// Listing or removing a thousand names: seconds on a slow disk, some requests to a store.
const MANY_TIMEOUT: Duration = Duration::from_secs(60);
/// Threads that may be in the file system at once. Calls that a hung disk never gives back keep theirs, so that no
/// number of attempts takes all threads.
const DISK_CALLS: usize = 32;

/// How long the call may take, and what it is.
#[derive(Clone, Copy)]
pub(in crate::store) enum Size {
    /// An entry of a journal.
    Entry,
    /// A snapshot.
    Snapshot,
}

impl Size {
    fn timeout(self) -> Duration {
        match self {
            Self::Entry => ENTRY_TIMEOUT,
            Self::Snapshot => SNAPSHOT_TIMEOUT,
        }
    }
}

/// Where objects are. Names are parts with `/` between them, made by [`super::names`].
pub(in crate::store) enum Backend {
    /// Files below a folder.
    Folder {
        /// The folder.
        folder: Arc<Folder>,
        /// Calls into it.
        calls: Arc<Semaphore>,
    },
    /// An object store, or memory.
    Remote(Remote),
}

impl Backend {
    pub(super) fn folder(folder: Folder) -> Self {
        Self::Folder { folder: Arc::new(folder), calls: Arc::new(Semaphore::new(DISK_CALLS)) }
    }

    /// Gives the bytes this name, if nothing has it; an object that is there is left alone.
    pub(in crate::store) async fn create(
        &self,
        name: &str,
        bytes: Bytes,
    ) -> Result<Created, StoreError> {
        let doing = Doing { doing: "creating", object: name };
        match self {
            Self::Folder { folder, calls } => {
                let owned = name.to_owned();
                let work = move |folder: &Folder| folder.create(&owned, &bytes);
                call(folder, calls, ENTRY_TIMEOUT, doing, work).await
            }
            Self::Remote(remote) => {
                within(ENTRY_TIMEOUT, doing, remote.create(name, bytes, doing)).await
            }
        }
    }

    /// Makes sure that an object that was found with these bytes is durable. In a folder it may be there by an attempt
    /// whose sync failed, or whose writer died: it is written anew.
    pub(in crate::store) async fn confirm(
        &self,
        name: &str,
        bytes: Bytes,
    ) -> Result<(), StoreError> {
        match self {
            Self::Folder { .. } => self.replace(name, bytes, Size::Entry).await,
            Self::Remote(_) => Ok(()),
        }
    }

    /// Gives the bytes this name, instead of whatever has it: never anything in between.
    pub(in crate::store) async fn replace(
        &self,
        name: &str,
        bytes: Bytes,
        size: Size,
    ) -> Result<(), StoreError> {
        let doing = Doing { doing: "writing", object: name };
        match self {
            Self::Folder { folder, calls } => {
                let owned = name.to_owned();
                let work = move |folder: &Folder| folder.replace(&owned, &bytes);
                call(folder, calls, size.timeout(), doing, work).await
            }
            Self::Remote(remote) => {
                within(size.timeout(), doing, remote.replace(name, bytes, doing)).await
            }
        }
    }

    /// The content under this name, if it is at most `most` bytes long.
    pub(in crate::store) async fn read(
        &self,
        name: &str,
        most: u64,
        size: Size,
    ) -> Result<Option<Bytes>, StoreError> {
        let doing = Doing { doing: "reading", object: name };
        match self {
            Self::Folder { folder, calls } => {
                let owned = name.to_owned();
                let work = move |folder: &Folder| folder.read(&owned, most);
                match call(folder, calls, size.timeout(), doing, work).await? {
                    Found::Missing => Ok(None),
                    Found::Content(content) => Ok(Some(content.into())),
                    Found::Larger(bytes) => {
                        Err(StoreError::TooLarge { object: name.to_owned(), bytes, most })
                    }
                }
            }
            Self::Remote(remote) => {
                within(size.timeout(), doing, remote.read(name, most, doing)).await
            }
        }
    }

    /// What is in the folder of this name, at most `most` names.
    pub(in crate::store) async fn names(
        &self,
        name: &str,
        most: usize,
    ) -> Result<Names, StoreError> {
        let doing = Doing { doing: "listing", object: name };
        let names = match self {
            Self::Folder { folder, calls } => {
                let owned = name.to_owned();
                let work = move |folder: &Folder| folder.names(&owned, most);
                call(folder, calls, MANY_TIMEOUT, doing, work).await
            }
            Self::Remote(remote) => {
                within(MANY_TIMEOUT, doing, remote.names(name, most, doing)).await
            }
        };
        names?.ok_or_else(|| StoreError::TooMany { object: name.to_owned(), most })
    }

    /// Removes these, all below the folder `of`; how many there were. After an error some may be gone.
    pub(in crate::store) async fn remove(
        &self,
        of: &str,
        names: Vec<String>,
    ) -> Result<usize, StoreError> {
        if names.is_empty() {
            return Ok(0);
        }
        let doing = Doing { doing: "removing old objects of", object: of };
        match self {
            Self::Folder { folder, calls } => {
                let work = move |folder: &Folder| folder.remove(&names);
                call(folder, calls, MANY_TIMEOUT, doing, work).await
            }
            Self::Remote(remote) => within(MANY_TIMEOUT, doing, remote.remove(&names, doing)).await,
        }
    }
}

/// Runs the work on a thread that may block. When the time is up the work goes on, and may still succeed.
async fn call<T: Send + 'static>(
    folder: &Arc<Folder>,
    calls: &Arc<Semaphore>,
    timeout: Duration,
    doing: Doing<'_>,
    work: impl FnOnce(&Folder) -> io::Result<T> + Send + 'static,
) -> Result<T, StoreError> {
    let (folder, calls) = (folder.clone(), calls.clone());
    let result = async {
        let permit = calls.acquire_owned().await;
        let blocking = tokio::task::spawn_blocking(move || {
            let result = work(&folder);
            drop(permit);
            result
        });
        match blocking.await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(error)) => Err(io_error(doing, &error)),
            Err(_) => Err(doing.unavailable("the call was broken off")),
        }
    };
    within(timeout, doing, result).await
}

pub(super) fn io_error(doing: Doing<'_>, error: &io::Error) -> StoreError {
    if error.kind() == ErrorKind::PermissionDenied {
        doing.refused(&error.to_string())
    } else {
        doing.unavailable(&error.to_string())
    }
}

async fn within<T>(
    timeout: Duration,
    doing: Doing<'_>,
    work: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    let late = || Err(doing.unavailable(&format!("no answer within {} s", timeout.as_secs())));
    tokio::time::timeout(timeout, work).await.unwrap_or_else(|_| late())
}
