//! Charts as SVG, written by hand: lines over time, and bars of how often a delay was met.

use std::fmt::Write;
use std::path::Path;

use anyhow::Context;
use hdrhistogram::Histogram;

use super::grouped;
use crate::judge::Verdict;
use crate::measure::{Measured, Sample};

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 300.0;
/// Room for the numbers beside the axes.
const LEFT: f64 = 90.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 40.0;
const GRID_LINES: u32 = 4;
const BARS: u8 = 40;

/// Writes `heartbeats.svg`, `memory.svg`, `processor.svg` and `delay.svg` into a folder.
pub(crate) fn draw(folder: &Path, measured: &Measured, verdict: &Verdict) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder)
        .with_context(|| format!("can't create {}", folder.display()))?;
    let between = |figure: fn(&Sample, &Sample) -> f64| {
        let pairs = measured.samples.iter().zip(measured.samples.iter().skip(1));
        let points = pairs.filter(|(before, after)| after.at_ms > before.at_ms);
        points.map(|(before, after)| (seconds(after), figure(before, after))).collect::<Vec<_>>()
    };
    let memory = measured.samples.iter();
    let memory = memory.map(|sample| (seconds(sample), float(sample.vitals.resident_bytes) / 1e6));
    let charts = [
        ("heartbeats.svg", lines("Heartbeats sent a second", "s", &between(rate))),
        (
            "memory.svg",
            lines("Resident memory of the service, MB", "s", &memory.collect::<Vec<_>>()),
        ),
        (
            "processor.svg",
            lines("Processor time of the service, % of a core", "s", &between(share)),
        ),
        ("delay.svg", bars("Verdicts by delay after the true deadline", &verdict.delay_ms)),
    ];
    for (name, chart) in charts {
        let path = folder.join(name);
        std::fs::write(&path, chart).with_context(|| format!("can't write {}", path.display()))?;
    }
    Ok(())
}

fn rate(before: &Sample, after: &Sample) -> f64 {
    float(after.heartbeats - before.heartbeats) / apart(before, after)
}

fn share(before: &Sample, after: &Sample) -> f64 {
    let cpu_s = float(after.vitals.cpu_ns.saturating_sub(before.vitals.cpu_ns)) / 1e9;
    100.0 * cpu_s / apart(before, after)
}

/// Seconds between two samples; the first of all is from before the fleet's time.
fn apart(before: &Sample, after: &Sample) -> f64 {
    float((after.at_ms - before.at_ms).unsigned_abs()) / 1_000.0
}

fn seconds(sample: &Sample) -> f64 {
    float(sample.at_ms.max(0).unsigned_abs()) / 1_000.0
}

#[expect(clippy::cast_precision_loss, reason = "for a picture")]
fn float(number: u64) -> f64 {
    number as f64
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a label")]
fn label(number: f64) -> String {
    grouped(number.max(0.0).round() as u64)
}

fn lines(title: &str, unit: &str, points: &[(f64, f64)]) -> String {
    let end = points.iter().map(|(x, _)| *x).fold(1.0, f64::max);
    let top = round_up(points.iter().map(|(_, y)| *y).fold(1.0, f64::max));
    let places = points.iter().map(|(x, y)| format!("{:.1},{:.1}", across(x / end), up(y / top)));
    let line = format!(
        "<polyline fill=\"none\" stroke=\"#1f6feb\" stroke-width=\"1.5\" points=\"{}\"/>",
        places.collect::<Vec<_>>().join(" ")
    );
    frame(title, &format!("{} {unit}", label(end)), "0", top, &line)
}

/// One bar for each of equal spans from the least to the greatest.
fn bars(title: &str, delays: &Histogram<u64>) -> String {
    let (least, greatest) = if delays.is_empty() { (0, 0) } else { (delays.min(), delays.max()) };
    let span = (greatest - least) / u64::from(BARS) + 1;
    let mut counts = [0_u64; BARS as usize];
    for value in delays.iter_recorded() {
        let bar = usize::try_from(value.value_iterated_to().saturating_sub(least) / span);
        if let Some(count) = bar.ok().and_then(|bar| counts.get_mut(bar)) {
            *count += value.count_since_last_iteration();
        }
    }
    let top = round_up(float(counts.into_iter().max().unwrap_or(0).max(1)));
    let mut drawn = String::new();
    for (left, count) in (0..BARS).map(|bar| across(f64::from(bar) / f64::from(BARS))).zip(counts) {
        if count > 0 {
            let y = up(float(count) / top);
            // Writing to a string never fails.
            let _written = write!(
                drawn,
                "<rect x=\"{left:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"#1f6feb\"/>",
                (WIDTH - LEFT - RIGHT) / f64::from(BARS) * 0.9,
                up(0.0) - y
            );
        }
    }
    let end = least + span * u64::from(BARS);
    frame(title, &format!("{} ms", grouped(end)), &grouped(least), top, &drawn)
}

fn across(share: f64) -> f64 {
    LEFT + share * (WIDTH - LEFT - RIGHT)
}

fn up(share: f64) -> f64 {
    HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)
}

