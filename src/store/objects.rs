//! Opening what journals and snapshots are kept in: a folder by default, or an object store.

use std::fmt;
use std::sync::Arc;

use object_store::ObjectStore;
use object_store::memory::InMemory;

use super::StoreError;
use super::journal::Journal;
use crate::config::StoreConfig;

pub(in crate::store) mod backend;
mod folder;
pub(in crate::store) mod names;
mod remote;

use backend::{Backend, io_error};
use folder::Folder;
use names::{ENTRIES, SNAPSHOTS};
use remote::{Doing, Remote};

pub(in crate::store) use folder::Created;

/// More partitions than any deployment has: an event hub has at most 2,048 (Event Hubs Dedicated).
const MAX_JOURNALS: usize = 16_384;
/// Names of a journal are few, and a long one takes several parts.
const MAX_DEPTH: usize = 16;

/// An opened store. Clones share it.
#[derive(Clone)]
pub struct Objects {
    backend: Arc<Backend>,
}

impl fmt::Debug for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Objects").finish_non_exhaustive()
    }
}

impl Objects {
    /// Opens what the configuration names. A folder is created if it is missing, and what a crash left unfinished in it
    /// is removed (blocks for as long as the disk takes); an object store is not asked before it is used.
    pub fn open(config: &StoreConfig) -> Result<Self, StoreError> {
        let backend = match &config.remote {
            Some(remote) => Backend::Remote(Remote::open(remote)?),
            None => {
                let path = config.path.display().to_string();
                let doing = Doing { doing: "opening", object: &path };
                let folder = Folder::open(config.path.clone());
                Backend::folder(folder.map_err(|error| io_error(doing, &error))?)
            }
        };
        Ok(Self { backend: Arc::new(backend) })
    }

    /// Keeps everything in memory, for as long as the process runs: for sources that keep nothing, and tests.
    pub fn in_memory() -> Self {
        Self::over(Arc::new(InMemory::new()))
    }

    /// Keeps everything in that store, from its top: for stores that fail as a test wants them to.
    pub fn over(store: Arc<dyn ObjectStore>) -> Self {
        Self { backend: Arc::new(Backend::Remote(Remote::over(store))) }
    }

    /// The journal of that name, whether or not it holds anything yet. Any names will do: they are escaped.
    pub fn journal(&self, name: &[&str]) -> Journal {
        Journal::new(self.backend.clone(), names::path_of(name))
    }

    /// The names of all journals below `under` that hold an entry or a snapshot, in no order. At most 16,384; what was
    /// not named by [`Self::journal`] is passed over.
    pub async fn journals(&self, under: &[&str]) -> Result<Vec<Vec<String>>, StoreError> {
        let mut found = Vec::new();
        let top = names::path_of(under);
        let depth = top.split('/').filter(|part| !part.is_empty()).count();
        let mut waiting = vec![(top, depth)];
        while let Some((folder, depth)) = waiting.pop() {
            let inside = self.backend.names(&folder, MAX_JOURNALS).await?;
            let mut is_journal = false;
            for part in inside.folders {
                let path = join(&folder, &part);
                if part == ENTRIES || part == SNAPSHOTS {
                    is_journal = is_journal || self.holds_object(&path).await?;
                } else if depth < MAX_DEPTH {
                    waiting.push((path, depth + 1));
                }
            }
            if is_journal && let Some(name) = names::names_of(&folder) {
                found.push(name);
            }
            if found.len() + waiting.len() > MAX_JOURNALS {
                return Err(StoreError::TooMany { object: folder, most: MAX_JOURNALS });
            }
        }
        Ok(found)
    }

    /// Whether there is an object in the folder or in one directly below it. Folders outlive what was in them.
    async fn holds_object(&self, folder: &str) -> Result<bool, StoreError> {
        let inside = self.backend.names(folder, super::journal::MAX_NUMBERS).await?;
        if !inside.objects.is_empty() {
            return Ok(true);
        }
        for below in inside.folders {
            let below = join(folder, &below);
            let inside = self.backend.names(&below, super::journal::MAX_NUMBERS).await?;
            if !inside.objects.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// A path below a folder; the top is empty.
fn join(folder: &str, part: &str) -> String {
    if folder.is_empty() { part.to_owned() } else { format!("{folder}/{part}") }
}

#[cfg(test)]
mod tests;
