//! The judge of a campaign. Pure: it knows what was sent, what was received and when everything worked, and nothing of
//! the program.
//!
//! * [`truth`]: what devices sent and the hub accepted, and the outages that follow from it.
//! * [`told`]: what the webhook receiver got, request by request.
//! * [`judge`] compares the two.
//!
//! # What is owed
//!
//! A true outage is a silence between accepted heartbeats of one device that is longer than window and grace. It is owed
//! a `firing` if, while the device was still silent, there was a span in which everything worked that was long enough
//! for the program to recover and to tell it. One that began and ended between two kills may be left untold: an alert
//! whose end is known before its beginning was delivered is cancelled as a whole. Whatever was told is owed its end, and
//! that debt never lapses.
//!
//! A hole between two messages of a partition that is longer than `bridge` may be a gap, after which everybody is due a new
//! window and grace (and an eighth of the window as spread): what is owed is owed that much later.

use std::collections::BTreeMap;
use std::fmt;

pub(crate) mod told;
pub(crate) mod truth;

#[cfg(test)]
mod tests;

use told::{Alert, Standing, Told};
use truth::{Outage, Truth};

/// Times of the rule under which the whole fleet stands, and of the program's clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    pub(crate) window_ms: i64,
    pub(crate) grace_ms: i64,
    /// From creation to the first heartbeat; grace comes on top.
    pub(crate) first_window_ms: i64,
    /// The longest hole between messages of a partition that is no gap.
    pub(crate) bridge_ms: i64,
}

impl Terms {
    pub(crate) fn due_ms(&self) -> i64 {
        self.window_ms + self.grace_ms
    }

    /// From the end of a gap to the last deadline it puts off.
    pub(crate) fn after_gap_ms(&self) -> i64 {
        self.due_ms() + self.window_ms / 8
    }
}

/// What the source promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Promise {
    /// Messages carry their event time: each outage is told by one alert, also those that began while nobody read.
    EventTime,
    /// They carry none: after each attach everybody gets a new window, and an outage may be told more than once.
    Receipt {
        /// The longest a message may be under way while everything works.
        transit_ms: i64,
    },
}

/// How long the program may take while everything works, and how often it may repeat itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    pub(crate) promise: Promise,
    /// From a start, or the end of a fault, to being where it would be without it.
    pub(crate) recovery_ms: i64,
    /// From a deadline, or a heartbeat that ends an outage, to the request.
    pub(crate) tell_ms: i64,
    /// Requests that repeat what was answered with success: allowed in all.
    pub(crate) raw_repeats: u64,
}

/// The spans in which everything worked: the program ran, its links and its receiver were well.
#[derive(Clone, Debug, Default)]
pub(crate) struct Healthy {
    spans: Vec<(i64, i64)>,
    since_ms: Option<i64>,
}

impl Healthy {
    /// Everything works from `now_ms` on, or not any more. Saying so again changes nothing.
    pub(crate) fn set(&mut self, works: bool, now_ms: i64) {
        match (works, self.since_ms) {
            (true, None) => self.since_ms = Some(now_ms),
            (false, Some(since_ms)) => {
                self.spans.push((since_ms, now_ms));
                self.since_ms = None;
            }
            (true, Some(_)) | (false, None) => {}
        }
    }

    /// Whether, within one span, `recovery_ms` passed and then `due_ms` came before `until_ms`.
    fn had_time(&self, recovery_ms: i64, due_ms: i64, until_ms: i64, now_ms: i64) -> bool {
        let open = self.since_ms.map(|since_ms| (since_ms, now_ms));
        self.spans
            .iter()
            .copied()
            .chain(open)
            .any(|(from, to)| (from + recovery_ms).max(due_ms) <= to.min(until_ms))
    }
}

