//! A partition's clock: the instant up to which everything is known to have been applied. It never goes back, moves in
//! whole ticks, and only by evidence.

use super::observation::{Observation, RouteLag};
use super::signal::{Attached, Backlog, BlindReason, Dating, Gap, GapReason, Proof};
use super::time::{Millis, Timestamp};
use serde::{Deserialize, Serialize};

/// How far a gap may end after a message that is read live: twice the route lag that is reckoned with, and less than a clock
/// that is wrong.
const MAX_AHEAD_MS: Millis = 60_000;

/// Settings of the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockSettings {
    /// Allowance for reordering, route lag and skew between the hub's machines.
    pub allowance_ms: Millis,
    /// Step of the clock.
    pub tick_ms: Millis,
    /// The longest hole between messages of a backlog, and the longest break of a link, that is no gap.
    pub bridge_ms: Millis,
}

/// What an event of the partition means for its clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Advance {
    /// A span in which nothing can be known; to be declared before the clock moves.
    pub(crate) gap: Option<Gap>,
    /// Where the clock moves to; everything due by then is fired first.
    pub(crate) to: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Phase {
    /// No receiver.
    Detached,
    /// What was there at the attach is being applied.
    CatchUp { attached: Attached, left: Backlog, from: Timestamp, tail: Option<GapReason> },
    /// Everything that comes is new: silence is silence.
    Live,
}

/// Its state can be stored and taken up again; it is nobody else's to read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PartitionClock {
    settings: ClockSettings,
    clock: Timestamp,
    /// The last instant of which something is known: a message, a proof, the attach of an unbroken span.
    known_until: Timestamp,
    phase: Phase,
    blind: Option<BlindReason>,
    stream: Option<u64>,
    last_sequence: Option<i64>,
    route_lag: RouteLag,
    gap_end: Timestamp,
    observation: Observation,
    /// Since the last attachment others may have taken messages: what was known before they came.
    shared_from: Option<Timestamp>,
    /// What messages are dated by at the moment.
    dating: Dating,
    /// Proofs come on this partition.
    is_proven: bool,
}

impl PartitionClock {
    /// As it was stored, under today's settings: nothing is attached.
    pub(crate) fn restored(self, settings: ClockSettings) -> Self {
        let mut clock = Self { settings, ..self };
        clock.blind_by(BlindReason::LinkDown);
        clock
    }

    /// The last message applied: its place in the log.
    pub fn position(&self) -> Option<i64> {
        self.last_sequence
    }

    /// What tells the log apart from another one under its name; `None` for queues.
    pub fn stream(&self) -> Option<u64> {
        self.stream
    }

    pub(crate) fn new(settings: ClockSettings) -> Self {
        Self {
            settings,
            clock: Timestamp::MIN,
            known_until: Timestamp::MIN,
            phase: Phase::Detached,
            blind: Some(BlindReason::LinkDown),
            stream: None,
            last_sequence: None,
            route_lag: RouteLag::default(),
            gap_end: Timestamp::MIN,
            observation: Observation::default(),
            shared_from: None,
            dating: Dating::EventTime,
            is_proven: false,
        }
    }

    #[inline]
    pub(crate) fn clock(&self) -> Timestamp {
        self.clock
    }

    /// From when on timers have to be armed: the clock, or where it would begin. `None`: nothing was read.
    pub(crate) fn wheels_from(&self) -> Option<Timestamp> {
        let known = self.known_until.minus(self.settings.allowance_ms);
        let from = if self.clock > Timestamp::MIN { self.clock } else { known };
        (from > Timestamp::MIN).then_some(from)
    }

    pub(crate) fn settings(&self) -> ClockSettings {
        self.settings
    }

    /// End of the latest gap: whoever was last seen before it gets a new deadline.
    pub(crate) fn gap_end(&self) -> Timestamp {
        self.gap_end
    }

    /// Why the clock can't advance, if it can't.
    pub(crate) fn blind(&self) -> Option<BlindReason> {
        match self.phase {
            Phase::CatchUp { left: Backlog::UpTo(_) | Backlog::Count(_), .. } => {
                self.blind.or(Some(BlindReason::Lagging))
            }
            Phase::CatchUp { left: Backlog::Empty | Backlog::Endless, .. }
            | Phase::Detached
            | Phase::Live => self.blind,
        }
    }

    /// Whether everything that comes is new.
    pub(crate) fn is_live(&self) -> bool {
        matches!(self.phase, Phase::Live)
    }

    /// The part of the last hour of clock time that lies in gaps, in per cent.
    pub(crate) fn unobserved_percent(&self) -> i64 {
        self.observation.percent(self.clock)
    }

    /// The latest span in which nothing could be known.
    pub(crate) fn last_gap(&self) -> Option<(Timestamp, Timestamp)> {
        self.observation.last()
    }

