//! Why the store did not do what it was asked.

use crate::telemetry::redact;

/// The longest part of what a system or provider said that is repeated, in characters: answers may hold pages, and begin
/// with the object's URL.
const SHOWN_CHARACTERS: usize = 800;

/// What the store refused or could not do. Names the object; never holds a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The disk or the network said no, or nothing in time. What was there is as it was; what was being written or
    /// removed may or may not be done: the same call again settles it.
    #[error(
        "store: {doing} {object}: {reason}: it may or may not be done, and can be tried again; \
         free space, or look at the disk or the network"
    )]
    Unavailable {
        /// What was being done.
        doing: &'static str,
        /// The object.
        object: String,
        /// What the system or the provider said.
        reason: String,
    },
    /// We may not. Nothing was done.
    #[error(
        "store: {doing} {object}: {reason}: nothing was done; let this user or these credentials list, read, write \
         and delete there"
    )]
    Refused {
        /// What was being done.
        doing: &'static str,
        /// The object.
        object: String,
        /// What the system or the provider said.
        reason: String,
    },
    /// An object is larger than any that is written. Nothing was read or written.
    #[error(
        "store: {object} has {bytes} bytes, more than the {most} that are written: nothing was done; move it away if \
         it is not ours"
    )]
    TooLarge {
        /// The object.
        object: String,
        /// Its size.
        bytes: u64,
        /// The bound.
        most: u64,
    },
    /// There are more names than are listed.
    #[error(
        "store: {object} holds more than {most} names: nothing was done; move away what is not ours"
    )]
    TooMany {
        /// The folder.
        object: String,
        /// The bound.
        most: usize,
    },
    /// The configuration can't be used. Nothing was opened.
    #[error("store: {reason}: nothing was opened; correct store.url or the options file")]
    Settings {
        /// What is wrong.
        reason: String,
    },
}

/// The words of a system or provider as an error repeats them: one line, short, redacted.
pub(super) fn shown(text: &str) -> String {
    let clean = redact(text);
    let line = clean.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(SHOWN_CHARACTERS) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line,
    }
}
