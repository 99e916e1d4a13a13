//! Records and the ends of ids, in chunks of a fixed size: what grows is never copied, and there is no room for twice as
//! much as there is.

use super::table::{Record, Slot};

/// Records of a chunk: 64 KiB.
const CHUNK_RECORDS: usize = 1_024;
/// Bytes of a chunk of the arena. An id stands in one chunk: at its end up to 255 bytes are lost.
const CHUNK_BYTES: usize = 65_536;

/// The records of a table.
#[derive(Default)]
pub(crate) struct Slab {
    chunks: Vec<Vec<Record>>,
    /// Slots of removed records, to be used again.
    vacant: Vec<Slot>,
}

impl Slab {
    #[inline]
    pub(crate) fn get(&self, slot: Slot) -> &Record {
        &self.chunks[slot as usize / CHUNK_RECORDS][slot as usize % CHUNK_RECORDS]
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, slot: Slot) -> &mut Record {
        &mut self.chunks[slot as usize / CHUNK_RECORDS][slot as usize % CHUNK_RECORDS]
    }

    pub(crate) fn insert(&mut self, record: Record) -> Slot {
        if let Some(slot) = self.vacant.pop() {
            *self.get_mut(slot) = record;
            return slot;
        }
        if self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK_RECORDS) {
            self.chunks.push(Vec::with_capacity(CHUNK_RECORDS));
        }
        let full = (self.chunks.len() - 1) * CHUNK_RECORDS;
        let Some(last) = self.chunks.last_mut() else { return 0 };
        last.push(record);
        u32::try_from(full + last.len() - 1).unwrap_or(u32::MAX)
    }

    /// Slots there are, vacant ones too.
    pub(crate) fn len(&self) -> Slot {
        let full = self.chunks.len().saturating_sub(1) * CHUNK_RECORDS;
        let last = self.chunks.last().map_or(0, Vec::len);
        u32::try_from(full + last).unwrap_or(u32::MAX)
    }

    /// The record's slot may be used again.
    pub(crate) fn vacate(&mut self, slot: Slot) {
        self.vacant.push(slot);
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.chunks.len() * CHUNK_RECORDS * size_of::<Record>()
            + self.vacant.capacity() * size_of::<Slot>()
    }
}

/// The bytes of ids that do not fit into their records.
#[derive(Default)]
pub(crate) struct Arena {
    chunks: Vec<Vec<u8>>,
    bytes: usize,
}

impl Arena {
    /// The bytes that [`Arena::add`] has put at `at`.
    #[inline]
    pub(crate) fn get(&self, at: u32, bytes: usize) -> &[u8] {
        if bytes == 0 {
            return &[];
        }
        let start = at as usize % CHUNK_BYTES;
        &self.chunks[at as usize / CHUNK_BYTES][start..start + bytes]
    }

    /// Reading it brings the line into the processor's cache.
    #[inline]
    pub(crate) fn touch(&self, at: u32) -> u8 {
        let chunk = self.chunks.get(at as usize / CHUNK_BYTES);
        chunk.and_then(|chunk| chunk.get(at as usize % CHUNK_BYTES)).copied().unwrap_or(0)
    }

    /// Adds both parts, one behind the other; returns where they stand.
    pub(crate) fn add(&mut self, parts: [&[u8]; 2]) -> u32 {
        let bytes = parts[0].len() + parts[1].len();
        if bytes == 0 {
            return 0;
        }
        if self.chunks.last().is_none_or(|chunk| chunk.len() + bytes > CHUNK_BYTES) {
            self.chunks.push(Vec::with_capacity(CHUNK_BYTES));
        }
        self.bytes += bytes;
        let full = (self.chunks.len() - 1) * CHUNK_BYTES;
        let Some(last) = self.chunks.last_mut() else { return 0 };
        let at = full + last.len();
        parts.iter().for_each(|part| last.extend_from_slice(part));
        u32::try_from(at).unwrap_or(u32::MAX)
    }

    /// Bytes of all that was ever added.
    pub(crate) fn len(&self) -> usize {
        self.bytes
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.chunks.len() * CHUNK_BYTES
    }
}