    /// A receiver was attached.
    pub(crate) fn attach(&mut self, attached: Attached) -> Advance {
        let first_time = self.known_until == Timestamp::MIN;
        let same_stream = self.stream.is_none() || self.stream == attached.stream;
        let aged_out = match (self.last_sequence, attached.first_available) {
            (Some(last), Some(first)) => first > last.saturating_add(1),
            (None, _) | (_, None) => false,
        };
        let break_ms = attached.at.since(self.known_until);
        let unbroken = !first_time
            && self.stream.is_some()
            && same_stream
            && !aged_out
            && break_ms <= self.settings.bridge_ms
            && !matches!(self.phase, Phase::CatchUp { .. });
        if !same_stream {
            self.last_sequence = None;
        }
        self.stream = attached.stream;
        self.dating = attached.dating;
        self.blind = None;
        if unbroken {
            self.phase = Phase::Live;
            return Advance::default();
        }
        let shared_from = self.shared_from.take();
        let reason = match (first_time, same_stream, aged_out, attached.dating) {
            (true, ..) => None,
            (false, ..) if shared_from.is_some() => Some(GapReason::Shared),
            (false, false, ..) => Some(GapReason::StreamReset),
            (false, true, true, _) => Some(GapReason::AgedOut),
            (false, true, false, Dating::Receipt) => Some(GapReason::Undated),
            (false, true, false, Dating::EventTime) => self.undeclared(),
        };
        let is_dated = |from: &Timestamp| *from > Timestamp::MIN;
        let from = shared_from.filter(is_dated).unwrap_or(self.known_until);
        self.phase = Phase::CatchUp { attached, left: attached.backlog, from, tail: reason };
        let advance = self.finish_catch_up_if_done();
        // What waits is dated by when it is read, or others took some of it: whoever it is from was not silent until then.
        let is_unplaced = attached.dating == Dating::Receipt || reason == Some(GapReason::Shared);
        if !matches!(self.phase, Phase::CatchUp { .. }) || !is_unplaced {
            return advance;
        }
        let Some(reason) = reason.filter(|_| from > Timestamp::MIN) else { return advance };
        let gap = Gap { from, until: attached.latest(), reason };
        self.declare(gap);
        let (left, from) = (attached.backlog, attached.at);
        self.phase = Phase::CatchUp { attached, left, from, tail: Some(reason) };
        Advance { gap: Some(gap), ..advance }
    }

    /// Why the span before the first message of an attachment counts for nothing, as long as none was read.
    fn undeclared(&self) -> Option<GapReason> {
        match self.phase {
            Phase::CatchUp { tail, .. } => tail,
            Phase::Detached | Phase::Live => None,
        }
    }

    /// The partition can't be observed from now on.
    pub(crate) fn blind_by(&mut self, reason: BlindReason) {
        self.blind = Some(reason);
        if reason == BlindReason::Shared {
            self.shared_from.get_or_insert(self.known_until);
        }
        match (self.phase, reason) {
            // The attachment goes on; only its clock stands.
            (
                Phase::CatchUp { .. } | Phase::Live,
                BlindReason::Shared
                | BlindReason::Storage
                | BlindReason::Starved
                | BlindReason::Stalled
                | BlindReason::Throttled
                | BlindReason::RouteUnproven
                | BlindReason::Lagging,
            ) => {}
            // What was left of the backlog is read again after the next attach.
            (
                _,
                BlindReason::LinkDown
                | BlindReason::Unauthorized
                | BlindReason::NotOwner
                | BlindReason::StreamReset,
            ) => {
                if self.phase == Phase::Live {
                    self.phase = Phase::Detached;
                }
            }
            (Phase::Detached, _) => {}
        }
    }

    /// What a message means for the clock, before it is applied.
    #[inline]
    pub(crate) fn before(&mut self, sequence: i64, event_time: Option<Timestamp>) -> Advance {
        let Some(at) = event_time else {
            return Advance::default();
        };
        let mut advance = Advance::default();
        if let Phase::CatchUp { attached, tail, .. } = &mut self.phase
            && attached.dating == Dating::EventTime
            && *tail != Some(GapReason::Shared)
        {
            let hole = at.since(self.known_until) > self.settings.bridge_ms;
            let reason = match tail.take() {
                None if hole && self.known_until > Timestamp::MIN => Some(GapReason::Hole),
                reason => reason,
            };
            if let Some(reason) = reason.filter(|_| at > self.known_until) {
                advance.gap = Some(Gap { from: self.known_until, until: at, reason });
            }
        }
        if let Some(gap) = advance.gap {
            self.declare(gap);
        }
        if let Phase::CatchUp { attached, tail: Some(_), .. } = self.phase
            && attached.dating == Dating::Receipt
        {
            self.gap_end = self.gap_end.max(at);
        }
        let repeated =
            self.stream.is_some() && self.last_sequence.is_some_and(|last| sequence <= last);
        if !repeated && !self.stands() && !self.waits_for_proof() {
            advance.to = self.target(at.minus(self.settings.allowance_ms));
        }
        advance
    }