/// What the program did wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Violation {
    /// A true outage without a firing alert.
    Lost(Outage),
    /// A told outage that ended, without a word about its end.
    Unresolved(Outage),
    /// A firing alert for a device that beat, not taken back.
    FalseOffline { device: String, alert_id: String, first_missed_ms: i64 },
    /// Told before the deadline it speaks of.
    Early { device: String, alert_id: String, by_ms: i64 },
    /// An end told while the device is silent, or before it beat.
    FalseEnd { device: String, alert_id: String },
    /// A second message with another id for the same alert and status, or a second alert for one outage.
    Duplicate { device: String, alert_id: String, what: &'static str },
    /// An end before its beginning, or a beginning after the end.
    Order { device: String, alert_id: String, what: &'static str },
    /// Two requests with one id and different bytes.
    DifferingBytes { webhook_id: String },
    /// A signature that does not verify.
    Signature { webhook_id: String, why: String },
    /// A body that can't be read.
    Malformed { webhook_id: String, why: String },
    /// More requests that repeat what was answered with success than is allowed.
    RawRepeats { seen: u64, allowed: u64 },
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// The result.
#[derive(Clone, Debug, Default)]
pub(crate) struct Verdict {
    /// True outages that were owed.
    pub(crate) outages: u64,
    /// True outages that were told although they ended too early to be owed.
    pub(crate) told_unowed: u64,
    /// True outages that ended before they could be told, and were not.
    pub(crate) brief: u64,
    pub(crate) retracted: u64,
    pub(crate) amended: u64,
    /// Second alerts of one outage, where the promise allows them.
    pub(crate) told_again: u64,
    /// Alerts about sources that were told and not resolved.
    pub(crate) paths_open: usize,
    pub(crate) requests: u64,
    pub(crate) raw_repeats: u64,
    pub(crate) violations: Vec<Violation>,
}

impl Verdict {
    pub(crate) fn count(&self, of: impl Fn(&Violation) -> bool) -> usize {
        self.violations.iter().filter(|violation| of(violation)).count()
    }

    /// What is owed and may still come.
    pub(crate) fn debts(&self) -> usize {
        self.count(|v| matches!(v, Violation::Lost(_) | Violation::Unresolved(_)))
    }
}

/// The figures of a ledger line.
impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lost = self.count(|v| matches!(v, Violation::Lost(_)));
        let unresolved = self.count(|v| matches!(v, Violation::Unresolved(_)));
        let duplicates = self.count(|v| matches!(v, Violation::Duplicate { .. }));
        let false_offline =
            self.count(|v| matches!(v, Violation::FalseOffline { .. } | Violation::Early { .. }));
        let order =
            self.count(|v| matches!(v, Violation::Order { .. } | Violation::FalseEnd { .. }));
        let differing = self.count(|v| matches!(v, Violation::DifferingBytes { .. }));
        let unsigned =
            self.count(|v| matches!(v, Violation::Signature { .. } | Violation::Malformed { .. }));
        write!(
            f,
            "outages={} lost={lost} unresolved={unresolved} duplicates={duplicates} \
             false_offline={false_offline} order={order} differing_bytes={differing} bad_requests={unsigned} \
             raw_repeats={} retracted={} amended={} told_again={} told_unowed={} brief={} paths_open={} requests={}",
            self.outages,
            self.raw_repeats,
            self.retracted,
            self.amended,
            self.told_again,
            self.told_unowed,
            self.brief,
            self.paths_open,
            self.requests,
        )
    }
}

/// Compares what happened with what was told until `now_ms`.
pub(crate) fn judge(
    truth: &Truth,
    told: &Told,
    healthy: &Healthy,
    budget: &Budget,
    now_ms: i64,
) -> Verdict {
    let mut verdict = Verdict {
        violations: told.violations().to_vec(),
        raw_repeats: told.raw_repeats(),
        paths_open: told.open_paths().count(),
        requests: told.requests(),
        ..Verdict::default()
    };
    if verdict.raw_repeats > budget.raw_repeats {
        let (seen, allowed) = (verdict.raw_repeats, budget.raw_repeats);
        verdict.violations.push(Violation::RawRepeats { seen, allowed });
    }
    let mut by_device: BTreeMap<&str, Vec<&Alert>> = BTreeMap::new();
    for alert in told.alerts() {
        by_device.entry(alert.device.as_str()).or_default().push(alert);
    }
    let judging = Judging { truth, healthy, budget, now_ms };
    for device in truth.devices() {
        let outages: Vec<Outage> = truth.outages(device, now_ms).collect();
        let alerts = by_device.remove(device).unwrap_or_default();
        judging.device(&outages, &alerts, &mut verdict);
    }
    // Nobody sent anything under these names.
    for alert in by_device.into_values().flatten() {
        verdict.violations.push(false_offline(alert));
    }
    verdict
}

