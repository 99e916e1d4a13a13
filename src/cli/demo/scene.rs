//! What the live display shows at one moment.

use std::collections::VecDeque;

use super::driver::Record;
use crate::devhub::fleet::{FleetOptions, Notice, NoticeStatus};
use crate::devhub::receiver::Inbox;
use crate::engine::{Millis, Timestamp};

/// The most alerts listed.
const MAX_ALERTS: usize = 32;

/// The span over which the message rate is measured.
const RATE_SPAN_MS: Millis = 2_000;

/// The service as it sees itself. Only shown: the verdict does not know it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct LiveView {
    /// How many identities are in each state, in the order in which they are shown.
    pub(super) states: Vec<(&'static str, u64)>,
    /// The partitions' clocks.
    pub(super) partitions: Vec<PartitionView>,
}

/// A partition as the service sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PartitionView {
    /// Its name.
    pub(super) name: String,
    /// Observed until.
    pub(super) clock: Timestamp,
    /// Real time minus clock.
    pub(super) lag_ms: Millis,
}

/// One moment.
#[derive(Clone, Debug)]
pub(super) struct Scene {
    pub(super) options: FleetOptions,
    pub(super) elapsed_ms: Millis,
    pub(super) live: LiveView,
    /// Accepted by the hub from devices and modules.
    pub(super) messages: u64,
    pub(super) messages_per_s: u64,
    pub(super) firing: usize,
    pub(super) resolved: usize,
    /// Newest first.
    pub(super) alerts: Vec<Notice>,
}

impl Scene {
    /// Looks at everything.
    pub(super) fn look(
        options: &FleetOptions,
        elapsed_ms: Millis,
        live: LiveView,
        record: &Record,
        inbox: &Inbox,
        meter: &mut Meter,
    ) -> Self {
        let messages = record.lock().messages();
        let count = |notices: &[Notice], status| {
            notices.iter().filter(|notice| notice.status == status).count()
        };
        inbox.read(|notices| Self {
            options: *options,
            elapsed_ms,
            live,
            messages,
            messages_per_s: meter.rate(elapsed_ms, messages),
            firing: count(notices, NoticeStatus::Firing),
            resolved: count(notices, NoticeStatus::Resolved),
            alerts: notices.iter().rev().take(MAX_ALERTS).cloned().collect(),
        })
    }

    /// How much of the run is over, from 0 to 1.
    #[expect(clippy::cast_precision_loss, reason = "milliseconds of a demo are far below 2^52")]
    pub(super) fn progress(&self) -> f64 {
        (self.elapsed_ms as f64 / self.options.duration_ms.max(1) as f64).clamp(0.0, 1.0)
    }

    /// Whole seconds left.
    pub(super) fn seconds_left(&self) -> Millis {
        ((self.options.duration_ms - self.elapsed_ms).max(0) + 999) / 1_000
    }
}

/// Measures a rate over the last two seconds.
#[derive(Debug, Default)]
pub(super) struct Meter {
    samples: VecDeque<(Millis, u64)>,
}

impl Meter {
    /// Takes a reading of the counter at `at_ms` and gives the rate per second.
    fn rate(&mut self, at_ms: Millis, count: u64) -> u64 {
        self.samples.push_back((at_ms, count));
        while self.samples.get(1).is_some_and(|(next_ms, _)| at_ms - next_ms >= RATE_SPAN_MS) {
            self.samples.pop_front();
        }
        let Some(&(first_ms, first)) = self.samples.front() else {
            return 0;
        };
        let span_ms = u64::try_from(at_ms - first_ms).unwrap_or(0);
        (count.saturating_sub(first) * 1_000).checked_div(span_ms).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_that_of_the_last_two_seconds() {
        let mut meter = Meter::default();
        assert_eq!(meter.rate(0, 0), 0);
        assert_eq!(meter.rate(1_000, 100), 100);
        assert_eq!(meter.rate(2_000, 200), 100);
        assert_eq!(meter.rate(4_000, 1_200), 500);
        assert_eq!(meter.rate(6_000, 1_200), 0);
        assert!(meter.samples.len() <= 2);
    }
}
