//! The index of a table: where the record of an identity is, by its hash.
//!
//! Open addressing with linear probing. A place is one number, the upper half 32 bits of the hash, the lower half the slot
//! and one; so a look at one line of the processor's cache nearly always finds the one candidate, and growing needs no id.
//! Where a hash begins to look follows its order ("fast range"), so that any number of places will do and growing is a walk
//! through both.

use super::table::Slot;

/// Parts of an index that are in use at most, in tenths: beyond, probes grow long.
const MAX_FULL_TENTHS: usize = 8;
/// Steps after which nine of ten looks have ended.
const USUAL_STEPS: usize = 4;
/// Places of the smallest index.
const MIN_PLACES: usize = 16;

/// Hashes to slots. Several slots may have the same hash.
#[derive(Clone, Debug, Default)]
pub(crate) struct Index {
    places: Vec<u64>,
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
        for _ in 0..self.places.len() {
            let place = *self.places.get(at)?;
            if place == 0 {
                return None;
            }
            if place >> 32 == tag && is_it(slot_of(place)) {
                return Some(slot_of(place));
            }
            at += 1;
            if at == self.places.len() {
                at = 0;
            }
        }
        None
    }

    /// What stands where a hash begins to look, and where most looks have ended: reading both brings their lines into the
    /// cache.
    #[inline]
    pub(crate) fn touch(&self, hash: u64) -> u64 {
        let home = self.home(tag(hash));
        let at = |place: usize| self.places.get(place).copied().unwrap_or(0);
        at(home).wrapping_add(at(home + USUAL_STEPS))
    }

    /// Adds a slot that is not there yet.
    pub(crate) fn insert(&mut self, hash: u64, slot: Slot) {
        if (self.len + 1) * 10 > self.places.len() * MAX_FULL_TENTHS {
            self.grow();
        }
        self.put(tag(hash) << 32 | (u64::from(slot) + 1));
        self.len += 1;
    }

    /// Takes a slot out.
    pub(crate) fn remove(&mut self, hash: u64, slot: Slot) -> bool {
        let wanted = tag(hash) << 32 | (u64::from(slot) + 1);
        let mut hole = self.home(tag(hash));
        loop {
            match self.places.get(hole) {
                None | Some(0) => return false,
                Some(&place) if place == wanted => break,
                Some(_) => hole = self.after(hole),
            }
        }
        self.len -= 1;
        // What stands behind and began to look at the hole, or before it, moves up.
        let mut at = self.after(hole);
        while self.places[at] != 0 {
            let home = self.home(self.places[at] >> 32);
            if self.distance(home, at) >= self.distance(hole, at) {
                self.places[hole] = self.places[at];
                hole = at;
            }
            at = self.after(at);
        }
        self.places[hole] = 0;
        true
    }

    /// All slots, in no meaningful order.
    pub(crate) fn slots(&self) -> impl Iterator<Item = Slot> {
        self.places.iter().filter(|&&place| place != 0).map(|&place| slot_of(place))
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.places.capacity() * size_of::<u64>()
    }

    fn put(&mut self, place: u64) {
        let mut at = self.home(place >> 32);
        while self.places[at] != 0 {
            at = self.after(at);
        }
        self.places[at] = place;
    }

    /// By a quarter: after it between 64 and 80 per cent are in use.
    fn grow(&mut self) {
        let count = (self.places.len() + self.places.len() / 4).max(MIN_PLACES);
        let old = std::mem::replace(&mut self.places, vec![0; count]);
        for place in old.into_iter().filter(|&place| place != 0) {
            self.put(place);
        }
    }

    #[inline]
    fn home(&self, tag: u64) -> usize {
        usize::try_from(tag.wrapping_mul(self.places.len() as u64) >> 32).unwrap_or(0)
    }

    fn after(&self, at: usize) -> usize {
        if at + 1 == self.places.len() { 0 } else { at + 1 }
    }

    /// Steps from one place to another, going forward.
    fn distance(&self, from: usize, to: usize) -> usize {
        if to >= from { to - from } else { to + self.places.len() - from }
    }
}

/// The lower half: the upper bits choose the shard.
#[inline]
fn tag(hash: u64) -> u64 {
    hash & u64::from(u32::MAX)
}

#[inline]
fn slot_of(place: u64) -> Slot {
    u32::try_from(place & u64::from(u32::MAX)).unwrap_or(1).wrapping_sub(1)
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
                let is_known = model.contains(&(tag(hash), slot));
                prop_assert_eq!(index.find(hash, |found| found == slot), is_known.then_some(slot));
                if insert && !is_known {
                    index.insert(hash, slot);
                    model.insert((tag(hash), slot));
                } else if !insert {
                    prop_assert_eq!(index.remove(hash, slot), is_known);
                    model.remove(&(tag(hash), slot));
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
                assert!(index.len * 10 <= index.places.len() * 8);
                assert!(index.len * 10 >= index.places.len() * 6);
            }
        }
    }
}
