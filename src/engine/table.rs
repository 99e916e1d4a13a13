//! The last-seen table of one shard: an index of 32-bit slots, records in a slab, ids in an arena.
//!
//! A device id that is a canonical UUID (36 characters, lower-case) takes 16 bytes in the arena.

use super::facts::Facts;
use super::key::{self, Key, NO_MODULE, PACKED, stored_device_bytes, unpack_uuid};
use super::signal::Generation;
use super::time::Timestamp;
use hashbrown::HashTable;
use serde::{Deserialize, Serialize};

/// Where a record is in its slab.
pub(crate) type Slot = u32;

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

/// One identity. The crate documentation has this as a table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record {
    pub(crate) first_seen: Timestamp,
    pub(crate) last_seen: Timestamp,
    pub(crate) sequence: i64,
    pub(crate) generation: Generation,
    pub(crate) id_at: u32,
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
    index: HashTable<Slot>,
    records: Vec<Record>,
    /// Slots of removed records, to be used again.
    vacant: Vec<Slot>,
    arena: Vec<u8>,
    /// Bytes of the arena that belong to removed records.
    dead_bytes: usize,
    hasher: foldhash::fast::FixedState,
}

impl Table {
    pub(crate) fn new(hasher: foldhash::fast::FixedState) -> Self {
        Self {
            index: HashTable::new(),
            records: Vec::new(),
            vacant: Vec::new(),
            arena: Vec::new(),
            dead_bytes: 0,
            hasher,
        }
    }

    /// Identities in it.
    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    pub(crate) fn hasher(&self) -> &foldhash::fast::FixedState {
        &self.hasher
    }

    pub(crate) fn find(&self, key: &Key) -> Option<Slot> {
        let hash = key.hash(&self.hasher);
        self.index.find(hash, |&slot| self.matches(slot, key)).copied()
    }

    /// The slot that is probably of the key with this hash: the first that fits. Reads only the index.
    pub(crate) fn candidate(&self, hash: u64) -> Option<Slot> {
        self.index.iter_hash(hash).next().copied()
    }

    /// The first byte of a record's id.
    pub(crate) fn first_id_byte(&self, id_at: u32) -> u8 {
        self.arena.get(id_at as usize).copied().unwrap_or(0)
    }

    pub(crate) fn record(&self, slot: Slot) -> &Record {
        &self.records[slot as usize]
    }

    pub(crate) fn record_mut(&mut self, slot: Slot) -> &mut Record {
        &mut self.records[slot as usize]
    }

    /// Adds an identity that is not there yet.
    pub(crate) fn insert(&mut self, key: &Key, rule: u16) -> Slot {
        let record = Record {
            first_seen: Timestamp::MIN,
            last_seen: Timestamp::MIN,
            sequence: i64::MIN,
            generation: Generation::UNKNOWN,
            id_at: u32::try_from(self.arena.len()).unwrap_or(u32::MAX),
            armed: 0,
            hub: key.hub,
            rule,
            device_bytes: key.device_bytes,
            module_bytes: key.module_bytes,
            state: State::Pending,
            flags: 0,
        };
        self.arena.extend_from_slice(key.stored());
        let slot = match self.vacant.pop() {
            Some(slot) => {
                self.records[slot as usize] = record;
                slot
            }
            None => {
                self.records.push(record);
                u32::try_from(self.records.len() - 1).unwrap_or(u32::MAX)
            }
        };
        let Self { index, records, arena, hasher, .. } = self;
        let hash = key.hash(hasher);
        index.insert_unique(hash, slot, |&other| {
            let record = &records[other as usize];
            key::hash(hasher, record.hub, stored_id(record, arena))
        });
        slot
    }

    /// Forgets an identity.
    pub(crate) fn remove(&mut self, slot: Slot) {
        let record = self.records[slot as usize];
        let id_bytes = stored_id(&record, &self.arena);
        let hash = key::hash(&self.hasher, record.hub, id_bytes);
        self.dead_bytes += id_bytes.len();
        if let Ok(entry) = self.index.find_entry(hash, |&other| other == slot) {
            entry.remove();
            // What still stands in the wheel for the slot must find nothing to do.
            let vacated = &mut self.records[slot as usize];
            (vacated.armed, vacated.flags, vacated.state) = (0, 0, State::Deleted);
            self.vacant.push(slot);
        }
        self.compact_if_wasteful();
    }

