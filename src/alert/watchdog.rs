//! PURE. The watchdog: a message at fixed intervals that says that the whole way from the clocks to the receiver works.
//!
//! It fires always and never ends. Whoever receives it raises the alarm when it stays out: nobody else can tell that
//! this service is gone.

use crate::engine::{Millis, State, Timestamp};

/// What the watchdog says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watchdog {
    /// Number of the message, from 1; it goes on after a restart.
    pub sequence: u64,
    /// When it is sent.
    pub sent_at: Timestamp,
    /// When the next one is due, after this one.
    pub interval_ms: Millis,
    /// Partitions that are known.
    pub partitions: u64,
    /// How far the clock that is furthest behind is behind; `None` if no clock has begun.
    pub oldest_clock_age_ms: Option<Millis>,
    /// Identities by state, in the order of [`State::ALL`].
    pub identities: [u64; State::ALL.len()],
    /// Messages that are not delivered yet, over all sinks.
    pub waiting_messages: u64,
    /// When the last verdict was decided; `None` if there was none in this process.
    pub last_verdict_at: Option<Timestamp>,
}
