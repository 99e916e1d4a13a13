//! What one partition's worker shares with its writer, with other workers and with readers.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{mpsc, watch};

use super::PartitionKey;
use super::counters::Counters;
use super::ledger::{Ledger, LedgerStore};
use crate::engine::{ForeignClock, Millis, PartitionId, Timestamp, Witness};
use crate::failpoint::fail_point;
use crate::journal::desk::{Committed, Taken};
use crate::journal::{Desk, Entry, Mark, Moment, Next};
use crate::source::{Event, Progress};
use crate::wire::{HubName, Profile};

/// One partition.
pub(super) struct Shared {
    pub(super) key: PartitionKey,
    /// What it is called in placement and in tickets.
    pub(super) id: PartitionId,
    pub(super) profile: Arc<Profile>,
    pub(super) desk: Mutex<Desk>,
    pub(super) ledger: LedgerStore,
    /// The clock up to which everything this partition had to tell others has been told, in ms.
    pub(super) told_clock_ms: AtomicI64,
    /// The end of its latest gap, likewise.
    pub(super) told_gap_end_ms: AtomicI64,
    /// When anybody was heard here.
    pub(super) told_heard: Mutex<Option<Witness>>,
    pub(super) progress: watch::Sender<Progress>,
    pub(super) events: mpsc::Sender<Event>,
    pub(super) counters: Counters,
    /// Boot time at which its worker came round last, in ms.
    pub(super) alive_ms: AtomicI64,
    /// Date of the last decision of this process, in ms; 0 if there was none.
    pub(super) last_verdict_ms: AtomicI64,
}

impl Shared {
    pub(super) fn desk(&self) -> MutexGuard<'_, Desk> {
        // A panic in a worker ends the process; until then others may go on.
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn could_carry(&self, hub: &str) -> bool {
        match &self.profile.hub {
            HubName::Fixed(name) => &**name == hub,
            HubName::Property(_) => true,
        }
    }

    /// When anybody was heard on this partition, for others.
    pub(super) fn tell_heard(&self, heard: Option<Witness>) {
        *self.told_heard.lock().unwrap_or_else(PoisonError::into_inner) = heard;
    }

    pub(super) fn told_heard(&self) -> Option<Witness> {
        self.told_heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How far it was read, for others. While it takes up again what an earlier process had read, it says nothing.
    pub(super) fn tell_clock(&self, desk: &Desk) {
        if !desk.is_recovering() {
            let ForeignClock { clock, gap_end, .. } = desk.engine().as_foreign(self.id);
            self.told_gap_end_ms.store(gap_end.as_ms(), Ordering::Release);
            self.told_clock_ms.store(clock.as_ms(), Ordering::Release);
        }
    }

    pub(super) fn told_clock(&self) -> ForeignClock {
        let clock = Timestamp::from_ms(self.told_clock_ms.load(Ordering::Acquire));
        let gap_end = Timestamp::from_ms(self.told_gap_end_ms.load(Ordering::Acquire));
        ForeignClock { partition: self.id, clock, gap_end }
    }

    /// Lets the source acknowledge what is durable, or stands in a log.
    pub(super) fn acknowledge(&self, committed: Committed) {
        if committed.acknowledge.is_some() {
            fail_point("acknowledge");
            self.progress.send_modify(|progress| progress.acknowledge = committed.acknowledge);
        }
    }
}

impl Ledger for Shared {
    fn id(&self) -> u64 {
        self.id
    }

    fn source(&self) -> &str {
        &self.key.source
    }

    fn store(&self) -> &LedgerStore {
        &self.ledger
    }

    fn due_ms(&self) -> Option<Millis> {
        self.desk().due_ms()
    }

    fn take(&self, now: Moment, is_last: bool, may_snapshot: bool) -> Option<Taken> {
        self.desk().take(now, is_last, may_snapshot)
    }

    fn committed(&self, number: u64) {
        let committed = self.desk().committed(number);
        self.acknowledge(committed);
    }

    fn snapshot_kept(&self, number: u64) {
        self.desk().snapshot_kept(number);
    }

    /// A verdict that is told before it is durable could be told again under another id after a crash: it waits, and the
    /// alert about the way in counts who can't be judged.
    fn release(&self, _number: u64) -> bool {
        false
    }

    fn next(&self, sink: &str) -> Next {
        self.desk().outbox().next(sink)
    }

    fn refill(&self, sink: &str, number: u64, entry: Option<&Entry>) -> Vec<Mark> {
        self.desk().outbox().refill(sink, number, entry)
    }

    fn settle(&self, mark: Mark, now: Moment) {
        self.desk().delivered(mark, now);
    }

    fn owed(&self) -> (BTreeSet<u64>, usize) {
        let desk = self.desk();
        (desk.book().pinned(), desk.book().owed())
    }
}
