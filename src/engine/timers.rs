//! When each identity of a shard is looked at, and what is decided then.

use super::facts::Life;
use super::planted::Planted;
use super::rules::Terms;
use super::shard::{Context, Due, Shard, TOMBSTONE_MS};
use super::table::{Slot, State, flag};
use super::time::{Millis, Timestamp};

/// A decision that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    pub(crate) deadline: Timestamp,
    pub(crate) slot: Slot,
}

/// The largest spread of the deadlines after a gap: keeps a fleet from falling due together, and nobody waiting.
const MAX_SPREAD_MS: Millis = 60_000;

impl Shard {
    pub(crate) fn terms(&self, slot: Slot, context: Context<'_>) -> Terms {
        context.policy.terms_at(self.table.record(slot).rule)
    }

    /// The instants of a living identity; `None` for one that is deleted or not known at all.
    pub(crate) fn due(&self, slot: Slot, context: Context<'_>) -> Option<Due> {
        let terms = self.terms(slot, context);
        match self.facts(slot).life()? {
            Life::Heard { last_seen } => {
                Some(self.due_after(slot, last_seen, terms.window_ms, terms, context))
            }
            Life::Pending { since } => {
                let due = self.due_after(slot, since, terms.first_window_ms, terms, context);
                Some(Due { late_at: due.deadline, ..due })
            }
            Life::Deleted { .. } => None,
        }
    }

    pub(crate) fn due_after(
        &self,
        slot: Slot,
        armed_at: Timestamp,
        window_ms: Millis,
        terms: Terms,
        context: Context<'_>,
    ) -> Due {
        let first_deadline = armed_at.plus(window_ms).plus(terms.grace_ms);
        let is_put_off = match context.planted {
            Some(Planted::GapArmsNobody) => false,
            Some(Planted::GapArmsInside) => first_deadline < context.gap_end,
            Some(
                Planted::WheelOnlyLater
                | Planted::DuplicateRetracts
                | Planted::HoldNotHeld
                | Planted::HoldObserved
                | Planted::LateIsWitness,
            )
            | None => true,
        };
        let gap_end = context.gap_end.max(self.foreign_gap_end(slot, context));
        let deadline = if is_put_off && armed_at < gap_end {
            let after_gap = gap_end.plus(terms.window_ms).plus(terms.grace_ms);
            first_deadline.max(after_gap.plus(self.spread_ms(slot, terms.window_ms)))
        } else {
            first_deadline
        };
        Due { armed_at, late_at: deadline.minus(terms.grace_ms), first_deadline, deadline }
    }

    /// The end of the latest gap in which something of the identity may have been lost on another partition.
    pub(crate) fn foreign_gap_end(&self, slot: Slot, context: Context<'_>) -> Timestamp {
        let record = self.table.record(slot);
        if record.state == State::Pending {
            return context.foreign.latest_gap_end();
        }
        if record.flags & flag::ELSEWHERE == 0 {
            return Timestamp::MIN;
        }
        let elsewhere = self.beside.elsewhere.get(&slot);
        let others = elsewhere.into_iter().flat_map(|elsewhere| &elsewhere.others);
        let others = others.filter(|sighting| sighting.at > Timestamp::MIN);
        let ends = others.map(|sighting| context.foreign.gap_end_of(sighting.partition));
        ends.max().unwrap_or(Timestamp::MIN)
    }

    /// A share of up to an eighth of the window, fixed per identity (FNV-1a of its id).
    fn spread_ms(&self, slot: Slot, window_ms: Millis) -> Millis {
        let (device, module) = self.table.ids(slot);
        let bytes = device.bytes().chain(module.iter().flat_map(|module| module.bytes()));
        let hash = bytes
            .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
        i64::from(hash) % (window_ms / 8).clamp(1, MAX_SPREAD_MS)
    }

    /// Arms the wheel for the next instant at which the identity has to be looked at, unless it is armed for an earlier one.
    pub(crate) fn arm_next(&mut self, slot: Slot, context: Context<'_>) {
        let record = *self.table.record(slot);
        let next = match record.state {
            // Its home looks at it; only what was found before it became a guest is decided here.
            State::Pending | State::Online | State::Late if record.flags & flag::GUEST != 0 => None,
            State::Offline => None,
            State::Deleted => Some(self.facts(slot).deleted_at.plus(TOMBSTONE_MS)),
            State::Pending | State::Online => self.due(slot, context).map(|due| due.late_at),
            State::Late => self.due(slot, context).map(|due| due.deadline),
        };
        let crossing = (record.flags & flag::CROSSING != 0)
            .then(|| {
                self.beside
                    .crossings
                    .get(&slot)?
                    .iter()
                    .map(|crossing| crossing.judged.deadline)
                    .min()
            })
            .flatten();
        let judgeable_until = (record.flags & flag::PUT_OFF != 0
            && record.flags & flag::UNJUDGEABLE == 0)
            .then(|| self.due(slot, context).map(|due| self.unjudgeable_at(slot, due, context)))
            .flatten();
        let earliest = [next, crossing, judgeable_until].into_iter().flatten().min();
        if let Some(at) = earliest {
            self.arm(slot, tick_of(at, context.tick_ms), context);
        }
    }

