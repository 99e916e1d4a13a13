//! PURE. One alert for a source whose partitions can't be observed: when it opens, changes and ends.
//!
//! Silence on a partition that can't be observed flags nobody, so somebody has to be told that nobody is judged there.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::engine::{BlindReason, Millis, State, Stats, Timestamp};

use super::body::Status;
use super::id::AlertId;

/// The most partitions named in one alert: more help nobody, and the body has a limit.
pub const MAX_NAMED: usize = 32;

/// Part of the last hour that was not observed, in per cent, above which nobody can rely on the partition.
const GAPS_PERCENT: i64 = 20;
/// Below this part a partition can be relied on again: far enough from [`GAPS_PERCENT`] that it does not flap.
const GAPS_CLEAR_PERCENT: i64 = 10;
/// Sight makes up for a quarter of its length of blindness: a link that breaks again and again, and is down for more than
/// a fifth of the time, becomes an alert although no single break is long.
const SIGHT_PER_BLINDNESS: Millis = 4;
/// The longest span between two looks that counts: nothing is known about a longer one (the machine was suspended, or
/// the looks had to wait), so it makes no partition blind for long.
const MAX_STEP_MS: Millis = 5_000;

/// How long things may last. Boot time, in ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathLimits {
    /// Blindness for this long is an alert.
    pub after_ms: Millis,
    /// Reading a backlog for this long is one.
    pub lagging_after_ms: Millis,
    /// Once told, a partition has to be seen for this long to be well again.
    pub clear_after_ms: Millis,
    /// Changes are told no more often than this.
    pub update_every_ms: Millis,
}

/// A minute is above a broker's usual failover and every reconnect, and below what people want to wait. A backlog that is
/// being read shrinks by itself: ten minutes of reading are millions of messages.
impl Default for PathLimits {
    fn default() -> Self {
        Self {
            after_ms: 60_000,
            lagging_after_ms: 600_000,
            clear_after_ms: 60_000,
            update_every_ms: 60_000,
        }
    }
}

/// Why a partition is in the alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum PathReason {
    /// Its clock can't advance.
    Blind(BlindReason),
    /// Too much of the last hour was not observed.
    Gaps,
    /// Gaps have put off identities for two windows past their first deadline.
    PutOff,
}

impl PathReason {
    /// The name used in alerts.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Blind(reason) => reason.as_str(),
            Self::Gaps => "gaps",
            Self::PutOff => "put_off",
        }
    }
}

/// What a partition looks like at one look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionSight {
    /// Its name.
    pub partition: Arc<str>,
    /// Why its clock can't advance.
    pub blind: Option<BlindReason>,
    /// Part of the last hour that lies in gaps, in per cent.
    pub unobserved_percent: i64,
    /// Identities that gaps have put off for two windows past their first deadline.
    pub unjudgeable: u64,
    /// Identities that wait for a verdict there: pending, online and late ones.
    pub judged: u64,
    /// Identities that are offline.
    pub silent: u64,
    /// The latest span in which nothing could be known.
    pub last_gap: Option<(Timestamp, Timestamp)>,
}

impl PartitionSight {
    /// From a partition's figures. One that is attached, but whose clock is more than `due_ms` (the smallest window and
    /// grace of the rules) behind `wall` although somebody is judged there, is stalled: neither messages nor proofs come,
    /// and somebody may be overdue.
    pub fn of(partition: Arc<str>, stats: &Stats, wall: Timestamp, due_ms: Millis) -> Self {
        let judged = [State::Pending, State::Online, State::Late];
        let judged = judged.iter().map(|&state| stats.identities[state as usize]).sum();
        let stalled = stats.live && judged > 0 && wall.since(stats.clock) > due_ms;
        Self {
            partition,
            blind: stats.blind.or(stalled.then_some(BlindReason::Stalled)),
            unobserved_percent: stats.unobserved_percent,
            unjudgeable: stats.unjudgeable,
            judged,
            silent: stats.identities[State::Offline as usize],
            last_gap: stats.last_gap,
        }
    }

    /// Identities that can't be judged at the moment: all of a blind partition, those put off of one that is seen.
    pub fn cant_be_judged(&self) -> u64 {
        match self.blind {
            Some(_) => self.judged,
            None => self.unjudgeable,
        }
    }

    /// A partition that is not there any more has nothing left to be seen.
    fn gone(partition: Arc<str>) -> Self {
        Self {
            partition,
            blind: None,
            unobserved_percent: 0,
            unjudgeable: 0,
            judged: 0,
            silent: 0,
            last_gap: None,
        }
    }
}

/// What was found when sight returned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// From the beginning of the first to the end of the last span that no message covers; `None` if everything that was
    /// sent meanwhile could be read.
    pub unobserved: Option<(Timestamp, Timestamp)>,
    /// Identities of these partitions that are silent.
    pub silent: u64,
}

