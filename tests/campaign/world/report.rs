//! What a campaign has come to: a line for the ledger, and what went wrong.

use std::collections::HashMap;
use std::fmt::Write as _;

use super::{SHOWN, World};
use crate::oracle::Violation;

impl World {
    /// Prints the ledger line, and fails if anything is wrong.
    pub(super) fn conclude(&self, figures: &str, liveness: Result<(), &'static str>) {
        let verdict = self.verdict();
        let (holes, accepted) = self.fleet.truth(|truth| (truth.holes(), truth.accepted()));
        println!(
            "campaign {}: seed={} cycles={} kills={} {verdict} heartbeats={accepted} holes={holes} liveness={} seconds={}{figures}",
            self.name,
            self.seed,
            self.cycle,
            self.kills,
            liveness.map_or_else(|why| why.replace(' ', "_"), |()| "ok".to_owned()),
            self.began.elapsed().as_secs(),
        );
        if verdict.violations.is_empty() && liveness.is_ok() {
            assert!(verdict.outages > 0, "a campaign without outages proves nothing");
            return;
        }
        let mut report = String::new();
        let mut shown = HashMap::new();
        for violation in &verdict.violations {
            let of_kind: &mut usize = shown.entry(std::mem::discriminant(violation)).or_default();
            *of_kind += 1;
            if *of_kind > SHOWN {
                continue;
            }
            writeln!(report, "{violation}").unwrap();
            if let Violation::Lost(outage) | Violation::Unresolved(outage) = violation {
                let until = outage.ended_ms.unwrap_or(outage.deadline_ms).max(outage.deadline_ms);
                report += &self.around(outage.since_ms, until, outage.deadline_ms);
            }
        }
        self.receiver.told(|told| {
            told.open_paths().for_each(|path| writeln!(report, "never resolved: {path}").unwrap());
        });
        panic!(
            "campaign {}: CAMPAIGN_SEED={}: {} violations, {liveness:?}; the first of each kind:\n{report}\
             metrics of the program:\n{}log of the program:\n{}",
            self.name,
            self.seed,
            verdict.violations.len(),
            self.metrics(),
            self.program.log()
        );
    }

    /// What was done to the program around an outage, in ms from its deadline.
    fn around(&self, from_ms: i64, until_ms: i64, deadline_ms: i64) -> String {
        const MARGIN_MS: i64 = 3_000;
        let span = from_ms..=until_ms + MARGIN_MS;
        let events = self.history.iter().filter(|(at_ms, _)| span.contains(at_ms));
        events.fold(String::new(), |mut text, (at_ms, what)| {
            writeln!(text, "    {:+} ms: {what}", at_ms - deadline_ms).unwrap();
            text
        })
    }

    /// What the program counts, without what is zero and without the buckets of histograms.
    fn metrics(&self) -> String {
        let answer = self.program.get("/metrics").unwrap_or_default();
        let lines = answer.lines().filter(|line| {
            line.starts_with("lastseen_") && !line.contains("quantile=") && !line.ends_with(" 0")
        });
        lines.filter(|line| !line.contains("_bucket")).fold(String::new(), |mut text, line| {
            writeln!(text, "    {line}").unwrap();
            text
        })
    }
}
