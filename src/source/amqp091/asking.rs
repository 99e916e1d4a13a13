//! PURE. When to ask the broker whether anything is left to read.

use crate::engine::{Millis, Timestamp};
use crate::source::Progress;

/// While a verdict waits: a fifth of the allowance for reordering, so that a proof adds little to the delay.
const WANTED_MS: Millis = 200;
/// While none waits: keeps the clock from falling far behind.
const IDLE_MS: Millis = 10_000;

/// How long to wait before asking (again). `now` is broker time, `since_asked_ms` how long ago the last answer was given
/// (`None`: never asked).
pub(super) fn wait_ms(
    progress: Progress,
    now: Timestamp,
    since_asked_ms: Option<Millis>,
) -> Millis {
    let since = since_asked_ms.unwrap_or(IDLE_MS);
    let idle = IDLE_MS - since;
    let wanted = progress
        .next_deadline
        .filter(|deadline| progress.clock < *deadline)
        .map_or(idle, |deadline| deadline.since(now).max(WANTED_MS - since));
    wanted.min(idle).max(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(clock: i64, next_deadline: Option<i64>) -> Progress {
        Progress {
            acknowledge: None,
            clock: Timestamp::from_ms(clock),
            next_deadline: next_deadline.map(Timestamp::from_ms),
        }
    }

    #[test]
    fn asks_at_once_then_at_the_deadline_then_often_until_the_clock_has_passed_it() {
        let at = Timestamp::from_ms(50_000);
        assert_eq!(wait_ms(progress(0, None), at, None), 0);
        assert_eq!(wait_ms(progress(49_000, None), at, Some(1_000)), 9_000);
        assert_eq!(wait_ms(progress(49_000, Some(53_000)), at, Some(0)), 3_000);
        assert_eq!(wait_ms(progress(49_000, Some(49_500)), at, Some(0)), 200);
        assert_eq!(wait_ms(progress(49_000, Some(49_500)), at, Some(500)), 0);
        assert_eq!(wait_ms(progress(49_500, Some(49_500)), at, Some(0)), 10_000);
        assert_eq!(wait_ms(progress(0, Some(90_000)), at, Some(0)), 10_000);
    }
}
