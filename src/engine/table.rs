//! The last-seen table of one shard: an index, records in a slab, and in an arena what of an id does not fit into its record.
//!
//! A device id that is a canonical UUID (36 characters, lower-case) is stored as 16 bytes.

use std::cmp::Ordering;

use super::facts::Facts;
use super::index::Index;
use super::key::{HEAD_BYTES, Key, NO_MODULE, PACKED, stored_device_bytes, unpack_uuid};
use super::rules::Terms;
use super::signal::Generation;
use super::slab::{Arena, Slab};
use super::time::Timestamp;
use serde::{Deserialize, Serialize};

/// Where a record is in its slab.
pub(crate) type Slot = u32;

/// Stands as the length of the device id in a vacant record: no id is empty.
const VACANT: u8 = 0;

/// What is stored of an identity's state. `Late` is online past its window but inside its grace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum State {
    /// Known, never heard.
    Pending,
    /// Heard within its window.
    Online,
    /// Silent for longer than its window; in grace.
    Late,
    /// Silent for longer than window and grace.
    Offline,
    /// Deleted: a tombstone.
    Deleted,
}

impl State {
    /// All of them, in the order of their discriminants.
    pub const ALL: [Self; 5] =
        [Self::Pending, Self::Online, Self::Late, Self::Offline, Self::Deleted];

    /// The name used in state and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Online => "online",
            Self::Late => "late",
            Self::Offline => "offline",
            Self::Deleted => "deleted",
        }
    }
}

/// Something beside the record has to be looked at before the short way may be taken.
pub(crate) mod flag {
    /// Verdicts that a late heartbeat could prove false are kept.
    pub(crate) const JUDGED: u8 = 1;
    /// A heartbeat later than its own, not yet judged deadline was read.
    pub(crate) const CROSSING: u8 = 2;
    /// A gap has moved its deadline beyond the first one.
    pub(crate) const PUT_OFF: u8 = 4;
    /// Put off for two windows: can't be judged.
    pub(crate) const UNJUDGEABLE: u8 = 8;
    /// Another partition judges it; what is read here is passed on.
    pub(crate) const GUEST: u8 = 16;
    /// Heard on other partitions too.
    pub(crate) const ELSEWHERE: u8 = 32;
}

/// One identity, in one line of the processor's cache. The crate documentation has this as a table.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub(crate) struct Record {
    /// The first bytes of the id, as [`Key::head`].
    head: u128,
    pub(crate) first_seen: Timestamp,
    pub(crate) last_seen: Timestamp,
    pub(crate) sequence: i64,
    pub(crate) generation: Generation,
    /// Where in the arena the rest of the id stands, if there is more.
    tail_at: u32,
    /// Low 32 bits of the tick at which the valid entry of the wheel stands.
    pub(crate) armed: u32,
    pub(crate) hub: u16,
    pub(crate) rule: u16,
    device_bytes: u8,
    module_bytes: u8,
    pub(crate) state: State,
    pub(crate) flags: u8,
}

/// The table of one shard.
pub(crate) struct Table {
    index: Index,
    records: Slab,
    arena: Arena,
    /// Bytes of the arena that belong to removed records.
    dead_bytes: usize,
    hasher: foldhash::fast::FixedState,
}

impl Table {
    pub(crate) fn new(hasher: foldhash::fast::FixedState) -> Self {
        let (index, records, arena) = (Index::default(), Slab::default(), Arena::default());
        Self { index, records, arena, dead_bytes: 0, hasher }
    }

    /// Identities in it.
    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    #[inline]
    pub(crate) fn find(&self, key: &Key<'_>) -> Option<Slot> {
        self.index.find(key.hash(), |slot| self.matches(slot, key))
    }

    /// The same, for whom it was already looked: `probably` is where it stood then.
    #[inline]
    pub(crate) fn find_again(&self, key: &Key<'_>, probably: Option<Slot>) -> Option<Slot> {
        let is_still = |slot: &Slot| *slot < self.records.len() && self.matches(*slot, key);
        probably.filter(is_still).or_else(|| self.find(key))
    }

    /// The slot that is probably of the key with this hash: the first that fits. Reads only the index.
    #[inline]
    pub(crate) fn candidate(&self, hash: u64) -> Option<Slot> {
        self.index.find(hash, |_| true)
    }

    /// Reads where a look for this hash begins.
    #[inline]
    pub(crate) fn touch_index(&self, hash: u64) -> u64 {
        self.index.touch(hash)
    }

