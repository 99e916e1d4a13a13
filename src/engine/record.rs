//! What a heartbeat reads and writes of an identity: one line of the processor's cache.

use super::facts::Facts;
use super::key::{CUT_BYTES, Head, Key, NO_MODULE, is_cut};
use super::rules::Terms;
use super::signal::Generation;
use super::table::State;
use super::time::Timestamp;

/// Stands as the length of the device id in a vacant record: no id is empty.
const VACANT: u8 = 0;

/// One identity. The crate documentation has this as a table. What few look at stands in columns of the table beside it.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub(crate) struct Record {
    pub(crate) generation: Generation,
    /// As [`Key`] has it; of an id that is cut, the last four bytes say where in the arena the rest stands.
    head: Head,
    last_seen: Short,
    sequence: Short,
    pub(crate) hub: u16,
    pub(crate) rule: u16,
    device_bytes: u8,
    module_bytes: u8,
    pub(crate) state: State,
    pub(crate) flags: u8,
}

impl Record {
    /// No identity's.
    pub(super) const NONE: Self = Self {
        generation: Generation::UNKNOWN,
        head: [0; _],
        last_seen: Short::MIN,
        sequence: Short::MIN,
        hub: 0,
        rule: 0,
        device_bytes: VACANT,
        module_bytes: NO_MODULE,
        state: State::Deleted,
        flags: 0,
    };

    /// Of somebody who was never heard. `tail_at` is where in the arena the rest of its id stands, if it is cut.
    pub(super) fn new(key: &Key<'_>, rule: u16, tail_at: Option<u32>) -> Self {
        let mut record = Self {
            head: key.head,
            hub: key.hub,
            rule,
            device_bytes: key.device_bytes,
            module_bytes: key.module_bytes,
            state: State::Pending,
            ..Self::NONE
        };
        if let Some(at) = tail_at {
            record.move_tail(at);
        }
        record
    }

    #[inline]
    pub(crate) fn last_seen(&self) -> Timestamp {
        Timestamp::from_ms(self.last_seen.get())
    }

    /// Where `last_seen` stands in the log.
    pub(crate) fn sequence(&self) -> i64 {
        self.sequence.get()
    }

    /// Takes a heartbeat in, if it is the next one of an identity that is online, inside its deadline, and has nothing
    /// beside its record; or one of the same instant as the last.
    #[inline]
    pub(crate) fn beat(
        &mut self,
        at: Timestamp,
        sequence: i64,
        generation: Generation,
        terms: Terms,
    ) -> bool {
        let last_seen = self.last_seen();
        let due_by = last_seen.plus(terms.window_ms).plus(terms.grace_ms);
        let plain = self.flags == 0 && self.generation == generation && self.state == State::Online;
        let is_next = plain && at >= last_seen && at <= due_by;
        if is_next && (at > last_seen || sequence > self.sequence()) {
            self.last_seen = Short::of(at.as_ms());
            self.sequence = Short::of(sequence);
        }
        is_next
    }

    /// Whether it is a module.
    pub(crate) fn is_module(&self) -> bool {
        self.module_bytes != NO_MODULE
    }

    /// Whether it is no identity's.
    pub(super) fn is_vacant(&self) -> bool {
        self.device_bytes == VACANT
    }

    /// Whether it is of this identity, as far as it alone can tell: of an id that is cut, the rest has to be compared too.
    #[inline]
    pub(super) fn may_be_of(&self, key: &Key<'_>) -> bool {
        let is_alike = self.hub == key.hub
            && self.device_bytes == key.device_bytes
            && self.module_bytes == key.module_bytes;
        is_alike && same_head(&self.head, &key.head, key.is_cut())
    }

    /// Hub, and how long the device id and the module id are.
    pub(super) fn identity(&self) -> (u16, u8, u8) {
        (self.hub, self.device_bytes, self.module_bytes)
    }

