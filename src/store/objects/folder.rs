//! Objects as files below a folder. What was written is on disk, file and folders, before a call returns; a name is
//! given to a file only when its content is on disk, so no crash leaves half an object.
//!
//! Everything blocks; [`super::backend`] calls it on threads for that. Files are for this user only (0600 in 0700).

use std::collections::HashSet;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

/// Where files are written before they have a name. Names of journals never begin with a dot.
const TEMPORARY: &str = ".tmp";
/// Folders that are remembered as durable; a folder takes a thousand entries, so forgetting costs nothing.
const MAX_REMEMBERED: usize = 4096;
/// A write begins again when the folder or its own file was removed by another process in between.
const MAX_ATTEMPTS: u32 = 3;

/// What was found under a name that was to be created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Created {
    New,
    /// There was an object already; it was left alone.
    Exists,
}

/// An object that was asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    Missing,
    Content(Vec<u8>),
    /// It was not read: larger than was allowed.
    Larger(u64),
}

/// What is in a folder.
#[derive(Debug, Default)]
pub(in crate::store) struct Names {
    pub(in crate::store) folders: Vec<String>,
    pub(in crate::store) objects: Vec<String>,
}

/// Brings a file or folder to disk.
type Sync = Box<dyn Fn(&File) -> io::Result<()> + Send + std::marker::Sync>;

/// The folder.
pub(in crate::store) struct Folder {
    root: PathBuf,
    sync: Sync,
    /// Folders that were on disk, with what was in them and all folders above, at some time in the life of this process.
    durable: Mutex<HashSet<PathBuf>>,
}

/// A file without a place yet; removed when it is dropped. Its lock tells others that somebody still writes it.
struct Temporary {
    path: PathBuf,
    file: File,
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // Gone already if it was given its name.
        let _gone = fs::remove_file(&self.path);
    }
}

impl Folder {
    /// Creates what is missing, and removes what writers that are gone left unfinished.
    pub(super) fn open(root: PathBuf) -> io::Result<Self> {
        Self::open_with(root, Box::new(File::sync_all))
    }

    /// The same with another way to sync: a disk that fails, in tests.
    pub(super) fn open_with(root: PathBuf, sync: Sync) -> io::Result<Self> {
        let root = std::path::absolute(root)?;
        let folder = Self { root, sync, durable: Mutex::default() };
        folder.create_root()?;
        let temporary = folder.root.join(TEMPORARY);
        folder.create_folder(&temporary)?;
        remove_leftovers(&temporary)?;
        Ok(folder)
    }

    /// Creates the folder, and syncs each that is above a new one; the one above the root in any case.
    fn create_root(&self) -> io::Result<()> {
        let above = || self.root.ancestors().skip(1);
        let missing = above().take_while(|folder| !folder.exists()).count();
        create_private(&self.root)?;
        for folder in above().take(missing + 1) {
            match self.sync_folder(folder) {
                // What was there already need not be readable for us.
                Err(error) if error.kind() == ErrorKind::PermissionDenied => {}
                other => other?,
            }
        }
        Ok(())
    }

    /// Gives the bytes this name, if nothing has it.
    pub(super) fn create(&self, name: &str, bytes: &[u8]) -> io::Result<Created> {
        self.write(name, bytes, |from, to| match move_to_new_name(from, to) {
            Ok(()) => Ok(Created::New),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(Created::Exists),
            Err(error) => Err(error),
        })
    }

