//! PURE. How long to wait before the next attempt to connect.

use crate::engine::Millis;

/// The first wait.
const FIRST_MS: Millis = 200;
/// The longest wait: a broker that comes back is found within half a minute.
const LONGEST_MS: Millis = 30_000;

/// Exponential backoff with full jitter: attempt `failures` (from 1) waits between half and all of 200 ms * 2^(failures-1),
/// at most 30 s. `random` is any number from 0 to 1.
pub fn wait_ms(failures: u32, random: f64) -> Millis {
    let doublings = failures.saturating_sub(1).min(16);
    let ceiling = FIRST_MS.saturating_mul(1 << doublings).min(LONGEST_MS);
    #[expect(clippy::cast_possible_truncation, reason = "half of at most 30,000")]
    let jitter = (ceiling as f64 / 2.0 * random.clamp(0.0, 1.0)) as Millis;
    ceiling / 2 + jitter
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_half_a_minute_and_never_reach_zero() {
        assert_eq!((wait_ms(1, 0.0), wait_ms(1, 1.0)), (100, 200));
        assert_eq!(wait_ms(4, 1.0), 1_600);
        assert_eq!(wait_ms(u32::MAX, 1.0), 30_000);
        assert!((0..100).all(|n| wait_ms(n, 0.0) >= 100));
    }
}
