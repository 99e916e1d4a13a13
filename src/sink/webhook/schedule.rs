//! When a failed delivery is tried again. Pure: chance and time are arguments.

use std::time::Duration;

use jiff::fmt::rfc2822;

use crate::engine::Timestamp;

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

const fn hours(count: u64) -> Duration {
    Duration::from_secs(count * 3_600)
}

/// The waits between the attempts to deliver one message.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// The wait after the first failed attempt, after the second, and so on. After the last one is used up, the
    /// message is given up.
    pub waits: Vec<Duration>,
    /// Each wait is varied by up to this share in both directions, so that messages that failed together do not
    /// come back together.
    pub jitter: f64,
    /// The most that a receiver can ask for with `Retry-After`.
    pub retry_after_cap: Duration,
    /// The wait after a message that was given up could not be put into the dead letters.
    pub bury_again: Duration,
}

/// A little over three days, as Standard Webhooks 1.0.0 ("Deliverability and reliability") proposes. A quick first retry
/// gets past a connection that broke.
impl Default for Schedule {
    fn default() -> Self {
        Self {
            waits: vec![
                seconds(1),
                seconds(5),
                seconds(30),
                seconds(120),
                seconds(600),
                seconds(1_800),
                hours(2),
                hours(5),
                hours(10),
                hours(14),
                hours(20),
                hours(24),
            ],
            jitter: 0.2,
            retry_after_cap: hours(1),
            bury_again: seconds(10),
        }
    }
}

impl Schedule {
    /// How long to wait after `failures` failed attempts (from 1); `None`: give up. `chance` is a number from 0 to 1.
    /// What the receiver asked for is a lower bound, up to the cap.
    pub fn wait(&self, failures: usize, chance: f64, asked: Option<Duration>) -> Option<Duration> {
        let base = *self.waits.get(failures.checked_sub(1)?)?;
        let varied = base.mul_f64(1.0 + self.jitter * (2.0 * chance - 1.0));
        let asked = asked.unwrap_or_default().min(self.retry_after_cap);
        Some(varied.max(asked))
    }
}

/// Reads `Retry-After` (RFC 9110, section 10.2.3): a number of seconds or a date. `None` if it is neither, or past.
pub(super) fn retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    let date = rfc2822::DateTimeParser::new().parse_timestamp(value).ok()?;
    let wait_ms = Timestamp::from_ms(date.as_millisecond()).since(now);
    u64::try_from(wait_ms).ok().map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn retries_begin_within_seconds_and_end_after_three_days() {
        let schedule = Schedule::default();
        let waits: Vec<Duration> =
            (1..).map_while(|failures| schedule.wait(failures, 0.5, None)).collect();
        assert_eq!(waits, schedule.waits);
        assert!(waits[0] <= seconds(1) && waits[1] <= seconds(5));
        assert!(waits.iter().sum::<Duration>() > hours(72));
        assert_eq!(schedule.wait(13, 0.5, Some(seconds(1))), None);
        assert_eq!(schedule.wait(0, 0.5, None), None);
    }

    #[test]
    fn what_the_receiver_asks_for_is_a_lower_bound_up_to_the_cap() {
        let schedule = Schedule::default();
        assert_eq!(schedule.wait(1, 0.5, Some(seconds(60))), Some(seconds(60)));
        assert_eq!(schedule.wait(4, 0.5, Some(seconds(60))), Some(seconds(120)));
        assert_eq!(schedule.wait(1, 0.5, Some(Duration::MAX)), Some(hours(1)));
    }

    #[test]
    fn retry_after_is_read_as_seconds_or_as_a_date() {
        // 1994-11-06T08:49:37Z, the example of RFC 9110, section 5.6.7.
        let now = Timestamp::from_ms(784_111_777_000);
        let date = "Sun, 06 Nov 1994 08:49:37 GMT";
        assert_eq!(retry_after("120", now), Some(seconds(120)));
        assert_eq!(retry_after(" 0 ", now), Some(seconds(0)));
        assert_eq!(retry_after(date, now.minus(90_500)), Some(Duration::from_millis(90_500)));
        assert_eq!(retry_after(date, now.plus(1)), None);
        assert_eq!(retry_after("99999999999999999999999", now), Some(seconds(u64::MAX)));
        for nonsense in ["", "-1", "1.5", "soon", "Sun, 99 Nov 1994 08:49:37 GMT"] {
            assert_eq!(retry_after(nonsense, now), None, "{nonsense}");
        }
    }

    proptest! {
        #[test]
        fn a_wait_stays_within_a_fifth_of_its_base(failures in 1_usize..=12, chance in 0.0..=1.0_f64) {
            let schedule = Schedule::default();
            let base = schedule.waits[failures - 1].as_secs_f64();
            let wait = schedule.wait(failures, chance, None).unwrap().as_secs_f64();
            prop_assert!((0.799 * base..=1.201 * base).contains(&wait));
        }

        #[test]
        fn no_header_and_no_clock_can_break_the_reading(value in "\\PC{0,64}", now_ms: i64, failures: usize) {
            let asked = retry_after(&value, Timestamp::from_ms(now_ms));
            let wait = Schedule::default().wait(failures, 1.0, asked);
            prop_assert!(wait.is_none_or(|wait| wait <= hours(29)));
        }
    }
}
