//! PURE. The service's watch over itself: while it can't trust its own senses, nobody is judged by a proof, and one alert
//! for each reason says why.
//!
//! Verdicts rest on evidence, not on timers, so that none of this should make one false. It is held back all the same:
//! what was asked before a pause and is looked at after it, what is dated by a clock that was just set, and what could not
//! be written down, waits until the next evidence.

use std::collections::BTreeMap;

use super::body::Status;
use super::self_health::{SelfAlert, SelfReason};
use crate::engine::{Millis, Timestamp};

/// How often [`Vitals::look`] wants to be called: a tick of the clocks.
pub const LOOK_EVERY_MS: Millis = 100;
/// A look that is later than this finds the process starved: a scheduler that works never keeps a process waiting so long.
pub const STARVED_MS: Millis = 2_000;
/// A store that could not be written for this long.
pub const STORAGE_MS: Millis = 2_000;
/// A reason that has not been found for this long is over; longer than the pauses of a machine that is short of processor
/// are apart, so that one after another is one alert.
pub const CLEAR_AFTER_MS: Millis = 60_000;

/// What a look may be late by on a machine that is merely busy.
const LATE_BY_MS: Millis = 250;
/// Lateness beyond that, less a quarter of the time since, at which ticks are late; until it has halved.
const LATE_MS: Millis = 2_000;
/// Lateness is forgotten at this part of the time.
const FORGOTTEN_PER: Millis = 4;
/// How far boot time and monotonic time move apart in a sleep that counts: they never do while the machine runs.
const SUSPENDED_MS: Millis = 1_000;
/// How far the wall clock may move away from boot time between two looks: a leap second is none.
const STEP_MS: Millis = 2_000;
/// And so much more for each thousandth of the time: the crystal of a machine that sleeps, and clocks that are slewed.
const SLEW_PER: Millis = 1_000;

/// The reasons that are found here, and how long each holds verdicts back after it was found last: in that time what
/// waited for us is read, links that broke meanwhile are noticed, and brokers are asked again. In ms.
const HOLDS: [(SelfReason, Millis); 5] = [
    (SelfReason::LateTicks, 1_000),
    (SelfReason::Storage, 1_000),
    (SelfReason::Starved, 2_000),
    (SelfReason::Suspended, 5_000),
    (SelfReason::ClockStepped, 5_000),
];

/// The reasons that are found here.
pub const REASONS: [SelfReason; 5] = [HOLDS[0].0, HOLDS[1].0, HOLDS[2].0, HOLDS[3].0, HOLDS[4].0];

/// What can be seen at one look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// Boot time, which goes on while the machine is suspended, in ms.
    pub boot_ms: Millis,
    /// Monotonic time, which does not, in ms.
    pub monotonic_ms: Millis,
    /// What the wall clock shows.
    pub wall: Timestamp,
    /// For how long the store could not be written, in ms; `None` if it can.
    pub unwritten_ms: Option<Millis>,
}

/// Verdicts are held back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hold {
    /// Why; of several reasons the one that lasts longest.
    pub reason: SelfReason,
    /// Boot time until which, if nothing more is found, in ms.
    pub until_ms: Millis,
}

/// See the module. At most one open alert for each reason.
#[derive(Clone, Debug, Default)]
pub struct Vitals {
    last: Option<Look>,
    /// Lateness that has not been forgotten.
    behind_ms: Millis,
    is_late: bool,
    /// Boot time until which each reason holds.
    holds: BTreeMap<SelfReason, Millis>,
    open: BTreeMap<SelfReason, Open>,
}

#[derive(Clone, Debug)]
struct Open {
    alert: SelfAlert,
    /// Boot time since which it was not found, in ms.
    well_since_ms: Option<Millis>,
}

/// Something that is not well at a look.
struct Finding {
    reason: SelfReason,
    /// For how long, up to now; of a step how far. In ms.
    ms: Millis,
    /// The name of the largest of these in the alert.
    largest: &'static str,
}

/// The name of the count of times that something was found.
const TIMES: &str = "times";

impl Vitals {
    /// Takes over the alerts that an earlier process left open, so that they end under their own ids. Alerts about
    /// anything else are left out.
    pub fn restored(alerts: impl IntoIterator<Item = SelfAlert>) -> Self {
        let is_ours = |alert: &SelfAlert| {
            alert.sink.is_none() && HOLDS.iter().any(|(reason, _)| *reason == alert.reason)
        };
        let ours = alerts.into_iter().filter(is_ours);
        let open = ours.map(|alert| (alert.reason, Open { alert, well_since_ms: None }));
        Self { open: open.collect(), ..Self::default() }
    }

