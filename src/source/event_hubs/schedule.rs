//! PURE. Which partition is read next, so that a silent one gets its proof in time and a busy one is left alone.
//!
//! A namespace allows 50 reads of runtime information a second (Microsoft: "Azure Event Hubs quotas and limits"); other
//! clients need some of them too.

use crate::engine::{Millis, Timestamp};

/// Between two reads of one namespace: 20 a second.
const SPACING_MS: Millis = 50;
/// Between two reads of a partition whose clock has not passed its deadline yet.
const AGAIN_MS: Millis = 200;
/// A partition without messages and proofs for this long is read although no deadline is near: what is known of it is then
/// fresh enough for a short break of the link to be none (`clock.bridge`, by default the smallest grace). 32 partitions,
/// the most of a standard namespace's event hub, are 11 reads a second.
const IDLE_MS: Millis = 3_000;
/// Longest wait before the partitions are looked at again: deadlines can come forward.
const LONGEST_WAIT_MS: Millis = 200;
/// Most that a clock is taken to lag behind its proofs.
const MAX_LAG_MS: Millis = 2_000;

/// What the choice is made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct View {
    pub(super) clock: Timestamp,
    pub(super) next_deadline: Option<Timestamp>,
    /// Boot time of the last read, or of the attach.
    pub(super) asked_boot_ms: Millis,
    /// Boot time of the last message or proof.
    pub(super) evidence_boot_ms: Millis,
    /// Date of the last proof.
    pub(super) proven_at: Option<Timestamp>,
    /// A read is under way, or the partition is not attached.
    pub(super) busy: bool,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// Read this partition.
    Ask(usize),
    /// Look again after this long.
    Wait(Millis),
}

/// `last_ask_boot_ms`: of any partition. `broker_now`: what the broker's clock shows.
pub(super) fn choose(
    views: &[View],
    last_ask_boot_ms: Millis,
    boot_ms: Millis,
    broker_now: Timestamp,
) -> Choice {
    let pause = last_ask_boot_ms.saturating_add(SPACING_MS).saturating_sub(boot_ms);
    if pause > 0 {
        return Choice::Wait(pause.min(SPACING_MS));
    }
    let due = (0..views.len())
        .filter_map(|index| Some((views[index].urgency(boot_ms, broker_now)?, index)))
        .min();
    due.map_or(Choice::Wait(LONGEST_WAIT_MS), |(_, index)| Choice::Ask(index))
}

impl View {
    /// `None`: no read is wanted. Else the less the sooner: deadlines in their order, then the longest silent.
    fn urgency(&self, boot_ms: Millis, broker_now: Timestamp) -> Option<(u8, Millis)> {
        if self.busy || boot_ms.saturating_sub(self.asked_boot_ms) < AGAIN_MS {
            return None;
        }
        // A proof moves the clock to its date less what the engine allows for route and reordering.
        let lag = self.proven_at.map_or(0, |at| at.since(self.clock).clamp(0, MAX_LAG_MS));
        if let Some(deadline) = self.next_deadline
            && self.clock < deadline
            && broker_now >= deadline.plus(lag)
        {
            return Some((0, deadline.as_ms()));
        }
        let quiet_since = self.evidence_boot_ms.max(self.asked_boot_ms);
        (boot_ms.saturating_sub(quiet_since) >= IDLE_MS).then_some((1, quiet_since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_ms(1_000_000);

    fn quiet() -> View {
        View {
            clock: Timestamp::from_ms(990_000),
            next_deadline: None,
            asked_boot_ms: 0,
            evidence_boot_ms: 99_000,
            proven_at: None,
            busy: false,
        }
    }

    fn due(deadline_ms: i64) -> View {
        View { next_deadline: Some(Timestamp::from_ms(deadline_ms)), ..quiet() }
    }

    #[test]
    fn the_earliest_deadline_that_broker_time_has_passed_is_asked_first() {
        let views = [due(999_900), due(999_800), due(1_000_001), quiet()];
        assert_eq!(choose(&views, 0, 100_000, NOW), Choice::Ask(1));
    }

    #[test]
    fn no_deadline_near_means_no_read_until_ten_seconds_of_silence() {
        let views = [due(1_000_500), quiet()];
        assert_eq!(choose(&views, 0, 100_000, NOW), Choice::Wait(200));
        assert_eq!(choose(&views, 0, 109_000, NOW), Choice::Ask(0));
    }

    #[test]
    fn a_clock_that_moved_past_the_deadline_by_itself_is_not_read() {
        let moved = View { clock: Timestamp::from_ms(999_900), ..due(999_900) };
        assert_eq!(choose(&[moved], 0, 100_000, NOW), Choice::Wait(200));
    }

    #[test]
    fn a_partition_is_asked_again_after_200_ms_and_not_while_an_answer_is_out() {
        let asked = View { asked_boot_ms: 99_900, ..due(999_000) };
        let views = [asked];
        assert_eq!(choose(&views, 0, 100_000, NOW), Choice::Wait(200));
        assert_eq!(choose(&views, 0, 100_100, NOW), Choice::Ask(0));
        let busy = [View { busy: true, ..asked }];
        assert_eq!(choose(&busy, 0, 100_100, NOW), Choice::Wait(200));
    }

    #[test]
    fn a_proof_is_asked_for_only_once_it_can_reach_the_deadline() {
        let lagging = View { proven_at: Some(Timestamp::from_ms(991_000)), ..due(999_500) };
        assert_eq!(choose(&[lagging], 0, 100_000, NOW), Choice::Wait(200));
        let later = NOW.plus(500);
        assert_eq!(choose(&[lagging], 0, 100_500, later), Choice::Ask(0));
    }

    #[test]
    fn never_more_than_twenty_reads_a_second_and_everyone_gets_a_turn() {
        let mut views = vec![due(999_000); 40];
        let (mut last, mut asked) = (0, vec![0; 40]);
        for boot_ms in 100_000..102_000 {
            if let Choice::Ask(index) = choose(&views, last, boot_ms, NOW) {
                views[index].asked_boot_ms = boot_ms;
                views[index].clock = Timestamp::from_ms(999_000);
                last = boot_ms;
                asked[index] += 1;
            }
        }
        assert_eq!(asked, vec![1; 40]);
    }
}
