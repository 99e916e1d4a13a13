//! The last-seen table of one shard: an index, columns of what is known of each identity, and in an arena what of an id does
//! not fit into its record.

use std::cmp::Ordering;

use super::facts::Facts;
use super::index::Index;
use super::key::{CUT_BYTES, HEAD_BYTES, Key};
use super::record::Record;
use super::slab::{Arena, Column};
use super::time::Timestamp;
use serde::{Deserialize, Serialize};

/// Where an identity stands in the columns.
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

/// The table of one shard.
pub(crate) struct Table {
    index: Index,
    records: Column<Record>,
    first_seen: Column<Timestamp>,
    /// Low 32 bits of the tick at which the valid entry of the wheel stands; zero for none.
    armed: Column<u32>,
    /// Slots that were ever used.
    slots: Slot,
    /// Those of removed identities, to be used again.
    vacant: Vec<Slot>,
    arena: Arena,
    /// Bytes of the arena that belong to removed records.
    dead_bytes: usize,
    hasher: foldhash::fast::FixedState,
}

impl Table {
    pub(crate) fn new(hasher: foldhash::fast::FixedState) -> Self {
        Self {
            index: Index::default(),
            records: Column::new(Record::NONE),
            first_seen: Column::new(Timestamp::MIN),
            armed: Column::new(0),
            slots: 0,
            vacant: Vec::new(),
            arena: Arena::default(),
            dead_bytes: 0,
            hasher,
        }
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
        let is_still = |slot: &Slot| *slot < self.slots && self.matches(*slot, key);
        probably.filter(is_still).or_else(|| self.find(key))
    }

    /// The slot that is probably of the key with this hash: the first that fits. Reads only the index.
    #[inline]
    pub(crate) fn candidate(&self, hash: u64) -> Option<Slot> {
        self.index.find(hash, |_| true)
    }

    /// Asks for where a look for this hash begins.
    #[inline]
    pub(crate) fn prefetch_index(&self, hash: u64) {
        self.index.prefetch(hash);
    }

    /// Asks for a record.
    #[inline]
    pub(crate) fn prefetch_record(&self, slot: Slot) {
        self.records.prefetch(slot);
    }

    /// Asks for the rest of an id, if it is cut. Reads the record.
    pub(crate) fn prefetch_tail(&self, slot: Slot) {
        if let Some((at, bytes)) = self.record(slot).tail() {
            self.arena.prefetch(at, bytes);
        }
    }

    /// Asks for what tells whether an identity's timer is valid.
    #[inline]
    pub(crate) fn prefetch_armed(&self, slot: Slot) {
        self.armed.prefetch(slot);
    }

    #[inline]
    pub(crate) fn record(&self, slot: Slot) -> &Record {
        self.records.get(slot)
    }

    #[inline]
    pub(crate) fn record_mut(&mut self, slot: Slot) -> &mut Record {
        self.records.get_mut(slot)
    }

    /// Low 32 bits of the tick at which the identity's valid entry of the wheel stands; zero for none.
    #[inline]
    pub(crate) fn armed(&self, slot: Slot) -> u32 {
        *self.armed.get(slot)
    }

    #[inline]
    pub(crate) fn set_armed(&mut self, slot: Slot, tick: u32) {
        *self.armed.get_mut(slot) = tick;
    }

    /// What the table itself knows; creation and deletion stand beside it.
    pub(crate) fn facts(&self, slot: Slot) -> Facts {
        let record = self.record(slot);
        Facts {
            generation: record.generation,
            first_seen: *self.first_seen.get(slot),
            last_seen: record.last_seen(),
            sequence: record.sequence(),
            ..Facts::NONE
        }
    }

    /// Takes over what the table itself knows.
    pub(crate) fn set_facts(&mut self, slot: Slot, facts: &Facts) {
        self.record_mut(slot).set_heard(facts);
        *self.first_seen.get_mut(slot) = facts.first_seen;
    }

    /// Adds an identity that is not there yet.
    pub(crate) fn insert(&mut self, key: &Key<'_>, rule: u16) -> Slot {
        let tail_at = key.is_cut().then(|| self.arena.add(key.tail()));
        let slot = self.vacant.pop().unwrap_or(self.slots);
        self.slots = self.slots.max(slot + 1);
        self.records.put(slot, Record::new(key, rule, tail_at));
        self.first_seen.put(slot, Timestamp::MIN);
        self.armed.put(slot, 0);
        self.index.insert(key.hash(), slot);
        slot
    }

    /// Adds an identity of another table, with all that both know but its timer.
    pub(crate) fn adopt(&mut self, other: &Self, other_slot: Slot) -> Slot {
        let Record { rule, state, flags, .. } = *other.record(other_slot);
        let slot = self.insert(&other.key(other_slot), rule);
        self.set_facts(slot, &other.facts(other_slot));
        let record = self.record_mut(slot);
        (record.state, record.flags) = (state, flags);
        slot
    }

