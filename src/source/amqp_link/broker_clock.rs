//! The broker's time, shared by everything that reads from one namespace.

use std::sync::{Arc, Mutex, PoisonError};

use crate::clock;
use crate::engine::{Millis, Timestamp};
use crate::source::broker_time::BrokerTime;

/// Estimates the broker's time from its stamps. Clones share the estimate.
#[derive(Clone, Debug)]
pub struct BrokerClock {
    time: Arc<Mutex<BrokerTime>>,
    max_error_ms: Millis,
}

impl BrokerClock {
    /// `max_error_ms`: how far our wall clock may be off, which is all there is before the first stamp.
    pub fn new(max_error_ms: Millis) -> Self {
        Self { time: Arc::default(), max_error_ms }
    }

    /// Takes note of a stamp that was just received.
    pub fn observe(&self, stamp: Timestamp) {
        self.lock().observe(stamp, clock::boot_ms());
    }

    /// The broker's time, never later than the truth.
    pub fn now(&self) -> Timestamp {
        self.lock().at(clock::boot_ms(), clock::wall(), self.max_error_ms)
    }

    /// How far behind the truth [`BrokerClock::now`] may be.
    pub fn error_ms(&self) -> Millis {
        self.lock().error_ms(clock::boot_ms(), clock::wall(), self.max_error_ms)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BrokerTime> {
        self.time.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
