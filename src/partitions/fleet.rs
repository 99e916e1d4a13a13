//! What concerns no single partition, and its journal.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::ledger::{Ledger, LedgerStore};
use super::writer::now;
use crate::alert::Message;
use crate::alert::path::PathAlert;
use crate::alert::self_health::SelfAlert;
use crate::alert::watchdog::Watchdog;
use crate::engine::Millis;
use crate::journal::desk::Taken;
use crate::journal::{Entry, FleetDesk, FleetState, Mark, Moment, Next};
use crate::store::journal::Journal;

/// The id of its journal in tickets: no partition's, whose ids are hashes.
const ID: u64 = 0;
/// What it is called in metrics and logs.
const NAME: &str = "fleet";

/// Tells the sinks what concerns no single partition.
pub struct Fleet {
    desk: Mutex<FleetDesk>,
    store: LedgerStore,
}

impl Fleet {
    pub(super) fn new(desk: FleetDesk, journal: Journal) -> Arc<Self> {
        Arc::new(Self { desk: Mutex::new(desk), store: LedgerStore::new(journal) })
    }

    fn desk(&self) -> MutexGuard<'_, FleetDesk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What an earlier process left open.
    pub fn state(&self) -> FleetState {
        self.desk().state().clone()
    }

    /// See [`FleetDesk::tell_path`].
    pub fn tell_path(&self, alert: &PathAlert) {
        self.desk().tell_path(alert, now());
        self.store.wake.notify_one();
    }

    /// See [`FleetDesk::tell_self`].
    pub fn tell_self(&self, alert: &SelfAlert) {
        self.desk().tell_self(alert, now());
        self.store.wake.notify_one();
    }

    /// See [`FleetDesk::tell_watchdog`].
    pub fn tell_watchdog(&self, watchdog: Watchdog, to: &[Arc<str>]) -> usize {
        let told = self.desk().tell_watchdog(watchdog, to, now());
        self.store.wake.notify_one();
        told
    }

    /// See [`FleetDesk::tell_again`].
    pub fn tell_again(&self, sink: &str, message: Message) -> bool {
        let known = self.desk().tell_again(sink, message, now());
        self.store.wake.notify_one();
        known
    }
}

impl Ledger for Fleet {
    fn id(&self) -> u64 {
        ID
    }

    fn source(&self) -> &str {
        NAME
    }

    fn store(&self) -> &LedgerStore {
        &self.store
    }

    fn due_ms(&self) -> Option<Millis> {
        self.desk().due_ms()
    }

    fn take(&self, now: Moment, is_last: bool, may_snapshot: bool) -> Option<Taken> {
        self.desk().take(now, is_last, may_snapshot)
    }

    fn committed(&self, number: u64) {
        self.desk().committed(number);
    }

    fn snapshot_kept(&self, number: u64) {
        self.desk().snapshot_kept(number);
    }

    fn release(&self, number: u64) -> bool {
        self.desk().release(number);
        true
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
