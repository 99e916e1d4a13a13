//! Variants that take turns, and what is printed of them.

use std::fmt;

use lastseen::clock::thread_cpu_ns;

/// Rounds of which the median is taken.
pub(crate) const ROUNDS: usize = 5;

/// Nanoseconds of processor time a piece of work took.
pub(crate) fn timed<T>(work: impl FnOnce() -> T) -> (T, f64) {
    let started_ns = thread_cpu_ns();
    let result = work();
    (result, (thread_cpu_ns() - started_ns) as f64)
}

/// The middle one.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// One measure against another.
pub(crate) struct Row {
    what: String,
    against: &'static str,
    ours_ns: f64,
    theirs_ns: f64,
    /// The least ratio that passes.
    gate: Option<f64>,
}

impl Row {
    /// Names of the columns.
    pub(crate) const HEADING: &'static str = "what                                     ours ns   against                              theirs ns    ratio    gate";

    /// `theirs / ours`; the medians of rounds in which both took turns.
    pub(crate) fn new(
        what: impl Into<String>,
        ours_ns: &[f64],
        against: &'static str,
        theirs_ns: &[f64],
        gate: Option<f64>,
    ) -> Self {
        let (ours_ns, theirs_ns) = (median(ours_ns.to_vec()), median(theirs_ns.to_vec()));
        let row = Self { what: what.into(), against, ours_ns, theirs_ns, gate };
        println!("{row}");
        row
    }

    fn ratio(&self) -> f64 {
        self.theirs_ns / self.ours_ns
    }

    /// Whether it is not below its gate.
    pub(crate) fn passes(&self) -> bool {
        self.gate.is_none_or(|gate| self.ratio() >= gate)
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, against, ours_ns, theirs_ns, .. } = self;
        let ratio = self.ratio();
        write!(f, "{what:<40} {ours_ns:>7.1}   {against:<36} {theirs_ns:>9.1} {ratio:>8.1}")?;
        match self.gate {
            Some(gate) if self.passes() => write!(f, "{gate:>8.1}"),
            Some(gate) => write!(f, "{gate:>8.1} FAILED"),
            None => Ok(()),
        }
    }
}

/// What a peak or a size has to stay below.
pub(crate) fn at_most(what: &str, value: f64, unit: &str, limit: f64) -> Row {
    let row = Row {
        what: what.to_owned(),
        against: "",
        ours_ns: value,
        theirs_ns: limit,
        gate: Some(1.0),
    };
    let verdict = if row.passes() { "" } else { " FAILED" };
    println!("{what:<40} {value:>7.1} {unit}, at most {limit}{verdict}");
    row
}

/// A source of numbers that are the same in every run (xorshift64).
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    /// The next number.
    pub(crate) fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        u64::try_from((u128::from(self.roll()) * u128::from(end)) >> 64).unwrap_or(0)
    }

    /// From 0 up to 1.
    pub(crate) fn part(&mut self) -> f64 {
        (self.roll() >> 11) as f64 / (1_u64 << 53) as f64
    }
}
