//! Writes one journal: entries one after the other, snapshots beside them, and removes what both kept snapshots contain.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::Router;
use super::counters::StoreMeters;
use super::ledger::Ledger;
use crate::clock;
use crate::engine::Millis;
use crate::failpoint::fail_point;
use crate::journal::desk::Taken;
use crate::journal::{Moment, Snapshot};
use crate::store::journal::CreateError;

/// The first wait after a write that failed; each further one is twice as long.
const RETRY: Duration = Duration::from_millis(100);
/// The longest.
const RETRY_MAX: Duration = Duration::from_secs(5);
/// A store that could not be written for this long holds back everything but what is said of the service itself.
const RELEASE_AFTER_MS: Millis = 5_000;
/// Snapshots that are kept: if the newest can't be read, the one before can.
const KEPT_SNAPSHOTS: usize = 2;

/// The writer of one journal.
pub(super) struct Writer {
    ledger: Arc<dyn Ledger>,
    router: Router,
    meters: StoreMeters,
    /// The snapshot that is being written.
    under_way: Option<JoinHandle<Option<u64>>>,
    /// Snapshots that are kept, newest first.
    kept: Vec<u64>,
}

/// When writers end.
#[derive(Clone, Debug, Default)]
pub(super) struct Ending {
    /// Nothing more is decided.
    pub(super) decided: CancellationToken,
    /// Nothing more is delivered.
    pub(super) delivered: CancellationToken,
}

impl Writer {
    /// `kept`: the snapshots that are there, newest first.
    pub(super) fn new(
        ledger: Arc<dyn Ledger>,
        router: Router,
        meters: StoreMeters,
        kept: Vec<u64>,
    ) -> Self {
        Self { ledger, router, meters, under_way: None, kept }
    }

    /// Writes what becomes due until nothing more comes; then what is left. Ends with an error if somebody else writes the
    /// same journal.
    pub(super) async fn run(mut self, ending: Ending) -> Result<(), CreateError> {
        loop {
            tokio::select! {
                () = ending.decided.cancelled() => break,
                () = until_due(&*self.ledger) => {}
                kept = finished(&mut self.under_way) => {
                    self.snapshot_kept(kept).await;
                    continue;
                }
            }
            self.write(false).await?;
        }
        self.write_all().await?;
        ending.delivered.cancelled().await;
        self.write_all().await
    }

    /// Everything that is not durable yet.
    async fn write_all(&mut self) -> Result<(), CreateError> {
        if self.under_way.is_some() {
            let kept = finished(&mut self.under_way).await;
            self.snapshot_kept(kept).await;
        }
        self.write(true).await?;
        if self.under_way.is_some() {
            let kept = finished(&mut self.under_way).await;
            self.snapshot_kept(kept).await;
        }
        Ok(())
    }

    async fn write(&mut self, is_last: bool) -> Result<(), CreateError> {
        let may_snapshot = self.under_way.is_none();
        let Some(taken) = self.ledger.take(now(), is_last, may_snapshot) else { return Ok(()) };
        let Taken { number, entry, snapshot } = taken;
        let bytes = match entry.encode() {
            Ok(bytes) => Bytes::from(bytes),
            Err(error) => {
                // The bounds of an entry are far below those of a frame.
                tracing::error!(source = self.ledger.source(), number, %error, "an entry can't be written");
                return Ok(());
            }
        };
        let store = self.ledger.store();
        store.writing_since_ms.store(clock::boot_ms(), Ordering::Release);
        self.create(number, bytes).await?;
        store.writing_since_ms.store(0, Ordering::Release);
        fail_point("entry_durable");
        self.ledger.committed(number);
        self.meters.entries.increment(1);
        self.ledger.store().room.notify_waiters();
        self.router.wake();
        if let Some(snapshot) = snapshot {
            store.snapshot_since_ms.store(clock::boot_ms(), Ordering::Release);
            self.under_way = Some(tokio::spawn(put(self.ledger.clone(), number, snapshot)));
        }
        Ok(())
    }

