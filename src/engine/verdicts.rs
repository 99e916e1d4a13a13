//! Verdicts: what is decided when a deadline has passed, and what a heartbeat read later makes of it.

use super::beside::{Crossing, MAX_CROSSINGS, Verdict};
use super::facts::Facts;
use super::planted::Planted;
use super::shard::{Context, Due, Output, Shard};
use super::signal::Gap;
use super::table::{Slot, State, flag};
use super::time::Timestamp;
use super::timers::Decision;
use super::transition::{Cause, Judged, LastSignal, Outage, ResolvedBy, TransitionKind};

impl Shard {
    /// Takes a decision that was found due, if it still is. Returns whether anything was decided.
    pub(crate) fn decide(
        &mut self,
        decision: Decision,
        context: Context<'_>,
        out: &mut Output,
    ) -> bool {
        let Decision { slot, deadline } = decision;
        if self.decide_crossing(slot, deadline, context, out) {
            return true;
        }
        let state = self.table.record(slot).state;
        let living = match state {
            State::Pending | State::Online | State::Late => self.due(slot, context),
            State::Offline | State::Deleted => None,
        };
        let Some(due) = living.filter(|due| due.deadline <= context.clock) else {
            return false;
        };
        let is_pending = state == State::Pending;
        if !self.observed_elsewhere_too(slot, due.deadline, is_pending, context) {
            return false; // it is armed for the next tick
        }
        let outage = self.outage(slot, due, context);
        self.clear_put_off(slot);
        self.set_state(slot, State::Offline);
        self.remember(slot, Verdict { outage, ended_at: None });
        self.emit(slot, TransitionKind::Offline, outage, context, out);
        true
    }

    /// The clock has reached the deadline before a heartbeat that was read already: outage and end go out together.
    fn decide_crossing(
        &mut self,
        slot: Slot,
        deadline: Timestamp,
        context: Context<'_>,
        out: &mut Output,
    ) -> bool {
        let Some(crossings) = self.beside.crossings.get_mut(&slot) else {
            return false;
        };
        let passed = crossings.iter().position(|crossing| {
            crossing.judged.deadline == deadline && crossing.judged.deadline <= context.clock
        });
        let Some(index) = passed else { return false };
        let was_pending = crossings[index].last_signal.is_none();
        if !self.observed_elsewhere_too(slot, deadline, was_pending, context) {
            return false; // it is armed for the next tick
        }
        let Some(crossings) = self.beside.crossings.get_mut(&slot) else { return false };
        let crossing = crossings.remove(index);
        if crossings.is_empty() {
            self.beside.crossings.remove(&slot);
            self.table.record_mut(slot).flags &= !flag::CROSSING;
        }
        if crossing.judged.armed_at < self.foreign_gap_end(slot, context) {
            return false;
        }
        let due = Due {
            armed_at: crossing.judged.armed_at,
            late_at: deadline,
            first_deadline: deadline,
            deadline,
        };
        let outage =
            Outage { last_signal: crossing.last_signal, ..self.outage(slot, due, context) };
        let outage = match crossing.last_signal {
            Some(_) => outage,
            None => Outage { cause: Cause::NeverSeen, ..outage },
        };
        self.remember(slot, Verdict { outage, ended_at: Some(crossing.first_later) });
        self.emit(slot, TransitionKind::Offline, outage, context, out);
        let end = TransitionKind::Resolved { at: crossing.first_later, by: ResolvedBy::Heartbeat };
        self.emit(slot, end, outage, context, out);
        true
    }

    pub(crate) fn remember(&mut self, slot: Slot, verdict: Verdict) {
        self.beside.forget_verdicts(slot, verdict.outage.judged.deadline);
        self.beside.remember(slot, verdict);
        self.table.record_mut(slot).flags |= flag::JUDGED;
    }

    fn outage(&self, slot: Slot, due: Due, context: Context<'_>) -> Outage {
        let record = self.table.record(slot);
        let terms = self.terms(slot, context);
        let pending = record.state == State::Pending;
        Outage {
            judged: Judged { armed_at: due.armed_at, deadline: due.deadline },
            first_armed_at: due.armed_at,
            cause: self.cause(slot, due.armed_at),
            window_ms: if pending { terms.first_window_ms } else { terms.window_ms },
            grace_ms: terms.grace_ms,
            rule: record.rule,
            last_signal: (!pending)
                .then_some(LastSignal { sequence: record.sequence(), event_time: due.armed_at }),
            generation: record.generation,
            route_unproven: self.route_unproven(slot, due.deadline, context),
        }
    }

