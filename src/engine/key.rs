//! An identity as the table stores and compares it, with the hashes by which it is found.
//!
//! What is stored of an identity is its device id (a canonical UUID as 16 bytes), directly followed by its module id. The
//! first [`HEAD_BYTES`] of that stand in the record itself, the rest in an arena: most ids are compared without a look
//! there, and the others with one.

use std::hash::{BuildHasher, Hasher};

use super::identity::MAX_ID_BYTES;

/// Bytes of an id that stand in its record.
pub(super) const HEAD_BYTES: usize = 16;

/// An identity in the form in which it is stored and compared. Borrows from the text, or from the table.
#[derive(Clone, Copy)]
pub(crate) struct Key<'a> {
    /// The first bytes of what is stored, the first of all in the lowest bits; zeros fill up.
    pub(super) head: u128,
    /// The rest: of the device id, then of the module id.
    tail: [&'a [u8]; 2],
    pub(super) hub: u16,
    pub(super) device_bytes: u8,
    pub(super) module_bytes: u8,
    device_hash: u64,
    hash: u64,
}

/// Stored in `device_bytes` for a packed UUID: no id is that long.
pub(super) const PACKED: u8 = u8::MAX;
/// No module: distinct from every length, since an empty module id is refused before.
pub(super) const NO_MODULE: u8 = 0;

impl<'a> Key<'a> {
    /// The stored form of `(hub, device, module)`; ids longer than [`MAX_ID_BYTES`] are cut (decoders refuse them).
    #[inline]
    pub(crate) fn new(
        hasher: &foldhash::fast::FixedState,
        hub: u16,
        device: &'a str,
        module: Option<&'a str>,
    ) -> Self {
        let device = device.as_bytes();
        let device = &device[..device.len().min(MAX_ID_BYTES)];
        let (head, rest, device_bytes) = match pack_uuid(device) {
            Some(uuid) => (uuid, &device[device.len()..], PACKED),
            None => {
                let (head, rest) = split_head(device);
                (head, rest, u8::try_from(device.len()).unwrap_or(0))
            }
        };
        let device_hash = hash_device(hasher, hub, device_bytes, head, rest);
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
            Some(module) => of_device.with_module(hasher, module.as_bytes()),
        }
    }

    #[cold]
    fn with_module(self, hasher: &foldhash::fast::FixedState, module: &'a [u8]) -> Self {
        let module = &module[..module.len().min(MAX_ID_BYTES)];
        let device_bytes = stored_device_bytes(self.device_bytes);
        let room = HEAD_BYTES.saturating_sub(device_bytes).min(module.len());
        let (first, rest) = module.split_at(room);
        let head = match room {
            0 => self.head,
            _ => self.head | split_head(first).0 << (8 * device_bytes),
        };
        let module_bytes = u8::try_from(module.len()).unwrap_or(0);
        Self { head, tail: [self.tail[0], rest], module_bytes, ..self }.hashed(hasher)
    }

    /// Back from what a record holds: its head, and the bytes it has in the arena.
    pub(super) fn from_stored(
        hasher: &foldhash::fast::FixedState,
        head: u128,
        tail: &'a [u8],
        (hub, device_bytes, module_bytes): (u16, u8, u8),
    ) -> Self {
        let of_device = stored_device_bytes(device_bytes).saturating_sub(HEAD_BYTES);
        let (device, module) = tail.split_at(of_device);
        let key = Self {
            head,
            tail: [device, module],
            hub,
            device_bytes,
            module_bytes,
            device_hash: 0,
            hash: 0,
        };
        key.hashed(hasher)
    }

    fn hashed(self, hasher: &foldhash::fast::FixedState) -> Self {
        let Self { hub, device_bytes, module_bytes, .. } = self;
        let device_hash = hash_device(hasher, hub, device_bytes, self.device_head(), self.tail[0]);
        if module_bytes == NO_MODULE {
            return Self { device_hash, hash: device_hash, ..self };
        }
        let mut state = hasher.build_hasher();
        state.write_u128(self.head);
        state.write(self.tail[1]);
        state.write_u64(device_hash);
        state.write_u8(module_bytes);
        Self { device_hash, hash: state.finish(), ..self }
    }

    /// What of the head is the device's.
    fn device_head(&self) -> u128 {
        match stored_device_bytes(self.device_bytes) {
            bytes @ 0..HEAD_BYTES => self.head & ((1 << (8 * bytes)) - 1),
            _ => self.head,
        }
    }

    /// The bytes that do not fit into the record, in two parts.
    pub(super) fn tail(&self) -> [&'a [u8]; 2] {
        self.tail
    }

    /// The key of the device whose module this is; itself for a device.
    pub(crate) fn of_device(&self) -> Self {
        Self {
            head: self.device_head(),
            tail: [self.tail[0], &[]],
            module_bytes: NO_MODULE,
            hash: self.device_hash,
            ..*self
        }
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
    head: u128,
    rest: &[u8],
) -> u64 {
    let mut state = hasher.build_hasher();
    state.write_u128(head);
    if !rest.is_empty() {
        state.write(rest);
    }
    state.write_u32(u32::from(hub) << 8 | u32::from(device_bytes));
    state.finish()
}

/// The first bytes as a number, and the rest.
#[inline]
fn split_head(bytes: &[u8]) -> (u128, &[u8]) {
    match bytes.split_first_chunk::<HEAD_BYTES>() {
        Some((head, rest)) => (u128::from_le_bytes(*head), rest),
        None => {
            let mut head = [0; HEAD_BYTES];
            head[..bytes.len()].copy_from_slice(bytes);
            (u128::from_le_bytes(head), &[])
        }
    }
}

pub(super) fn stored_device_bytes(device_bytes: u8) -> usize {
    if device_bytes == PACKED { HEAD_BYTES } else { usize::from(device_bytes) }
}

/// The 16 bytes of a canonical lower-case UUID; `None` for anything that would not come back the same.
#[inline]
fn pack_uuid(text: &[u8]) -> Option<u128> {
    const DASHES: [usize; 4] = [8, 13, 18, 23];
    let text: &[u8; 36] = text.try_into().ok()?;
    if DASHES.iter().any(|&dash| text[dash] != b'-') {
        return None;
    }
    let mut packed = [0; HEAD_BYTES];
    let mut is_valid = true;
    for (byte, at) in packed.iter_mut().zip(UUID_DIGITS) {
        let (high, low) = (HEX[usize::from(text[at])], HEX[usize::from(text[at + 1])]);
        is_valid &= (high | low) < 16;
        *byte = high << 4 | low & 15;
    }
    is_valid.then(|| u128::from_le_bytes(packed))
}

/// Where the two digits of each byte of a UUID begin.
const UUID_DIGITS: [usize; HEAD_BYTES] =
    [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];

/// The value of each lower-case hexadecimal digit; 16 for any other byte.
const HEX: [u8; 256] = {
    let mut values = [16; 256];
    let mut value = 0;
    while value < 16 {
        values[b"0123456789abcdef"[value as usize] as usize] = value;
        value += 1;
    }
    values
};

pub(super) fn unpack_uuid(packed: u128) -> String {
    let mut text = String::with_capacity(36);
    for (at, byte) in packed.to_le_bytes().into_iter().enumerate() {
        if [4, 6, 8, 10].contains(&at) {
            text.push('-');
        }
        for digit in [byte >> 4, byte & 15] {
            text.push(char::from_digit(digit.into(), 16).unwrap_or('0'));
        }
    }
    text
}
