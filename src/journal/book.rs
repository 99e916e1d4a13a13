//! The open end of a journal: what the next entry will hold, when it is to be written, and what follows once it is durable.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::entry::{Entry, Mark, Owed, Record};
use super::outbox::{MAX_OWED, Outbox};
use crate::engine::Millis;

/// The most records, messages and marks of one entry, all together: some 16 MB if all are messages. Beyond, nothing more is
/// applied until it is durable.
const MAX_OPEN: usize = 16_384;

/// Entries behind a snapshot that are more than an interval of it usually leaves.
const MANY_BEHIND: usize = 64;

/// How long things may wait to be written. Boot time, in ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Alerts: what comes within it is written together.
    pub urgent_ms: Millis,
    /// Acknowledgements of messages.
    pub acknowledge_ms: Millis,
    /// That a message was delivered: until then a crash delivers it again.
    pub settled_ms: Millis,
    /// Everything else: how much of a log is read again after a crash.
    pub idle_ms: Millis,
    /// From one snapshot to the next.
    pub snapshot_ms: Millis,
}

/// A disk takes a few hundred entries a second: 50 ms add little to what is told, and bound the rate. What is read again of a
/// log after 5 s, or after a snapshot that is half a minute old, takes well under a second.
impl Default for Pace {
    fn default() -> Self {
        Self {
            urgent_ms: 50,
            acknowledge_ms: 50,
            settled_ms: 200,
            idle_ms: 5_000,
            snapshot_ms: 30_000,
        }
    }
}

impl Pace {
    /// Where every write is a request that is paid for: a tenth of the entries, and still one a second for a queue.
    pub fn of_requests() -> Self {
        Self { acknowledge_ms: 1_000, settled_ms: 1_000, idle_ms: 10_000, ..Self::default() }
    }
}

/// What waits to be written.
#[derive(Debug)]
pub struct Book {
    owner: String,
    pace: Pace,
    next: u64,
    records: Vec<Record>,
    owed: Vec<Owed>,
    settled: Vec<Mark>,
    /// When the next entry is due.
    due_ms: Option<Millis>,
    in_flight: Option<InFlight>,
    snapshot: Option<u64>,
    snapshot_due_ms: Millis,
    outbox: Outbox,
}

#[derive(Debug)]
struct InFlight {
    number: u64,
    owed: Vec<Owed>,
    settled: Vec<Mark>,
    /// Nothing is told before the snapshot is durable too: it is the first.
    awaits_snapshot: bool,
}

/// How soon something has to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// The journal has to be ours.
    Claim,
    /// Somebody has to be told.
    Urgent,
    /// A broker waits to be told that a message was taken.
    Acknowledge,
    /// A crash would repeat something.
    Settled,
    /// A crash would cost time.
    Idle,
}

impl Book {
    /// A journal whose next entry has the number `next`. `owner` names this process.
    pub fn new(owner: String, pace: Pace, next: u64, outbox: Outbox) -> Self {
        Self {
            owner,
            pace,
            next,
            records: Vec::new(),
            owed: Vec::new(),
            settled: Vec::new(),
            due_ms: None,
            in_flight: None,
            snapshot: None,
            snapshot_due_ms: 0,
            outbox,
        }
    }

    /// The snapshot that was found at the start, and how many entries were behind it: with many, as after one crash upon the
    /// other, the next is due at once. What an earlier process owed is told once the next entry is durable: then that process
    /// owns the journal no more.
    pub fn began_from(&mut self, snapshot: Option<u64>, entries: usize, now_ms: Millis) {
        if !self.outbox.is_empty() {
            self.outbox.close();
            self.wants(Urgency::Claim, now_ms);
        }
        self.snapshot = snapshot;
        self.snapshot_due_ms = match snapshot {
            Some(_) if entries < MANY_BEHIND => now_ms + self.pace.snapshot_ms,
            Some(_) | None => now_ms,
        };
    }

    /// Something was changed.
    pub fn record(&mut self, record: Record) {
        self.records.push(record);
    }

    /// A sink has to be told this. Where it will stand.
    pub fn owe(&mut self, sink: &Arc<str>, message: crate::alert::Message, now_ms: Millis) -> Mark {
        // There are at most MAX_OPEN, and what little is owed beyond.
        let index = u32::try_from(self.owed.len()).unwrap_or(u32::MAX);
        self.owed.push(Owed { sink: sink.to_string(), message });
        self.wants(Urgency::Urgent, now_ms);
        Mark { entry: self.next, index }
    }

    /// Whether a message is still owed, durable or not.
    pub fn is_owed(&self, sink: &str, mark: Mark) -> bool {
        let is_open = mark.entry == self.next;
        let in_flight = self
            .in_flight
            .as_ref()
            .is_some_and(|flight| flight.number == mark.entry && !flight.owed.is_empty());
        is_open || in_flight || self.outbox.is_owed(sink, mark)
    }

