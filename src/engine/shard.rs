//! A shard of a partition's table: applies what is read, and knows when each identity has to be looked at again.

use std::sync::Arc;

use super::beside::{Beside, Connection};
use super::change::Change;
use super::facts::{Facts, Life};
use super::identity::Identity;
use super::key::Key;
use super::look_ahead::Sighted;
use super::rules::{Policy, ProofOfLife, Terms};
use super::signal::{Generation, Signal, SignalKind};
use super::table::{Slot, State, Table, flag};
use super::time::{Millis, Timestamp};
use super::transition::{Outage, ResolvedBy, Transition, TransitionKind};
use super::wheel::Wheel;

/// How long a deleted identity is remembered: longer than any hub keeps messages (7 days, "Read device-to-cloud
/// messages from the built-in endpoint"), so that what was sent before the deletion can't revive it.
pub(crate) const TOMBSTONE_MS: Millis = 8 * 86_400_000;

/// What a shard needs to know of its partition.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    pub(crate) policy: &'a Policy,
    pub(crate) hubs: &'a [Arc<str>],
    pub(crate) tick_ms: Millis,
    pub(crate) clock: Timestamp,
    pub(crate) gap_end: Timestamp,
    pub(crate) route: &'a super::route::RouteWitness,
    pub(crate) witnesses: &'a super::hold::Witnesses,
    pub(crate) foreign: &'a super::placement::ForeignClocks,
    /// No identity can be added.
    pub(crate) full: bool,
    /// There is no log from which messages could be read again: what they say has to be kept.
    pub(crate) keeps_messages: bool,
    /// Of tests.
    pub(crate) planted: Option<super::planted::Planted>,
}

/// What a shard decides.
#[derive(Debug, Default)]
pub struct Output {
    /// Changes of state, in order.
    pub transitions: Vec<Transition>,
    /// What a journal has to keep, in order; the transitions are among them.
    pub changes: Vec<Change>,
    /// Spans in which nothing can be known.
    pub gaps: Vec<super::signal::Gap>,
    /// What other partitions have to be told before more is applied.
    pub tidings: Vec<super::placement::Tiding>,
    /// Verdicts that a heartbeat read later proved false.
    pub false_offline: u64,
    /// Signals about identities that there was no room for.
    pub not_admitted: u64,
}

/// The instants at which a living identity is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Due {
    /// The proof of life, or the creation, that armed it.
    pub(crate) armed_at: Timestamp,
    /// The end of its window.
    pub(crate) late_at: Timestamp,
    /// Its deadline without any gap.
    pub(crate) first_deadline: Timestamp,
    /// Its deadline.
    pub(crate) deadline: Timestamp,
}

pub(crate) struct Shard {
    pub(crate) table: Table,
    pub(crate) wheel: Wheel,
    pub(crate) beside: Beside,
    /// Identities by state.
    pub(crate) counts: [u64; State::ALL.len()],
    /// Identities that gaps have put off for two windows.
    pub(crate) unjudgeable: u64,
}

impl Shard {
    pub(crate) fn new(hasher: foldhash::fast::FixedState, tick: u64) -> Self {
        Self {
            table: Table::new(hasher),
            wheel: Wheel::new(tick),
            beside: Beside::default(),
            counts: [0; State::ALL.len()],
            unjudgeable: 0,
        }
    }

    /// The hot path: a heartbeat of a known device in the normal run of things. Nothing but its record is touched. False,
    /// and nothing done, if there is more to it.
    #[inline]
    pub(crate) fn beat(
        &mut self,
        sighted: &Sighted<'_>,
        signal: &Signal<'_>,
        at: Timestamp,
        sequence: i64,
        policy: &Policy,
    ) -> bool {
        let Sighted { key, slot } = sighted;
        let Some(slot) = self.table.find_again(key, *slot) else { return false };
        let record = self.table.record_mut(slot);
        let terms = policy.terms_at(record.rule);
        proves_life(terms.proof_of_life, signal.conditions)
            && record.beat(at, sequence, signal.generation, terms)
    }