    /// Gives the bytes this name, instead of whatever has it: never anything in between.
    pub(super) fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.write(name, bytes, |from, to| fs::rename(from, to))
    }

    /// Writes anew in every attempt: after a failed sync the system may believe pages clean that never reached the disk.
    fn write<T>(
        &self,
        name: &str,
        bytes: &[u8],
        publish: impl Fn(&Path, &Path) -> io::Result<T>,
    ) -> io::Result<T> {
        let target = self.root.join(name);
        let parent = target.parent().unwrap_or(&self.root);
        let mut attempt = 1;
        loop {
            if !self.is_durable(parent) {
                self.create_folder(parent)?;
            }
            let written =
                self.write_temporary(bytes).and_then(|temporary| publish(&temporary.path, &target));
            match written {
                Err(error) if error.kind() == ErrorKind::NotFound && attempt < MAX_ATTEMPTS => {
                    attempt += 1;
                    self.forget(parent);
                    self.create_root()?;
                    self.create_folder(&self.root.join(TEMPORARY))?;
                }
                Err(error) => return Err(error),
                Ok(published) => {
                    self.sync_folder(parent)?;
                    self.remember(parent);
                    return Ok(published);
                }
            }
        }
    }

    fn write_temporary(&self, bytes: &[u8]) -> io::Result<Temporary> {
        let path = self.root.join(TEMPORARY).join(format!("{:032x}", rand::random::<u128>()));
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        let mut temporary = Temporary { path, file };
        // A file system without locks only loses the removal of leftovers.
        let _unsupported = temporary.file.try_lock();
        temporary.file.write_all(bytes)?;
        (self.sync)(&temporary.file)?;
        Ok(temporary)
    }

    /// The content under this name, if it is at most `most` bytes long.
    pub(super) fn read(&self, name: &str, most: u64) -> io::Result<Found> {
        let path = self.root.join(name);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if is_missing(&error) => return Ok(Found::Missing),
            Err(error) => return Err(error),
        };
        let mut content = Vec::new();
        let size = file.metadata()?.len();
        if size > most {
            return Ok(Found::Larger(size));
        }
        file.take(most).read_to_end(&mut content)?;
        // Its writer may have died before the name was on disk: whatever follows from it must not outlive it.
        let parent = path.parent().unwrap_or(&self.root);
        if !self.is_durable(parent) {
            self.create_folder(parent)?;
            self.sync_folder(parent)?;
            self.remember(parent);
        }
        Ok(Found::Content(content))
    }

    /// What is in the folder of this name, at most `most` names; none if there are more.
    pub(super) fn names(&self, name: &str, most: usize) -> io::Result<Option<Names>> {
        let mut names = Names::default();
        let entries = match fs::read_dir(self.root.join(name)) {
            Ok(entries) => entries,
            Err(error) if is_missing(&error) => return Ok(Some(names)),
            Err(error) => return Err(error),
        };
        for entry in entries {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            if name.starts_with('.') {
                continue;
            }
            let kind = entry.file_type()?;
            if kind.is_dir() {
                names.folders.push(name);
            } else if kind.is_file() {
                names.objects.push(name);
            }
            if names.folders.len() + names.objects.len() > most {
                return Ok(None);
            }
        }
        Ok(Some(names))
    }

    /// Removes these, and the folders that are empty then; how many there were. A removal that a power cut undoes is
    /// done again by a later sweep.
    pub(super) fn remove(&self, names: &[String]) -> io::Result<usize> {
        let mut removed = 0;
        let mut parents = HashSet::new();
        for name in names {
            let path = self.root.join(name);
            match fs::remove_file(&path) {
                Ok(()) => removed += 1,
                Err(error) if is_missing(&error) => {}
                Err(error) => return Err(error),
            }
            parents.extend(path.parent().map(Path::to_owned));
        }
        for parent in parents {
            self.forget(&parent);
            // It stays as long as there is something in it.
            let _not_empty = fs::remove_dir(parent);
        }
        Ok(removed)
    }

    /// Creates the folder and those above it up to the root as needed, and syncs the way to it: another process may
    /// have created them without getting so far.
    fn create_folder(&self, folder: &Path) -> io::Result<()> {
        create_private(folder)?;
        let mut above =
            folder.ancestors().skip(1).take_while(|above| above.starts_with(&self.root));
        above.try_for_each(|above| self.sync_folder(above))
    }

    fn remember(&self, folder: &Path) {
        let mut durable = self.durable.lock().unwrap_or_else(PoisonError::into_inner);
        if durable.len() >= MAX_REMEMBERED {
            durable.clear();
        }
        durable.insert(folder.to_owned());
    }

    fn is_durable(&self, folder: &Path) -> bool {
        self.durable.lock().unwrap_or_else(PoisonError::into_inner).contains(folder)
    }

    fn forget(&self, folder: &Path) {
        self.durable.lock().unwrap_or_else(PoisonError::into_inner).remove(folder);
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        (self.sync)(&File::open(folder)?)
    }
}

fn create_private(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Neither a file nor a folder has that name.
fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

/// Moves a file to a name that nothing has. Network file systems know one of the two ways.
fn move_to_new_name(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => fs::hard_link(from, to),
        other => Ok(other?),
    }
}

/// Removes files that no writer holds a lock on.
fn remove_leftovers(temporary: &Path) -> io::Result<()> {
    for entry in fs::read_dir(temporary)? {
        let path = entry?.path();
        let is_abandoned = File::open(&path).is_ok_and(|file| file.try_lock().is_ok());
        if is_abandoned {
            match fs::remove_file(&path) {
                Err(error) if !is_missing(&error) => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
