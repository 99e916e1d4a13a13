//! PURE. What the broker's clock shows, estimated from the stamps on what it sends.
//!
//! A stamp is written before we receive it, so `stamp - boot time at receipt` is at most the true offset; the greatest
//! one seen is the best and never ahead of the truth, but for drift.

use crate::engine::{Millis, Timestamp};

/// Drift between two quartz clocks that NTP doesn't discipline: 200 ppm, so 12 ms a minute.
const DRIFT_PER_MILLION: i64 = 200;

/// Estimates broker time over all links to one broker.
#[derive(Clone, Copy, Debug, Default)]
pub struct BrokerTime {
    /// Greatest offset, and the boot time at which it was seen.
    best: Option<(Millis, Millis)>,
}

impl BrokerTime {
    /// Takes note of a broker's stamp received at boot time `boot_ms`.
    pub fn observe(&mut self, stamp: Timestamp, boot_ms: Millis) {
        let offset = stamp.as_ms().saturating_sub(boot_ms);
        if self.best.is_none_or(|(best, at)| offset >= best.saturating_sub(drift(boot_ms - at))) {
            self.best = Some((offset, boot_ms));
        }
    }

    /// The broker's time at boot time `boot_ms`, never later than the truth. Without any stamp: the wall clock less its
    /// largest error.
    pub fn at(&self, boot_ms: Millis, wall: Timestamp, max_error_ms: Millis) -> Timestamp {
        match self.best {
            Some((offset, seen)) => {
                Timestamp::from_ms(offset.saturating_add(boot_ms)).minus(drift(boot_ms - seen))
            }
            None => wall.minus(max_error_ms),
        }
    }

    /// How far behind the truth [`BrokerTime::at`] may be. Nothing, if stamps agree with the wall clock: then the last of
    /// them was fresh. Stamps of a backlog are not.
    pub fn error_ms(&self, boot_ms: Millis, wall: Timestamp, max_error_ms: Millis) -> Millis {
        let at = self.at(boot_ms, wall, max_error_ms);
        let is_stamped = self.best.is_some() && at >= wall.minus(max_error_ms);
        if is_stamped { 0 } else { wall.plus(max_error_ms).since(at).max(0) }
    }
}

fn drift(elapsed_ms: Millis) -> Millis {
    elapsed_ms.max(0).saturating_mul(DRIFT_PER_MILLION) / 1_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fastest_stamp_counts_and_the_estimate_is_never_ahead() {
        let mut time = BrokerTime::default();
        let wall = Timestamp::from_ms(1_000_000);
        assert_eq!(time.at(50, wall, 30_000), Timestamp::from_ms(970_000));
        time.observe(Timestamp::from_ms(10_000), 100); // true offset 10_000: 100 ms late
        time.observe(Timestamp::from_ms(10_190), 200); // 10 ms late
        time.observe(Timestamp::from_ms(10_200), 300); // 100 ms late
        assert_eq!(time.at(300, wall, 0), Timestamp::from_ms(10_290));
        assert_eq!(time.at(1_000_200, wall, 0), Timestamp::from_ms(9_990 + 1_000_200 - 200));
    }

    #[test]
    fn without_a_fresh_stamp_the_estimate_may_be_as_far_behind_as_the_wall_clock_is_wrong() {
        let mut time = BrokerTime::default();
        let wall = Timestamp::from_ms(1_000_000);
        assert_eq!(time.error_ms(0, wall, 30_000), 60_000);
        time.observe(Timestamp::from_ms(900_000), 0); // of a backlog
        assert_eq!(time.error_ms(0, wall, 30_000), 130_000);
        time.observe(Timestamp::from_ms(999_000), 0);
        assert_eq!(time.error_ms(0, wall, 30_000), 0);
        assert_eq!(time.at(0, wall, 30_000), Timestamp::from_ms(999_000));
    }
}