    /// Applies a signal. Returns the slots it created: other partitions may know them already.
    pub(crate) fn apply(
        &mut self,
        key: &Key<'_>,
        signal: &Signal<'_>,
        at: Timestamp,
        sequence: i64,
        context: Context<'_>,
        out: &mut Output,
    ) -> [Option<Slot>; 2] {
        let mut created = [None, None];
        let about_module = signal.identity.module.is_some();
        // A device has no say over itself through its modules, except that what they send proves it alive.
        let speaks_for_device = !about_module || signal.kind == SignalKind::Telemetry;
        if speaks_for_device {
            let identity = super::IdentityRef { module: None, ..signal.identity };
            let key = key.of_device();
            // The stamp on a module's message is the module's own generation.
            let generation = if about_module { Generation::UNKNOWN } else { signal.generation };
            let signal = &Signal { generation, ..*signal };
            created[0] = self.apply_to(&key, identity, signal, at, sequence, context, out);
        }
        if about_module {
            created[1] = self.apply_to(key, signal.identity, signal, at, sequence, context, out);
        }
        created
    }

    #[expect(clippy::too_many_arguments, reason = "one call from `apply`, which has them all")]
    fn apply_to(
        &mut self,
        key: &Key<'_>,
        identity: super::IdentityRef<'_>,
        signal: &Signal<'_>,
        at: Timestamp,
        sequence: i64,
        context: Context<'_>,
        out: &mut Output,
    ) -> Option<Slot> {
        let known = self.table.find(key);
        let (rule, terms) = match known {
            Some(slot) => {
                let rule = self.table.record(slot).rule;
                (rule, context.policy.terms_at(rule))
            }
            None => context.policy.terms(identity)?,
        };
        if signal.kind == SignalKind::Telemetry {
            if !proves_life(terms.proof_of_life, signal.conditions) {
                return None;
            }
            if let Some(slot) = known {
                if context.keeps_messages {
                    let facts = Facts::heard(at, sequence, signal.generation);
                    out.changes.push(Change::Learned { identity: identity.to_owned(), facts });
                }
                self.heard(slot, at, sequence, signal.generation, terms, context, out);
                return None;
            }
        }
        let delta = match signal.kind {
            SignalKind::Telemetry => Facts::heard(at, sequence, signal.generation),
            SignalKind::Created => Facts::created(at),
            SignalKind::Deleted => Facts::deleted(at),
            SignalKind::Connected(_) | SignalKind::Disconnected(_) | SignalKind::LastWill => {
                self.note_evidence(known?, signal.kind, at);
                if context.keeps_messages {
                    let identity = identity.to_owned();
                    out.changes.push(Change::Evidence { identity, kind: signal.kind, at });
                }
                return None;
            }
        };
        if known.is_none() && context.full {
            out.not_admitted += 1;
            return None;
        }
        if context.keeps_messages {
            out.changes.push(Change::Learned { identity: identity.to_owned(), facts: delta });
        }
        let slot = known.unwrap_or_else(|| self.insert(key, rule, identity.module.is_some()));
        self.learn(slot, &delta, context, out);
        known.is_none().then_some(slot)
    }

    /// Adds an identity; a module inherits its device's deletion.
    pub(crate) fn insert(&mut self, key: &Key<'_>, rule: u16, is_module: bool) -> Slot {
        let slot = self.table.insert(key, rule);
        self.counts[State::Pending as usize] += 1;
        if is_module {
            self.link_module(slot, key);
        } else {
            self.adopt_orphans(slot, key);
        }
        slot
    }

    fn link_module(&mut self, slot: Slot, key: &Key<'_>) {
        let Some(device) = self.table.find(&key.of_device()) else {
            self.beside.orphans.insert(slot);
            return;
        };
        self.beside.modules.entry(device).or_default().push(slot);
        if let Some(&(_, deleted_at)) = self.beside.lifecycle.get(&device)
            && deleted_at > Timestamp::MIN
        {
            self.beside.lifecycle.insert(slot, (Timestamp::MIN, deleted_at));
        }
    }

