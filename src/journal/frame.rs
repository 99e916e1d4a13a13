//! How an entry or a snapshot stands in the store: what it is, in which version, its length and a checksum, then the content.
//!
//! ```text
//! "LSEN" or "LSSN" | version (1 byte) | length of the content (4 bytes, big-endian) | CRC-32 of what follows | Zstandard frame
//! ```

use serde::Serialize;
use serde::de::DeserializeOwned;

/// What is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An entry of a journal.
    Entry,
    /// A snapshot.
    Snapshot,
}

impl Kind {
    const fn magic(self) -> [u8; 4] {
        match self {
            Self::Entry => *b"LSEN",
            Self::Snapshot => *b"LSSN",
        }
    }
}

/// The version that is written. What a version means never changes: a golden file of each is read by a test.
pub const VERSION: u8 = 1;
/// Magic, version, length, checksum.
const HEADER_BYTES: usize = 4 + 1 + 4 + 4;
/// The most that a content may unfold to: a partition with as many identities as it can hold takes half of it.
const MAX_CONTENT_BYTES: usize = 2 * 1024 * 1024 * 1024 - 1;
/// The most that one packed byte may unfold to: the smallest block of a frame has four bytes, and a block holds at most
/// 128 KB (RFC 8878, section 3.1.1.2). So a length that is a lie costs no more memory than the file could fill.
const MAX_UNFOLDING: usize = 128 * 1024 / 4;
/// Fast, and most of what there is to win (Zstandard, RFC 8878).
const LEVEL: i32 = 1;

/// Why bytes are not what they should be. Nothing of them is used then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Something else stands there.
    #[error("it is no file of lastseen")]
    Foreign,
    /// A later version wrote it.
    #[error(
        "it was written in format {0}, which this version can't read: use a version that can, or a new store"
    )]
    Newer(u8),
    /// Cut, or changed.
    #[error("it is cut or damaged")]
    Damaged,
    /// It was written under another number.
    #[error("it was written under the number {0}")]
    Displaced(u64),
    /// More than a frame can hold. Nothing was written.
    #[error("it holds more than {MAX_CONTENT_BYTES} bytes")]
    TooLarge,
}

/// Puts bytes into a frame.
pub fn seal(kind: Kind, content: &[u8]) -> Result<Vec<u8>, FrameError> {
    let length = u32::try_from(content.len()).map_err(|_| FrameError::TooLarge)?;
    if content.len() > MAX_CONTENT_BYTES {
        return Err(FrameError::TooLarge);
    }
    let packed = zstd::bulk::compress(content, LEVEL).map_err(|_| FrameError::TooLarge)?;
    let mut framed = Vec::with_capacity(HEADER_BYTES + packed.len());
    framed.extend_from_slice(&kind.magic());
    framed.push(VERSION);
    framed.extend_from_slice(&length.to_be_bytes());
    framed.extend_from_slice(&checksum(length, &packed).to_be_bytes());
    framed.extend_from_slice(&packed);
    Ok(framed)
}

/// Takes the content out of a frame.
pub fn open(kind: Kind, framed: &[u8]) -> Result<Vec<u8>, FrameError> {
    let magic = framed.get(..4).ok_or(FrameError::Damaged)?;
    if magic != kind.magic() {
        return Err(FrameError::Foreign);
    }
    let (header, packed) = framed.split_at_checked(HEADER_BYTES).ok_or(FrameError::Damaged)?;
    if header[4] > VERSION {
        return Err(FrameError::Newer(header[4]));
    }
    let number = |at: usize| {
        u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
    };
    let (length, sum) = (number(5), number(9));
    if header[4] != VERSION || checksum(length, packed) != sum {
        return Err(FrameError::Damaged);
    }
    let length = usize::try_from(length).map_err(|_| FrameError::Damaged)?;
    if length > MAX_CONTENT_BYTES.min(packed.len().saturating_mul(MAX_UNFOLDING)) {
        return Err(FrameError::Damaged);
    }
    let content = zstd::bulk::decompress(packed, length).map_err(|_| FrameError::Damaged)?;
    if content.len() == length { Ok(content) } else { Err(FrameError::Damaged) }
}

/// Writes a value into a frame.
pub fn seal_value(kind: Kind, value: &impl Serialize) -> Result<Vec<u8>, FrameError> {
    let content = postcard::to_allocvec(value).map_err(|_| FrameError::TooLarge)?;
    seal(kind, &content)
}

/// Reads a value out of a frame that holds nothing else.
pub fn open_value<T: DeserializeOwned>(kind: Kind, framed: &[u8]) -> Result<T, FrameError> {
    let content = open(kind, framed)?;
    match postcard::take_from_bytes(&content) {
        Ok((value, [])) => Ok(value),
        Ok(_) | Err(_) => Err(FrameError::Damaged),
    }
}

/// Over the length too, so that no damage to it goes unseen.
fn checksum(length: u32, packed: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&length.to_be_bytes());
    hasher.update(packed);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame whose checksum is right and whose length is not.
    fn lying(length: u32, packed: &[u8]) -> Vec<u8> {
        let mut framed = b"LSEN\x01".to_vec();
        framed.extend_from_slice(&length.to_be_bytes());
        framed.extend_from_slice(&checksum(length, packed).to_be_bytes());
        framed.extend_from_slice(packed);
        framed
    }

    #[test]
    fn what_unfolds_most_comes_back_whole() {
        for length in [0, 1, 100, 131_072, 50_000_000] {
            let content = vec![0; length];
            let framed = seal(Kind::Snapshot, &content).unwrap();
            assert!(open(Kind::Snapshot, &framed) == Ok(content), "{length}");
        }
    }

    #[test]
    fn a_length_that_the_bytes_can_not_unfold_to_is_refused_before_any_memory_is_taken_for_it() {
        let packed = zstd::bulk::compress(b"short", LEVEL).unwrap();
        let largest = u32::try_from(packed.len() * MAX_UNFOLDING).unwrap();
        for length in [0, 4, 6, largest, largest + 1, u32::MAX] {
            assert_eq!(open(Kind::Entry, &lying(length, &packed)), Err(FrameError::Damaged));
        }
        assert_eq!(open(Kind::Entry, &lying(5, &packed)), Ok(b"short".to_vec()));
    }
}
