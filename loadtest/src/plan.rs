//! PURE. What every device does and when, and the record of it: the truth that alerts are judged by.
//!
//! The schedule is open-loop: it waits for nobody. Whoever sends late sends late, under the time that was planned, so that
//! a service that holds its sender up finds that in its own figures.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use lastseen::engine::{Millis, Timestamp};

use crate::order::Order;
use crate::profile::Profile;
use crate::random::Random;

#[cfg(test)]
mod tests;

/// From the deadline to the return of those that come back: time enough to be told.
const RETURN_AFTER_MS: Millis = 5_000;

/// Something a device does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    pub(crate) at: Timestamp,
    pub(crate) number: u32,
    pub(crate) action: Action,
}

/// What it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Action {
    Heartbeat,
    /// It loses its connection.
    Disconnect,
    /// It is back; a heartbeat follows.
    Connect,
}

/// A silence that reached its deadline, or will.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outage {
    pub(crate) number: u32,
    /// When it has lasted for window and grace.
    pub(crate) deadline: Timestamp,
    /// The first heartbeat after it.
    pub(crate) returned: Option<Timestamp>,
}

/// A silence, as it was planned.
#[derive(Clone, Copy, Debug)]
struct Silence {
    from: Timestamp,
    /// Known once the silence has begun.
    outage: Option<Outage>,
}

/// The schedule of a fleet, and how far it has been played.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    profile: Profile,
    /// In which order devices send.
    order: Order,
    /// Which of them is how frequent.
    ranks: Order,
    random: Random,
    /// When the slot with number 0 is, or would have been.
    origin: Timestamp,
    slot: u64,
    silences: HashMap<u32, Silence>,
    /// Those to come, next first.
    beginning: BinaryHeap<Reverse<(Timestamp, u32)>>,
    /// What happens besides the regular heartbeats, next first.
    extras: BinaryHeap<Reverse<(Timestamp, u32, Action)>>,
    /// When a device that is away is back.
    away: HashMap<u32, (Timestamp, Timestamp)>,
    last: Vec<Timestamp>,
    heartbeats: u64,
    longest_pause_ms: Millis,
    end_of_silences: Timestamp,
}

impl Plan {
    /// A fleet whose first device sends at `start`.
    pub(crate) fn new(profile: &Profile, seed: u64, start: Timestamp) -> Self {
        let mut random = Random::new(seed);
        let devices = profile.identities;
        let (order, ranks) =
            (Order::new(devices, random.draw()), Order::new(devices, random.draw()));
        let from = start.plus(profile.interval_ms);
        let mut plan = Self {
            profile: profile.clone(),
            order,
            ranks,
            origin: start,
            slot: 0,
            silences: HashMap::new(),
            beginning: BinaryHeap::new(),
            extras: BinaryHeap::new(),
            away: HashMap::new(),
            last: vec![Timestamp::MIN; usize::try_from(devices).unwrap_or(usize::MAX)],
            heartbeats: 0,
            longest_pause_ms: 0,
            end_of_silences: from.plus(profile.silenced_within_ms),
            random,
        };
        plan.plan_silences(from);
        plan.plan_storm(from);
        plan
    }

    fn plan_silences(&mut self, from: Timestamp) {
        let victims = Order::new(self.profile.identities, self.random.draw());
        for index in 0..u64::from(self.profile.silenced) {
            let number = victims.at(index);
            let begins = from.plus(self.within(self.profile.silenced_within_ms));
            self.silences.insert(number, Silence { from: begins, outage: None });
            self.beginning.push(Reverse((begins, number)));
            if self.profile.last_gasp {
                self.extras.push(Reverse((begins, number, Action::Heartbeat)));
            }
        }
    }

    fn plan_storm(&mut self, from: Timestamp) {
        let Some(storm) = self.profile.storm else {
            return;
        };
        for number in 0..self.profile.identities {
            let thrown_out = self.random.below(100) < u64::from(storm.percent);
            if !thrown_out || self.silences.contains_key(&number) {
                continue;
            }
            let back = from.plus(storm.away_ms + self.within(storm.back_within_ms));
            self.away.insert(number, (from, back));
            self.extras.push(Reverse((from, number, Action::Disconnect)));
            self.extras.push(Reverse((back, number, Action::Connect)));
            self.extras.push(Reverse((back.plus(1), number, Action::Heartbeat)));
        }
    }

    fn within(&mut self, span_ms: Millis) -> Millis {
        i64::try_from(self.random.below(span_ms.unsigned_abs())).unwrap_or(0)
    }

    /// Everything that happens up to `now` and has not been told yet, in order, into `moments`.
    pub(crate) fn play(&mut self, now: Timestamp, moments: &mut Vec<Moment>) {
        loop {
            let regular = self.slot_at(self.slot);
            let extra = self.extras.peek().map(|Reverse((at, _, _))| *at);
            let at = extra.map_or(regular, |extra| extra.min(regular));
            if at > now {
                break;
            }
            self.begin_silences(at);
            if extra == Some(at) {
                self.play_extra(moments);
            } else {
                self.slot += 1;
                if let Some(number) = self.sender(self.slot - 1, at) {
                    self.heartbeat(at, number, moments);
                }
            }
        }
        self.begin_silences(now.plus(1));
    }