    /// A device that was not known: its modules may have been.
    fn adopt_orphans(&mut self, device: Slot, key: &Key<'_>) {
        let Self { beside, table, .. } = self;
        let is_own = |slot: &Slot| table.key(*slot).of_device().is(key);
        let own: Vec<Slot> = beside.orphans.iter().copied().filter(is_own).collect();
        for slot in own {
            beside.orphans.remove(&slot);
            beside.modules.entry(device).or_default().push(slot);
        }
    }

    /// Life was proved.
    #[expect(clippy::too_many_arguments, reason = "one call from `apply_to`, which has them all")]
    pub(crate) fn heard(
        &mut self,
        slot: Slot,
        at: Timestamp,
        sequence: i64,
        generation: Generation,
        terms: Terms,
        context: Context<'_>,
        out: &mut Output,
    ) {
        let record = self.table.record_mut(slot);
        if record.beat(at, sequence, generation, terms) {
            return;
        }
        if record.flags & flag::ELSEWHERE != 0
            && let Some(elsewhere) = self.beside.elsewhere.get_mut(&slot)
        {
            elsewhere.here = elsewhere.here.max(at);
        }
        let facts = Facts::heard(at, sequence, generation);
        if self.table.record(slot).flags & flag::GUEST != 0 {
            self.pass_on(slot, facts, context, out);
        }
        self.disprove(slot, &facts, context, out);
        self.cross(slot, &facts, context);
        self.learn(slot, &facts, context, out);
    }

    /// Joins new facts with what is known, and draws the conclusions.
    pub(crate) fn learn(
        &mut self,
        slot: Slot,
        delta: &Facts,
        context: Context<'_>,
        out: &mut Output,
    ) {
        let before = self.facts(slot);
        let mut after = before;
        after.merge(delta);
        if after != before {
            self.table.set_facts(slot, &after);
            self.beside.store_lifecycle(slot, &after);
            self.settle(slot, &before, &after, context, out);
        }
        if after.deleted_at > before.deleted_at
            && let Some(modules) = self.beside.modules.get(&slot)
        {
            for module in modules.clone() {
                self.learn(module, &Facts::deleted(after.deleted_at), context, out);
            }
        }
    }

    pub(crate) fn facts(&self, slot: Slot) -> Facts {
        self.beside.complete(slot, self.table.facts(slot))
    }

    /// Brings the state into line with the facts.
    fn settle(
        &mut self,
        slot: Slot,
        before: &Facts,
        after: &Facts,
        context: Context<'_>,
        out: &mut Output,
    ) {
        let state = self.table.record(slot).state;
        let moved_on = after.last_seen > before.last_seen;
        let next = match (state, after.life()) {
            (_, None) => return,
            (_, Some(Life::Deleted { .. })) => State::Deleted,
            (_, Some(Life::Pending { .. })) => State::Pending,
            (State::Offline, Some(Life::Heard { last_seen }))
                if !self.ends_outage(slot, last_seen) =>
            {
                return;
            }
            (State::Late, Some(Life::Heard { .. })) if !moved_on => return,
            (_, Some(Life::Heard { .. })) => State::Online,
        };
        if state == State::Offline && next != State::Offline {
            let by = match next {
                State::Deleted => ResolvedBy::Deleted,
                State::Pending => ResolvedBy::Recreated,
                State::Online | State::Late | State::Offline
                    if before.generation.is_known() && before.generation != after.generation =>
                {
                    ResolvedBy::Recreated
                }
                State::Online | State::Late | State::Offline => ResolvedBy::Heartbeat,
            };
            let at = match next {
                State::Deleted => after.deleted_at,
                State::Pending => after.created_at,
                State::Online | State::Late | State::Offline => after.last_seen,
            };
            if by == ResolvedBy::Recreated {
                // What ended it says less than what is known by now, and the log may not hold that any more.
                let identity = self.identity(slot, context.hubs);
                out.changes.push(Change::Learned { identity, facts: *after });
            }
            self.end_outage(slot, at, by, context, out);
        }
        if next == State::Deleted {
            self.beside.crossings.remove(&slot);
            self.table.record_mut(slot).flags &= !flag::CROSSING;
        }
        if moved_on || next != state {
            self.clear_put_off(slot);
        }
        self.set_state(slot, next);
        self.arm_next(slot, context);
    }

