//! What a run came to: as JSON, for people, and as charts.

use std::fmt::Write;

use serde::Serialize;

use crate::judge::Verdict;
use crate::measure::Measured;
use crate::profile::Profile;

mod chart;

pub(crate) use chart::draw;

/// A run, in figures.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) profile: String,
    pub(crate) about: String,
    pub(crate) seed: u64,
    pub(crate) machine: String,
    pub(crate) identities: u32,
    pub(crate) seconds: u64,
    pub(crate) heartbeats: u64,
    pub(crate) heartbeats_per_s: u64,
    /// User and system, of the service alone.
    pub(crate) cpu_ns_per_heartbeat: u64,
    /// Processor time of the service in percent of one core.
    pub(crate) cpu_percent: u64,
    pub(crate) rss_bytes: u64,
    /// What the fleet added to the service without one.
    pub(crate) rss_bytes_per_identity: u64,
    pub(crate) silenced: u64,
    pub(crate) told: u64,
    pub(crate) missed: u64,
    pub(crate) false_offline: u64,
    pub(crate) returned: u64,
    pub(crate) resolved: u64,
    pub(crate) verdict_delay_ms: Delay,
    /// The most that `p99` may be.
    pub(crate) max_p99_ms: Option<u64>,
    /// How late heartbeats were sent: the sender's own share in the delay.
    pub(crate) sender_late_ms: Late,
    /// The longest pause of a device that never fell silent.
    pub(crate) longest_pause_ms: i64,
    /// Messages that were not signed or could not be read.
    pub(crate) refused: u64,
    /// Messages about the way in or the service itself.
    pub(crate) about_no_device: u64,
    /// What the service put aside because it could not read or deliver it.
    pub(crate) dead_letter_bytes: u64,
    pub(crate) flood: Option<Flood>,
    pub(crate) restart_to_ready_ms: Option<i64>,
    pub(crate) passed: bool,
}

/// From the true deadline to the receipt of the webhook.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Delay {
    pub(crate) p50: u64,
    pub(crate) p99: u64,
    pub(crate) max: u64,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Late {
    pub(crate) p99: u64,
    pub(crate) max: u64,
}

/// As much as was taken.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Flood {
    pub(crate) heartbeats_per_s: u64,
    pub(crate) cpu_ns_per_heartbeat: u64,
}

/// What a report is made of besides the verdict.
pub(crate) struct Findings<'a> {
    pub(crate) name: &'a str,
    pub(crate) seed: u64,
    pub(crate) machine: String,
    pub(crate) measured: &'a Measured,
    pub(crate) longest_pause_ms: i64,
    pub(crate) refused: u64,
    pub(crate) about_no_device: u64,
    pub(crate) dead_letter_bytes: u64,
    pub(crate) flood: Option<Flood>,
    pub(crate) restart_to_ready_ms: Option<i64>,
}

impl Report {
    pub(crate) fn new(profile: &Profile, verdict: &Verdict, findings: Findings<'_>) -> Self {
        let measured = findings.measured;
        let (p99, max) = measured.late_ms;
        let max_p99_ms = profile.max_p99.map(|limit| limit.0.unsigned_abs());
        let in_time = max_p99_ms.is_none_or(|limit| verdict.p99_ms() <= limit);
        Self {
            profile: findings.name.to_owned(),
            about: profile.about.clone(),
            seed: findings.seed,
            machine: findings.machine,
            identities: profile.identities,
            seconds: measured.span_ms() / 1_000,
            heartbeats: measured.heartbeats(),
            heartbeats_per_s: measured.heartbeats() * 1_000 / measured.span_ms(),
            cpu_ns_per_heartbeat: measured.cpu_ns_per_heartbeat(),
            cpu_percent: measured.cpu_ns() / (measured.span_ms() * 10_000),
            rss_bytes: measured.resident_bytes(),
            rss_bytes_per_identity: measured.bytes_per_identity(profile.identities),
            silenced: verdict.silenced,
            told: verdict.told,
            missed: verdict.missed,
            false_offline: verdict.false_offline,
            returned: verdict.returned,
            resolved: verdict.resolved,
            verdict_delay_ms: Delay {
                p50: verdict.p50_ms(),
                p99: verdict.p99_ms(),
                max: verdict.delay_ms.max(),
            },
            max_p99_ms,
            sender_late_ms: Late { p99, max },
            longest_pause_ms: findings.longest_pause_ms,
            refused: findings.refused,
            about_no_device: findings.about_no_device,
            dead_letter_bytes: findings.dead_letter_bytes,
            flood: findings.flood,
            restart_to_ready_ms: findings.restart_to_ready_ms,
            passed: verdict.is_true()
                && in_time
                && findings.refused == 0
                && findings.dead_letter_bytes == 0,
        }
    }

