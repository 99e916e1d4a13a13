//! Columns of a table, and the ends of ids, in chunks of a fixed size: what grows is never copied, and there is no room for
//! twice as much as there is.

use super::prefetch::prefetch;
use super::table::Slot;

/// Values of a chunk: 64 KiB of records.
const CHUNK: usize = 1_024;
/// Bytes of a chunk of the arena. An id stands in one chunk: at its end up to 255 bytes are lost.
const CHUNK_BYTES: usize = 65_536;

/// One value for each slot.
pub(crate) struct Column<T> {
    chunks: Vec<Box<[T; CHUNK]>>,
    /// What stands where nothing was put yet.
    blank: T,
}

impl<T: Copy> Column<T> {
    pub(crate) fn new(blank: T) -> Self {
        Self { chunks: Vec::new(), blank }
    }

    #[inline]
    pub(crate) fn get(&self, slot: Slot) -> &T {
        &self.chunks[slot as usize / CHUNK][slot as usize % CHUNK]
    }

    /// Asks for it.
    #[inline]
    pub(crate) fn prefetch(&self, slot: Slot) {
        prefetch(self.get(slot));
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, slot: Slot) -> &mut T {
        &mut self.chunks[slot as usize / CHUNK][slot as usize % CHUNK]
    }

    /// Puts a value where one stands, or behind the last.
    pub(crate) fn put(&mut self, slot: Slot, value: T) {
        if slot as usize / CHUNK == self.chunks.len() {
            self.chunks.extend(vec![self.blank; CHUNK].try_into().ok());
        }
        *self.get_mut(slot) = value;
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.chunks.len() * CHUNK * size_of::<T>()
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
        let start = at as usize % CHUNK_BYTES;
        &self.chunks[at as usize / CHUNK_BYTES][start..start + bytes]
    }

    /// Asks for both ends of it.
    pub(crate) fn prefetch(&self, at: u32, bytes: usize) {
        if let [first, .., last] = self.get(at, bytes) {
            prefetch(first);
            prefetch(last);
        }
    }

    /// Adds both parts, one behind the other; returns where they stand.
    pub(crate) fn add(&mut self, parts: [&[u8]; 2]) -> u32 {
        let bytes = parts[0].len() + parts[1].len();
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