/// What people are told about a source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathAlert {
    /// The same from firing to resolved.
    pub id: AlertId,
    /// Firing, updated or resolved.
    pub status: Status,
    /// Tells apart the updates: 0 for firing, then 1, 2, 3, ...
    pub ordinal: u32,
    /// Name of the source.
    pub source: Arc<str>,
    /// The partitions concerned, at most [`MAX_NAMED`]; those told last, if it is resolved.
    pub partitions: Vec<Arc<str>>,
    /// How many partitions are concerned.
    pub partitions_total: usize,
    /// Why, and for how many partitions; a partition can have several reasons.
    pub reasons: BTreeMap<PathReason, u64>,
    /// Identities that can't be judged at the moment.
    pub identities: u64,
    /// When the trouble began.
    pub since: Timestamp,
    /// When the alert was first told.
    pub detected_at: Timestamp,
    /// When this was found.
    pub at: Timestamp,
    /// Of the end. An alert that has ended is not stored.
    #[serde(skip)]
    pub found: Option<Found>,
}

/// Watches one source.
#[derive(Clone, Debug)]
pub struct PathWatch {
    source: Arc<str>,
    limits: PathLimits,
    looked_at_ms: Option<Millis>,
    partitions: BTreeMap<Arc<str>, Watched>,
    open: Option<PathAlert>,
    /// Of the open alert: every partition it told, and when (boot time).
    told: BTreeSet<Arc<str>>,
    told_at_ms: Millis,
}

/// What is remembered of a partition.
#[derive(Clone, Debug, Default)]
struct Watched {
    /// Blindness that sight has not made up for.
    dark_ms: Millis,
    /// Reading of backlogs that sight has not made up for.
    lagging_ms: Millis,
    /// Boot time at which either began to grow.
    since_ms: Option<Millis>,
    gaps: bool,
    /// How long everything has been well.
    clear_ms: Millis,
    /// Why it is in the alert; empty if it is not.
    reasons: BTreeSet<PathReason>,
}

impl PathWatch {
    /// Has seen nothing.
    pub fn new(source: Arc<str>, limits: PathLimits) -> Self {
        Self {
            source,
            limits,
            looked_at_ms: None,
            partitions: BTreeMap::new(),
            open: None,
            told: BTreeSet::new(),
            told_at_ms: 0,
        }
    }

    /// Takes up an alert that an earlier process left open: its partitions count as unwell until they have been seen for long
    /// enough.
    pub fn resumed(source: Arc<str>, limits: PathLimits, open: PathAlert) -> Self {
        let unwell =
            Watched { reasons: open.reasons.keys().copied().collect(), ..Watched::default() };
        let named = open.partitions.iter();
        Self {
            partitions: named.map(|name| (name.clone(), unwell.clone())).collect(),
            told: open.partitions.iter().cloned().collect(),
            open: Some(open),
            ..Self::new(source, limits)
        }
    }

    /// Looks at all partitions of the source; about once a second. `now_ms` is boot time, `wall` only dates what is told.
    pub fn look(
        &mut self,
        now_ms: Millis,
        wall: Timestamp,
        sights: &[PartitionSight],
    ) -> Option<PathAlert> {
        let step_ms = self.looked_at_ms.map_or(0, |last_ms| now_ms.saturating_sub(last_ms));
        let step_ms = step_ms.clamp(0, MAX_STEP_MS);
        self.looked_at_ms = Some(now_ms);
        self.observe(now_ms, step_ms, sights);
        let concerned: BTreeSet<Arc<str>> = self
            .partitions
            .iter()
            .filter(|(_, watched)| watched.is_concerned())
            .map(|(name, _)| name.clone())
            .collect();
        match (concerned.is_empty(), self.open.is_some()) {
            (true, false) => None,
            (true, true) => self.resolve(wall, sights),
            (false, _) => self.tell(now_ms, wall, concerned, sights),
        }
    }

    fn observe(&mut self, now_ms: Millis, step_ms: Millis, sights: &[PartitionSight]) {
        let seen: BTreeSet<&str> = sights.iter().map(|sight| &*sight.partition).collect();
        let gone = self.partitions.keys().filter(|name| !seen.contains(&***name));
        let gone: Vec<_> = gone.cloned().map(PartitionSight::gone).collect();
        for sight in sights.iter().chain(&gone) {
            match self.partitions.get_mut(&sight.partition) {
                Some(watched) => watched.look(now_ms, step_ms, sight, self.limits),
                None => {
                    let mut watched = Watched::default();
                    watched.look(now_ms, 0, sight, self.limits);
                    self.partitions.insert(sight.partition.clone(), watched);
                }
            }
        }
        for sight in gone {
            if !self.partitions.get(&sight.partition).is_some_and(Watched::is_concerned) {
                self.partitions.remove(&sight.partition);
            }
        }
    }

