//! A fleet, and the order in which it beats.

use lastseen::engine::Message;

use crate::engine::{self, T0_MS};
use crate::measure::Dice;

/// Every device beats once in it, in the mean.
pub(crate) const PERIOD_MS: i64 = 10_000;
/// Bytes of an id: as many as a UUID has.
pub(crate) const ID_BYTES: usize = 36;

/// Who beats next.
pub(crate) enum Order {
    /// Everybody equally likely: the hardest for caches.
    Uniform,
    /// A few often, most rarely: Zipf's law with an exponent of 0.99.
    Zipf,
    /// All in turn, shuffled within four thousand: a fleet with a fixed interval. Their number is a multiple of that.
    Cyclic,
}

impl Order {
    /// All of them, with their names.
    pub(crate) const ALL: [(Self, &'static str); 3] =
        [(Self::Uniform, "uniform"), (Self::Zipf, "zipf"), (Self::Cyclic, "cyclic")];

    /// Longer than anybody is silent.
    pub(crate) fn window_ms(&self) -> i64 {
        match self {
            Self::Uniform => 300_000,
            Self::Zipf => 86_400_000,
            Self::Cyclic => 30_000,
        }
    }

    fn device(&self, beat: u64, devices: u64, dice: &mut Dice) -> u64 {
        match self {
            Self::Uniform => dice.below(devices),
            Self::Zipf => zipf(devices, dice),
            Self::Cyclic => in_turn(beat, devices),
        }
    }
}

/// Everybody once a round, shuffled within a block.
pub(crate) fn in_turn(beat: u64, devices: u64) -> u64 {
    const BLOCK: u64 = 4_000;
    let (round, place) = (beat / devices, beat % devices);
    let (block, index) = (place / BLOCK, place % BLOCK);
    block * BLOCK + (index * 1_237 + round * 911 + block * 577) % BLOCK
}

/// Zipf's law by the inverse of its continuous form; who is frequent is spread over the fleet.
fn zipf(devices: u64, dice: &mut Dice) -> u64 {
    const S: f64 = 0.99;
    let n = devices as f64;
    let rank = (1.0 + dice.part() * (n.powf(1.0 - S) - 1.0)).powf(1.0 / (1.0 - S));
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 1 and the number of devices"
    )]
    let rank = rank as u64 - 1;
    rank * 7_368_787 % devices
}

/// Beats of some devices, read one after the other as from a connection.
#[derive(Default)]
pub(crate) struct Stream {
    ids: String,
    first_beat: u64,
    count: usize,
}

impl Stream {
    /// The next `count` beats after those of this stream.
    pub(crate) fn refill(&mut self, count: usize, devices: u64, order: &Order, dice: &mut Dice) {
        use std::fmt::Write as _;
        self.first_beat += self.count as u64;
        self.count = count;
        self.ids.clear();
        for beat in (self.first_beat..).take(count) {
            let device = order.device(beat, devices, dice);
            // Writing into memory does not fail.
            let _written = write!(self.ids, "factory-07/line-12/sensor-{device:010}");
        }
    }

    /// All devices, each once.
    pub(crate) fn everybody(&mut self, first: u64, count: usize) {
        use std::fmt::Write as _;
        self.first_beat = first;
        self.count = count;
        self.ids.clear();
        for device in (first..).take(count) {
            let _written = write!(self.ids, "factory-07/line-12/sensor-{device:010}");
        }
    }

    /// How many.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// The id in the beat at `index`.
    pub(crate) fn id(&self, index: usize) -> &str {
        &self.ids[index * ID_BYTES..(index + 1) * ID_BYTES]
    }

    /// The number of the beat at `index`, from the beginning of the log.
    pub(crate) fn beat(&self, index: usize) -> u64 {
        self.first_beat + index as u64
    }
}

/// When beat number `beat` of a fleet of this size happens.
pub(crate) fn event_time_ms(beat: u64, devices: u64) -> i64 {
    T0_MS + i64::try_from(beat * PERIOD_MS.unsigned_abs() / devices).unwrap_or(0)
}

/// Beat number `beat` of a fleet of this size.
pub(crate) fn message(id: &str, beat: u64, devices: u64) -> Message<'_> {
    engine::message(id, beat, event_time_ms(beat, devices))
}