    /// The next `slots` regular heartbeats, all at `now`, whenever they were due: for a sender that sends what is taken.
    pub(crate) fn rush(&mut self, slots: usize, now: Timestamp, moments: &mut Vec<Moment>) {
        for _ in 0..slots {
            let slot = self.slot;
            self.slot += 1;
            if let Some(number) = self.sender(slot, now) {
                self.heartbeat(now, number, moments);
            }
        }
        self.origin = self.origin.plus(now.since(self.slot_at(self.slot)));
    }

    fn play_extra(&mut self, moments: &mut Vec<Moment>) {
        if let Some(Reverse((at, number, action))) = self.extras.pop() {
            match action {
                Action::Heartbeat => self.heartbeat(at, number, moments),
                Action::Disconnect | Action::Connect => {
                    moments.push(Moment { at, number, action });
                }
            }
        }
    }

    fn heartbeat(&mut self, at: Timestamp, number: u32, moments: &mut Vec<Moment>) {
        if let Some(outage) =
            self.silences.get_mut(&number).and_then(|silence| silence.outage.as_mut())
        {
            outage.returned.get_or_insert(at);
        }
        if let Some(last) = usize::try_from(number).ok().and_then(|at| self.last.get_mut(at)) {
            if *last > Timestamp::MIN && !self.silences.contains_key(&number) {
                self.longest_pause_ms = self.longest_pause_ms.max(at.since(*last));
            }
            *last = at;
        }
        self.heartbeats += 1;
        moments.push(Moment { at, number, action: Action::Heartbeat });
    }

    /// Silences that begin before `at`: from now on their deadlines are known.
    fn begin_silences(&mut self, at: Timestamp) {
        while let Some(Reverse((from, number))) = self.beginning.peek().copied()
            && from < at
        {
            self.beginning.pop();
            let last = usize::try_from(number).ok().and_then(|at| self.last.get(at)).copied();
            let deadline = last.unwrap_or(from).plus(self.profile.silence_ms());
            if self.random.below(100) < u64::from(self.profile.returning_percent) {
                let back = deadline.plus(RETURN_AFTER_MS);
                self.extras.push(Reverse((back, number, Action::Heartbeat)));
            }
            let outage = Some(Outage { number, deadline, returned: None });
            self.silences.insert(number, Silence { from, outage });
        }
    }

    /// Regular slots are spread evenly over the interval.
    fn slot_at(&self, slot: u64) -> Timestamp {
        let hundredths =
            u128::from(slot) * 100 * u128::from(self.profile.interval_ms.unsigned_abs());
        let per_interval =
            u128::from(self.profile.identities) * u128::from(100 + self.profile.zipf_percent);
        self.origin.plus(i64::try_from(hundredths / per_interval).unwrap_or(i64::MAX))
    }

    /// Who sends in a slot, if that device sends at that time: in turn, and in between by Zipf's law.
    fn sender(&mut self, slot: u64, at: Timestamp) -> Option<u32> {
        let share = 100 + u64::from(self.profile.zipf_percent);
        let turn = slot * 100 / share;
        let number = if turn < (slot + 1) * 100 / share {
            self.order.at(turn)
        } else {
            let rank = self.rank();
            self.ranks.at(rank)
        };
        let silent = self.silences.get(&number).is_some_and(|silence| {
            at >= silence.from && silence.outage.is_none_or(|outage| outage.returned.is_none())
        });
        let away = self.away.get(&number).is_some_and(|(from, back)| at >= *from && at <= *back);
        (!silent && !away).then_some(number)
    }

    /// Zipf's law with exponent 1: the logarithm of the rank is uniform.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "from 1 up to the number of devices"
    )]
    fn rank(&mut self) -> u64 {
        (f64::from(self.profile.identities).powf(self.random.fraction()) as u64).saturating_sub(1)
    }

    /// The silences that have begun.
    pub(crate) fn outages(&self) -> impl Iterator<Item = Outage> {
        self.silences.values().filter_map(|silence| silence.outage)
    }

    /// When the last true deadline has passed at the latest, and everybody who returns has.
    pub(crate) fn settled_at(&self) -> Timestamp {
        let returns_ms = if self.profile.returning_percent > 0 { RETURN_AFTER_MS } else { 0 };
        self.end_of_silences.plus(self.profile.silence_ms() + returns_ms)
    }

    /// Heartbeats so far.
    pub(crate) fn heartbeats(&self) -> u64 {
        self.heartbeats
    }

    /// The longest time between two heartbeats of a device that never fell silent.
    pub(crate) fn longest_pause_ms(&self) -> Millis {
        self.longest_pause_ms
    }
}