    /// Until it is durable.
    async fn create(&self, number: u64, bytes: Bytes) -> Result<(), CreateError> {
        let store = self.ledger.store();
        let mut wait = RETRY;
        loop {
            fail_point("entry_put");
            match store.journal.create(number, bytes.clone()).await {
                Ok(()) => {
                    store.note(None);
                    return Ok(());
                }
                Err(error @ CreateError::Taken { .. }) => return Err(error),
                Err(CreateError::Store(error)) => {
                    store.note(Some(clock::boot_ms()));
                    self.meters.failures.increment(1);
                    tracing::error!(
                        source = self.ledger.source(), number, %error,
                        "the journal can't be written: acknowledgements and alerts wait for it"
                    );
                }
            }
            if store.failing_ms(clock::boot_ms()).is_some_and(|ms| ms >= RELEASE_AFTER_MS)
                && self.ledger.release(number)
            {
                self.router.wake();
            }
            tokio::time::sleep(wait).await;
            wait = (2 * wait).min(RETRY_MAX);
        }
    }

    async fn snapshot_kept(&mut self, kept: Option<u64>) {
        self.under_way = None;
        self.ledger.store().snapshot_since_ms.store(0, Ordering::Release);
        let Some(number) = kept else { return };
        self.ledger.snapshot_kept(number);
        self.router.wake();
        self.meters.snapshots.increment(1);
        self.kept.insert(0, number);
        self.kept.truncate(KEPT_SNAPSHOTS);
        let Some(&oldest) = self.kept.get(KEPT_SNAPSHOTS - 1) else { return };
        fail_point("collect");
        let (pinned, _) = self.ledger.owed();
        let journal = &self.ledger.store().journal;
        if let Err(error) = journal.collect(oldest + 1, &pinned, &self.kept).await {
            tracing::warn!(source = self.ledger.source(), %error, "old entries are not removed yet");
        }
    }
}

/// Writes a snapshot until it is durable: nothing is told of a new journal before. Its number, if it could be written.
async fn put(ledger: Arc<dyn Ledger>, number: u64, snapshot: Snapshot) -> Option<u64> {
    let encoded = tokio::task::spawn_blocking(move || snapshot.encode()).await;
    let bytes = match encoded {
        Ok(Ok(bytes)) => Bytes::from(bytes),
        Ok(Err(error)) => {
            tracing::error!(source = ledger.source(), number, %error, "a snapshot can't be written");
            return None;
        }
        Err(_) => return None,
    };
    let store = ledger.store();
    let mut wait = RETRY;
    loop {
        fail_point("snapshot_put");
        match store.journal.put_snapshot(number, bytes.clone()).await {
            Ok(()) => return Some(number),
            Err(error) => {
                store.note(Some(clock::boot_ms()));
                tracing::error!(source = ledger.source(), number, %error, "a snapshot can't be written");
            }
        }
        tokio::time::sleep(wait).await;
        wait = (2 * wait).min(RETRY_MAX);
    }
}

/// Waits for a snapshot that is being written; for ever if none is.
async fn finished(under_way: &mut Option<JoinHandle<Option<u64>>>) -> Option<u64> {
    match under_way {
        Some(task) => task.await.unwrap_or(None),
        None => std::future::pending().await,
    }
}

async fn until_due(ledger: &dyn Ledger) {
    loop {
        let woken = ledger.store().wake.notified();
        match ledger.due_ms() {
            None => woken.await,
            Some(due_ms) => {
                let wait_ms = due_ms.saturating_sub(clock::boot_ms());
                let Ok(wait_ms @ 1..) = u64::try_from(wait_ms) else { return };
                tokio::select! {
                    () = woken => {}
                    () = tokio::time::sleep(Duration::from_millis(wait_ms)) => {}
                }
            }
        }
    }
}

pub(super) fn now() -> Moment {
    Moment { boot_ms: clock::boot_ms(), wall: clock::wall() }
}
