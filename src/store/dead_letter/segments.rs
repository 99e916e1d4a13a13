//! Numbered files of lines. Lines are appended to the newest; the oldest goes when all together are too large.
//! A file that was written by an earlier process, or after which a write failed, is never appended to: its last
//! line may be cut.

use std::collections::VecDeque;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use metrics::Counter;

use super::{DeadLetterError, Letter};

/// Removing one of eight leaves most of what was there.
const SEGMENTS: u64 = 8;
/// A segment is listed and counted in one piece.
const MAX_SEGMENT_BYTES: u64 = 16 * 1024 * 1024;
/// Digits of a segment's number: every 64-bit number, so that names sort as numbers do.
const NUMBER_DIGITS: usize = 20;
const SUFFIX: &str = ".jsonl";

/// What went wrong, before it is told to each waiting caller.
pub(super) struct Fault {
    doing: &'static str,
    source: io::Error,
}

fn fault(doing: &'static str) -> impl FnOnce(io::Error) -> Fault {
    move |source| Fault { doing, source }
}

/// The files.
pub(super) struct Segments {
    folder: PathBuf,
    max_bytes: u64,
    /// Number and size of each, oldest first; the open one is the last.
    sizes: VecDeque<(u64, u64)>,
    open: Option<File>,
    removed: Counter,
}

impl Segments {
    /// Creates the folder if needed, and looks what is there.
    pub(super) fn open(
        folder: PathBuf,
        max_bytes: u64,
        removed: Counter,
    ) -> Result<Self, DeadLetterError> {
        let mut segments = Self { folder, max_bytes, sizes: VecDeque::new(), open: None, removed };
        match segments.look() {
            Ok(sizes) => segments.sizes = sizes,
            Err(fault) => return Err(segments.error(&fault)),
        }
        Ok(segments)
    }

    fn look(&self) -> Result<VecDeque<(u64, u64)>, Fault> {
        create_private_folder(&self.folder).map_err(fault("creating the folder"))?;
        numbers(&self.folder)
            .map_err(fault("listing the files"))?
            .into_iter()
            .map(|number| {
                let metadata = fs::metadata(path_of(&self.folder, number));
                Ok((number, metadata.map_err(fault("listing the files"))?.len()))
            })
            .collect()
    }

    /// Appends the lines and syncs them once. After an error the next lines begin a new file, and what is there is
    /// looked at again.
    pub(super) fn append<'a>(
        &mut self,
        lines: impl Iterator<Item = &'a [u8]>,
    ) -> Result<(), Fault> {
        let result = self.try_append(lines);
        if result.is_err() {
            self.open = None;
            if let Ok(sizes) = self.look() {
                self.sizes = sizes;
            }
        }
        result
    }

    fn try_append<'a>(&mut self, lines: impl Iterator<Item = &'a [u8]>) -> Result<(), Fault> {
        for line in lines {
            let line_bytes = line.len() as u64;
            self.make_room(line_bytes)?;
            let file = self.file_for(line_bytes)?;
            file.write_all(line).map_err(fault("writing"))?;
            if let Some((_, size)) = self.sizes.back_mut() {
                *size += line_bytes;
            }
        }
        match &self.open {
            Some(file) => file.sync_data().map_err(fault("syncing")),
            None => Ok(()),
        }
    }

    /// The file to write to; a new one if there is none or it is full.
    fn file_for(&mut self, line_bytes: u64) -> Result<&mut File, Fault> {
        let newest = self.sizes.back().copied();
        let is_full =
            newest.is_some_and(|(_, size)| size > 0 && size + line_bytes > self.segment_bytes());
        if is_full && let Some(full) = self.open.take() {
            full.sync_data().map_err(fault("syncing"))?;
        }
        match self.open.take() {
            Some(file) => Ok(self.open.insert(file)),
            None => {
                let number = newest.map_or(0, |(number, _)| number + 1);
                let file =
                    create_private_file(&self.folder, number).map_err(fault("creating a file"))?;
                self.sizes.push_back((number, 0));
                Ok(self.open.insert(file))
            }
        }
    }

    /// Removes the oldest files until `line_bytes` fit.
    fn make_room(&mut self, line_bytes: u64) -> Result<(), Fault> {
        while self.bytes() + line_bytes > self.max_bytes {
            let Some(&(number, _)) = self.sizes.front() else {
                return Ok(());
            };
            if self.sizes.len() == 1 {
                self.open = None;
            }
            let path = path_of(&self.folder, number);
            let letters = count_lines(&path).unwrap_or(0);
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(fault("removing the oldest file")(error));
                }
                Ok(()) | Err(_) => self.removed.increment(letters),
            }
            self.sizes.pop_front();
        }
        Ok(())
    }

    fn bytes(&self) -> u64 {
        self.sizes.iter().map(|(_, size)| size).sum()
    }

    fn segment_bytes(&self) -> u64 {
        (self.max_bytes / SEGMENTS).clamp(1, MAX_SEGMENT_BYTES)
    }

    /// The fault as one caller is told it.
    pub(super) fn error(&self, fault: &Fault) -> DeadLetterError {
        DeadLetterError::Io {
            doing: fault.doing,
            path: self.folder.clone(),
            source: match fault.source.raw_os_error() {
                Some(code) => io::Error::from_raw_os_error(code),
                None => fault.source.kind().into(),
            },
        }
    }
}

/// The newest `limit` letters below `folder` that `is_wanted` picks, oldest first.
pub(super) fn newest<T: Letter>(
    folder: &Path,
    limit: usize,
    is_wanted: impl Fn(&T) -> bool,
) -> Result<Vec<T>, DeadLetterError> {
    let io_error =
        |source| DeadLetterError::Io { doing: "reading", path: folder.to_owned(), source };
    let mut letters = VecDeque::new();
    for number in numbers(folder).map_err(io_error)?.into_iter().rev() {
        if letters.len() >= limit {
            break;
        }
        let content = match fs::read(path_of(folder, number)) {
            Ok(content) => content,
            // Removed meanwhile to make room.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(io_error(error)),
        };
        let lines: Vec<_> = content.split(|&byte| byte == b'\n').collect();
        for line in lines.into_iter().rev() {
            if letters.len() < limit
                && let Ok(line) = std::str::from_utf8(line)
                && let Some(letter) = T::from_line(line)
                && is_wanted(&letter)
            {
                letters.push_front(letter);
            }
        }
    }
    Ok(letters.into())
}

/// The numbers of the files in `folder`, in order; anything else there is left alone.
fn numbers(folder: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let number = name
            .to_str()
            .and_then(|name| name.strip_suffix(SUFFIX))
            .filter(|digits| digits.len() == NUMBER_DIGITS)
            .and_then(|digits| digits.parse::<u64>().ok());
        numbers.extend(number);
    }
    numbers.sort_unstable();
    Ok(numbers)
}

fn path_of(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:0NUMBER_DIGITS$}{SUFFIX}"))
}

fn count_lines(path: &Path) -> io::Result<u64> {
    let mut reader = BufReader::new(File::open(path)?);
    let mut lines = 0;
    while reader.skip_until(b'\n')? > 0 {
        lines += 1;
    }
    Ok(lines)
}

fn create_private_folder(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700))
}

fn create_private_file(folder: &Path, number: u64) -> io::Result<File> {
    let file = OpenOptions::new()
        .append(true)
        .create_new(true)
        .mode(0o600)
        .open(path_of(folder, number))?;
    // The name of a new file is durable only once its folder is.
    File::open(folder)?.sync_all()?;
    Ok(file)
}
