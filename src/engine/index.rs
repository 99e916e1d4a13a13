//! The index of a table: where the record of an identity is, by its hash.
//!
//! Open addressing with buckets of eight, each one line of the processor's cache: eight times 32 bits of the hash, and eight
//! slots. So a look at one line nearly always finds the one candidate, and growing needs no id. The bucket at which a hash
//! begins to look follows its order ("fast range"), so that any number of them will do and growing is a walk through both.

use super::prefetch::prefetch;
use super::table::Slot;

/// Places of a bucket.
const PLACES: usize = 8;
/// Places that are in use at most, in tenths: beyond, many looks read a second bucket.
const MAX_FULL_TENTHS: usize = 8;
/// Buckets of the smallest index.
const MIN_BUCKETS: usize = 2;
/// Stands where no slot does.
const EMPTY: Slot = Slot::MAX;

/// What is in use stands in front. Where it is full, what else belongs to it stands in the next one.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Bucket {
    tags: [u32; PLACES],
    slots: [Slot; PLACES],
}

/// Hashes to slots. Several slots may have the same hash.
#[derive(Clone, Debug, Default)]
pub(crate) struct Index {
    buckets: Vec<Bucket>,
    len: usize,
}

impl Index {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The first slot with this hash that `is_it`.
    #[inline]
    pub(crate) fn find(&self, hash: u64, mut is_it: impl FnMut(Slot) -> bool) -> Option<Slot> {
        let tag = tag(hash);
        let mut at = self.home(tag);
        // An index is never full, so this ends; the count says so to whoever reads it.
        for _ in 0..self.buckets.len() {
            let bucket = self.buckets.get(at)?;
            let mut alike = bucket.alike(tag);
            while alike != 0 {
                let slot = bucket.slots[alike.trailing_zeros() as usize % PLACES];
                if slot != EMPTY && is_it(slot) {
                    return Some(slot);
                }
                alike &= alike - 1;
            }
            if !bucket.is_full() {
                return None;
            }
            at = self.after(at);
        }
        None
    }

    /// Asks for where a look for this hash begins.
    #[inline]
    pub(crate) fn prefetch(&self, hash: u64) {
        if let Some(bucket) = self.buckets.get(self.home(tag(hash))) {
            prefetch(bucket);
        }
    }

    /// Adds a slot that is not there yet.
    pub(crate) fn insert(&mut self, hash: u64, slot: Slot) {
        if (self.len + 1) * 10 > self.buckets.len() * PLACES * MAX_FULL_TENTHS {
            self.grow();
        }
        self.put(tag(hash), slot);
        self.len += 1;
    }

    /// Takes a slot out.
    pub(crate) fn remove(&mut self, hash: u64, slot: Slot) -> bool {
        let Some((mut at, mut place)) = self.place_of(tag(hash), slot) else { return false };
        self.len -= 1;
        // Only what looked further because this bucket was full may stand behind it: one of those moves up, and leaves a
        // hole in its own bucket.
        while let Some((next, moved)) = self.next_that_may_move_to(at) {
            let Bucket { tags, slots } = self.buckets[next];
            (self.buckets[at].tags[place], self.buckets[at].slots[place]) =
                (tags[moved], slots[moved]);
            (at, place) = (next, moved);
        }
        self.buckets[at].close(place);
        true
    }

    /// All slots, in no meaningful order.
    pub(crate) fn slots(&self) -> impl Iterator<Item = Slot> {
        self.buckets.iter().flat_map(Bucket::used).map(|(_, slot)| slot)
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.buckets.capacity() * size_of::<Bucket>()
    }

    fn place_of(&self, tag: u32, slot: Slot) -> Option<(usize, usize)> {
        let mut at = self.home(tag);
        loop {
            let bucket = self.buckets.get(at)?;
            if let Some(place) = bucket.used().position(|used| used == (tag, slot)) {
                return Some((at, place));
            }
            if !bucket.is_full() {
                return None;
            }
            at = self.after(at);
        }
    }

    /// Something behind a full bucket that began to look there or before it.
    fn next_that_may_move_to(&self, hole: usize) -> Option<(usize, usize)> {
        let mut at = hole;
        while self.buckets[at].is_full() {
            at = self.after(at);
            let passes_hole = |&(tag, _): &(u32, Slot)| {
                let home = self.home(tag);
                self.distance(home, at) >= self.distance(hole, at)
            };
            if let Some(place) = self.buckets[at].used().position(|used| passes_hole(&used)) {
                return Some((at, place));
            }
        }
        None
    }

