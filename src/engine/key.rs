//! An identity as the table stores and compares it, with the hashes by which it is found.
//!
//! What is stored of an identity is its device id, directly followed by its module id. Up to [`HEAD_BYTES`] stand in the
//! record itself: all of a UUID, and of most ids. Of a longer one the first [`CUT_BYTES`] stand there, and the rest in an
//! arena.

use std::hash::{BuildHasher, Hasher};

use super::identity::MAX_ID_BYTES;

/// Bytes of an id that stand in its record, if these are all.
pub(super) const HEAD_BYTES: usize = 36;
/// Bytes of a longer id that do: where its rest is takes the others.
pub(super) const CUT_BYTES: usize = HEAD_BYTES - size_of::<u32>();

/// The bytes of an id that stand in its record; zeros fill up.
pub(super) type Head = [u8; HEAD_BYTES];

/// An identity in the form in which it is stored and compared. Borrows from the text, or from the table.
#[derive(Clone, Copy)]
pub(crate) struct Key<'a> {
    pub(super) head: Head,
    /// The rest: of the device id, then of the module id.
    tail: [&'a [u8]; 2],
    pub(super) hub: u16,
    pub(super) device_bytes: u8,
    pub(super) module_bytes: u8,
    device_hash: u64,
    hash: u64,
}

/// No module: distinct from every length, since an empty module id is refused before.
pub(super) const NO_MODULE: u8 = 0;

impl<'a> Key<'a> {
    /// The stored form of `(hub, device, module)`; ids longer than [`MAX_ID_BYTES`] are cut (decoders refuse them).
    #[inline(always)]
    pub(crate) fn new(
        hasher: &foldhash::fast::FixedState,
        hub: u16,
        device: &'a str,
        module: Option<&'a str>,
    ) -> Self {
        let device = cut(device);
        let device_bytes = u8::try_from(device.len()).unwrap_or(0);
        let (head, rest) = match device.try_into() {
            Ok(head) => (head, [].as_slice()),
            Err(_) => split_head(device),
        };
        let device_hash = hash_device(hasher, hub, device_bytes, &head, rest);
        let of_device = Self {
            head,
            tail: [rest, &[]],
            hub,
            device_bytes,
            module_bytes: NO_MODULE,
            device_hash,
            hash: device_hash,
        };
        match module {
            None => of_device,
            Some(module) => of_device.with_module(hasher, device, cut(module)),
        }
    }

    #[cold]
    fn with_module(
        self,
        hasher: &foldhash::fast::FixedState,
        device: &'a [u8],
        module: &'a [u8],
    ) -> Self {
        let room = room(device.len() + module.len());
        let (of_device, device_rest) = device.split_at(device.len().min(room));
        let (of_module, module_rest) = module.split_at(module.len().min(room - of_device.len()));
        let head = filled([of_device, of_module]);
        let module_bytes = u8::try_from(module.len()).unwrap_or(0);
        Self { head, tail: [device_rest, module_rest], module_bytes, ..self }.hashed(hasher)
    }

    /// Back from what a record holds: its head, and the bytes it has in the arena.
    pub(super) fn from_stored(
        hasher: &foldhash::fast::FixedState,
        head: Head,
        tail: &'a [u8],
        (hub, device_bytes, module_bytes): (u16, u8, u8),
    ) -> Self {
        let in_head = if tail.is_empty() { HEAD_BYTES } else { CUT_BYTES };
        let tail = tail.split_at(usize::from(device_bytes).saturating_sub(in_head));
        let tail = [tail.0, tail.1];
        Self { head, tail, hub, device_bytes, module_bytes, device_hash: 0, hash: 0 }.hashed(hasher)
    }