    /// A message needs no more telling.
    pub fn settle(&mut self, mark: Mark, now_ms: Millis) {
        if self.outbox.settle(mark) {
            self.settled.push(mark);
            self.wants(Urgency::Settled, now_ms);
        }
    }

    /// An entry is wanted.
    pub fn wants(&mut self, urgency: Urgency, now_ms: Millis) {
        let wait_ms = match urgency {
            Urgency::Claim => 0,
            Urgency::Urgent => self.pace.urgent_ms,
            Urgency::Acknowledge => self.pace.acknowledge_ms,
            Urgency::Settled => self.pace.settled_ms,
            Urgency::Idle => self.pace.idle_ms,
        };
        let due_ms = now_ms + wait_ms;
        self.due_ms = Some(self.due_ms.map_or(due_ms, |known_ms| known_ms.min(due_ms)));
    }

    /// When the next entry is due; `None` while one is being written, or nothing has to be.
    pub fn due_ms(&self) -> Option<Millis> {
        self.due_ms.filter(|_| self.in_flight.is_none())
    }

    /// Whether nothing more may be applied before something is durable or delivered.
    pub fn is_full(&self) -> bool {
        let open = self.records.len() + self.owed.len() + self.settled.len();
        open >= MAX_OPEN || self.outbox.len() + self.owed.len() >= MAX_OWED
    }

    /// Whether a snapshot is due with the next entry.
    pub fn wants_snapshot(&self, now_ms: Millis) -> bool {
        now_ms >= self.snapshot_due_ms
    }

    /// Closes the open entry: number and content, all but what only the caller knows. One is written at a time, until
    /// [`Book::committed`]; a retry writes the same bytes again.
    pub fn take(&mut self, with_snapshot: bool, now_ms: Millis) -> Option<(u64, Entry)> {
        if self.in_flight.is_some() {
            return None;
        }
        let number = self.next;
        let owed = std::mem::take(&mut self.owed);
        let settled = std::mem::take(&mut self.settled);
        let entry = Entry {
            number,
            owner: self.owner.clone(),
            snapshot: self.snapshot,
            records: std::mem::take(&mut self.records),
            owed: owed.clone(),
            settled: settled.clone(),
            ..Entry::default()
        };
        let awaits_snapshot = with_snapshot && self.snapshot.is_none();
        self.in_flight = Some(InFlight { number, owed, settled, awaits_snapshot });
        self.next += 1;
        self.due_ms = None;
        if with_snapshot {
            self.snapshot_due_ms = now_ms + self.pace.snapshot_ms;
        }
        Some((number, entry))
    }

    /// The entry that was taken is durable: what it owes may be told, unless the first snapshot has to be durable before.
    pub fn committed(&mut self, number: u64) {
        self.outbox.open();
        let is_it = |flight: &mut InFlight| flight.number == number && !flight.awaits_snapshot;
        if let Some(flight) = self.in_flight.take_if(is_it) {
            self.outbox.owe(flight.number, flight.owed);
        }
    }

    /// A snapshot of everything up to this entry is durable.
    pub fn snapshot_kept(&mut self, number: u64) {
        self.snapshot = Some(number);
        if let Some(flight) = &mut self.in_flight
            && flight.number == number
        {
            flight.awaits_snapshot = false;
        }
        self.committed(number);
    }

    /// What the entry that was taken owes may be told although it is not durable: only for what may be told twice under two
    /// ids.
    pub fn release(&mut self, number: u64) {
        self.outbox.open();
        if let Some(flight) = self.in_flight.as_mut().filter(|flight| flight.number == number) {
            self.outbox.owe(number, std::mem::take(&mut flight.owed));
        }
    }

    /// Everything owed at the end of an entry that was just taken: sink, and where the message stands.
    pub fn owed_at(&self, number: u64, entry: &Entry) -> Vec<(String, Mark)> {
        let known = self.outbox.marks().map(|(sink, mark)| (sink.to_owned(), mark));
        let new = (0..).zip(&entry.owed);
        let new = new.map(|(index, owed)| (owed.sink.clone(), Mark { entry: number, index }));
        known.chain(new).collect()
    }

    /// The entries that have to be kept for what they owe. What was settled only in memory is owed again after a crash.
    pub fn pinned(&self) -> BTreeSet<u64> {
        let in_flight = self.in_flight.iter().flat_map(|flight| &flight.settled);
        let settled = self.settled.iter().chain(in_flight).map(|mark| mark.entry);
        self.outbox.marks().map(|(_, mark)| mark.entry).chain(settled).collect()
    }

    /// What is owed and durable.
    pub fn outbox(&mut self) -> &mut Outbox {
        &mut self.outbox
    }

    /// How many messages are owed, those that are not durable yet included.
    pub fn owed(&self) -> usize {
        self.outbox.len() + self.owed.len()
    }

    /// Number of the next entry.
    pub fn next_number(&self) -> u64 {
        self.next
    }
}
