//! PURE. What was told, held against what happened.

use std::collections::{HashMap, HashSet};

use hdrhistogram::{Histogram, RecordError};
use lastseen::engine::{Millis, Timestamp};

use crate::plan::Outage;

/// Two significant digits and more: 1,462 ms is told as that.
const SIGNIFICANT_DIGITS: u8 = 3;

/// A message about a device, as it was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    /// Repeats of it carry the same.
    pub(crate) message_id: String,
    /// `None`: of nobody that there is.
    pub(crate) number: Option<u32>,
    pub(crate) news: News,
    pub(crate) received: Timestamp,
}

/// What it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum News {
    Silent,
    Ended,
    /// There was no outage, or not that one.
    TakenBack,
}

/// How well the truth was told.
#[derive(Clone, Debug)]
pub(crate) struct Verdict {
    /// Devices whose silence reached its deadline.
    pub(crate) silenced: u64,
    /// Those of them that were told.
    pub(crate) told: u64,
    /// Those of them that were not.
    pub(crate) missed: u64,
    /// Messages about silences that were none, or not yet, or told already; and what was taken back.
    pub(crate) false_offline: u64,
    /// Devices that came back after their deadlines.
    pub(crate) returned: u64,
    /// Those of them whose return was told.
    pub(crate) resolved: u64,
    /// From the true deadline to the receipt.
    pub(crate) delay_ms: Histogram<u64>,
}

impl Verdict {
    /// Judges what was received against the outages whose deadlines have passed at `now`.
    pub(crate) fn judge(
        outages: impl Iterator<Item = Outage>,
        told: &[Told],
        now: Timestamp,
    ) -> anyhow::Result<Self> {
        let mut verdict = Self {
            silenced: 0,
            told: 0,
            missed: 0,
            false_offline: 0,
            returned: 0,
            resolved: 0,
            delay_ms: Histogram::new(SIGNIFICANT_DIGITS)?,
        };
        let mut by_device = verdict.sort(told);
        for outage in outages {
            let news = by_device.remove(&outage.number).unwrap_or_default();
            verdict.judge_outage(outage, &news, now)?;
        }
        // What is left is about devices that never fell silent.
        for news in by_device.into_values() {
            verdict.false_offline += count(&news, News::Silent) + count(&news, News::TakenBack);
        }
        Ok(verdict)
    }

    fn sort<'a>(&mut self, told: &'a [Told]) -> HashMap<u32, Vec<&'a Told>> {
        let mut seen = HashSet::new();
        let mut by_device: HashMap<u32, Vec<&Told>> = HashMap::new();
        for news in told.iter().filter(|news| seen.insert(news.message_id.as_str())) {
            match news.number {
                Some(number) => by_device.entry(number).or_default().push(news),
                None => self.false_offline += 1,
            }
        }
        by_device
    }

    fn judge_outage(
        &mut self,
        outage: Outage,
        news: &[&Told],
        now: Timestamp,
    ) -> Result<(), RecordError> {
        let early = |one: &&&Told| one.received < outage.deadline;
        let firings: Vec<&&Told> = news.iter().filter(|one| one.news == News::Silent).collect();
        let in_time = firings.iter().find(|one| !early(one));
        let wrong = firings.len() - usize::from(in_time.is_some());
        self.false_offline += u64::try_from(wrong).unwrap_or(u64::MAX);
        self.false_offline += count(news, News::TakenBack);
        if outage.deadline > now {
            return Ok(());
        }
        self.silenced += 1;
        let Some(firing) = in_time else {
            self.missed += 1;
            return Ok(());
        };
        self.told += 1;
        self.delay_ms.record(delay(firing.received.since(outage.deadline)))?;
        if outage.returned.is_some() {
            self.returned += 1;
            self.resolved += u64::from(count(news, News::Ended) > 0);
        }
        Ok(())
    }

    /// Nothing was missed, no end was, and nobody was falsely flagged.
    pub(crate) fn is_true(&self) -> bool {
        self.missed == 0 && self.false_offline == 0 && self.resolved == self.returned
    }

    pub(crate) fn p50_ms(&self) -> u64 {
        self.delay_ms.value_at_quantile(0.5)
    }

    pub(crate) fn p99_ms(&self) -> u64 {
        self.delay_ms.value_at_quantile(0.99)
    }
}

