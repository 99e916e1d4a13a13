//! A shard's part in placement: what it answers when another partition asks, and what it makes of an answer.

use super::beside::{Elsewhere, Sighting};
use super::change::Change;
use super::facts::Facts;
use super::key::Key;
use super::placement::{Audience, News, PartitionId, Reply, Tiding};
use super::shard::{Context, Output, Shard};
use super::table::{Slot, State, flag};
use super::time::{Millis, Timestamp};

/// How many windows a sighting places an identity on a partition.
const PLACED_WINDOWS: Millis = 3;

impl Shard {
    /// Another partition tells what it knows of an identity. If it is judged here, this joins what it was told and says
    /// who judges from now on.
    pub(crate) fn told(
        &mut self,
        key: &Key<'_>,
        from: PartitionId,
        news: &News,
        context: Context<'_>,
        out: &mut Output,
    ) -> Reply {
        let News { facts, is_again, is_open } = news;
        let Some(slot) = self.table.find(key) else {
            return Reply::Unknown;
        };
        if self.table.record(slot).flags & flag::GUEST != 0 {
            return Reply::Unknown;
        }
        let here = match self.beside.elsewhere.get(&slot) {
            Some(elsewhere) => elsewhere.here,
            None => self.table.record(slot).last_seen(),
        };
        let heard_there = facts.last_seen > Timestamp::MIN;
        if heard_there {
            self.disprove(slot, facts, context, out);
            match is_again {
                true => self.forgive(slot, facts.last_seen),
                false => self.cross(slot, facts, context),
            }
        }
        self.learn(slot, facts, context, out);
        let known = self.facts(slot);
        let placed_ms = self.terms(slot, context).window_ms * PLACED_WINDOWS;
        // It leaves a partition that was read, without it, for as long as it was heard elsewhere.
        let read_ms = context.clock.since(here.max(context.gap_end));
        let left_behind = facts.last_seen.since(here) > placed_ms && read_ms > placed_ms;
        let placed_here = here > Timestamp::MIN && !left_behind;
        let settled =
            matches!(self.table.record(slot).state, State::Pending | State::Online | State::Late)
                && self.table.record(slot).flags & flag::CROSSING == 0;
        let is_open_here = self.table.record(slot).state == State::Offline;
        // Who has told an outage has to tell its end.
        let given_up = (heard_there && !placed_here && settled) || (*is_open && !is_open_here);
        let identity = self.identity(slot, context.hubs);
        out.changes.push(Change::Told { identity, from, news: *news, here, given_up });
        if given_up {
            self.forget(slot);
            return Reply::Yours(known);
        }
        if heard_there {
            self.note_sighting(slot, Sighting { partition: from, at: facts.last_seen }, here);
        }
        Reply::Mine(known)
    }

    /// What was asked about `key` has been answered by `by`.
    pub(crate) fn answered(
        &mut self,
        key: &Key<'_>,
        by: PartitionId,
        reply: Reply,
        context: Context<'_>,
        out: &mut Output,
    ) {
        let Some(slot) = self.table.find(key) else {
            return;
        };
        let is_its_guest = self.beside.homes.get(&slot) == Some(&by);
        let changes = match reply {
            Reply::Mine(_) => !is_its_guest,
            Reply::Unknown => is_its_guest,
            Reply::Yours(_) | Reply::Later => true,
        };
        if changes {
            let identity = self.identity(slot, context.hubs);
            out.changes.push(Change::Answered { identity, by, reply });
        }
        match reply {
            Reply::Mine(known) => {
                self.become_guest(slot, by);
                self.forgive(slot, known.last_seen);
                let facts = self.facts(slot);
                if !is_its_guest && facts.last_seen > known.last_seen {
                    // It was heard while the question waited.
                    let identity = self.identity(slot, context.hubs);
                    let news = News::again(facts);
                    out.tidings.push(Tiding { identity, news, to: Audience::One(by) });
                }
            }
            Reply::Yours(facts) => {
                self.become_home(slot);
                self.note_origin(slot, by);
                self.learn(slot, &facts, context, out);
                self.arm_next(slot, context);
            }
            Reply::Later => self.wait_for(slot, by),
            Reply::Unknown => {
                if is_its_guest {
                    // It was heard there, even if that is not known there any more.
                    self.become_home(slot);
                    self.wait_for(slot, by);
                    self.arm_next(slot, context);
                    // It may have given the identity up to a third partition.
                    let (identity, facts) = (self.identity(slot, context.hubs), self.facts(slot));
                    let news = News::of(facts);
                    out.tidings.push(Tiding { identity, news, to: Audience::Everyone });
                }
            }
        }
    }

