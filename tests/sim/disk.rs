//! What a store holds of one journal, and everything that can happen to a write.

use std::collections::{BTreeMap, BTreeSet};

use lastseen::journal::{Entry, Snapshot, Stored};

use crate::plan::Plan;
use crate::random::Random;

/// What the writer hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    Done,
    /// Nothing is known; it may be there, or come to be there.
    Failed,
    /// The number is taken, by something else.
    Taken,
}

/// A place in a log, and which log.
pub type Position = (i64, Option<u64>);

#[derive(Clone, Debug)]
struct Written {
    bytes: Vec<u8>,
    position: Option<Position>,
}

/// The store of one partition.
#[derive(Debug, Default)]
pub struct Disk {
    entries: BTreeMap<u64, Written>,
    snapshots: BTreeMap<u64, Vec<u8>>,
    torn: BTreeSet<u64>,
    positions: BTreeMap<u64, Option<Position>>,
    /// Puts that are still on their way although nobody waits for them any more.
    late: Vec<(i64, u64, Written)>,
    pub full_until_ms: i64,
    pub calm: bool,
}

impl Disk {
    pub fn step(&mut self, now_ms: i64) {
        for (_, number, written) in self.late.extract_if(.., |(at_ms, ..)| *at_ms <= now_ms) {
            self.entries.entry(number).or_insert(written);
        }
    }

    /// What was heard up to here is in a snapshot. What came later is only in the log itself.
    pub fn durable(&self, stream: u64) -> Option<i64> {
        let whole = |number: &&u64| !self.torn.contains(*number);
        let newest = self.snapshots.keys().rev().find(whole)?;
        let (sequence, of) = (*self.positions.get(newest)?)?;
        (of == Some(stream)).then_some(sequence)
    }

    pub fn has_snapshot(&self) -> bool {
        !self.snapshots.is_empty()
    }

    pub fn put(
        &mut self,
        now_ms: i64,
        number: u64,
        bytes: &[u8],
        position: Option<Position>,
        plan: &Plan,
        random: &mut Random,
    ) -> Put {
        if now_ms < self.full_until_ms {
            return Put::Failed;
        }
        if let Some(there) = self.entries.get(&number) {
            return if there.bytes == bytes { Put::Done } else { Put::Taken };
        }
        let written = Written { bytes: bytes.to_vec(), position };
        if !self.calm && random.permille(plan.faults.put_lost) {
            return Put::Failed;
        }
        if !self.calm && random.permille(plan.faults.put_late) {
            let delay_ms = random.pick(&[0, 0, 50, 400, 1_500]);
            match delay_ms {
                0 => drop(self.entries.insert(number, written)),
                _ => self.late.push((now_ms + delay_ms, number, written)),
            }
            return Put::Failed;
        }
        self.entries.insert(number, written);
        Put::Done
    }

    /// Who wrote an entry, by the name in it.
    pub fn owner(&self, number: u64) -> Option<String> {
        Entry::decode(&self.entries.get(&number)?.bytes).ok().map(|entry| entry.owner)
    }

    pub fn entry(&self, number: u64) -> Option<Entry> {
        Entry::decode(&self.entries.get(&number)?.bytes).ok()
    }

    pub fn put_snapshot(&mut self, number: u64, bytes: Vec<u8>) {
        self.positions.insert(number, self.entries.get(&number).and_then(|entry| entry.position));
        self.snapshots.insert(number, bytes);
    }

    /// A crash in the middle of writing: what is there can't be read.
    pub fn tear_snapshot(&mut self, number: u64, bytes: &[u8]) {
        self.snapshots.insert(number, bytes[..bytes.len() / 2].to_vec());
        self.torn.insert(number);
    }

    /// Keeps two snapshots, and the entries that either needs or that owe something.
    pub fn collect(&mut self, pinned: &BTreeSet<u64>) {
        let whole = self.snapshots.keys().filter(|number| !self.torn.contains(number));
        let numbers: Vec<u64> = whole.copied().collect();
        let [.., oldest_kept, _newest] = numbers[..] else { return };
        self.snapshots.retain(|number, _| *number >= oldest_kept);
        self.entries.retain(|number, _| *number > oldest_kept || pinned.contains(number));
    }

    /// What a process finds at its start.
    pub fn load(&self) -> Stored {
        let whole = self.snapshots.iter().rev().find_map(|(number, bytes)| {
            Snapshot::decode(bytes).ok().map(|snapshot| (*number, snapshot))
        });
        let from = whole.as_ref().map_or(0, |(number, _)| number + 1);
        let written: Vec<_> = self.entries.range(from..).collect();
        let entries: Vec<(u64, Entry)> = written
            .iter()
            .filter_map(|(number, written)| Some((**number, Entry::decode(&written.bytes).ok()?)))
            .collect();
        let next = self.entries.last_key_value().map_or(0, |(number, _)| number + 1);
        let damaged = entries.len() < written.len();
        Stored { snapshot: whole, entries, damaged, next }
    }
}