    /// Reads a record; gives where the rest of its id stands and how long it is, if there is more.
    #[inline]
    pub(crate) fn touch_record(&self, slot: Slot) -> Option<(u32, u32)> {
        let record = self.record(slot);
        let bytes = u32::try_from(record.tail_bytes()).ok().filter(|&bytes| bytes > 0)?;
        Some((record.tail_at, bytes))
    }

    /// Reads both ends of the rest of an id.
    #[inline]
    pub(crate) fn touch_tail(&self, (at, bytes): (u32, u32)) -> u64 {
        u64::from(self.arena.touch(at)) + u64::from(self.arena.touch(at + bytes - 1))
    }

    #[inline]
    pub(crate) fn record(&self, slot: Slot) -> &Record {
        self.records.get(slot)
    }

    #[inline]
    pub(crate) fn record_mut(&mut self, slot: Slot) -> &mut Record {
        self.records.get_mut(slot)
    }

    /// Adds an identity that is not there yet.
    pub(crate) fn insert(&mut self, key: &Key<'_>, rule: u16) -> Slot {
        let record = Record {
            head: key.head,
            first_seen: Timestamp::MIN,
            last_seen: Timestamp::MIN,
            sequence: i64::MIN,
            generation: Generation::UNKNOWN,
            tail_at: self.arena.add(key.tail()),
            armed: 0,
            hub: key.hub,
            rule,
            device_bytes: key.device_bytes,
            module_bytes: key.module_bytes,
            state: State::Pending,
            flags: 0,
        };
        let slot = self.records.insert(record);
        self.index.insert(key.hash(), slot);
        slot
    }

    /// Forgets an identity.
    pub(crate) fn remove(&mut self, slot: Slot) {
        let hash = self.key(slot).hash();
        if self.index.remove(hash, slot) {
            // What still stands in the wheel for the slot must find nothing to do.
            let vacated = self.records.get_mut(slot);
            self.dead_bytes += vacated.tail_bytes();
            (vacated.armed, vacated.flags, vacated.state) = (0, 0, State::Deleted);
            (vacated.device_bytes, vacated.module_bytes) = (VACANT, NO_MODULE);
            self.records.vacate(slot);
        }
        self.compact_if_wasteful();
    }

    /// Device and module id of a record.
    pub(crate) fn ids(&self, slot: Slot) -> (Box<str>, Option<Box<str>>) {
        let record = self.record(slot);
        let mut stored = Vec::with_capacity(HEAD_BYTES + record.tail_bytes());
        stored.extend_from_slice(&record.head.to_le_bytes());
        stored.extend_from_slice(self.tail(record));
        stored.truncate(record.stored_bytes());
        let (device, module) = stored.split_at(stored_device_bytes(record.device_bytes));
        let device: Box<str> = if record.device_bytes == PACKED {
            unpack_uuid(record.head).into()
        } else {
            String::from_utf8_lossy(device).into()
        };
        let module =
            (record.module_bytes != NO_MODULE).then(|| String::from_utf8_lossy(module).into());
        (device, module)
    }

    /// The stored form of a record's identity.
    pub(crate) fn key(&self, slot: Slot) -> Key<'_> {
        let record = self.record(slot);
        let identity = (record.hub, record.device_bytes, record.module_bytes);
        Key::from_stored(&self.hasher, record.head, self.tail(record), identity)
    }

    /// The order of two identities' ids, as texts: device first, then module.
    pub(crate) fn compare_ids(&self, slot: Slot, other: &Self, other_slot: Slot) -> Ordering {
        let (a, b) = (self.record(slot), other.record(other_slot));
        let same_form = (a.device_bytes == PACKED) == (b.device_bytes == PACKED);
        if a.is_module() || b.is_module() || !same_form {
            return self.ids(slot).cmp(&other.ids(other_slot));
        }
        // The digits of a UUID have the order of their values; no byte of an id is as small as what fills up a short one.
        let heads = a.head.swap_bytes().cmp(&b.head.swap_bytes());
        heads.then_with(|| self.tail(a).cmp(other.tail(b)))
    }

    /// Slots in use, in the order of their numbers: in that of the index, which is the order of the hashes, whoever put them
    /// into another table one by one would crowd one end of it.
    pub(crate) fn slots(&self) -> Vec<Slot> {
        let is_used = |slot: &Slot| self.record(*slot).device_bytes != VACANT;
        (0..self.records.len()).filter(is_used).collect()
    }

    /// Bytes held, without the allocator's own.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.index.memory_bytes() + self.records.memory_bytes() + self.arena.memory_bytes()
    }

    #[inline]
    fn matches(&self, slot: Slot, key: &Key<'_>) -> bool {
        let record = self.record(slot);
        let alike = record.head == key.head
            && record.hub == key.hub
            && record.device_bytes == key.device_bytes
            && record.module_bytes == key.module_bytes;
        if !alike || record.tail_bytes() == 0 {
            return alike;
        }
        let [device, module] = key.tail();
        let (stored_device, stored_module) = self.tail(record).split_at(device.len());
        same_bytes(stored_device, device) && same_bytes(stored_module, module)
    }

    #[inline]
    fn tail(&self, record: &Record) -> &[u8] {
        self.arena.get(record.tail_at, record.tail_bytes())
    }

    /// Rebuilds the arena when more than half of it is dead.
    fn compact_if_wasteful(&mut self) {
        if self.dead_bytes < 65_536 || self.dead_bytes * 2 < self.arena.len() {
            return;
        }
        let mut arena = Arena::default();
        for slot in self.index.slots() {
            let record = self.records.get_mut(slot);
            let tail = self.arena.get(record.tail_at, record.tail_bytes());
            record.tail_at = arena.add([tail, &[]]);
        }
        self.arena = arena;
        self.dead_bytes = 0;
    }
}