/// The next number that divides well.
fn round_up(number: f64) -> f64 {
    let magnitude = 10_f64.powf(number.log10().floor());
    let steps = [1.0, 2.0, 4.0, 8.0, 10.0];
    steps.iter().map(|step| step * magnitude).find(|round| *round >= number).unwrap_or(number)
}

/// Title, grid and numbers around a drawing.
fn frame(title: &str, end: &str, begin: &str, top: f64, drawing: &str) -> String {
    let mut grid = String::new();
    for line in 0..=GRID_LINES {
        let share = f64::from(line) / f64::from(GRID_LINES);
        let y = up(share);
        let _written = write!(
            grid,
            "<line x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"#d0d7de\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            WIDTH - RIGHT,
            LEFT - 8.0,
            y + 4.0,
            label(share * top)
        );
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\
         <text x=\"{LEFT}\" y=\"24\" font-size=\"15\">{title}</text>{grid}{drawing}\
         <text x=\"{LEFT}\" y=\"{y}\">{begin}</text>\
         <text x=\"{x}\" y=\"{y}\" text-anchor=\"end\">{end}</text></svg>\n",
        x = WIDTH - RIGHT,
        y = HEIGHT - 16.0
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_ends_at_a_number_that_divides_well() {
        assert_eq!([1.0, 3.0, 33_333.0, 810.0].map(round_up), [1.0, 4.0, 40_000.0, 1_000.0]);
    }

    #[test]
    fn a_rate_is_a_number_also_before_the_first_heartbeat() {
        let sample = |at_ms, heartbeats| Sample { at_ms, heartbeats, ..Sample::default() };
        assert!(rate(&sample(-200, 0), &sample(-150, 0)).abs() < f64::EPSILON);
        assert!((rate(&sample(-200, 0), &sample(800, 500)) - 500.0).abs() < f64::EPSILON);
    }

    #[test]
    fn a_line_begins_and_ends_at_the_edges_of_its_frame() {
        let chart = lines("Rate", "s", &[(0.0, 0.0), (10.0, 4.0)]);
        assert!(chart.contains("points=\"90.0,260.0 700.0,40.0\""), "{chart}");
        assert!(chart.starts_with("<svg") && chart.ends_with("</svg>\n"));
    }

    #[test]
    fn a_histogram_has_a_bar_for_each_step_and_may_be_empty() {
        let mut delays = Histogram::new(3).unwrap();
        assert!(!bars("Delay", &delays).contains("fill=\"#1f6feb\""));
        for ms in [900, 1_000, 1_000, 1_100] {
            delays.record(ms).unwrap();
        }
        let chart = bars("Delay", &delays);
        assert!(chart.matches("#1f6feb").count() == 3, "{chart}");
        assert!(chart.contains(">900<") && chart.contains(">1,140 ms<"), "{chart}");
    }
}