    /// Opens the alert, or tells how it has changed if that is due.
    fn tell(
        &mut self,
        now_ms: Millis,
        wall: Timestamp,
        concerned: BTreeSet<Arc<str>>,
        sights: &[PartitionSight],
    ) -> Option<PathAlert> {
        let in_alert = sights.iter().filter(|sight| concerned.contains(&sight.partition));
        let identities = in_alert.map(PartitionSight::cant_be_judged).sum();
        let (status, ordinal) = match &self.open {
            None => (Status::Firing, 0),
            Some(open) => {
                let doubled = identities >= open.identities.saturating_mul(2).max(1);
                let changed = doubled || concerned != self.told;
                if !changed || now_ms.saturating_sub(self.told_at_ms) < self.limits.update_every_ms
                {
                    return None;
                }
                (Status::Updated, open.ordinal.saturating_add(1))
            }
        };
        let (id, since, detected_at) = match &self.open {
            Some(open) => (open.id, open.since, open.detected_at),
            None => (AlertId::of_path(&self.source, wall), self.since(now_ms, wall), wall),
        };
        let mut reasons = BTreeMap::new();
        for reason in self.partitions.values().flat_map(|watched| &watched.reasons) {
            *reasons.entry(*reason).or_insert(0) += 1;
        }
        let alert = PathAlert {
            id,
            status,
            ordinal,
            source: self.source.clone(),
            partitions: concerned.iter().take(MAX_NAMED).cloned().collect(),
            partitions_total: concerned.len(),
            reasons,
            identities,
            since,
            detected_at,
            at: wall,
            found: None,
        };
        self.told = concerned;
        self.told_at_ms = now_ms;
        self.open = Some(alert.clone());
        Some(alert)
    }

    fn resolve(&mut self, wall: Timestamp, sights: &[PartitionSight]) -> Option<PathAlert> {
        let of_alert = std::mem::take(&mut self.told);
        let told = self.open.take()?;
        let mut found = Found::default();
        for sight in sights.iter().filter(|sight| of_alert.contains(&sight.partition)) {
            found.silent += sight.silent;
            let Some((from, until)) = sight.last_gap.filter(|(_, until)| *until > told.since)
            else {
                continue;
            };
            let (first, last) = found.unobserved.unwrap_or((from, until));
            found.unobserved = Some((first.min(from), last.max(until)));
        }
        let ordinal = told.ordinal.saturating_add(1);
        let (status, found) = (Status::Resolved, Some(found));
        Some(PathAlert { status, ordinal, identities: 0, at: wall, found, ..told })
    }

    /// When the trouble of the first partition concerned began.
    fn since(&self, now_ms: Millis, wall: Timestamp) -> Timestamp {
        let concerned = self.partitions.values().filter(|watched| watched.is_concerned());
        let first_ms = concerned.filter_map(|watched| watched.since_ms).min();
        wall.minus(now_ms.saturating_sub(first_ms.unwrap_or(now_ms)))
    }
}

impl Watched {
    fn is_concerned(&self) -> bool {
        !self.reasons.is_empty()
    }

    /// What was found is taken to have held since the last look, `step_ms` ago.
    fn look(
        &mut self,
        now_ms: Millis,
        step_ms: Millis,
        sight: &PartitionSight,
        limits: PathLimits,
    ) {
        match sight.blind {
            Some(BlindReason::Lagging) => self.lagging_ms += step_ms,
            Some(_) => self.dark_ms += step_ms,
            None => {
                let made_up_ms = step_ms / SIGHT_PER_BLINDNESS;
                self.dark_ms = (self.dark_ms - made_up_ms).max(0);
                self.lagging_ms = (self.lagging_ms - made_up_ms).max(0);
            }
        }
        let bound = if self.gaps { GAPS_CLEAR_PERCENT - 1 } else { GAPS_PERCENT };
        self.gaps = sight.unobserved_percent > bound;
        let is_clear = sight.blind.is_none() && !self.gaps && sight.unjudgeable == 0;
        self.date(now_ms, step_ms, is_clear);
        if is_clear {
            self.clear_ms += step_ms;
            if self.is_concerned() && self.clear_ms >= limits.clear_after_ms {
                *self = Self::default();
            }
            return;
        }
        self.clear_ms = 0;
        let blind_for_long = sight.blind.is_some()
            && (self.dark_ms >= limits.after_ms || self.lagging_ms >= limits.lagging_after_ms);
        if self.is_concerned() || blind_for_long || self.gaps || sight.unjudgeable > 0 {
            self.reasons = self.reasons_of(sight);
        }
    }

    /// Remembers when the trouble began, until nothing of it is left.
    fn date(&mut self, now_ms: Millis, step_ms: Millis, is_clear: bool) {
        if !is_clear {
            self.since_ms.get_or_insert(now_ms.saturating_sub(step_ms));
        } else if !self.is_concerned() && self.dark_ms == 0 && self.lagging_ms == 0 {
            self.since_ms = None;
        }
    }

    fn reasons_of(&self, sight: &PartitionSight) -> BTreeSet<PathReason> {
        let blind = sight.blind.map(PathReason::Blind);
        let gaps = self.gaps.then_some(PathReason::Gaps);
        let put_off = (sight.unjudgeable > 0).then_some(PathReason::PutOff);
        [blind, gaps, put_off].into_iter().flatten().collect()
    }
}

#[cfg(test)]
mod tests;