/// Whether both are the same. They are short: comparing them takes less than the call of a library would, which for an empty
/// text reads from an address that is none, and that takes as long as several misses of the cache.
#[inline]
fn same_bytes(a: &[u8], b: &[u8]) -> bool {
    let ((words, rest), (other_words, other_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    let is_same_word =
        |(a, b): (&[u8; 8], &[u8; 8])| u64::from_ne_bytes(*a) == u64::from_ne_bytes(*b);
    a.len() == b.len()
        && words.iter().zip(other_words).all(is_same_word)
        && rest.iter().zip(other_rest).all(|(a, b)| a == b)
}

impl Record {
    /// Bytes of the id as it is stored.
    #[inline]
    fn stored_bytes(&self) -> usize {
        stored_device_bytes(self.device_bytes) + usize::from(self.module_bytes)
    }

    #[inline]
    fn tail_bytes(&self) -> usize {
        self.stored_bytes().saturating_sub(HEAD_BYTES)
    }

    /// Takes a heartbeat in, if it is the next one of an identity that is online, inside its deadline, and has nothing
    /// beside its record.
    #[inline]
    pub(crate) fn beat(
        &mut self,
        at: Timestamp,
        sequence: i64,
        generation: Generation,
        terms: Terms,
    ) -> bool {
        let due_by = self.last_seen.plus(terms.window_ms).plus(terms.grace_ms);
        let plain = self.flags == 0 && self.generation == generation && self.state == State::Online;
        let is_next = plain && at > self.last_seen && at <= due_by;
        if is_next {
            self.last_seen = at;
            self.sequence = sequence;
        }
        is_next
    }

    /// Whether it is a module.
    pub(crate) fn is_module(&self) -> bool {
        self.module_bytes != NO_MODULE
    }

    /// What the record itself knows; creation and deletion stand beside it.
    pub(crate) fn facts(&self) -> Facts {
        Facts {
            generation: self.generation,
            first_seen: self.first_seen,
            last_seen: self.last_seen,
            sequence: self.sequence,
            ..Facts::NONE
        }
    }

    /// Takes over everything of a record but its place and its timer.
    pub(crate) fn take_over(&mut self, other: &Self) {
        self.set_facts(&other.facts());
        self.state = other.state;
        self.flags = other.flags;
    }

    /// Takes over what the record itself knows.
    pub(crate) fn set_facts(&mut self, facts: &Facts) {
        self.generation = facts.generation;
        self.first_seen = facts.first_seen;
        self.last_seen = facts.last_seen;
        self.sequence = facts.sequence;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::engine::identity::MAX_ID_BYTES;

    fn hasher() -> foldhash::fast::FixedState {
        foldhash::fast::FixedState::with_seed(1)
    }

    fn table() -> Table {
        Table::new(hasher())
    }

    fn insert(table: &mut Table, hub: u16, device: &str, module: Option<&str>) -> Slot {
        table.insert(&Key::new(&hasher(), hub, device, module), 0)
    }

    fn find(table: &Table, hub: u16, device: &str, module: Option<&str>) -> Option<Slot> {
        table.find(&Key::new(&hasher(), hub, device, module))
    }

    #[test]
    fn a_record_is_one_line_of_the_cache() {
        // 16 bytes of the id, four numbers of 8 bytes, two of 4, two of 2, four of 1.
        assert_eq!((size_of::<Record>(), align_of::<Record>()), (64, 64));
    }

    #[test]
    fn ids_that_differ_in_one_byte_or_in_hub_or_in_kind_are_different_identities() {
        let long = "x".repeat(MAX_ID_BYTES);
        let uuid = "0f8fad5b-d9cb-469f-a165-70867728950e";
        let keys = [
            (0, "a", None),
            (0, "A", None),
            (1, "a", None),
            (0, "a", Some("b")),
            (0, "ab", None),
            (0, "a", Some("bc")),
            (0, "ab", Some("c")),
            (0, uuid, None),
            (0, uuid, Some("m")),
            (0, "0F8FAD5B-D9CB-469F-A165-70867728950E", None),
            (0, &uuid[..35], None),
            (0, &long, None),
            (0, &long, Some(&long)),
            (0, &long[1..], None),
        ];
        let mut table = table();
        let slots: Vec<Slot> =
            keys.iter().map(|(hub, d, m)| insert(&mut table, *hub, d, *m)).collect();
        for ((hub, device, module), slot) in keys.iter().zip(slots) {
            assert_eq!(find(&table, *hub, device, *module), Some(slot));
            let (found_device, found_module) = table.ids(slot);
            assert_eq!((&*found_device, found_module.as_deref()), (*device, *module));
            assert_eq!(table.record(slot).is_module(), module.is_some());
        }
        assert_eq!(table.len(), keys.len());
    }

    /// Ids of every length around the bytes in a record, and UUIDs; few of each, so that they meet.
    fn id() -> impl Strategy<Value = String> {
        prop_oneof![
            "[ab]{1,3}",
            "[ab]{1}-aaaaaaaaaaaa[ab]{0,4}",
            "aaaaaaaaaaaaaaaa[ab]{1,2}a{0,20}",
            "[0a]{8}-0000-0000-0000-00000000000[0f]",
        ]
    }

    proptest! {
        #[test]
        fn a_key_from_the_table_is_the_key_it_was_made_from_and_ids_have_the_order_of_their_texts(
            ids in prop::collection::vec((id(), prop::option::of(id())), 2)
        ) {
            let mut table = table();
            let slots: Vec<Slot> =
                ids.iter().map(|(d, m)| insert(&mut table, 3, d, m.as_deref())).collect();
            for ((device, module), &slot) in ids.iter().zip(&slots) {
                let made = Key::new(&hasher(), 3, device, module.as_deref());
                let of_device = Key::new(&hasher(), 3, device, None);
                let stored = table.key(slot);
                prop_assert!(stored.is(&made));
                prop_assert_eq!(stored.hash(), made.hash());
                prop_assert_eq!(stored.device_hash(), of_device.hash());
                prop_assert!(stored.of_device().is(&of_device));
                prop_assert_eq!(stored.of_device().hash(), of_device.hash());
                prop_assert_eq!(
                    table.ids(slot),
                    (device.as_str().into(), module.as_deref().map(Into::into))
                );
            }
            let order = table.compare_ids(slots[0], &table, slots[1]);
            prop_assert_eq!(order, ids[0].cmp(&ids[1]));
        }

        #[test]
        fn behaves_as_a_map_through_inserts_and_removals(ops in prop::collection::vec((any::<bool>(), 0..40_u8), 1..400)) {
            let mut table = table();
            let mut model = BTreeMap::new();
            for (is_insert, n) in ops {
                let id = format!("device-{n}-{}", "y".repeat(usize::from(n)));
                prop_assert_eq!(find(&table, 0, &id, None), model.get(&id).copied());
                match model.remove(&id) {
                    Some(slot) if !is_insert => table.remove(slot),
                    Some(slot) => { model.insert(id, slot); }
                    None => { model.insert(id.clone(), insert(&mut table, 0, &id, None)); }
                }
                prop_assert_eq!(table.len(), model.len());
            }
            for (id, slot) in model {
                prop_assert_eq!(&*table.ids(slot).0, id.as_str());
            }
        }
    }

    #[test]
    fn the_arena_is_compacted_when_most_of_it_is_dead() {
        let mut table = table();
        let id = |n: u32| format!("{n:0>128}");
        let slots: Vec<Slot> = (0..2_000).map(|n| insert(&mut table, 0, &id(n), None)).collect();
        for &slot in &slots[10..] {
            table.remove(slot);
        }
        assert!(table.arena.len() < 112 * 1_000, "{}", table.arena.len());
        for (n, &slot) in (0_u32..).zip(&slots[..10]) {
            assert_eq!(find(&table, 0, &id(n), None), Some(slot));
        }
    }
}
