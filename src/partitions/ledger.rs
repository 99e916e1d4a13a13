//! What the writer of a journal and the way to the sinks need of whoever keeps one: a partition, or the fleet.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use dashmap::DashMap;
use tokio::sync::Notify;

use crate::engine::Millis;
use crate::journal::desk::Taken;
use crate::journal::{Entry, Mark, Moment, Next};
use crate::store::journal::Journal;

/// Whoever keeps a journal.
pub(super) trait Ledger: Send + Sync {
    /// What it is called in tickets: the same after every start.
    fn id(&self) -> u64;
    /// Name of its source, for metrics and logs.
    fn source(&self) -> &str;
    /// What its writer and its readers share.
    fn store(&self) -> &LedgerStore;
    /// See [`crate::journal::Desk::due_ms`].
    fn due_ms(&self) -> Option<Millis>;
    /// See [`crate::journal::Desk::take`].
    fn take(&self, now: Moment, is_last: bool, may_snapshot: bool) -> Option<Taken>;
    /// The entry that was taken is durable.
    fn committed(&self, number: u64);
    /// A snapshot is durable.
    fn snapshot_kept(&self, number: u64);
    /// The store can't be written: may what the entry owes be told all the same?
    fn release(&self, number: u64) -> bool;
    /// The next message for a sink.
    fn next(&self, sink: &str) -> Next;
    /// Gives back the messages of an entry that was read again; the marks of those that it does not hold.
    fn refill(&self, sink: &str, number: u64, entry: Option<&Entry>) -> Vec<Mark>;
    /// A message needs no more telling.
    fn settle(&self, mark: Mark, now: Moment);
    /// Entries that have to be kept for what they owe, and how many messages are owed.
    fn owed(&self) -> (std::collections::BTreeSet<u64>, usize);
}

/// A journal's store, and what is known of it.
pub(super) struct LedgerStore {
    pub(super) journal: Journal,
    /// Something may have become due.
    pub(super) wake: Notify,
    /// Something became durable or was delivered: whoever waited for room may look again.
    pub(super) room: Notify,
    /// Boot time since which it can't be written; 0 if it can.
    failing_since_ms: AtomicI64,
    /// Boot time since which an entry is being written; 0 if none is.
    pub(super) writing_since_ms: AtomicI64,
    /// Boot time since which a snapshot is being written; 0 if none is.
    pub(super) snapshot_since_ms: AtomicI64,
}

impl LedgerStore {
    pub(super) fn new(journal: Journal) -> Self {
        Self {
            journal,
            wake: Notify::new(),
            room: Notify::new(),
            failing_since_ms: AtomicI64::new(0),
            writing_since_ms: AtomicI64::new(0),
            snapshot_since_ms: AtomicI64::new(0),
        }
    }

    /// Notes that a write failed, or that one worked.
    pub(super) fn note(&self, failed_at_ms: Option<Millis>) {
        match failed_at_ms {
            Some(now_ms) => {
                let _known = self.failing_since_ms.compare_exchange(
                    0,
                    now_ms.max(1),
                    Ordering::AcqRel,
                    Ordering::Acquire,
                );
            }
            None => self.failing_since_ms.store(0, Ordering::Release),
        }
    }

    /// For how long it could not be written; `None` if it can.
    pub(super) fn failing_ms(&self, now_ms: Millis) -> Option<Millis> {
        let since_ms = self.failing_since_ms.load(Ordering::Acquire);
        (since_ms > 0).then(|| now_ms.saturating_sub(since_ms))
    }
}

/// All of them, by id.
#[derive(Clone, Default)]
pub(super) struct Ledgers {
    by_id: Arc<DashMap<u64, Arc<dyn Ledger>>>,
}

impl Ledgers {
    pub(super) fn add(&self, ledger: Arc<dyn Ledger>) {
        self.by_id.insert(ledger.id(), ledger);
    }

    pub(super) fn get(&self, id: u64) -> Option<Arc<dyn Ledger>> {
        self.by_id.get(&id).map(|entry| entry.value().clone())
    }

    /// All of them; no guard of the map is held by the caller.
    pub(super) fn all(&self) -> Vec<Arc<dyn Ledger>> {
        self.by_id.iter().map(|entry| entry.value().clone()).collect()
    }
}