    fn hashed(self, hasher: &foldhash::fast::FixedState) -> Self {
        let Self { hub, device_bytes, module_bytes, .. } = self;
        let (head, rest) = self.device_parts();
        let device_hash = hash_device(hasher, hub, device_bytes, &head, rest);
        if module_bytes == NO_MODULE {
            return Self { device_hash, hash: device_hash, ..self };
        }
        let mut state = hasher.build_hasher();
        state.write(&self.head);
        state.write(self.tail[1]);
        state.write_u64(device_hash);
        state.write_u8(module_bytes);
        Self { device_hash, hash: state.finish(), ..self }
    }

    /// Head and rest of the device alone: what is cut of both together need not be of one.
    fn device_parts(&self) -> (Head, &'a [u8]) {
        let bytes = usize::from(self.device_bytes);
        let in_head = if self.is_cut() { bytes.min(CUT_BYTES) } else { bytes };
        match bytes {
            0..=HEAD_BYTES => (filled([&self.head[..in_head], self.tail[0]]), &[]),
            _ => (self.head, self.tail[0]),
        }
    }

    /// Whether some of it stands in the arena.
    #[inline]
    pub(super) fn is_cut(&self) -> bool {
        is_cut(self.device_bytes, self.module_bytes)
    }

    /// The bytes that do not fit into the record, in two parts.
    #[inline]
    pub(super) fn tail(&self) -> [&'a [u8]; 2] {
        self.tail
    }

    /// The key of the device whose module this is; itself for a device.
    pub(crate) fn of_device(&self) -> Self {
        let (head, rest) = self.device_parts();
        let tail = [rest, &[]];
        Self { head, tail, module_bytes: NO_MODULE, hash: self.device_hash, ..*self }
    }

    /// Whether both are of the same identity.
    pub(crate) fn is(&self, other: &Self) -> bool {
        self.hub == other.hub
            && self.device_bytes == other.device_bytes
            && self.module_bytes == other.module_bytes
            && self.head == other.head
            && self.tail == other.tail
    }

    /// Hash of `(hub, device)`: a device and its modules share it, and so their shard.
    #[inline]
    pub(crate) fn device_hash(&self) -> u64 {
        self.device_hash
    }

    /// Hash of the identity; of a device the same as [`Key::device_hash`].
    #[inline]
    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }
}

#[inline]
fn hash_device(
    hasher: &foldhash::fast::FixedState,
    hub: u16,
    device_bytes: u8,
    head: &Head,
    rest: &[u8],
) -> u64 {
    let mut state = hasher.build_hasher();
    let (words, last) = head.as_chunks::<8>();
    words.iter().for_each(|word| state.write_u64(u64::from_le_bytes(*word)));
    let last = last.iter().rev().fold(0, |sum, &byte| sum << 8 | u64::from(byte));
    state.write_u64(last << 32 | u64::from(hub) << 8 | u64::from(device_bytes));
    if !rest.is_empty() {
        state.write(rest);
    }
    state.finish()
}

#[inline]
fn cut(id: &str) -> &[u8] {
    let id = id.as_bytes();
    &id[..id.len().min(MAX_ID_BYTES)]
}

/// Bytes in the record of an id of this many.
fn room(bytes: usize) -> usize {
    if bytes > HEAD_BYTES { CUT_BYTES } else { HEAD_BYTES }
}

/// Whether some of an identity with ids of these lengths stands in the arena.
#[inline]
pub(super) fn is_cut(device_bytes: u8, module_bytes: u8) -> bool {
    usize::from(device_bytes) + usize::from(module_bytes) > HEAD_BYTES
}

/// The head of a device id, and the rest.
fn split_head(device: &[u8]) -> (Head, &[u8]) {
    let (head, rest) = device.split_at(device.len().min(room(device.len())));
    (filled([head, &[]]), rest)
}

/// Both, one behind the other; together they are not longer than a head.
fn filled([first, second]: [&[u8]; 2]) -> Head {
    let mut head = [0; HEAD_BYTES];
    head[..first.len()].copy_from_slice(first);
    head[first.len()..first.len() + second.len()].copy_from_slice(second);
    head
}