struct Judging<'a> {
    truth: &'a Truth,
    healthy: &'a Healthy,
    budget: &'a Budget,
    now_ms: i64,
}

impl Judging<'_> {
    fn device(&self, outages: &[Outage], alerts: &[&Alert], verdict: &mut Verdict) {
        let mut telling: Vec<Vec<&Alert>> = vec![Vec::new(); outages.len()];
        for &alert in alerts {
            verdict.amended += u64::from(alert.amendments);
            if alert.standing == Standing::Retracted {
                verdict.retracted += 1;
                continue;
            }
            if alert.received_ms < alert.first_missed_ms {
                let by_ms = alert.first_missed_ms - alert.received_ms;
                let (device, alert_id) = alert.names();
                verdict.violations.push(Violation::Early { device, alert_id, by_ms });
            }
            match outages.iter().position(|outage| self.tells(alert, outage)) {
                Some(index) => telling[index].push(alert),
                None => verdict.violations.push(false_offline(alert)),
            }
        }
        for (outage, telling) in outages.iter().zip(telling) {
            self.outage(outage, &telling, verdict);
        }
    }

    /// Whether the alert speaks of this outage: it has to say a deadline at which the device was silent for long enough.
    fn tells(&self, alert: &Alert, outage: &Outage) -> bool {
        let transit_ms = match self.budget.promise {
            Promise::EventTime => 0,
            Promise::Receipt { transit_ms } => transit_ms,
        };
        let ended = outage.ended_ms.is_none_or(|ended| alert.first_missed_ms < ended + transit_ms);
        outage.deadline_ms <= alert.first_missed_ms && ended
    }

    fn outage(&self, outage: &Outage, telling: &[&Alert], verdict: &mut Verdict) {
        let owed = self.is_owed(outage);
        match (telling.is_empty(), owed) {
            (_, true) => verdict.outages += 1,
            (false, false) => verdict.told_unowed += 1,
            (true, false) => verdict.brief += 1,
        }
        if telling.is_empty() && owed {
            verdict.violations.push(Violation::Lost(outage.clone()));
        }
        for alert in telling.iter().skip(1) {
            match self.budget.promise {
                Promise::Receipt { .. } => verdict.told_again += 1,
                Promise::EventTime => {
                    let (device, alert_id) = alert.names();
                    let what = "a second alert for one outage";
                    verdict.violations.push(Violation::Duplicate { device, alert_id, what });
                }
            }
        }
        for alert in telling {
            self.end(outage, alert, verdict);
        }
    }

    fn end(&self, outage: &Outage, alert: &Alert, verdict: &mut Verdict) {
        match (alert.standing, outage.ended_ms) {
            (Standing::Resolved { received_ms }, ended) => {
                if ended.is_none_or(|ended| received_ms < ended) {
                    let (device, alert_id) = alert.names();
                    verdict.violations.push(Violation::FalseEnd { device, alert_id });
                }
            }
            (Standing::Firing, Some(ended)) => {
                let due_ms = ended + self.budget.tell_ms;
                let recovery_ms = self.budget.recovery_ms;
                if self.healthy.had_time(recovery_ms, due_ms, i64::MAX, self.now_ms) {
                    verdict.violations.push(Violation::Unresolved(outage.clone()));
                }
            }
            (Standing::Firing, None) | (Standing::Retracted, _) => {}
        }
    }

    fn is_owed(&self, outage: &Outage) -> bool {
        let terms = self.truth.terms();
        let after_attach_ms = match self.budget.promise {
            Promise::EventTime => 0,
            Promise::Receipt { .. } => terms.after_gap_ms(),
        };
        self.healthy.had_time(
            self.budget.recovery_ms + after_attach_ms,
            self.truth.latest_deadline_ms(outage) + self.budget.tell_ms,
            outage.ended_ms.unwrap_or(i64::MAX),
            self.now_ms,
        )
    }
}

fn false_offline(alert: &Alert) -> Violation {
    let (device, alert_id) = alert.names();
    Violation::FalseOffline { device, alert_id, first_missed_ms: alert.first_missed_ms }
}