    /// What has to be told about a guest: only its home judges it.
    pub(crate) fn pass_on(&self, slot: Slot, facts: Facts, context: Context<'_>, out: &mut Output) {
        if let Some(&home) = self.beside.homes.get(&slot) {
            let identity = self.identity(slot, context.hubs);
            let news = News::of(facts);
            out.tidings.push(Tiding { identity, news, to: Audience::One(home) });
        }
    }

    /// Whether every other partition on which the identity may have been heard has been read up to `deadline`.
    pub(crate) fn observed_elsewhere_too(
        &self,
        slot: Slot,
        deadline: Timestamp,
        never_heard: bool,
        context: Context<'_>,
    ) -> bool {
        if never_heard {
            return context.foreign.least() >= deadline;
        }
        let placed_ms = self.terms(slot, context).window_ms * PLACED_WINDOWS;
        self.beside.elsewhere.get(&slot).is_none_or(|elsewhere| {
            elsewhere.others.iter().all(|&Sighting { partition, at }| {
                let clock = context.foreign.of(partition);
                let read_from = match at > Timestamp::MIN {
                    true => at.max(context.foreign.gap_end_of(partition)),
                    false => at,
                };
                clock >= deadline || clock.since(read_from) > placed_ms
            })
        })
    }

    pub(crate) fn note_sighting(&mut self, slot: Slot, sighting: Sighting, here: Timestamp) {
        let elsewhere = self
            .beside
            .elsewhere
            .entry(slot)
            .or_insert_with(|| Elsewhere { here, others: Vec::new() });
        match elsewhere.others.iter_mut().find(|known| known.partition == sighting.partition) {
            Some(known) => known.at = known.at.max(sighting.at),
            None => elsewhere.others.push(sighting),
        }
        self.table.record_mut(slot).flags |= flag::ELSEWHERE;
    }

    /// Before `at` the identity may have been heard without this partition being told.
    pub(crate) fn forgive(&mut self, slot: Slot, at: Timestamp) {
        self.keep_crossings(slot, |crossing| crossing.judged.armed_at >= at);
    }

    /// Where an identity came from is kept, to be told again after a crash: that it was given up may not be durable there.
    pub(crate) fn note_origin(&mut self, slot: Slot, partition: PartitionId) {
        let here = self.table.record(slot).last_seen();
        self.note_sighting(slot, Sighting { partition, at: Timestamp::MIN }, here);
    }

    /// Whoever can't answer yet may have heard the identity as late as this partition has.
    pub(crate) fn wait_for(&mut self, slot: Slot, partition: PartitionId) {
        let at = self.table.record(slot).last_seen();
        if at > Timestamp::MIN {
            self.note_sighting(slot, Sighting { partition, at }, at);
        }
    }

    pub(crate) fn become_guest(&mut self, slot: Slot, home: PartitionId) {
        self.clear_put_off(slot);
        if self.table.record(slot).state == State::Late {
            // How late it is, is for its home to say.
            self.set_state(slot, State::Online);
        }
        self.table.record_mut(slot).flags |= flag::GUEST;
        self.beside.homes.insert(slot, home);
    }

    pub(crate) fn become_home(&mut self, slot: Slot) {
        self.beside.homes.remove(&slot);
        self.table.record_mut(slot).flags &= !flag::GUEST;
    }
}