    /// Where the rest of its id stands, and how long it is; `None` if there is none.
    #[inline]
    pub(super) fn tail(&self) -> Option<(u32, usize)> {
        let at = self.head.last_chunk().map_or(0, |at| u32::from_le_bytes(*at));
        is_cut(self.device_bytes, self.module_bytes).then(|| (at, self.id_bytes() - CUT_BYTES))
    }

    /// The rest of its id stands elsewhere from now on.
    pub(super) fn move_tail(&mut self, at: u32) {
        if let Some(place) = self.head.last_chunk_mut() {
            *place = at.to_le_bytes();
        }
    }

    /// The bytes of its id that stand here; zeros fill up.
    pub(super) fn head(&self) -> Head {
        let mut head = self.head;
        if self.tail().is_some() {
            head[CUT_BYTES..].fill(0);
        }
        head
    }

    /// Bytes of both ids.
    pub(super) fn id_bytes(&self) -> usize {
        usize::from(self.device_bytes) + usize::from(self.module_bytes)
    }

    /// What it knows; creation, deletion and first proof of life stand beside it.
    pub(super) fn set_heard(&mut self, facts: &Facts) {
        self.generation = facts.generation;
        self.last_seen = Short::of(facts.last_seen.as_ms());
        self.sequence = Short::of(facts.sequence);
    }
}

/// Whether both are the same; where an id is cut, but for where its rest is. By words: comparing slices would call a
/// library, which takes longer.
#[inline]
fn same_head(a: &Head, b: &Head, is_cut: bool) -> bool {
    let ((words, last), (other_words, other_last)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    let differ = |(a, b): (&[u8; 8], &[u8; 8])| u64::from_ne_bytes(*a) ^ u64::from_ne_bytes(*b);
    words.iter().zip(other_words).map(differ).fold(0, |sum, differ| sum | differ) == 0
        && (is_cut || last.iter().zip(other_last).all(|(a, b)| a == b))
}

/// A number of 48 bits: in milliseconds 4,459 years around 1970, as a place in a log what a million messages a second reach
/// in four years. What lies beyond is kept as the nearest one; the least number of 64 bits, which stands for "none", is kept
/// as the least.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Short([u8; 6]);

impl Short {
    const MIN: Self = Self([0, 0, 0, 0, 0, 0x80]);
    const LEAST: i64 = -(1 << 47);
    const MOST: i64 = (1 << 47) - 1;

    #[inline]
    fn of(value: i64) -> Self {
        if value == i64::MIN {
            return Self::MIN;
        }
        let [a, b, c, d, e, f, ..] = value.clamp(Self::LEAST + 1, Self::MOST).to_le_bytes();
        Self([a, b, c, d, e, f])
    }

    #[inline]
    fn get(self) -> i64 {
        let [a, b, c, d, e, f] = self.0;
        let value = i64::from_le_bytes([0, 0, a, b, c, d, e, f]) >> 16;
        if value == Self::LEAST { i64::MIN } else { value }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_record_is_one_line_of_the_cache() {
        // 36 bytes of the id, a number of 8 bytes, two of 6, two of 2, four of 1.
        assert_eq!((size_of::<Record>(), align_of::<Record>()), (64, 64));
    }

    #[test]
    fn what_does_not_fit_into_48_bits_is_kept_as_the_nearest_that_does_and_none_as_none() {
        let kept = |value| Short::of(value).get();
        assert_eq!(
            [i64::MIN, i64::MIN + 1, -1, 0, 1].map(kept),
            [i64::MIN, Short::LEAST + 1, -1, 0, 1]
        );
        assert_eq!([Short::MOST, Short::MOST + 1, i64::MAX].map(kept), [Short::MOST; 3]);
        assert_eq!(Short::MIN.get(), i64::MIN);
    }

    proptest! {
        #[test]
        fn what_fits_into_48_bits_comes_back_the_same(value in Short::LEAST + 1..=Short::MOST) {
            prop_assert_eq!(Short::of(value).get(), value);
        }
    }
}
