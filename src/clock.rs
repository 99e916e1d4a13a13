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

/// Milliseconds that the machine has been running since it was booted: unlike boot time it stands while the machine is
/// suspended.
fn monotonic_ms() -> Millis {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec.saturating_mul(1_000).saturating_add(now.tv_nsec / 1_000_000)
}

/// What three clocks show at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Boot time, in ms.
    pub boot_ms: Millis,
    /// Monotonic time, in ms.
    pub monotonic_ms: Millis,
    /// Wall time.
    pub wall: Timestamp,
}

/// The most that may pass while the clocks are read one after the other: what is compared is off by it.
const MAX_SPREAD_MS: Millis = 5;
/// A thread that is put aside in between every time is on a machine where nothing can be measured more exactly.
const MAX_READINGS: usize = 8;

/// Reads the clocks together: again if this thread was put aside in between.
pub fn reading() -> Reading {
    let read = || {
        let monotonic_ms = monotonic_ms();
        Reading { boot_ms: boot_ms(), monotonic_ms, wall: wall() }
    };
    let mut reading = read();
    for _ in 1..MAX_READINGS {
        if monotonic_ms().saturating_sub(reading.monotonic_ms) <= MAX_SPREAD_MS {
            break;
        }
        reading = read();
    }
    reading
}

/// What the machine's wall clock shows.
pub fn wall() -> Timestamp {
    #[expect(clippy::disallowed_methods, reason = "this module is the one that may ask")]
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let ms = since_epoch.map_or(0, |span| i64::try_from(span.as_millis()).unwrap_or(i64::MAX));
    Timestamp::from_ms(ms)
}

/// Wall time that never steps: it starts as the machine's and goes on by boot time, so that the fleet's
/// stamps and the receiver's can be compared whatever happens to the wall clock meanwhile.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch {
    started: Timestamp,
    started_boot_ms: Millis,
}

impl Stopwatch {
    /// Starts it.
    pub fn start() -> Self {
        Self { started: wall(), started_boot_ms: boot_ms() }
    }

    /// What it shows.
    pub fn now(&self) -> Timestamp {
        self.started.plus(boot_ms() - self.started_boot_ms)
    }
}

/// Nanoseconds of processor time that this thread has used: what a benchmark compares on a shared machine.
pub fn thread_cpu_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    now.tv_sec
        .unsigned_abs()
        .saturating_mul(1_000_000_000)
        .saturating_add(now.tv_nsec.unsigned_abs())
}
