//! Brings a partition back to where it was: what its log says is read again without judging anybody, and what was decided
//! is taken from the journal.
//!
//! Until [`Partition::resume`] nothing fires, and nothing is told: every verdict of that time was taken before, is among the
//! [`Change`]s, and may have been told. So it doesn't matter how often that happens, under which rules, or whether the log
//! still holds everything.

use super::beside::{Sighting, Verdict};
use super::change::Change;
use super::clock::PartitionClock;
use super::facts::{Facts, Life};
use super::identity::IdentityRef;
use super::key::Key;
use super::partition::Partition;
use super::placement::{News, PartitionId, Reply};
use super::shard::{Context, Shard, proves_life};
use super::signal::{Gap, Generation, Message, Signal, SignalKind};
use super::table::{Slot, State, flag};
use super::time::Timestamp;
use super::timers::tick_of;
use super::transition::{ResolvedBy, Transition, TransitionKind};
use super::wheel::Wheel;

impl Partition {
    /// Takes up a message that was applied before: what it says is learned, and nothing follows from it.
    pub fn absorb(&mut self, message: &Message<'_>) {
        let (Some(signal), Some(at)) = (&message.signal, message.event_time) else { return };
        let about_module = signal.identity.module.is_some();
        if !about_module || signal.kind == SignalKind::Telemetry {
            let device = IdentityRef { module: None, ..signal.identity };
            let generation = if about_module { Generation::UNKNOWN } else { signal.generation };
            self.absorb_about(device, &Signal { generation, ..*signal }, at, message.sequence);
        }
        if about_module {
            self.absorb_about(signal.identity, signal, at, message.sequence);
        }
    }

    fn absorb_about(
        &mut self,
        identity: IdentityRef<'_>,
        signal: &Signal<'_>,
        at: Timestamp,
        sequence: i64,
    ) {
        let mut is_arrival = matches!(signal.kind, SignalKind::Created | SignalKind::Deleted);
        self.witness(identity, at);
        self.on_shard(identity, |shard, key, context| {
            let known = shard.table.find(key);
            is_arrival |= known.is_none();
            let terms = match known {
                Some(slot) => context.policy.terms_at(shard.table.record(slot).rule),
                None => context.policy.terms(identity)?.1,
            };
            let facts = match signal.kind {
                SignalKind::Telemetry if proves_life(terms.proof_of_life, signal.conditions) => {
                    Facts::heard(at, sequence, signal.generation)
                }
                SignalKind::Telemetry => return None,
                SignalKind::Created => Facts::created(at),
                SignalKind::Deleted => Facts::deleted(at),
                SignalKind::Connected(_) | SignalKind::Disconnected(_) | SignalKind::LastWill => {
                    shard.note_evidence(known?, signal.kind, at);
                    return None;
                }
            };
            shard.absorb(key, identity, &facts, context)
        });
        if is_arrival {
            self.unannounced.arrivals.push((identity.to_owned(), Facts::NONE));
        }
    }

    /// What was heard shows that the route worked.
    fn witness(&mut self, identity: IdentityRef<'_>, at: Timestamp) {
        self.witnesses.hear(at, Timestamp::MIN);
        if let Some(hub) = self.hub_number(identity.hub) {
            let key = Key::new(&self.hasher, hub, identity.device, identity.module);
            self.route.heard(hub, key.device_hash(), at);
        }
    }

    /// Makes a change again that was made before. Changes come in their order, and each after the messages that were applied
    /// before it, as far as the log still has them.
    pub fn redo(&mut self, change: &Change) {
        match change {
            Change::Decided(transition) => {
                self.clock.set(transition.decided_at);
                self.on_shard(transition.identity.as_ref(), |shard, key, context| {
                    shard.decided_before(key, transition, context)
                });
            }
            Change::Gap(gap) => {
                self.clock.declare(*gap);
                self.forgive_gap(*gap);
            }
            Change::Untold => self.forget_what_is_over(),
            Change::Told { identity, from, news, here, given_up } => {
                self.on_shard(identity.as_ref(), |shard, key, context| {
                    shard.told_before(key, *from, news, *here, *given_up, context)
                });
            }
            Change::Answered { identity, by, reply } => {
                self.on_shard(identity.as_ref(), |shard, key, _| {
                    shard.answered_before(key, *by, reply)
                });
            }
            Change::Learned { identity, facts } => {
                let about = identity.as_ref();
                let is_of_registry = facts.last_seen == Timestamp::MIN;
                if !is_of_registry {
                    self.witness(about, facts.last_seen);
                }
                let mut is_arrival = is_of_registry;
                self.on_shard(about, |shard, key, context| {
                    is_arrival |= shard.table.find(key).is_none();
                    shard.absorb(key, about, facts, context)
                });
                if is_arrival {
                    self.unannounced.arrivals.push((identity.clone(), Facts::NONE));
                }
            }
            Change::Evidence { identity, kind, at } => {
                self.on_shard(identity.as_ref(), |shard, key, _| {
                    shard.note_evidence(shard.table.find(key)?, *kind, *at);
                    None
                });
            }
        }
    }