fn delay(ms: Millis) -> u64 {
    u64::try_from(ms).unwrap_or(0)
}

fn count(news: &[&Told], wanted: News) -> u64 {
    u64::try_from(news.iter().filter(|one| one.news == wanted).count()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEADLINE: Timestamp = Timestamp::from_ms(10_000);

    fn outage(number: u32, returned: Option<Timestamp>) -> Outage {
        Outage { number, deadline: DEADLINE, returned }
    }

    fn told(id: &str, number: u32, news: News, after_ms: i64) -> Told {
        Told {
            message_id: id.into(),
            number: Some(number),
            news,
            received: DEADLINE.plus(after_ms),
        }
    }

    fn judge(outages: &[Outage], told: &[Told]) -> Verdict {
        Verdict::judge(outages.iter().copied(), told, DEADLINE.plus(60_000)).unwrap()
    }

    #[test]
    fn a_silence_that_is_told_counts_from_its_deadline_to_the_receipt() {
        let verdict = judge(&[outage(1, None)], &[told("a", 1, News::Silent, 1_100)]);
        assert_eq!((verdict.told, verdict.missed, verdict.false_offline), (1, 0, 0));
        assert_eq!((verdict.p50_ms(), verdict.p99_ms()), (1_100, 1_100));
        assert!(verdict.is_true());
    }

    #[test]
    fn a_silence_that_nobody_tells_is_missed_once_its_deadline_has_passed() {
        let verdict = judge(&[outage(1, None)], &[]);
        assert_eq!((verdict.silenced, verdict.missed), (1, 1));
        let before = Verdict::judge([outage(1, None)].into_iter(), &[], DEADLINE.minus(1)).unwrap();
        assert_eq!((before.silenced, before.missed), (0, 0));
    }

    #[test]
    fn a_message_about_the_living_is_false_and_so_is_one_before_the_deadline() {
        let verdict = judge(&[], &[told("a", 1, News::Silent, 0)]);
        assert_eq!(verdict.false_offline, 1);
        let verdict = judge(&[outage(1, None)], &[told("a", 1, News::Silent, -1)]);
        assert_eq!((verdict.false_offline, verdict.missed), (1, 1));
        let stranger = Told { number: None, ..told("a", 0, News::Silent, 0) };
        assert_eq!(judge(&[], &[stranger]).false_offline, 1);
    }

    #[test]
    fn a_repeat_is_none_under_the_same_id_and_false_under_another() {
        let first = told("a", 1, News::Silent, 100);
        let repeated = Told { received: DEADLINE.plus(900), ..first.clone() };
        let verdict = judge(&[outage(1, None)], &[first.clone(), repeated]);
        assert_eq!((verdict.told, verdict.false_offline), (1, 0));
        let doubled = told("b", 1, News::Silent, 900);
        assert_eq!(judge(&[outage(1, None)], &[first, doubled]).false_offline, 1);
    }

    #[test]
    fn a_return_has_to_be_told_and_what_is_taken_back_was_false() {
        let back = outage(1, Some(DEADLINE.plus(5_000)));
        let firing = told("a", 1, News::Silent, 100);
        let verdict = judge(&[back], std::slice::from_ref(&firing));
        assert_eq!((verdict.returned, verdict.resolved, verdict.is_true()), (1, 0, false));
        let verdict = judge(&[back], &[firing.clone(), told("b", 1, News::Ended, 6_000)]);
        assert!(verdict.is_true());
        let verdict = judge(&[back], &[firing, told("b", 1, News::TakenBack, 6_000)]);
        assert_eq!(verdict.false_offline, 1);
    }
}
