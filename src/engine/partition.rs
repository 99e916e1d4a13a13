//! A partition's engine: one clock, shards by device, and everything that moves them.
//!
//! Every input is a call, every effect a value in the caller's [`Output`]. Before a message is applied, what its event
//! time makes due is fired: [`Partition::prepare`], then [`Partition::fire`] until it says that nothing is left, then
//! [`Partition::apply`]. A caller may pause between two calls of `fire`; nothing else is applied meanwhile, so that its
//! speed can't be seen in the result.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::agenda::Agenda;
use super::announcement::Unannounced;
use super::change::Change;
use super::clock::{Advance, ClockSettings, PartitionClock};
use super::fire::Visits;
use super::hold::Witnesses;
use super::identity::IdentityRef;
use super::key::Key;
use super::look_ahead::Sighted;
use super::placement::{Audience, ForeignClock, ForeignClocks, News, PartitionId, Reply, Tiding};
use super::route::RouteWitness;
use super::rules::Policy;
use super::shard::{Context, Output, Shard};
use super::signal::{Attached, BlindReason, Gap, Message, Proof, Signal, SignalKind};
use super::table::{State, flag};
use super::time::Timestamp;
use super::timers::tick_of;

/// Identities of a shard before it is split in two: a rehash of that many takes some 10 ms.
pub const MAX_SHARD_IDENTITIES: usize = 262_144;

/// The most shards of a partition: with full shards 16.7 million identities, sixteen times what one IoT Hub can have
/// ("IoT Hub quotas and throttling"), some 2 GB. What comes beyond is not admitted, and counted.
pub const MAX_SHARDS: usize = 64;

/// The most hubs whose devices one partition can carry: 16 bits in a record.
const MAX_HUBS: usize = 65_535;

/// The engine of one partition.
pub struct Partition {
    pub(super) policy: Arc<Policy>,
    pub(super) clock: PartitionClock,
    pub(super) hubs: Vec<Arc<str>>,
    hub_numbers: BTreeMap<Arc<str>, u16>,
    pub(super) shards: Vec<Shard>,
    /// Shard of each value of the top bits of the hash; its length is a power of two.
    pub(super) directory: Vec<usize>,
    /// Number of leading bits that tell a shard from its sibling.
    pub(super) depths: Vec<u32>,
    pub(super) hasher: foldhash::fast::FixedState,
    /// Of the hasher: stored with what was hashed by it.
    pub(super) seed: u64,
    pub(super) route: RouteWitness,
    foreign: ForeignClocks,
    pub(super) witnesses: Witnesses,
    /// Date of the last proof of this attachment and those before.
    proven_at: Timestamp,
    /// A verdict is due that may be the route's fault: the clock stands until somebody is heard.
    pub(super) is_held: bool,
    /// Where the clock is on its way to.
    pub(super) goal: Option<Timestamp>,
    /// Decisions of the tick that is being fired.
    pub(super) agenda: Agenda,
    /// What the wheels held at that tick and is not yet visited.
    pub(super) visits: Visits,
    pub(super) capacity: usize,
    pub(super) max_shards: usize,
    keeps_messages: bool,
    pub(super) unannounced: Unannounced,
    pub(super) planted: Option<super::planted::Planted>,
}

/// What a partition looks like from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stats {
    /// Its clock.
    pub clock: Timestamp,
    /// Why it can't advance.
    pub blind: Option<BlindReason>,
    /// Whether what comes is new: a receiver is attached, and what was there at its attach has been applied.
    pub live: bool,
    /// Identities by state, in the order of [`State::ALL`].
    pub identities: [u64; State::ALL.len()],
    /// Identities that gaps have put off for two windows past their first deadline.
    pub unjudgeable: u64,
    /// Part of the last hour that lies in gaps, in per cent.
    pub unobserved_percent: i64,
    /// The latest span in which nothing could be known.
    pub last_gap: Option<(Timestamp, Timestamp)>,
    /// The earliest instant at which something may become due.
    pub next_deadline: Option<Timestamp>,
    /// Bytes of the tables.
    pub memory_bytes: usize,
}

/// How far a partition is, and when it next wants to know more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outlook {
    /// Its clock.
    pub clock: Timestamp,
    /// Why it can't advance.
    pub blind: Option<BlindReason>,
    /// The earliest instant at which something may become due.
    pub next_deadline: Option<Timestamp>,
}