    /// Whether nobody else of the hub was heard in the last half of the window before `deadline`.
    fn route_unproven(&self, slot: Slot, deadline: Timestamp, context: Context<'_>) -> bool {
        let device = self.table.key(slot).of_device().device_hash();
        let witness_from = self.witness_from(Decision { slot, deadline }, context);
        let here = context.route.last_of_others(self.table.record(slot).hub, device);
        here.is_none_or(|at| at < witness_from)
            && !context.witnesses.heard_elsewhere(witness_from, deadline)
    }

    /// From when on somebody else has to have been heard.
    pub(crate) fn witness_from(&self, decision: Decision, context: Context<'_>) -> Timestamp {
        decision.deadline.minus(self.terms(decision.slot, context).window_ms / 2)
    }

    /// Whether a decision is due: about somebody who is silent, or was.
    pub(crate) fn is_verdict(&self, decision: Decision, context: Context<'_>) -> bool {
        let Decision { slot, .. } = decision;
        self.beside.crossings.contains_key(&slot) || self.is_due(slot, context)
    }

    fn is_due(&self, slot: Slot, context: Context<'_>) -> bool {
        let is_living =
            matches!(self.table.record(slot).state, State::Pending | State::Online | State::Late);
        is_living && self.due(slot, context).is_some_and(|due| due.deadline <= context.clock)
    }

    fn cause(&self, slot: Slot, armed_at: Timestamp) -> Cause {
        if self.table.record(slot).state == State::Pending {
            return Cause::NeverSeen;
        }
        if self.beside.last_wills.get(&slot).is_some_and(|&will| will >= armed_at) {
            return Cause::LastWill;
        }
        match self.beside.connections.get(&slot) {
            Some(connection) if connection.connected => Cause::ConnectedButSilent,
            Some(connection) if connection.at >= armed_at => Cause::Disconnected,
            Some(_) | None => Cause::Silent,
        }
    }

    /// Tests a heartbeat against the verdicts that are kept: one dated inside a judged window proves that verdict false.
    pub(crate) fn disprove(
        &mut self,
        slot: Slot,
        heard: &Facts,
        context: Context<'_>,
        out: &mut Output,
    ) {
        if self.table.record(slot).flags & flag::JUDGED == 0 {
            return;
        }
        let at = heard.last_seen;
        if self.beside.forget_verdicts(slot, context.clock) {
            self.table.record_mut(slot).flags &= !flag::JUDGED;
            return;
        }
        let Some(verdicts) = self.beside.verdicts.get_mut(&slot) else { return };
        for verdict in verdicts.iter_mut().filter(|known| at > known.outage.judged.deadline) {
            verdict.ended_at = verdict.ended_at.map(|ended_at| ended_at.min(at));
        }
        let repeats = context.planted == Some(Planted::DuplicateRetracts);
        let disproved = verdicts.iter().rposition(|verdict| {
            disproves(heard, &verdict.outage)
                || (repeats && heard.last_seen == verdict.outage.judged.armed_at)
        });
        let Some(index) = disproved else { return };
        let Verdict { outage: told, ended_at } = verdicts[index];
        let terms = self.terms(slot, context);
        let due = self.due_after(slot, at, terms.window_ms, terms, context);
        let still_an_outage = due.deadline < ended_at.unwrap_or(context.clock.plus(1));
        let outage = Outage {
            judged: Judged { armed_at: at, deadline: due.deadline },
            window_ms: terms.window_ms,
            last_signal: Some(LastSignal { sequence: heard.sequence, event_time: at }),
            cause: if told.cause == Cause::NeverSeen { Cause::Silent } else { told.cause },
            ..told
        };
        out.false_offline += 1;
        if still_an_outage {
            if let Some(verdicts) = self.beside.verdicts.get_mut(&slot) {
                verdicts[index].outage = outage;
            }
            self.emit(slot, TransitionKind::Amended { told: told.judged }, outage, context, out);
        } else {
            if let Some(verdicts) = self.beside.verdicts.get_mut(&slot) {
                verdicts.remove(index);
            }
            if ended_at.is_none() && self.table.record(slot).state == State::Offline {
                self.set_state(slot, State::Online);
            }
            self.emit(slot, TransitionKind::Retracted { heartbeat_at: at }, told, context, out);
        }
    }

