//! The verdict, for people and for programs.

use std::fmt::Write;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::ink::Ink;
use crate::config::format_duration;
use crate::devhub::fleet::{FleetOptions, Verdict};
use crate::engine::Millis;

/// Three digits: every delay under two seconds is exact to the millisecond.
const SIGNIFICANT_DIGITS: u8 = 3;

/// Longer delays count as this: a day, far beyond any demo.
const MAX_MS: u64 = 86_400_000;

/// The object that `--json` prints.
#[derive(Debug, Serialize)]
struct Json {
    devices: u32,
    heartbeats: u64,
    silenced: u64,
    flagged: u64,
    missed: u64,
    false_offline: u64,
    resolved: u64,
    verdict_delay_ms: Percentiles,
    detection_lag_ms: Percentiles,
}

/// How a set of delays is spread. Zero where there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
struct Percentiles {
    p50: u64,
    p99: u64,
    max: u64,
}

impl Percentiles {
    fn of(samples_ms: &[Millis]) -> Self {
        let Ok(mut histogram) = Histogram::<u64>::new_with_bounds(1, MAX_MS, SIGNIFICANT_DIGITS)
        else {
            return Self::default();
        };
        let positive = samples_ms.iter().map(|&ms| u64::try_from(ms).unwrap_or(0));
        let max = positive.clone().max().unwrap_or(0);
        for sample_ms in positive {
            histogram.saturating_record(sample_ms);
        }
        Self {
            p50: histogram.value_at_quantile(0.5).min(max),
            p99: histogram.value_at_quantile(0.99).min(max),
            max,
        }
    }
}

/// One line of JSON.
pub(super) fn json(verdict: &Verdict) -> serde_json::Result<String> {
    serde_json::to_string(&Json {
        devices: verdict.devices,
        heartbeats: verdict.heartbeats,
        silenced: verdict.silenced,
        flagged: verdict.flagged,
        missed: verdict.missed,
        false_offline: verdict.false_offline,
        resolved: verdict.resolved,
        verdict_delay_ms: Percentiles::of(&verdict.verdict_delay_ms),
        detection_lag_ms: Percentiles::of(&verdict.detection_lag_ms),
    })
}

/// Some lines for people. `refused` is how many webhooks the receiver did not take.
pub(super) fn text(verdict: &Verdict, options: &FleetOptions, refused: u64, ink: Ink) -> String {
    let mut out = String::new();
    // Writing to a string can't fail.
    let _ = write_text(&mut out, verdict, options, refused, ink);
    out
}

fn write_text(
    out: &mut String,
    verdict: &Verdict,
    options: &FleetOptions,
    refused: u64,
    ink: Ink,
) -> std::fmt::Result {
    let headline = if verdict.passed() {
        ink.good("Nothing missed, nobody falsely flagged.")
    } else {
        ink.bad("Not every verdict was right.")
    };
    writeln!(out, "\n  {headline}\n")?;
    writeln!(
        out,
        "  {} devices sent {} messages through an event hub on loopback, over real AMQP.\n",
        grouped(u64::from(verdict.devices)),
        grouped(verdict.heartbeats),
    )?;
    write_counts(out, verdict, ink)?;
    write_delays(out, verdict, ink)?;
    if refused > 0 {
        let line = format!("{refused} webhooks were refused: not signed, or not readable.");
        writeln!(out, "  {}\n", ink.bad(&line))?;
    }
    writeln!(
        out,
        "  Judged by what the hub accepted from each device, and by the signed webhooks received."
    )?;
    writeln!(
        out,
        "  The same fleet again: {}",
        ink.strong(&format!("lastseen demo {}", repeat(verdict, options)))
    )?;
    if verdict.passed() {
        let next = ink.strong("lastseen run --config lastseen.yaml");
        writeln!(out, "  Your own fleet:       {next}")
    } else {
        writeln!(
            out,
            "  A machine that is too busy can be the reason: try fewer --devices. If the same seed fails again, please report it."
        )
    }
}

fn write_counts(out: &mut String, verdict: &Verdict, ink: Ink) -> std::fmt::Result {
    let mut line = |name: &str, count: u64, good: bool, note: &str| {
        let number = format!("{:>9}", grouped(count));
        let number = if good { ink.good(&number) } else { ink.bad(&number) };
        let line = format!("    {name:<16}{number}   {note}");
        writeln!(out, "{}", line.trim_end())
    };
    let complete = verdict.missed == 0;
    line("fell silent", verdict.silenced, true, "")?;
    line("flagged", verdict.flagged, complete, "")?;
    line("missed", verdict.missed, complete, &verdict.missed_examples.join(", "))?;
    line(
        "falsely flagged",
        verdict.false_offline,
        verdict.false_offline == 0,
        &verdict.false_examples.join(", "),
    )?;
    line("came back", verdict.returned, true, "")?;
    line("resolved", verdict.resolved, verdict.resolved == verdict.returned, "")?;
    writeln!(out)
}

fn write_delays(out: &mut String, verdict: &Verdict, ink: Ink) -> std::fmt::Result {
    let header = format!("    {:<16}{:>9}{:>9}{:>9}", "", "p50", "p99", "max");
    writeln!(out, "{}", ink.faint(&header))?;
    let mut line = |name: &str, samples_ms: &[Millis], note: &str| {
        let Percentiles { p50, p99, max } = Percentiles::of(samples_ms);
        let [p50, p99, max] = [p50, p99, max].map(|ms| format!("{} ms", grouped(ms)));
        let note = ink.faint(note);
        writeln!(out, "    {name:<16}{p50:>9}{p99:>9}{max:>9}   {note}")
    };
    line("verdict delay", &verdict.verdict_delay_ms, "true deadline to webhook received")?;
    line(
        "detection lag",
        &verdict.detection_lag_ms,
        "deadline to decision, on the partition's clock",
    )?;
    writeln!(out)
}

/// The flags that give the same fleet.
fn repeat(verdict: &Verdict, options: &FleetOptions) -> String {
    let percent = f64::from(options.silenced) * 100.0 / f64::from(verdict.devices.max(1));
    format!(
        "--devices {} --interval {} --window {} --silence {percent} --duration {} --seed {}",
        verdict.devices,
        format_duration(options.interval_ms),
        format_duration(options.window_ms),
        format_duration(options.duration_ms),
        options.seed
    )
}

/// `1234567` as `1,234,567`.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}