    /// A message was applied.
    #[inline]
    pub(crate) fn after(
        &mut self,
        sequence: i64,
        event_time: Option<Timestamp>,
        append_time: Option<Timestamp>,
    ) -> Advance {
        self.last_sequence = Some(self.last_sequence.map_or(sequence, |last| last.max(sequence)));
        if let Some(at) = event_time {
            self.known_until = self.known_until.max(at);
            if self.is_live() {
                self.come_back_to(at);
            }
            if let Some(append) = append_time {
                self.route_lag.observe(append.since(at), append);
            }
        }
        if let Phase::CatchUp { left, .. } = &mut self.phase {
            match left {
                Backlog::Count(count) => *count = count.saturating_sub(1),
                Backlog::UpTo(_) | Backlog::Empty | Backlog::Endless => {}
            }
        }
        self.finish_catch_up_if_done()
    }

    /// Nothing unread remains.
    pub(crate) fn prove(&mut self, proof: Proof) -> Option<Timestamp> {
        let applied = proof
            .last_enqueued
            .is_none_or(|last| self.last_sequence.is_some_and(|applied| applied >= last));
        if self.phase != Phase::Live || self.blind.is_some() || !applied {
            return None;
        }
        self.is_proven = true;
        let lag_ms = self.route_lag.largest_ms(proof.at).max(self.settings.allowance_ms);
        self.known_until = self.known_until.max(proof.at.minus(lag_ms));
        self.target(proof.at.minus(lag_ms))
    }

    /// A message dated `at` came behind a proof dated `proven_at`, and nobody says when it arrived: the route is as slow as that.
    pub(crate) fn was_late(&mut self, at: Timestamp, proven_at: Timestamp) {
        if self.is_live() && self.dating == Dating::EventTime {
            self.route_lag.observe(proven_at.since(at), proven_at);
        }
    }

    /// The last message applied is an earlier one.
    pub(crate) fn go_back(&mut self, position: Option<i64>) {
        self.last_sequence = position;
    }

    /// Everything due up to `clock` has been fired.
    pub(crate) fn set(&mut self, clock: Timestamp) {
        self.clock = self.clock.max(clock);
    }

    /// Whether only proofs move the clock: what is dated by its receipt is dated too late if this process did not read in
    /// time, and then says nothing about who is still to be read behind it. A proof comes after all of that.
    fn waits_for_proof(&self) -> bool {
        self.dating == Dating::Receipt && self.is_proven
    }

    /// What is read live has happened by now. A gap that ends long after it was dated by a wall clock that was ahead.
    fn come_back_to(&mut self, at: Timestamp) {
        for instant in [&mut self.gap_end, &mut self.known_until] {
            if instant.since(at) > MAX_AHEAD_MS {
                *instant = at;
            }
        }
    }

    /// Whether the clock stands whatever is read.
    fn stands(&self) -> bool {
        let draining = match self.phase {
            Phase::CatchUp { left, attached, .. } => {
                matches!(left, Backlog::Count(_)) || attached.dating == Dating::Receipt
            }
            Phase::Detached | Phase::Live => false,
        };
        draining || self.blind.is_some()
    }

    #[inline]
    fn finish_catch_up_if_done(&mut self) -> Advance {
        if self.is_live() { Advance::default() } else { self.finish_catch_up() }
    }

    fn finish_catch_up(&mut self) -> Advance {
        let Phase::CatchUp { attached, left, from, tail } = self.phase else {
            return Advance::default();
        };
        let done = match left {
            Backlog::Empty | Backlog::Count(0) => true,
            Backlog::UpTo(end) => self.last_sequence.is_some_and(|last| last >= end),
            Backlog::Count(_) | Backlog::Endless => false,
        };
        if !done {
            return Advance::default();
        }
        self.phase = Phase::Live;
        let mut advance = Advance::default();
        let until = attached.latest().max(self.known_until);
        // What others took may be dated anywhere up to the attachment.
        let unplaced = attached.dating == Dating::Receipt || tail == Some(GapReason::Shared);
        let known = if unplaced { from } else { self.known_until };
        let too_far = attached.at.since(known) > self.settings.bridge_ms;
        let is_span = known > Timestamp::MIN && known < until;
        if is_span && let Some(reason) = tail.or(too_far.then_some(GapReason::Tail)) {
            let gap = Gap { from: known, until, reason };
            self.declare(gap);
            advance.gap = Some(gap);
        }
        self.known_until = self.known_until.max(attached.at);
        if self.clock == Timestamp::MIN && !self.stands() {
            advance.to = self.target(attached.at.minus(self.settings.allowance_ms));
        }
        advance
    }

    pub(crate) fn declare(&mut self, gap: Gap) {
        self.gap_end = self.gap_end.max(gap.until);
        self.observation.note(gap);
    }

    /// `to` in whole ticks, if that is forward.
    #[inline]
    fn target(&self, to: Timestamp) -> Option<Timestamp> {
        // The clock stands at a whole tick, so less than one is not enough.
        if to.since(self.clock) < self.settings.tick_ms {
            return None;
        }
        let whole = Timestamp::from_ms(to.as_ms() - to.as_ms().rem_euclid(self.settings.tick_ms));
        (whole > self.clock).then_some(whole)
    }
}