    /// Some lines for people.
    pub(crate) fn text(&self) -> String {
        let mut lines = Lines::default();
        lines.add("load", format!("{}, seed {}: {}", self.profile, self.seed, self.about));
        lines.add("machine", &self.machine);
        lines.add(
            "heartbeats",
            format!(
                "{} in {} s: {}/s, each {} ns of processor time ({} % of a core)",
                grouped(self.heartbeats),
                self.seconds,
                grouped(self.heartbeats_per_s),
                grouped(self.cpu_ns_per_heartbeat),
                self.cpu_percent
            ),
        );
        if let Some(flood) = self.flood {
            lines.add(
                "flood",
                format!(
                    "{}/s, each {} ns of processor time",
                    grouped(flood.heartbeats_per_s),
                    grouped(flood.cpu_ns_per_heartbeat)
                ),
            );
        }
        lines.add(
            "memory",
            format!(
                "{} resident, {} bytes a device on top of an empty service",
                bytes(self.rss_bytes),
                self.rss_bytes_per_identity
            ),
        );
        lines.add("silences", self.silences());
        if self.told > 0 {
            lines.add("delay", self.delay());
        }
        if let Some(ms) = self.restart_to_ready_ms {
            lines.add("restart", format!("ready {} ms after SIGKILL", grouped(ms.unsigned_abs())));
        }
        if self.refused + self.about_no_device + self.dead_letter_bytes > 0 {
            lines.add(
                "besides",
                format!(
                    "{} messages about the way in or the service itself, {} refused by the receiver, {} bytes of dead letters",
                    self.about_no_device,
                    self.refused,
                    grouped(self.dead_letter_bytes)
                ),
            );
        }
        lines.add("verdict", if self.passed { "passed" } else { "FAILED" });
        lines.0
    }

    fn silences(&self) -> String {
        format!(
            "{} silenced, {} told, {} missed, {} false; {} returned, {} resolved",
            grouped(self.silenced),
            grouped(self.told),
            grouped(self.missed),
            grouped(self.false_offline),
            grouped(self.returned),
            grouped(self.resolved)
        )
    }

    fn delay(&self) -> String {
        let Delay { p50, p99, max } = self.verdict_delay_ms;
        let limit = self.max_p99_ms.map(|limit| format!(" (at most {} ms)", grouped(limit)));
        format!(
            "p50 {} ms, p99 {} ms{}, max {} ms after the true deadline; the sender was late by p99 {} ms, max {} ms",
            grouped(p50),
            grouped(p99),
            limit.unwrap_or_default(),
            grouped(max),
            grouped(self.sender_late_ms.p99),
            grouped(self.sender_late_ms.max)
        )
    }
}

#[derive(Default)]
struct Lines(String);

impl Lines {
    fn add(&mut self, name: &str, text: impl AsRef<str>) {
        // Writing to a string never fails.
        let _written = writeln!(self.0, "{name:>10}  {}", text.as_ref());
    }
}

/// A number with commas: 1,234,567.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let comma = |at: usize| at > 0 && (digits.len() - at).is_multiple_of(3);
    digits
        .char_indices()
        .flat_map(|(at, digit)| comma(at).then_some(',').into_iter().chain([digit]))
        .collect()
}

/// Bytes in megabytes with one digit.
pub(crate) fn bytes(bytes: u64) -> String {
    format!("{}.{} MB", grouped(bytes / 1_000_000), bytes % 1_000_000 / 100_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::{News, Told};
    use crate::measure::Sample;
    use crate::plan::Outage;
    use crate::vitals::Vitals;
    use lastseen::engine::Timestamp;

    const PROFILE: &str = "{ about: a test, source: hub, identities: 1000, interval: 1s, window: 2s, grace: 1s, silenced: 1, silenced_within: 1s, max_p99: 2s }";

    fn report(delay_ms: i64, refused: u64, dead_letter_bytes: u64) -> Report {
        let profile: Profile = serde_saphyr::from_str(PROFILE).unwrap();
        let deadline = Timestamp::from_ms(5_000);
        let told = Told {
            message_id: "a".into(),
            number: Some(1),
            news: News::Silent,
            received: deadline.plus(delay_ms),
        };
        let outage = Outage { number: 1, deadline, returned: None };
        let now = deadline.plus(9_000);
        let verdict = Verdict::judge([outage].into_iter(), &[told], now).unwrap();
        let sample = |at_ms, heartbeats, resident_bytes, cpu_ns| Sample {
            at_ms,
            heartbeats,
            vitals: Vitals { resident_bytes, cpu_ns },
        };
        let samples =
            vec![sample(0, 0, 1_000_000, 0), sample(10_000, 10_000, 2_000_000, 5_000_000_000)];
        let measured = Measured { samples, late_ms: (6, 9) };
        Report::new(
            &profile,
            &verdict,
            Findings {
                name: "test",
                seed: 7,
                machine: "2 cores".into(),
                measured: &measured,
                longest_pause_ms: 1_000,
                refused,
                about_no_device: 0,
                dead_letter_bytes,
                flood: None,
                restart_to_ready_ms: Some(1_234),
            },
        )
    }

    #[test]
    fn rates_costs_and_memory_follow_from_the_samples() {
        let report = report(1_100, 0, 0);
        assert_eq!((report.heartbeats_per_s, report.seconds), (1_000, 10));
        assert_eq!((report.cpu_ns_per_heartbeat, report.cpu_percent), (500_000, 50));
        assert_eq!((report.rss_bytes, report.rss_bytes_per_identity), (2_000_000, 1_000));
        assert!(report.passed);
    }

    #[test]
    fn a_delay_beyond_the_limit_an_unsigned_message_and_a_dead_letter_fail_a_run() {
        assert!(report(2_000, 0, 0).passed);
        assert!(!report(2_010, 0, 0).passed);
        assert!(!report(1_100, 1, 0).passed);
        assert!(!report(1_100, 0, 1).passed);
    }

    #[test]
    fn the_text_tells_the_verdict_and_the_json_holds_the_figures() {
        let report = report(1_100, 0, 0);
        let text = report.text();
        assert!(text.contains("p99 1,100 ms (at most 2,000 ms)"), "{text}");
        assert!(text.contains("ready 1,234 ms after SIGKILL"), "{text}");
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["verdict_delay_ms"]["p99"], 1_100);
        assert_eq!(json["passed"], true);
    }

    #[test]
    fn numbers_are_grouped_by_thousands() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(bytes(276_540_000), "276.5 MB");
    }
}