impl Partition {
    /// An engine that has seen nothing. `seed` only spreads ids over shards and buckets: no result depends on it.
    pub fn new(policy: Arc<Policy>, settings: ClockSettings, seed: u64) -> Self {
        let hasher = foldhash::fast::FixedState::with_seed(seed);
        Self {
            witnesses: Witnesses::new(&policy),
            proven_at: Timestamp::MIN,
            policy,
            clock: PartitionClock::new(settings),
            hubs: Vec::new(),
            hub_numbers: BTreeMap::new(),
            shards: vec![Shard::new(hasher.clone(), 0)],
            directory: vec![0],
            depths: vec![0],
            hasher,
            seed,
            route: RouteWitness::default(),
            foreign: ForeignClocks::default(),
            is_held: false,
            goal: None,
            agenda: Agenda::default(),
            visits: Visits::default(),
            capacity: MAX_SHARD_IDENTITIES,
            max_shards: MAX_SHARDS,
            keeps_messages: false,
            unannounced: Unannounced::default(),
            planted: None,
        }
    }

    /// The partition has no log from which messages could be read again: [`Output::changes`] has what each says.
    pub fn without_log(self) -> Self {
        Self { keeps_messages: true, ..self }
    }

    /// Plants a mistake, for tests of tests.
    #[doc(hidden)]
    pub fn plant(&mut self, planted: super::planted::Planted) {
        self.planted = Some(planted);
    }

    /// Shards of another size, so that a test needs no million identities.
    #[cfg(test)]
    pub(crate) fn with_shards(self, capacity: usize, max_shards: usize) -> Self {
        Self { capacity, max_shards, ..self }
    }

    /// A receiver was attached. What follows from it is fired by [`Partition::fire`].
    pub fn attach(&mut self, attached: Attached, out: &mut Output) {
        let advance = self.clock.attach(attached);
        self.advance(advance, out);
    }

    /// The partition can't be observed from now on.
    pub fn blind(&mut self, reason: BlindReason) {
        self.clock.blind_by(reason);
    }

    /// Nothing unread remains on the partition. Without effect unless it holds for what was applied.
    pub fn prove(&mut self, proof: Proof) {
        if let Some(to) = self.clock.prove(proof) {
            self.goal = Some(self.goal.map_or(to, |goal| goal.max(to)));
            self.proven_at = proof.at;
        }
    }

    /// The clocks of the other partitions that could carry the same hubs have moved.
    pub fn foreign_clocks(&mut self, clocks: ForeignClocks) {
        self.foreign = clocks;
    }

    /// A message is about to be applied: what it makes due has to be fired first.
    #[inline]
    pub fn prepare(&mut self, message: &Message<'_>, out: &mut Output) {
        if let Some(at) = message.event_time {
            let passed = self.passed();
            self.witnesses.hear(at, passed);
        }
        let advance = self.clock.before(message.sequence, message.event_time);
        self.advance(advance, out);
    }

    /// Applies a message that was prepared, after everything it made due was fired.
    pub fn apply(&mut self, message: &Message<'_>, out: &mut Output) {
        self.apply_sighted(message, None, out);
    }

    /// The same; `sighted` is what [`Partition::look_ahead`] has seen of the message's identity.
    #[inline]
    pub fn apply_sighted(
        &mut self,
        message: &Message<'_>,
        sighted: Option<&Sighted<'_>>,
        out: &mut Output,
    ) {
        debug_assert!(
            self.goal.is_none() || self.is_held,
            "a message may be applied only after fire() has returned true"
        );
        if let (Some(signal), Some(at)) = (&message.signal, message.event_time) {
            if message.append_time.is_none() && at < self.passed() {
                self.learn_lag(signal, at);
            }
            match sighted {
                Some(sighted) => self.apply_signal(sighted, signal, at, message.sequence, out),
                None => match self.unsighted(signal.identity) {
                    Some(sighted) => self.apply_signal(&sighted, signal, at, message.sequence, out),
                    None => out.not_admitted += 1,
                },
            }
        }
        let advance = self.clock.after(message.sequence, message.event_time, message.append_time);
        self.advance(advance, out);
    }

    /// Where nobody says when a message arrived: after the last proof, unless it is read once more.
    #[cold]
    fn learn_lag(&mut self, signal: &Signal<'_>, at: Timestamp) {
        let Some(Sighted { key, .. }) = self.unsighted(signal.identity) else { return };
        let shard = &self.shards[self.shard_of(key.device_hash())];
        let known = shard.table.find(&key).map(|slot| shard.facts(slot).last_seen);
        if signal.kind == SignalKind::Telemetry && known.is_some_and(|known| known < at) {
            self.clock.was_late(at, self.proven_at);
        }
    }

