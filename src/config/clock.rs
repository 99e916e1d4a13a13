//! `clock`: how time is judged.

use super::section::Section;
use crate::engine::Millis;

/// Covers the reordering and route lag of a healthy hub.
const DEFAULT_ALLOWANCE_MS: Millis = 1_000;
/// More than a minute of lag is a fault to be seen, not one to wait for.
const MAX_ALLOWANCE_MS: Millis = 60_000;
/// A tenth of a second: well below what a person sees, and cheap.
const DEFAULT_TICK_MS: Millis = 100;
/// A second has to be a whole number of ticks, so that windows in seconds fall on one.
const SECOND_MS: Millis = 1_000;
/// A longer hole says that something was down.
const MAX_BRIDGE_MS: Millis = 3_600_000;
/// Far more than a machine with any time service is off.
const DEFAULT_MAX_ERROR_MS: Millis = 30_000;
/// A clock that is an hour off dates nothing.
const MAX_MAX_ERROR_MS: Millis = 3_600_000;

/// `clock`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockConfig {
    /// Allowance for reordering, route lag and skew (`L`).
    pub allowance_ms: Millis,
    /// Step of the clock.
    pub tick_ms: Millis,
    /// Longest hole between messages of a backlog that is not a gap.
    pub bridge_ms: Millis,
    /// How far the machine's wall clock may be off.
    pub max_error_ms: Millis,
}

impl ClockConfig {
    /// `smallest_grace_ms` is the default of `bridge` and what it is compared with.
    pub(super) fn read(section: &Section<'_>, smallest_grace_ms: Millis) -> Self {
        let bridge = section.duration("bridge", 100..=MAX_BRIDGE_MS);
        if bridge.is_some_and(|bridge_ms| bridge_ms > smallest_grace_ms) {
            section.warn(
                "bridge",
                "longer than the smallest grace: a broker that was down for less can make devices look silent",
            );
        }
        Self {
            allowance_ms: section
                .duration("allowance", 0..=MAX_ALLOWANCE_MS)
                .unwrap_or(DEFAULT_ALLOWANCE_MS),
            tick_ms: read_tick(section),
            bridge_ms: bridge.unwrap_or(smallest_grace_ms.min(MAX_BRIDGE_MS)),
            max_error_ms: section
                .duration("max_error", 0..=MAX_MAX_ERROR_MS)
                .unwrap_or(DEFAULT_MAX_ERROR_MS),
        }
    }
}

fn read_tick(section: &Section<'_>) -> Millis {
    let Some(tick_ms) = section.duration("tick", 10..=SECOND_MS) else {
        return DEFAULT_TICK_MS;
    };
    if SECOND_MS % tick_ms != 0 {
        section.problem(
            "tick",
            Some(&format!("{tick_ms}ms")),
            "a second is no whole number of ticks",
            "write 10ms, 20ms, 50ms, 100ms, 200ms, 500ms or 1s",
        );
    }
    tick_ms
}
