//! `store`: what is kept on disk.

use std::path::PathBuf;

use super::section::Section;

/// Beside the configuration file.
const DEFAULT_PATH: &str = "data";
/// About 100,000 rejected messages of an ordinary size.
const DEFAULT_DEAD_LETTER_BYTES: u64 = 64 * 1024 * 1024;
/// Room for two segments with the largest letter in each.
const MIN_DEAD_LETTER_BYTES: i64 = 1024 * 1024;
/// A tebibyte: a larger number is a slip.
const MAX_DEAD_LETTER_BYTES: i64 = 1024 * 1024 * 1024 * 1024;

/// `store`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreConfig {
    /// Folder.
    pub path: PathBuf,
    /// Most bytes of the ingest dead letters, and of the delivery dead letters; the oldest go first.
    pub dead_letter_bytes: u64,
}

impl StoreConfig {
    pub(super) fn read(section: &Section<'_>) -> Self {
        let bytes =
            section.number("dead_letter_bytes", MIN_DEAD_LETTER_BYTES..=MAX_DEAD_LETTER_BYTES);
        Self {
            path: section.resolve(section.text("path").unwrap_or(DEFAULT_PATH)),
            dead_letter_bytes: bytes
                .and_then(|bytes| u64::try_from(bytes).ok())
                .unwrap_or(DEFAULT_DEAD_LETTER_BYTES),
        }
    }
}
