//! The only place that asks what time it is.
//!
//! Boot time (`CLOCK_BOOTTIME`) orders and measures: it never steps and goes on while the machine is suspended.
//! Wall time only dates: a step of it changes no verdict.

use std::time::SystemTime;

use crate::engine::{Millis, Timestamp};

/// Milliseconds since the machine was booted.
pub fn boot_ms() -> Millis {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    now.tv_sec.saturating_mul(1_000).saturating_add(now.tv_nsec / 1_000_000)
}

/// What the machine's wall clock shows.
pub fn wall() -> Timestamp {
    #[expect(clippy::disallowed_methods, reason = "this module is the one that may ask")]
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let ms = since_epoch.map_or(0, |span| i64::try_from(span.as_millis()).unwrap_or(i64::MAX));
    Timestamp::from_ms(ms)
}

/// Nanoseconds of processor time that this thread has used: what a benchmark compares on a shared machine.
pub fn thread_cpu_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    now.tv_sec
        .unsigned_abs()
        .saturating_mul(1_000_000_000)
        .saturating_add(now.tv_nsec.unsigned_abs())
}
