//! One line on a terminal that says how far a run is; nothing elsewhere.

use std::io::{self, IsTerminal, Write};

use lastseen::engine::Millis;

use crate::measure::Sample;
use crate::report::{bytes, grouped};

/// Cells of the bar.
const WIDTH: u64 = 24;

/// Where it is shown.
pub(crate) struct Progress {
    terminal: bool,
}

impl Progress {
    pub(crate) fn on_stderr() -> Self {
        Self { terminal: io::stderr().is_terminal() }
    }

    /// Tells in a line what begins.
    pub(crate) fn say(&self, text: &str) {
        // A run without anybody who reads along is as good.
        writeln!(io::stderr(), "{text}").ok();
    }

    /// Draws the bar for a run that takes about `whole_ms`.
    pub(crate) fn show(&mut self, before: &Sample, now: &Sample, whole_ms: Millis) {
        if self.terminal {
            write!(io::stderr(), "\r\x1b[2K{}", line(before, now, whole_ms)).ok();
            io::stderr().flush().ok();
        }
    }

    /// Leaves the line.
    pub(crate) fn end(&mut self) {
        if self.terminal {
            writeln!(io::stderr()).ok();
        }
    }
}

fn line(before: &Sample, now: &Sample, whole_ms: Millis) -> String {
    let (done, whole) = (now.at_ms.max(0).unsigned_abs(), whole_ms.max(1).unsigned_abs());
    let filled = (done * WIDTH / whole).min(WIDTH);
    let bar: String = (0..WIDTH).map(|cell| if cell < filled { '#' } else { '.' }).collect();
    let span_ms = (now.at_ms - before.at_ms).max(1).unsigned_abs();
    let rate = (now.heartbeats - before.heartbeats) * 1_000 / span_ms;
    format!(
        "[{bar}] {} of {} s  {} heartbeats  {}/s  {}",
        done / 1_000,
        whole / 1_000,
        grouped(now.heartbeats),
        grouped(rate),
        bytes(now.vitals.resident_bytes),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vitals::Vitals;

    #[test]
    fn the_line_tells_time_rate_and_memory() {
        let at = |at_ms, heartbeats| Sample {
            at_ms,
            heartbeats,
            vitals: Vitals { resident_bytes: 3_500_000, cpu_ns: 0 },
        };
        assert_eq!(
            line(&at(9_000, 10_000), &at(10_000, 12_000), 40_000),
            "[######..................] 10 of 40 s  12,000 heartbeats  2,000/s  3.5 MB"
        );
    }
}