    /// Declares a gap in which heartbeats may have been lost that were known before: a silence that ended with a later one
    /// is none.
    pub fn lose(&mut self, gap: Gap) {
        self.clock.declare(gap);
        for shard in &mut self.shards {
            for slot in std::mem::take(&mut shard.beside.crossings).into_keys() {
                shard.table.record_mut(slot).flags &= !flag::CROSSING;
            }
        }
    }

    /// The log is read again from a place before the one that its clock has: what is in between is not known yet.
    pub fn go_back(&mut self, position: Option<i64>) {
        self.clock.go_back(position);
    }

    /// Ends the recovery: with the clock of the last record, if there is one, and with every timer armed. Until a receiver is
    /// attached the partition is blind.
    pub fn resume(&mut self, clock: Option<PartitionClock>) {
        self.unannounced.shared_from = Some((0, Slot::MIN));
        let settings = self.clock.settings();
        self.clock = clock.unwrap_or_else(|| self.clock.clone()).restored(settings);
        // A queue may have been read while its clock could not move at all.
        let Some(from) = self.clock.wheels_from() else { return };
        let tick = tick_of(from, settings.tick_ms);
        for index in 0..self.shards.len() {
            self.with_shard(index, |shard, context| shard.arm_all(tick, context));
        }
    }

    /// Acts on the shard of an identity, and splits it if that made it too large. Without effect where there is no room for
    /// another hub.
    pub(super) fn on_shard(
        &mut self,
        identity: IdentityRef<'_>,
        act: impl FnOnce(&mut Shard, &Key<'_>, Context<'_>) -> Option<Slot>,
    ) {
        let Some(hub) = self.hub_number(identity.hub) else { return };
        let key = Key::new(&self.hasher, hub, identity.device, identity.module);
        let index = self.shard_of(key.device_hash());
        let full =
            self.shards.len() >= self.max_shards && self.shards[index].table.len() >= self.capacity;
        self.with_shard(index, |shard, context| act(shard, &key, Context { full, ..context }));
        if self.shards[index].table.len() > self.capacity && self.shards.len() < self.max_shards {
            self.split(index);
        }
    }
}

impl Shard {
    /// Joins facts without drawing conclusions about outages. Returns the slot, `None` where there is no room or nothing to
    /// judge.
    fn absorb(
        &mut self,
        key: &Key<'_>,
        identity: IdentityRef<'_>,
        facts: &Facts,
        context: Context<'_>,
    ) -> Option<Slot> {
        let Some(slot) = self.table.find(key) else {
            let (rule, _) = context.policy.terms(identity)?;
            if context.full {
                return None;
            }
            let slot = self.insert(key, rule, identity.module.is_some());
            self.join(slot, facts);
            return Some(slot);
        };
        if facts.last_seen > Timestamp::MIN {
            if let Some(elsewhere) = self.beside.elsewhere.get_mut(&slot) {
                elsewhere.here = elsewhere.here.max(facts.last_seen);
            }
            self.absorb_heartbeat(slot, facts, context);
        }
        self.join(slot, facts);
        Some(slot)
    }

    /// What a heartbeat means for verdicts that are over and for crossings.
    fn absorb_heartbeat(&mut self, slot: Slot, facts: &Facts, context: Context<'_>) {
        let at = facts.last_seen;
        if let Some(verdicts) = self.beside.verdicts.get_mut(&slot) {
            for verdict in verdicts.iter_mut().filter(|known| at > known.outage.judged.deadline) {
                verdict.ended_at = verdict.ended_at.map(|ended_at| ended_at.min(at));
            }
        }
        self.cross(slot, facts, context);
    }

    fn join(&mut self, slot: Slot, facts: &Facts) {
        let before = self.facts(slot);
        let mut after = before;
        after.merge(facts);
        if after == before {
            return;
        }
        self.table.set_facts(slot, &after);
        self.beside.store_lifecycle(slot, &after);
        self.restate(slot);
        if after.deleted_at > before.deleted_at
            && let Some(modules) = self.beside.modules.get(&slot)
        {
            for module in modules.clone() {
                self.join(module, &Facts::deleted(after.deleted_at));
            }
        }
    }

    /// The state that follows from the facts; an outage ends only by decision.
    pub(super) fn restate(&mut self, slot: Slot) {
        let state = match (self.table.record(slot).state, self.facts(slot).life()) {
            (State::Offline, _) | (_, None) => return,
            (_, Some(Life::Deleted { .. })) => State::Deleted,
            (_, Some(Life::Pending { .. })) => State::Pending,
            (_, Some(Life::Heard { .. })) => State::Online,
        };
        if state == State::Deleted {
            self.beside.crossings.remove(&slot);
            self.table.record_mut(slot).flags &= !flag::CROSSING;
        }
        self.set_state(slot, state);
    }

