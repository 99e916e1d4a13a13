//! What the hub has done, for tests.

use std::sync::atomic::{AtomicU64, Ordering};

/// What a hub has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Messages taken from devices and producers.
    pub accepted: u64,
    /// Messages refused.
    pub refused: u64,
    /// Messages written to receivers, repeats included.
    pub delivered: u64,
    /// Connections accepted, also those that a fault closed at once.
    pub connections: u64,
    /// Connections open at the moment.
    pub open_connections: u64,
    /// Partition receivers attached.
    pub receivers: u64,
    /// Partition receivers attached at the moment.
    pub open_receivers: u64,
    /// Tokens accepted at `$cbs`.
    pub tokens: u64,
    /// Reads answered with 200 at `$management`.
    pub management_reads: u64,
}

/// The counters behind [`Counts`].
#[derive(Debug, Default)]
pub(in crate::devhub) struct Counters {
    accepted: AtomicU64,
    refused: AtomicU64,
    pub(in crate::devhub) delivered: AtomicU64,
    pub(in crate::devhub) connections: AtomicU64,
    pub(in crate::devhub) open_connections: AtomicU64,
    pub(in crate::devhub) receivers: AtomicU64,
    pub(in crate::devhub) open_receivers: AtomicU64,
    pub(in crate::devhub) tokens: AtomicU64,
    pub(in crate::devhub) management_reads: AtomicU64,
}

impl Counters {
    pub(super) fn ingress(&self, accepted: bool) {
        let counter = if accepted { &self.accepted } else { &self.refused };
        add(counter);
    }

    pub(super) fn accepted(&self, messages: usize) {
        add_many(&self.accepted, u64::try_from(messages).unwrap_or(u64::MAX));
    }

    pub(super) fn read(&self) -> Counts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            accepted: read(&self.accepted),
            refused: read(&self.refused),
            delivered: read(&self.delivered),
            connections: read(&self.connections),
            open_connections: read(&self.open_connections),
            receivers: read(&self.receivers),
            open_receivers: read(&self.open_receivers),
            tokens: read(&self.tokens),
            management_reads: read(&self.management_reads),
        }
    }
}

/// Adds one.
pub(in crate::devhub) fn add(counter: &AtomicU64) {
    add_many(counter, 1);
}

/// Adds `count`.
pub(in crate::devhub) fn add_many(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

/// Takes one back.
pub(in crate::devhub) fn subtract(counter: &AtomicU64) {
    counter.fetch_sub(1, Ordering::Relaxed);
}
