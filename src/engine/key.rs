//! An identity as the table stores and compares it.

use std::hash::{BuildHasher, Hasher};

use super::identity::MAX_ID_BYTES;

/// An identity in the form in which it is stored and compared.
#[derive(Clone, Copy)]
pub(crate) struct Key {
    bytes: [u8; 2 * MAX_ID_BYTES],
    pub(super) hub: u16,
    pub(super) device_bytes: u8,
    pub(super) module_bytes: u8,
}

/// Stored in `device_bytes` for a packed UUID: no id is that long.
pub(super) const PACKED: u8 = u8::MAX;
const UUID_BYTES: usize = 16;
/// No module: distinct from every length, since an empty module id is refused before.
pub(super) const NO_MODULE: u8 = 0;

impl Key {
    /// The stored form of `(hub, device, module)`; ids longer than [`MAX_ID_BYTES`] are cut (decoders refuse them).
    pub(crate) fn new(hub: u16, device: &str, module: Option<&str>) -> Self {
        let mut key =
            Self { bytes: [0; 2 * MAX_ID_BYTES], hub, device_bytes: 0, module_bytes: NO_MODULE };
        let device_end = match pack_uuid(device) {
            Some(uuid) => {
                key.bytes[..UUID_BYTES].copy_from_slice(&uuid);
                key.device_bytes = PACKED;
                UUID_BYTES
            }
            None => {
                let length = device.len().min(MAX_ID_BYTES);
                key.bytes[..length].copy_from_slice(&device.as_bytes()[..length]);
                key.device_bytes = u8::try_from(length).unwrap_or(0);
                length
            }
        };
        if let Some(module) = module {
            let length = module.len().min(MAX_ID_BYTES);
            key.bytes[device_end..device_end + length]
                .copy_from_slice(&module.as_bytes()[..length]);
            key.module_bytes = u8::try_from(length).unwrap_or(0);
        }
        key
    }

    /// Back from what [`Key::stored`] gave.
    pub(super) fn from_stored(stored: &[u8], hub: u16, device_bytes: u8, module_bytes: u8) -> Self {
        let mut key = Self { bytes: [0; 2 * MAX_ID_BYTES], hub, device_bytes, module_bytes };
        key.bytes[..stored.len()].copy_from_slice(stored);
        key
    }

    pub(super) fn stored(&self) -> &[u8] {
        &self.bytes[..stored_device_bytes(self.device_bytes) + usize::from(self.module_bytes)]
    }

    /// The key of the device whose module this is; itself for a device.
    pub(crate) fn of_device(&self) -> Self {
        Self { module_bytes: NO_MODULE, ..*self }
    }

    /// Whether both are of the same identity.
    pub(crate) fn is(&self, other: &Self) -> bool {
        self.hub == other.hub
            && self.device_bytes == other.device_bytes
            && self.module_bytes == other.module_bytes
            && self.stored() == other.stored()
    }

    /// Hash of `(hub, device)`: a device and its modules share it, and so their shard.
    pub(crate) fn device_hash(&self, hasher: &foldhash::fast::FixedState) -> u64 {
        hash(hasher, self.hub, &self.bytes[..stored_device_bytes(self.device_bytes)])
    }

    pub(super) fn hash(&self, hasher: &foldhash::fast::FixedState) -> u64 {
        hash(hasher, self.hub, self.stored())
    }
}

pub(super) fn hash(hasher: &foldhash::fast::FixedState, hub: u16, bytes: &[u8]) -> u64 {
    let mut state = hasher.build_hasher();
    state.write(bytes);
    state.write_u16(hub);
    state.finish()
}

pub(super) fn stored_device_bytes(device_bytes: u8) -> usize {
    if device_bytes == PACKED { UUID_BYTES } else { usize::from(device_bytes) }
}

/// The 16 bytes of a canonical lower-case UUID; `None` for anything that would not come back the same.
fn pack_uuid(text: &str) -> Option<[u8; UUID_BYTES]> {
    let text = text.as_bytes();
    if text.len() != 36 || [8, 13, 18, 23].iter().any(|&dash| text[dash] != b'-') {
        return None;
    }
    let mut packed = [0; UUID_BYTES];
    let mut digits = text.iter().enumerate().filter(|(at, _)| ![8, 13, 18, 23].contains(at));
    for byte in &mut packed {
        for _ in 0..2 {
            let (_, digit) = digits.next()?;
            let value = match digit {
                b'0'..=b'9' => digit - b'0',
                b'a'..=b'f' => digit - b'a' + 10,
                _ => return None,
            };
            *byte = *byte << 4 | value;
        }
    }
    Some(packed)
}

pub(super) fn unpack_uuid(packed: &[u8]) -> String {
    let mut text = String::with_capacity(36);
    for (at, byte) in packed.iter().enumerate() {
        if [4, 6, 8, 10].contains(&at) {
            text.push('-');
        }
        for digit in [byte >> 4, byte & 15] {
            text.push(char::from_digit(digit.into(), 16).unwrap_or('0'));
        }
    }
    text
}