    /// A decision that was taken before: state and verdicts are made to agree with it, whatever the facts say.
    fn decided_before(
        &mut self,
        key: &Key<'_>,
        transition: &Transition,
        context: Context<'_>,
    ) -> Option<Slot> {
        let identity = transition.identity.as_ref();
        let slot = match self.table.find(key) {
            Some(slot) => slot,
            None if context.full => return None,
            None => {
                let (rule, _) = context.policy.terms(identity)?;
                self.insert(key, rule, identity.module.is_some())
            }
        };
        let outage = transition.outage;
        match transition.kind {
            TransitionKind::Offline => {
                self.keep_crossings(slot, |crossing| {
                    crossing.judged.deadline > outage.judged.deadline
                });
                self.clear_put_off(slot);
                self.learn_what_armed(slot, transition);
                self.remember(slot, Verdict { outage, ended_at: None });
                self.set_state(slot, State::Offline);
            }
            TransitionKind::Resolved { at, by } => {
                for verdict in self.told_verdicts(slot, outage.first_armed_at) {
                    verdict.ended_at = Some(at);
                }
                match by {
                    ResolvedBy::Heartbeat => self.join(slot, &heard(at)),
                    ResolvedBy::Deleted => self.join(slot, &Facts::deleted(at)),
                    ResolvedBy::Recreated => {}
                }
                self.leave_offline(slot);
            }
            TransitionKind::Retracted { heartbeat_at } => {
                if let Some(verdicts) = self.beside.verdicts.get_mut(&slot) {
                    verdicts.retain(|known| known.outage.first_armed_at != outage.first_armed_at);
                }
                self.join(slot, &heard(heartbeat_at));
                self.leave_offline(slot);
            }
            TransitionKind::Amended { .. } => {
                for verdict in self.told_verdicts(slot, outage.first_armed_at) {
                    verdict.outage = outage;
                }
                self.join(slot, &heard(outage.judged.armed_at));
            }
        }
        Some(slot)
    }

    /// A verdict names what armed it: enough to know the identity by, if the log does not hold it any more.
    fn learn_what_armed(&mut self, slot: Slot, transition: &Transition) {
        let outage = &transition.outage;
        let facts = match outage.last_signal {
            Some(last) => Facts::heard(last.event_time, last.sequence, outage.generation),
            None => Facts::created(outage.judged.armed_at),
        };
        self.join(slot, &facts);
    }

    fn told_verdicts(
        &mut self,
        slot: Slot,
        first_armed_at: Timestamp,
    ) -> impl Iterator<Item = &mut Verdict> {
        let verdicts = self.beside.verdicts.get_mut(&slot);
        let all = verdicts.into_iter().flatten();
        all.filter(move |known| known.outage.first_armed_at == first_armed_at)
    }

    /// No outage is open any more.
    fn leave_offline(&mut self, slot: Slot) {
        let is_open = self.beside.open_verdict(slot).is_some();
        if !is_open && self.table.record(slot).state == State::Offline {
            self.set_state(slot, State::Online);
            self.restate(slot);
        }
    }

    fn told_before(
        &mut self,
        key: &Key<'_>,
        from: PartitionId,
        News { facts, is_again, is_open: _ }: &News,
        here: Timestamp,
        given_up: bool,
        context: Context<'_>,
    ) -> Option<Slot> {
        let slot = self.table.find(key)?;
        if given_up {
            self.forget(slot);
            return None;
        }
        if facts.last_seen > Timestamp::MIN {
            match is_again {
                true => self.forgive(slot, facts.last_seen),
                false => self.absorb_heartbeat(slot, facts, context),
            }
            self.note_sighting(slot, Sighting { partition: from, at: facts.last_seen }, here);
        }
        self.join(slot, facts);
        Some(slot)
    }

    fn answered_before(&mut self, key: &Key<'_>, by: PartitionId, reply: &Reply) -> Option<Slot> {
        let slot = self.table.find(key)?;
        match reply {
            Reply::Mine(known) => {
                self.become_guest(slot, by);
                self.forgive(slot, known.last_seen);
            }
            Reply::Yours(facts) => {
                self.become_home(slot);
                self.note_origin(slot, by);
                self.join(slot, facts);
            }
            Reply::Later => self.wait_for(slot, by),
            Reply::Unknown => {
                self.become_home(slot);
                self.wait_for(slot, by);
            }
        }
        Some(slot)
    }

    /// Arms every timer anew, with `tick` as the last one that has passed.
    fn arm_all(&mut self, tick: u64, context: Context<'_>) {
        self.wheel = Wheel::new(tick);
        let mut due_already = Vec::new();
        for slot in self.table.slots() {
            self.table.set_armed(slot, 0);
            self.renew_crossings(slot, context);
            let is_guest = self.table.record(slot).flags & flag::GUEST != 0;
            let living = match self.table.record(slot).state {
                State::Pending | State::Online | State::Late => !is_guest,
                State::Offline | State::Deleted => false,
            };
            if living && let Some(due) = self.due(slot, context) {
                self.look_at(slot, due, context, &mut due_already);
            }
            // Whoever is due already is decided with the next tick.
            self.arm_next(slot, context);
        }
    }
}

fn heard(at: Timestamp) -> Facts {
    Facts::heard(at, i64::MIN, Generation::UNKNOWN)
}
