//! The same bytes as a file, as the content of a sound file, and as what is packed in one whose checksum is right.

use lastseen::journal::frame::{self, Kind};

/// The most that one packed byte unfolds to.
const MAX_UNFOLDING: usize = 32 * 1024;
const CHECKED: usize = 5;
const PACKED: usize = 13;

pub fn check(kind: Kind, bytes: &[u8], read: impl Fn(&[u8])) {
    read(bytes);
    if let Ok(framed) = frame::seal(kind, bytes) {
        assert!(frame::open(kind, &framed).as_deref() == Ok(bytes), "sealed and opened");
        read(&framed);
    }
    let Some((length, packed)) = bytes.split_first_chunk::<4>() else { return };
    let mut framed = match kind {
        Kind::Entry => b"LSEN".to_vec(),
        Kind::Snapshot => b"LSSN".to_vec(),
    };
    framed.push(frame::VERSION);
    framed.extend_from_slice(length);
    framed.extend_from_slice(&crc32fast::hash(bytes).to_be_bytes());
    framed.extend_from_slice(packed);
    debug_assert!(framed[CHECKED..].len() == bytes.len() + 4 && framed[PACKED..] == *packed);
    if let Ok(content) = frame::open(kind, &framed) {
        assert!(content.len() <= packed.len() * MAX_UNFOLDING);
    }
    read(&framed);
}