    /// Looks, every [`LOOK_EVERY_MS`] or later. What has to be told.
    pub fn look(&mut self, look: Look) -> Vec<SelfAlert> {
        let findings = self.find(look);
        let mut told = Vec::new();
        for finding in &findings {
            let hold_ms = HOLDS.iter().find(|(reason, _)| *reason == finding.reason);
            let until_ms = look.boot_ms.saturating_add(hold_ms.map_or(0, |(_, ms)| *ms));
            self.holds.insert(finding.reason, until_ms);
            told.extend(self.note(finding, look));
        }
        self.holds.retain(|_, until_ms| *until_ms > look.boot_ms);
        told.extend(self.end(&findings, look));
        self.last = Some(look);
        told
    }

    /// Whether verdicts are held back at this boot time.
    pub fn hold(&self, now_ms: Millis) -> Option<Hold> {
        let holds = self.holds.iter().filter(|(_, until_ms)| **until_ms > now_ms);
        let (&reason, &until_ms) = holds.max_by_key(|(_, until_ms)| **until_ms)?;
        Some(Hold { reason, until_ms })
    }

    /// Whether this reason holds them back.
    pub fn is_held_by(&self, reason: SelfReason, now_ms: Millis) -> bool {
        self.holds.get(&reason).is_some_and(|until_ms| *until_ms > now_ms)
    }

    /// The alerts that are open, in the order of their reasons.
    pub fn open(&self) -> impl Iterator<Item = &SelfAlert> {
        self.open.values().map(|open| &open.alert)
    }

    fn find(&mut self, look: Look) -> Vec<Finding> {
        let mut findings = Vec::new();
        let mut found = |reason, ms, largest| findings.push(Finding { reason, ms, largest });
        if let Some(ms) = look.unwritten_ms.filter(|ms| *ms >= STORAGE_MS) {
            found(SelfReason::Storage, ms, "longest_ms");
        }
        let Some(last) = self.last else { return findings };
        let elapsed_ms = look.boot_ms.saturating_sub(last.boot_ms).max(0);
        let awake_ms = look.monotonic_ms.saturating_sub(last.monotonic_ms).clamp(0, elapsed_ms);
        let asleep_ms = elapsed_ms - awake_ms;
        if asleep_ms >= SUSPENDED_MS {
            found(SelfReason::Suspended, asleep_ms, "longest_ms");
        }
        let late_ms = awake_ms.saturating_sub(LOOK_EVERY_MS);
        if late_ms >= STARVED_MS {
            found(SelfReason::Starved, late_ms, "longest_ms");
        } else {
            let more_ms = (late_ms - LATE_BY_MS).max(0);
            self.behind_ms = (self.behind_ms - awake_ms / FORGOTTEN_PER).max(0) + more_ms;
            let limit_ms = if self.is_late { LATE_MS / 2 } else { LATE_MS };
            self.is_late = self.behind_ms >= limit_ms;
            if self.is_late {
                found(SelfReason::LateTicks, late_ms.max(0), "longest_ms");
            }
        }
        let moved_ms = look.wall.since(last.wall).saturating_sub(elapsed_ms);
        let normal_ms = STEP_MS.saturating_add(elapsed_ms / SLEW_PER);
        if moved_ms.saturating_abs() > normal_ms {
            let which = if moved_ms > 0 { "furthest_forward_ms" } else { "furthest_back_ms" };
            found(SelfReason::ClockStepped, moved_ms.saturating_abs(), which);
        }
        findings
    }

    /// Opens the alert of a reason, or counts in the open one.
    fn note(&mut self, finding: &Finding, look: Look) -> Option<SelfAlert> {
        let since = match finding.reason {
            SelfReason::ClockStepped => look.wall,
            SelfReason::LateTicks
            | SelfReason::Storage
            | SelfReason::Starved
            | SelfReason::Suspended
            | SelfReason::DeliveryFailing
            | SelfReason::EndpointDisabled => look.wall.minus(finding.ms),
        };
        let is_new = !self.open.contains_key(&finding.reason);
        let open = self.open.entry(finding.reason).or_insert_with(|| Open {
            alert: SelfAlert::firing(finding.reason, None, since, look.wall),
            well_since_ms: None,
        });
        // A reason that was found at the look before goes on.
        if is_new || open.well_since_ms.take().is_some() {
            *open.alert.counts.entry(TIMES.to_owned()).or_insert(0) += 1;
        }
        let largest = open.alert.counts.entry(finding.largest.to_owned()).or_insert(0);
        *largest = (*largest).max(finding.ms.unsigned_abs());
        is_new.then(|| open.alert.clone())
    }

    /// Ends what was not found for long enough.
    fn end(&mut self, findings: &[Finding], look: Look) -> Vec<SelfAlert> {
        let is_over = |reason: &SelfReason, open: &mut Open| {
            if findings.iter().any(|finding| finding.reason == *reason) {
                return false;
            }
            let since_ms = *open.well_since_ms.get_or_insert(look.boot_ms);
            look.boot_ms.saturating_sub(since_ms) >= CLEAR_AFTER_MS
        };
        let over = self.open.extract_if(.., is_over);
        over.map(|(_, open)| SelfAlert { status: Status::Resolved, at: look.wall, ..open.alert })
            .collect()
    }
}

#[cfg(test)]
mod tests;
