//! Heartbeats of many devices from bytes that are encoded once, for loads whose sender must cost next to nothing.

use bytes::{Bytes, BytesMut};

use super::log::Place;
use super::{DeviceMessage, stamp};
use crate::engine::Timestamp;

/// Digits of a device's number in its id.
const NUMBER_DIGITS: usize = 10;

/// Every offset has as many digits as the largest has.
const OFFSET_DIGITS: usize = 20;

/// The generation of every device: the registry knows none of them.
const GENERATION: u64 = 638_000_000_000_000_001;

/// A heartbeat of one of the devices whose ids a [`Stencil`] makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beat {
    /// Number of the device.
    pub number: u32,
    /// When the hub takes it.
    pub at: Timestamp,
}

/// An empty message of a device, encoded once. What differs between two is written over the copy of it; these are the
/// places of each.
#[derive(Clone, Debug)]
pub struct Stencil {
    prefix: String,
    encoded: Vec<u8>,
    numbers: Vec<usize>,
    sequences: Vec<usize>,
    offsets: Vec<usize>,
    ingress: Vec<usize>,
    appended: Vec<usize>,
}

impl Stencil {
    /// For the devices whose ids are `prefix` and ten digits.
    pub fn new(prefix: &str) -> Self {
        let device = device_id(prefix, u32::MAX);
        let (sequence, ingress, appended) = (mark(1), mark(2), mark(3));
        let place = Place { sequence, offset: u64::MAX, appended: Timestamp::from_ms(appended) };
        let stamps = stamp::telemetry(&device, None, GENERATION, Timestamp::from_ms(ingress));
        let mut encoded = BytesMut::new();
        stamp::put_annotations(&mut encoded, &place, &stamps);
        encoded.extend_from_slice(&stamp::sections(&DeviceMessage::default()));
        let numbers = places(&encoded, device.as_bytes());
        Self {
            numbers: numbers.into_iter().map(|at| at + prefix.len()).collect(),
            sequences: places(&encoded, &sequence.to_be_bytes()),
            offsets: places(&encoded, u64::MAX.to_string().as_bytes()),
            ingress: places(&encoded, &ingress.to_be_bytes()),
            appended: places(&encoded, &appended.to_be_bytes()),
            prefix: prefix.to_owned(),
            encoded: encoded.to_vec(),
        }
    }

    /// The id of a device.
    pub fn device_id(&self, number: u32) -> String {
        device_id(&self.prefix, number)
    }

    /// The number in a device's id, if it is one of these.
    pub fn number(&self, device_id: &str) -> Option<u32> {
        let number = device_id.strip_prefix(&self.prefix)?.parse().ok()?;
        (self.device_id(number) == device_id).then_some(number)
    }

    /// Room for so many heartbeats.
    pub(super) fn paper(&self, heartbeats: usize) -> BytesMut {
        BytesMut::with_capacity(self.encoded.len() * heartbeats)
    }

    pub(super) fn print(&self, paper: &mut BytesMut, beat: Beat, place: &Place) -> Bytes {
        paper.extend_from_slice(&self.encoded);
        let mut printed = paper.split();
        let mut write = |places: &[usize], bytes: &[u8]| {
            for &at in places {
                printed[at..at + bytes.len()].copy_from_slice(bytes);
            }
        };
        write(&self.numbers, &digits::<NUMBER_DIGITS>(u64::from(beat.number)));
        write(&self.sequences, &place.sequence.to_be_bytes());
        write(&self.offsets, &digits::<OFFSET_DIGITS>(place.offset));
        write(&self.ingress, &beat.at.as_ms().to_be_bytes());
        write(&self.appended, &place.appended.as_ms().to_be_bytes());
        printed.freeze()
    }
}

fn device_id(prefix: &str, number: u32) -> String {
    format!("{prefix}{number:0NUMBER_DIGITS$}")
}

/// A number that stands nowhere else in the message: 0xff is in no text.
const fn mark(n: u8) -> i64 {
    i64::from_be_bytes([0xff, n, 0xff, n, 0xff, n, 0xff, n])
}

fn places(encoded: &[u8], wanted: &[u8]) -> Vec<usize> {
    let windows = encoded.windows(wanted.len()).enumerate();
    windows.filter(|(_, window)| *window == wanted).map(|(at, _)| at).collect()
}

/// The decimal digits of a number, with leading zeros.
fn digits<const COUNT: usize>(mut number: u64) -> [u8; COUNT] {
    let mut text = [b'0'; COUNT];
    for digit in text.iter_mut().rev() {
        *digit += u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
    }
    text
}