    /// `None`: there is no room for its hub.
    fn unsighted<'a>(&mut self, identity: IdentityRef<'a>) -> Option<Sighted<'a>> {
        let hub = self.hub_number(identity.hub)?;
        let key = Key::new(&self.hasher, hub, identity.device, identity.module);
        Some(Sighted { key, slot: None })
    }

    #[inline]
    fn apply_signal(
        &mut self,
        sighted: &Sighted<'_>,
        signal: &Signal<'_>,
        at: Timestamp,
        sequence: i64,
        out: &mut Output,
    ) {
        if self.clock.clock() == Timestamp::MIN {
            self.start_wheels(at);
        }
        let Sighted { key, .. } = sighted;
        let hash = key.device_hash();
        if at >= self.passed() {
            self.route.heard(key.hub, hash, at);
        }
        let index = self.shard_of(hash);
        let is_beat =
            matches!(signal.kind, SignalKind::Telemetry) && signal.identity.module.is_none();
        if is_beat
            && !self.keeps_messages
            && self.shards[index].beat(sighted, signal, at, sequence, &self.policy)
        {
            return;
        }
        self.apply_to_shard(index, key, signal, at, sequence, out);
    }

    /// What is more than the next heartbeat of somebody who is online.
    #[cold]
    fn apply_to_shard(
        &mut self,
        index: usize,
        key: &Key<'_>,
        signal: &Signal<'_>,
        at: Timestamp,
        sequence: i64,
        out: &mut Output,
    ) {
        let full =
            self.shards.len() >= self.max_shards && self.shards[index].table.len() >= self.capacity;
        self.with_shard(index, |shard, context| {
            let context = Context { full, ..context };
            let created = shard.apply(key, signal, at, sequence, context, out);
            let registry = matches!(signal.kind, SignalKind::Created | SignalKind::Deleted);
            let changed = registry.then(|| shard.table.find(key)).flatten();
            for slot in created.into_iter().chain([changed]).flatten() {
                let identity = shard.identity(slot, context.hubs);
                let facts = shard.facts(slot);
                let news = News::of(facts);
                out.tidings.push(Tiding { identity, news, to: Audience::Everyone });
            }
        });
        if self.shards[index].table.len() > self.capacity && self.shards.len() < self.max_shards {
            self.split(index);
        }
    }

    /// Another partition tells what it knows of an identity.
    pub fn told(
        &mut self,
        identity: IdentityRef<'_>,
        from: PartitionId,
        news: &News,
        out: &mut Output,
    ) -> Reply {
        let Some(hub) = self.known_hub(identity.hub) else {
            return Reply::Unknown;
        };
        let key = Key::new(&self.hasher, hub, identity.device, identity.module);
        let index = self.shard_of(key.device_hash());
        self.with_shard(index, |shard, context| shard.told(&key, from, news, context, out))
    }

    /// Partition `by` has answered what this one told about an identity.
    pub fn answered(
        &mut self,
        identity: IdentityRef<'_>,
        by: PartitionId,
        reply: Reply,
        out: &mut Output,
    ) {
        let Some(hub) = self.known_hub(identity.hub) else {
            return;
        };
        let key = Key::new(&self.hasher, hub, identity.device, identity.module);
        let index = self.shard_of(key.device_hash());
        self.with_shard(index, |shard, context| shard.answered(&key, by, reply, context, out));
    }

    /// The outages that are over by now were told to nobody, and so are their corrections to be.
    pub fn hush(&mut self, out: &mut Output) {
        self.forget_what_is_over();
        out.changes.push(Change::Untold);
    }

    pub(super) fn forget_what_is_over(&mut self) {
        for shard in &mut self.shards {
            for slot in shard.beside.forget_ended() {
                shard.table.record_mut(slot).flags &= !flag::JUDGED;
            }
        }
    }

    /// What it looks like from outside.
    pub fn stats(&self) -> Stats {
        let mut identities = [0; State::ALL.len()];
        for shard in &self.shards {
            for (sum, count) in identities.iter_mut().zip(shard.counts) {
                *sum += count;
            }
        }
        Stats {
            clock: self.clock.clock(),
            blind: self.blind_reason(),
            live: self.clock.is_live(),
            identities,
            unjudgeable: self.shards.iter().map(|shard| shard.unjudgeable).sum(),
            unobserved_percent: self.clock.unobserved_percent(),
            last_gap: self.clock.last_gap(),
            next_deadline: self.next_deadline(),
            memory_bytes: self.shards.iter().map(Shard::memory_bytes).sum(),
        }
    }

    /// What the partition's source and its worker want to know after every event.
    pub fn outlook(&self) -> Outlook {
        Outlook {
            clock: self.clock.clock(),
            blind: self.blind_reason(),
            next_deadline: self.next_deadline(),
        }
    }

    fn next_deadline(&self) -> Option<Timestamp> {
        let tick = i64::try_from(self.next_tick()?).ok()?;
        Some(Timestamp::from_ms(tick.saturating_mul(self.clock.settings().tick_ms)))
    }

    /// Its clock with everything that moves it, for a journal.
    pub fn clock_image(&self) -> PartitionClock {
        self.clock.clone()
    }

    /// What other partitions have to know of it, under the name that it has for them.
    pub fn as_foreign(&self, partition: PartitionId) -> ForeignClock {
        ForeignClock { partition, clock: self.clock.clock(), gap_end: self.clock.gap_end() }
    }

    /// Its clock.
    pub fn clock(&self) -> Timestamp {
        self.clock.clock()
    }

    /// Why its clock can't advance, if it can't.
    pub fn blind_reason(&self) -> Option<BlindReason> {
        self.clock.blind().or(self.is_held.then_some(BlindReason::RouteUnproven))
    }

    #[inline]
    pub(super) fn advance(&mut self, advance: Advance, out: &mut Output) {
        if advance.gap.is_some() || advance.to.is_some() {
            self.advance_on(advance, out);
        }
    }

    fn advance_on(&mut self, advance: Advance, out: &mut Output) {
        if let Some(gap) = advance.gap {
            self.forgive_gap(gap);
            out.gaps.push(gap);
            out.changes.push(Change::Gap(gap));
        }
        if let Some(to) = advance.to {
            self.goal = Some(self.goal.map_or(to, |goal| goal.max(to)));
        }
    }

    pub(super) fn forgive_gap(&mut self, gap: Gap) {
        for shard in &mut self.shards {
            shard.forgive_gap(gap);
        }
    }

    /// Before the clock has moved for the first time, the wheels begin where the log does.
    fn start_wheels(&mut self, at: Timestamp) {
        let tick = tick_of(at, self.clock.settings().tick_ms);
        for shard in self.shards.iter_mut().filter(|shard| shard.wheel.now() == 0) {
            shard.wheel = super::wheel::Wheel::new(tick);
        }
    }

    pub(super) fn with_shard<T>(
        &mut self,
        index: usize,
        act: impl FnOnce(&mut Shard, Context<'_>) -> T,
    ) -> T {
        let mut shards = std::mem::take(&mut self.shards);
        let done = act(&mut shards[index], self.context());
        self.shards = shards;
        done
    }

    /// What a shard needs to know of its partition.
    pub(super) fn context(&self) -> Context<'_> {
        Context {
            policy: &self.policy,
            hubs: &self.hubs,
            tick_ms: self.clock.settings().tick_ms,
            clock: self.clock.clock(),
            gap_end: self.clock.gap_end(),
            route: &self.route,
            witnesses: &self.witnesses,
            foreign: &self.foreign,
            full: false,
            keeps_messages: self.keeps_messages,
            planted: self.planted,
        }
    }

    /// Most partitions carry one hub.
    #[inline]
    pub(super) fn known_hub(&self, hub: &str) -> Option<u16> {
        if self.hubs.first().is_some_and(|first| **first == *hub) {
            return Some(0);
        }
        self.hub_numbers.get(hub).copied()
    }

    pub(super) fn hub_number(&mut self, hub: &str) -> Option<u16> {
        if let Some(number) = self.known_hub(hub) {
            return Some(number);
        }
        if self.hubs.len() >= MAX_HUBS {
            return None;
        }
        let number = u16::try_from(self.hubs.len()).ok()?;
        let hub: Arc<str> = hub.into();
        self.hubs.push(hub.clone());
        self.hub_numbers.insert(hub, number);
        Some(number)
    }

    pub(super) fn shard_of(&self, hash: u64) -> usize {
        let bits = self.directory.len().trailing_zeros();
        let place = if bits == 0 { 0 } else { hash >> (64 - bits) };
        self.directory[usize::try_from(place).unwrap_or(0)]
    }
}