    /// Silences that overlap a gap are none that was observed.
    pub(crate) fn forgive_gap(&mut self, gap: Gap) {
        let slots: Vec<Slot> = self.beside.crossings.keys().copied().collect();
        for slot in slots {
            self.keep_crossings(slot, |crossing| {
                crossing.judged.armed_at >= gap.until || crossing.first_later <= gap.from
            });
        }
    }

    /// Under rules that wait longer than those by which they were noted, crossings are due later, or are none.
    pub(crate) fn renew_crossings(&mut self, slot: Slot, context: Context<'_>) {
        let terms = self.terms(slot, context);
        let Some(crossings) = self.beside.crossings.get_mut(&slot) else { return };
        for Crossing { judged, last_signal, .. } in crossings {
            let window_ms = match last_signal {
                Some(_) => terms.window_ms,
                None => terms.first_window_ms,
            };
            let least = judged.armed_at.plus(window_ms).plus(terms.grace_ms);
            judged.deadline = judged.deadline.max(least);
        }
        self.keep_crossings(slot, |crossing| crossing.first_later > crossing.judged.deadline);
    }

    /// Drops all other crossings of an identity.
    pub(crate) fn keep_crossings(&mut self, slot: Slot, keeps: impl Fn(&Crossing) -> bool) {
        let Some(crossings) = self.beside.crossings.get_mut(&slot) else { return };
        crossings.retain(keeps);
        if crossings.is_empty() {
            self.beside.crossings.remove(&slot);
            self.table.record_mut(slot).flags &= !flag::CROSSING;
        }
    }

    /// Takes note of a heartbeat that is later than its identity's own deadline, which the clock has not reached; or
    /// cancels or moves such a note for a heartbeat dated in between.
    pub(crate) fn cross(&mut self, slot: Slot, heard: &Facts, context: Context<'_>) {
        let at = heard.last_seen;
        if self.table.record(slot).flags & flag::CROSSING != 0 {
            let terms = self.terms(slot, context);
            let next = self.due_after(slot, at, terms.window_ms, terms, context);
            let crossings = self.beside.crossings.entry(slot).or_default();
            for crossing in crossings.iter_mut() {
                if at > crossing.judged.armed_at && at <= crossing.judged.deadline {
                    crossing.judged = Judged { armed_at: at, deadline: next.deadline };
                    crossing.last_signal =
                        Some(LastSignal { sequence: heard.sequence, event_time: at });
                } else if at > crossing.judged.deadline && at < crossing.first_later {
                    crossing.first_later = at;
                }
            }
            self.keep_crossings(slot, |crossing| crossing.first_later > crossing.judged.deadline);
        }
        let record = *self.table.record(slot);
        let living = matches!(record.state, State::Pending | State::Online | State::Late);
        let Some(due) = self.due(slot, context).filter(|_| living) else {
            return;
        };
        if at > due.deadline && record.flags & flag::GUEST == 0 {
            let crossings = self.beside.crossings.entry(slot).or_default();
            if crossings.len() < MAX_CROSSINGS {
                crossings.push(Crossing {
                    judged: Judged { armed_at: due.armed_at, deadline: due.deadline },
                    last_signal: (record.state != State::Pending).then_some(LastSignal {
                        sequence: record.sequence(),
                        event_time: due.armed_at,
                    }),
                    first_later: at,
                });
            }
            self.table.record_mut(slot).flags |= flag::CROSSING;
        }
    }
}

/// A heartbeat after the one that armed the verdict and not after its deadline; for a verdict of "never seen", any.
fn disproves(heard: &Facts, outage: &Outage) -> bool {
    let at = heard.last_seen;
    let same_life = !heard.generation.is_known()
        || !outage.generation.is_known()
        || heard.generation == outage.generation;
    let after = at > outage.judged.armed_at || outage.cause == Cause::NeverSeen;
    same_life && after && at <= outage.judged.deadline
}