    fn arm(&mut self, slot: Slot, tick: u64, context: Context<'_>) {
        let now = self.wheel.now();
        let armed = self.table.armed(slot);
        // The record keeps 32 bits, of which zero says "not armed": that tick, once in 13 years, is passed over.
        let tick = if low_bits(tick) == 0 { tick + 1 } else { tick };
        let distance = u64::from(armed.wrapping_sub(low_bits(now)));
        let comes_forward = context.planted != Some(Planted::WheelOnlyLater);
        if armed == 0 || (tick < now + distance && comes_forward) {
            let tick = self.wheel.arm(slot, tick);
            self.table.set_armed(slot, low_bits(tick));
        }
    }

    /// The wheel has reached some entries. What they need is asked for all at once.
    pub(crate) fn visit_all(
        &mut self,
        slots: &[Slot],
        tick: u64,
        context: Context<'_>,
        decisions: &mut Vec<Decision>,
    ) {
        for &slot in slots {
            self.table.prefetch_armed(slot);
            self.table.prefetch_record(slot);
        }
        for &slot in slots {
            self.visit(slot, tick, context, decisions);
        }
    }

    /// The wheel has reached an entry. What has to be decided is added to `decisions`; everything else is done here.
    pub(crate) fn visit(
        &mut self,
        slot: Slot,
        tick: u64,
        context: Context<'_>,
        decisions: &mut Vec<Decision>,
    ) {
        if self.table.armed(slot) != low_bits(tick) {
            return;
        }
        self.table.set_armed(slot, 0);
        let record = *self.table.record(slot);
        if record.state == State::Online
            && record.flags == 0
            && let Some(due) = self.due(slot, context)
            && due.late_at.min(due.first_deadline) > context.clock
        {
            // The usual case: it has been heard since, and has nothing beside its record.
            self.arm(slot, tick_of(due.late_at, context.tick_ms), context);
            return;
        }
        match record.state {
            // Its home looks at it.
            State::Pending | State::Online | State::Late if record.flags & flag::GUEST != 0 => {}
            State::Offline => {}
            State::Deleted => {
                if context.clock.since(self.facts(slot).deleted_at) >= TOMBSTONE_MS {
                    self.forget(slot);
                    return;
                }
            }
            State::Pending | State::Online | State::Late => {
                if let Some(due) = self.due(slot, context) {
                    self.look_at(slot, due, context, decisions);
                }
            }
        }
        if let Some(crossings) = self.beside.crossings.get(&slot) {
            let passed =
                crossings.iter().filter(|crossing| crossing.judged.deadline <= context.clock);
            decisions.extend(
                passed.map(|crossing| Decision { deadline: crossing.judged.deadline, slot }),
            );
        }
        self.arm_next(slot, context);
    }

    pub(crate) fn look_at(
        &mut self,
        slot: Slot,
        due: Due,
        context: Context<'_>,
        decisions: &mut Vec<Decision>,
    ) {
        let record = *self.table.record(slot);
        if record.state == State::Online && due.late_at <= context.clock {
            self.set_state(slot, State::Late);
        }
        if due.deadline <= context.clock {
            decisions.push(Decision { deadline: due.deadline, slot });
            return;
        }
        if due.first_deadline <= context.clock {
            let unjudgeable = self.unjudgeable_at(slot, due, context) <= context.clock;
            let record = self.table.record_mut(slot);
            if unjudgeable && record.flags & flag::UNJUDGEABLE == 0 {
                record.flags |= flag::UNJUDGEABLE;
                self.unjudgeable += 1;
            }
            record.flags |= flag::PUT_OFF;
        }
    }

    /// When an identity that gaps put off time and again counts as one that can't be judged.
    fn unjudgeable_at(&self, slot: Slot, due: Due, context: Context<'_>) -> Timestamp {
        due.first_deadline.plus(2 * self.terms(slot, context).window_ms)
    }

    pub(crate) fn clear_put_off(&mut self, slot: Slot) {
        let record = self.table.record_mut(slot);
        if record.flags & flag::UNJUDGEABLE != 0 {
            self.unjudgeable -= 1;
        }
        record.flags &= !(flag::PUT_OFF | flag::UNJUDGEABLE);
    }

    /// Forgets an identity altogether.
    pub(crate) fn forget(&mut self, slot: Slot) {
        let key = self.table.key(slot);
        if self.table.record(slot).is_module()
            && let Some(device) = self.table.find(&key.of_device())
            && let Some(modules) = self.beside.modules.get_mut(&device)
        {
            modules.retain(|&module| module != slot);
        }
        self.clear_put_off(slot);
        self.counts[self.table.record(slot).state as usize] -= 1;
        self.beside.remove(slot);
        self.table.remove(slot);
    }
}

pub(crate) fn tick_of(at: Timestamp, tick_ms: Millis) -> u64 {
    let ms = at.as_ms().max(0);
    u64::try_from(ms / tick_ms + i64::from(ms % tick_ms != 0)).unwrap_or(0)
}

fn low_bits(tick: u64) -> u32 {
    u32::try_from(tick & u64::from(u32::MAX)).unwrap_or(0)
}