    /// Device and module id of a record.
    pub(crate) fn ids(&self, slot: Slot) -> (Box<str>, Option<Box<str>>) {
        let record = self.record(slot);
        let stored = stored_id(record, &self.arena);
        let (device, module) = stored.split_at(stored_device_bytes(record.device_bytes));
        let device: Box<str> = if record.device_bytes == PACKED {
            unpack_uuid(device).into()
        } else {
            String::from_utf8_lossy(device).into()
        };
        let module =
            (record.module_bytes != NO_MODULE).then(|| String::from_utf8_lossy(module).into());
        (device, module)
    }

    /// The stored form of a record's identity.
    pub(crate) fn key(&self, slot: Slot) -> Key {
        let record = self.record(slot);
        let stored = stored_id(record, &self.arena);
        Key::from_stored(stored, record.hub, record.device_bytes, record.module_bytes)
    }

    /// Slots in use, in no meaningful order.
    pub(crate) fn slots(&self) -> Vec<Slot> {
        self.index.iter().copied().collect()
    }

    /// Bytes held, without the allocator's own.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.index.allocation_size()
            + self.records.capacity() * size_of::<Record>()
            + self.vacant.capacity() * size_of::<Slot>()
            + self.arena.capacity()
    }

    fn matches(&self, slot: Slot, key: &Key) -> bool {
        let record = &self.records[slot as usize];
        record.hub == key.hub
            && record.device_bytes == key.device_bytes
            && record.module_bytes == key.module_bytes
            && stored_id(record, &self.arena) == key.stored()
    }

    /// Rebuilds the arena when more than half of it is dead.
    fn compact_if_wasteful(&mut self) {
        if self.dead_bytes < 65_536 || self.dead_bytes * 2 < self.arena.len() {
            return;
        }
        let mut arena = Vec::with_capacity(self.arena.len() - self.dead_bytes);
        for &slot in &self.index {
            let record = &mut self.records[slot as usize];
            let id_at = u32::try_from(arena.len()).unwrap_or(u32::MAX);
            arena.extend_from_slice(stored_id(record, &self.arena));
            record.id_at = id_at;
        }
        self.arena = arena;
        self.dead_bytes = 0;
    }
}

impl Record {
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

fn stored_id<'a>(record: &Record, arena: &'a [u8]) -> &'a [u8] {
    let start = record.id_at as usize;
    &arena
        [start..start + stored_device_bytes(record.device_bytes) + usize::from(record.module_bytes)]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::engine::identity::MAX_ID_BYTES;

    fn table() -> Table {
        Table::new(foldhash::fast::FixedState::with_seed(1))
    }

    #[test]
    fn a_record_has_48_bytes() {
        // Four numbers of 8 bytes, two of 4, two of 2, four of 1.
        assert_eq!(size_of::<Record>(), 48);
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
            keys.iter().map(|(hub, d, m)| table.insert(&Key::new(*hub, d, *m), 0)).collect();
        for ((hub, device, module), slot) in keys.iter().zip(slots) {
            assert_eq!(table.find(&Key::new(*hub, device, *module)), Some(slot));
            let (found_device, found_module) = table.ids(slot);
            assert_eq!((&*found_device, found_module.as_deref()), (*device, *module));
            assert_eq!(table.record(slot).is_module(), module.is_some());
        }
        assert_eq!(table.len(), keys.len());
    }

    proptest! {
        #[test]
        fn behaves_as_a_map_through_inserts_and_removals(ops in prop::collection::vec((any::<bool>(), 0..40_u8), 1..400)) {
            let mut table = table();
            let mut model = BTreeMap::new();
            for (insert, n) in ops {
                let id = format!("device-{n}-{}", "y".repeat(usize::from(n)));
                let key = Key::new(0, &id, None);
                prop_assert_eq!(table.find(&key), model.get(&id).copied());
                match model.remove(&id) {
                    Some(slot) if !insert => table.remove(slot),
                    Some(slot) => { model.insert(id, slot); }
                    None => { model.insert(id.clone(), table.insert(&key, 0)); }
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
        let slots: Vec<Slot> =
            (0..2_000).map(|n| table.insert(&Key::new(0, &id(n), None), 0)).collect();
        for &slot in &slots[10..] {
            table.remove(slot);
        }
        assert!(table.arena.len() < 128 * 1_000, "{}", table.arena.len());
        for (n, &slot) in (0_u32..).zip(&slots[..10]) {
            assert_eq!(table.find(&Key::new(0, &id(n), None)), Some(slot));
        }
    }
}