    fn put(&mut self, tag: u32, slot: Slot) {
        let mut at = self.home(tag);
        loop {
            let bucket = &mut self.buckets[at];
            if let Some(place) = bucket.slots.iter().position(|&slot| slot == EMPTY) {
                (bucket.tags[place], bucket.slots[place]) = (tag, slot);
                return;
            }
            at = self.after(at);
        }
    }

    /// By a quarter: after it between 64 and 80 per cent are in use.
    fn grow(&mut self) {
        let count = (self.buckets.len() + self.buckets.len().div_ceil(4)).max(MIN_BUCKETS);
        let old = std::mem::replace(&mut self.buckets, vec![Bucket::VACANT; count]);
        for (tag, slot) in old.iter().flat_map(Bucket::used) {
            self.put(tag, slot);
        }
    }

    #[inline]
    fn home(&self, tag: u32) -> usize {
        usize::try_from((u64::from(tag) * self.buckets.len() as u64) >> 32).unwrap_or(0)
    }

    fn after(&self, at: usize) -> usize {
        if at + 1 == self.buckets.len() { 0 } else { at + 1 }
    }

    /// Steps from one bucket to another, going forward.
    fn distance(&self, from: usize, to: usize) -> usize {
        if to >= from { to - from } else { to + self.buckets.len() - from }
    }
}

impl Bucket {
    const VACANT: Self = Self { tags: [0; PLACES], slots: [EMPTY; PLACES] };

    /// A bit for each place with this tag; an empty one has the tag zero.
    #[inline]
    fn alike(&self, tag: u32) -> u32 {
        let bit = |(place, &stored): (usize, &u32)| u32::from(stored == tag) << place;
        self.tags.iter().enumerate().map(bit).fold(0, |sum, bit| sum | bit)
    }

    #[inline]
    fn is_full(&self) -> bool {
        self.slots[PLACES - 1] != EMPTY
    }

    fn used(&self) -> impl Iterator<Item = (u32, Slot)> {
        self.tags.into_iter().zip(self.slots).take_while(|&(_, slot)| slot != EMPTY)
    }

    /// Empties a place; the last one in use moves there.
    fn close(&mut self, place: usize) {
        let last = self.used().count() - 1;
        (self.tags[place], self.slots[place]) = (self.tags[last], self.slots[last]);
        (self.tags[last], self.slots[last]) = (0, EMPTY);
    }
}

/// The lower half: the upper bits choose the shard.
#[inline]
fn tag(hash: u64) -> u32 {
    u32::try_from(hash & u64::from(u32::MAX)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// Hashes that crowd: at both ends, and many the same.
    fn hash() -> impl Strategy<Value = u64> {
        prop_oneof![
            0..3_u64,
            (u64::from(u32::MAX) - 2)..=u64::from(u32::MAX),
            (0..8_u64).prop_map(|eighth| eighth << 29),
            any::<u64>()
        ]
    }

    proptest! {
        #[test]
        fn finds_what_is_in_it_and_nothing_else_through_inserts_and_removals(
            ops in prop::collection::vec((any::<bool>(), hash(), 0..24_u32), 1..300)
        ) {
            let mut index = Index::default();
            let mut model: BTreeSet<(u64, Slot)> = BTreeSet::new();
            for (insert, hash, slot) in ops {
                let is_known = model.contains(&(u64::from(tag(hash)), slot));
                prop_assert_eq!(index.find(hash, |found| found == slot), is_known.then_some(slot));
                if insert && !is_known {
                    index.insert(hash, slot);
                    model.insert((tag(hash).into(), slot));
                } else if !insert {
                    prop_assert_eq!(index.remove(hash, slot), is_known);
                    model.remove(&(tag(hash).into(), slot));
                }
                prop_assert_eq!(index.len(), model.len());
            }
            for &(tag, slot) in &model {
                prop_assert_eq!(index.find(tag, |found| found == slot), Some(slot));
            }
            let mut slots: Vec<Slot> = index.slots().collect();
            let mut expected: Vec<Slot> = model.iter().map(|&(_, slot)| slot).collect();
            slots.sort_unstable();
            expected.sort_unstable();
            prop_assert_eq!(slots, expected);
        }
    }

    #[test]
    fn at_most_four_fifths_of_it_are_in_use_and_at_least_three_of_five() {
        let mut index = Index::default();
        for slot in 0..100_000_u32 {
            index.insert(u64::from(slot).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 17, slot);
            if slot > 1_000 {
                assert!(index.len * 10 <= index.buckets.len() * PLACES * 8);
                assert!(index.len * 10 >= index.buckets.len() * PLACES * 6);
            }
        }
    }
}
