//! The journal of what concerns no single partition: alerts about ways in and about the service itself, and the watchdog.
//!
//! These alerts derive from no log. Their ids are made once, and stand here before they are told; what is open is in every
//! entry, so that the next process can end it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::book::{Book, Pace};
use super::desk::{Moment, Taken};
use super::entry::{Entry, Mark};
use super::outbox::Outbox;
use super::stored::{Snapshot, Stored};
use crate::alert::body::Status;
use crate::alert::path::PathAlert;
use crate::alert::self_health::SelfAlert;
use crate::alert::watchdog::Watchdog;
use crate::alert::{self, Message};
use crate::engine::Millis;

/// What is open, and how many watchdogs were sent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FleetState {
    /// Open alerts about ways in, by source.
    pub paths: BTreeMap<Arc<str>, PathAlert>,
    /// Open alerts about the service itself.
    pub own: Vec<SelfAlert>,
    /// Number of the last watchdog.
    pub watchdogs: u64,
    /// By sink, where the last watchdog for it stands.
    pub beats: BTreeMap<Arc<str>, Mark>,
}

/// See the module.
#[derive(Debug)]
pub struct FleetDesk {
    book: Book,
    sinks: Arc<[Arc<str>]>,
    state: FleetState,
}

impl FleetDesk {
    /// What a store holds of it, taken up.
    pub fn new(
        sinks: Arc<[Arc<str>]>,
        owner: String,
        pace: Pace,
        stored: &Stored,
        now: Moment,
    ) -> Self {
        let mut outbox = Outbox::new(&sinks);
        for (mark, sink) in stored.owed() {
            outbox.owe_again(&sink, mark);
        }
        let latest = stored.entries.last().map(|(_, entry)| &entry.extra);
        let latest = latest.or_else(|| stored.snapshot.as_ref().map(|(_, known)| &known.extra));
        let state = latest.and_then(|bytes| postcard::from_bytes(bytes).ok()).unwrap_or_default();
        let mut book = Book::new(owner, pace, stored.next.max(1), outbox);
        let snapshot = stored.snapshot.as_ref().map(|(number, _)| *number);
        book.began_from(snapshot, stored.entries.len(), now.boot_ms);
        Self { book, sinks, state }
    }

    /// What is open.
    pub fn state(&self) -> &FleetState {
        &self.state
    }

    /// Tells every sink about a way in.
    pub fn tell_path(&mut self, alert: &PathAlert, now: Moment) {
        match alert.status {
            Status::Resolved | Status::Retracted => {
                self.state.paths.remove(&alert.source);
            }
            Status::Firing | Status::Updated | Status::Amended => {
                self.state.paths.insert(alert.source.clone(), alert.clone());
            }
        }
        self.tell(|sink| Some(alert::path_message(alert, sink)), now);
    }

    /// Tells every sink about the service itself, but not the one that it is about.
    pub fn tell_self(&mut self, alert: &SelfAlert, now: Moment) {
        self.state.own.retain(|open| open.id != alert.id);
        if !alert.status.is_end() {
            self.state.own.push(alert.clone());
        }
        let is_other = |sink: &str| alert.sink.as_deref() != Some(sink);
        self.tell(|sink| is_other(sink).then(|| alert::self_message(alert, sink)), now);
    }

    /// Tells these sinks that all is at work, and numbers it. A sink that is still owed an earlier one is not told: its
    /// receiver misses it, which is what it is for. How many are told.
    pub fn tell_watchdog(&mut self, watchdog: Watchdog, to: &[Arc<str>], now: Moment) -> usize {
        let FleetState { watchdogs, beats, .. } = &mut self.state;
        *watchdogs += 1;
        let watchdog = Watchdog { sequence: *watchdogs, ..watchdog };
        let mut told = 0;
        for sink in self.sinks.iter().filter(|sink| to.contains(sink)) {
            if beats.get(sink).is_some_and(|&mark| self.book.is_owed(sink, mark)) {
                continue;
            }
            let message = alert::watchdog_message(&watchdog, sink);
            beats.insert(sink.clone(), self.book.owe(sink, message, now.boot_ms));
            told += 1;
        }
        told
    }

    /// Tells one sink a message again that was given up. False if there is no such sink.
    pub fn tell_again(&mut self, sink: &str, message: Message, now: Moment) -> bool {
        let known = self.sinks.iter().find(|known| ***known == *sink).cloned();
        if let Some(sink) = &known {
            self.book.owe(sink, message, now.boot_ms);
        }
        known.is_some()
    }

    fn tell(&mut self, render: impl Fn(&str) -> Option<Message>, now: Moment) {
        for sink in self.sinks.iter() {
            if let Some(message) = render(sink) {
                self.book.owe(sink, message, now.boot_ms);
            }
        }
    }

    /// When something has to be written.
    pub fn due_ms(&self) -> Option<Millis> {
        self.book.due_ms()
    }

    /// What has to be written now, if anything. See [`super::Desk::take`].
    pub fn take(&mut self, now: Moment, is_last: bool, may_snapshot: bool) -> Option<Taken> {
        let due_ms = self.due_ms()?;
        if due_ms > now.boot_ms && !is_last {
            return None;
        }
        let with_snapshot = may_snapshot && self.book.wants_snapshot(now.boot_ms);
        let (number, mut entry) = self.book.take(with_snapshot, now.boot_ms)?;
        entry.extra = postcard::to_allocvec(&self.state).unwrap_or_default();
        let snapshot = with_snapshot.then(|| self.snapshot(number, &entry));
        Some(Taken { number, entry, snapshot })
    }

    fn snapshot(&self, number: u64, entry: &Entry) -> Snapshot {
        let owed = self.book.owed_at(number, entry);
        Snapshot { number, image: Vec::new(), owed, extra: entry.extra.clone() }
    }

    /// The entry that was taken is durable.
    pub fn committed(&mut self, number: u64) {
        self.book.committed(number);
    }

    /// The store can't be written: what is said of the service itself may be sent all the same.
    pub fn release(&mut self, number: u64) {
        self.book.release(number);
    }

    /// A snapshot is durable.
    pub fn snapshot_kept(&mut self, number: u64) {
        self.book.snapshot_kept(number);
    }

    /// A message needs no more telling.
    pub fn delivered(&mut self, mark: Mark, now: Moment) {
        self.book.settle(mark, now.boot_ms);
    }

    /// What sinks are owed.
    pub fn outbox(&mut self) -> &mut Outbox {
        self.book.outbox()
    }

    /// The journal's open end.
    pub fn book(&self) -> &Book {
        &self.book
    }
}