    /// Whether a proof of life at `last_seen` ends the open outage: one inside its window has amended it instead.
    fn ends_outage(&mut self, slot: Slot, last_seen: Timestamp) -> bool {
        self.beside
            .open_verdict(slot)
            .is_none_or(|verdict| last_seen > verdict.outage.judged.deadline)
    }

    pub(crate) fn end_outage(
        &mut self,
        slot: Slot,
        at: Timestamp,
        by: ResolvedBy,
        context: Context<'_>,
        out: &mut Output,
    ) {
        let Some(verdict) = self.beside.open_verdict(slot) else {
            return;
        };
        verdict.ended_at = Some(at);
        let outage = verdict.outage;
        self.emit(slot, TransitionKind::Resolved { at, by }, outage, context, out);
    }

    pub(crate) fn emit(
        &self,
        slot: Slot,
        kind: TransitionKind,
        outage: Outage,
        context: Context<'_>,
        out: &mut Output,
    ) {
        let identity = self.identity(slot, context.hubs);
        let transition = Transition { identity, kind, outage, decided_at: context.clock };
        out.changes.push(Change::Decided(transition.clone()));
        out.transitions.push(transition);
    }

    pub(crate) fn identity(&self, slot: Slot, hubs: &[Arc<str>]) -> Identity {
        let (device, module) = self.table.ids(slot);
        let hub = hubs.get(usize::from(self.table.record(slot).hub)).cloned().unwrap_or_default();
        Identity { hub, device, module }
    }

    pub(crate) fn set_state(&mut self, slot: Slot, state: State) {
        let record = self.table.record_mut(slot);
        self.counts[record.state as usize] -= 1;
        self.counts[state as usize] += 1;
        record.state = state;
    }

    /// Takes a record over from a shard that is being split.
    pub(crate) fn adopt(&mut self, old: &mut Self, slot: Slot, context: Context<'_>) -> Slot {
        let own = self.table.adopt(&old.table, slot);
        let record = self.table.record(own);
        self.counts[record.state as usize] += 1;
        self.unjudgeable += u64::from(record.flags & flag::UNJUDGEABLE != 0);
        old.beside.move_to(slot, &mut self.beside, own);
        self.arm_next(own, context);
        own
    }

    /// Finds the modules of each device, after a split.
    pub(crate) fn link_modules(&mut self) {
        self.beside.modules.clear();
        self.beside.orphans.clear();
        for slot in self.table.slots() {
            if !self.table.record(slot).is_module() {
                continue;
            }
            match self.table.find(&self.table.key(slot).of_device()) {
                Some(device) => self.beside.modules.entry(device).or_default().push(slot),
                None => {
                    self.beside.orphans.insert(slot);
                }
            }
        }
    }

    /// Bytes held, without the allocator's own and the side tables.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.table.memory_bytes() + self.wheel.memory_bytes()
    }

    pub(crate) fn note_evidence(&mut self, slot: Slot, kind: SignalKind, at: Timestamp) {
        let (sequence, connected) = match kind {
            SignalKind::Connected(sequence) => (sequence, true),
            SignalKind::Disconnected(sequence) => (sequence, false),
            SignalKind::LastWill => {
                let will = self.beside.last_wills.entry(slot).or_insert(at);
                *will = (*will).max(at);
                return;
            }
            SignalKind::Telemetry | SignalKind::Created | SignalKind::Deleted => return,
        };
        let newer =
            self.beside.connections.get(&slot).is_none_or(|known| known.sequence < sequence);
        if newer {
            self.beside.connections.insert(slot, Connection { sequence, connected, at });
        }
    }
}

pub(crate) fn proves_life(proof: ProofOfLife, conditions: u32) -> bool {
    match proof {
        ProofOfLife::Any => true,
        ProofOfLife::Condition(bit) => conditions & (1 << (bit % 32)) != 0,
    }
}