    /// Forgets an identity.
    pub(crate) fn remove(&mut self, slot: Slot) {
        let hash = self.key(slot).hash();
        if self.index.remove(hash, slot) {
            self.dead_bytes += self.tail(slot).len();
            // What still stands in the wheel for the slot must find nothing to do.
            *self.records.get_mut(slot) = Record::NONE;
            self.set_armed(slot, 0);
            self.vacant.push(slot);
        }
        self.compact_if_wasteful();
    }

    /// Device and module id.
    pub(crate) fn ids(&self, slot: Slot) -> (Box<str>, Option<Box<str>>) {
        let record = self.record(slot);
        let mut id = Vec::with_capacity(HEAD_BYTES + record.id_bytes());
        let tail = self.tail(slot);
        id.extend_from_slice(
            &record.head()[..if tail.is_empty() { HEAD_BYTES } else { CUT_BYTES }],
        );
        id.extend_from_slice(tail);
        let (_, device_bytes, module_bytes) = record.identity();
        let (device, module) = id.split_at(usize::from(device_bytes));
        let module = &module[..usize::from(module_bytes)];
        let text = |bytes| String::from_utf8_lossy(bytes).into();
        (text(device), record.is_module().then(|| text(module)))
    }

    /// The stored form of an identity.
    pub(crate) fn key(&self, slot: Slot) -> Key<'_> {
        let record = self.record(slot);
        Key::from_stored(&self.hasher, record.head(), self.tail(slot), record.identity())
    }

    /// The order of two identities' ids, as texts: device first, then module.
    pub(crate) fn compare_ids(&self, slot: Slot, other: &Self, other_slot: Slot) -> Ordering {
        let (a, b) = (self.record(slot), other.record(other_slot));
        if a.is_module() || b.is_module() {
            return self.ids(slot).cmp(&other.ids(other_slot));
        }
        let is_cut = a.tail().is_some() || b.tail().is_some();
        // No byte of an id is as small as what fills up a short one.
        match a.head()[..CUT_BYTES].cmp(&b.head()[..CUT_BYTES]) {
            Ordering::Equal if is_cut => self.ids(slot).cmp(&other.ids(other_slot)),
            Ordering::Equal => a.head().cmp(&b.head()),
            order @ (Ordering::Less | Ordering::Greater) => order,
        }
    }

    /// Slots in use, in the order of their numbers: in that of the index, which is the order of the hashes, whoever put them
    /// into another table one by one would crowd one end of it.
    pub(crate) fn slots(&self) -> Vec<Slot> {
        (0..self.slots).filter(|&slot| !self.record(slot).is_vacant()).collect()
    }

    /// Bytes held, without the allocator's own.
    pub(crate) fn memory_bytes(&self) -> usize {
        let columns = self.records.memory_bytes()
            + self.first_seen.memory_bytes()
            + self.armed.memory_bytes()
            + self.vacant.capacity() * size_of::<Slot>();
        self.index.memory_bytes() + columns + self.arena.memory_bytes()
    }

    #[inline]
    fn matches(&self, slot: Slot, key: &Key<'_>) -> bool {
        self.record(slot).may_be_of(key) && (!key.is_cut() || self.has_tail_of(slot, key))
    }

    fn has_tail_of(&self, slot: Slot, key: &Key<'_>) -> bool {
        let [device, module] = key.tail();
        let (stored_device, stored_module) = self.tail(slot).split_at(device.len());
        same_bytes(stored_device, device) && same_bytes(stored_module, module)
    }

    #[inline]
    fn tail(&self, slot: Slot) -> &[u8] {
        self.record(slot).tail().map_or(&[], |(at, bytes)| self.arena.get(at, bytes))
    }

    /// Rebuilds the arena when more than half of it is dead.
    fn compact_if_wasteful(&mut self) {
        if self.dead_bytes < 65_536 || self.dead_bytes * 2 < self.arena.len() {
            return;
        }
        let mut arena = Arena::default();
        for slot in self.index.slots() {
            let record = self.records.get_mut(slot);
            if let Some((at, bytes)) = record.tail() {
                record.move_tail(arena.add([self.arena.get(at, bytes), &[]]));
            }
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

    /// Ids of every length around what a record holds, alone and with another behind them; few of each, so that they meet.
    fn id() -> impl Strategy<Value = String> {
        prop_oneof![
            "[ab]{1,3}",
            "a{16}[ab]{1,2}a{0,20}",
            "[ab]a{28,31}[ab]{0,6}",
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
