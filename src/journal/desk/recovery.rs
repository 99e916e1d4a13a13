//! The way of a desk from its snapshot to the end of its journal: the log is read again, and what was decided is taken from
//! the journal.

use super::{Desk, Setup};
use crate::alert::mute::Mute;
use crate::engine::{
    Attached, Backlog, Change, Gap, GapReason, Message, Output, Partition, PartitionClock,
    Timestamp, Witness,
};
use crate::journal::Moment;
use crate::journal::entry::{Record, What};
use crate::journal::stored::{Redo, Stored};

/// The place in front of the first message of a log.
const BEFORE_A_LOG: i64 = -1;

/// The way from a snapshot to the end of the journal.
pub(super) struct Recovery {
    pub(super) redo: Redo,
    /// The last message that was taken up again.
    pub(super) at: Option<i64>,
    /// The attachment that begins when it is over.
    pub(super) attached: Option<Attached>,
}

impl Recovery {
    pub(super) fn end(&self) -> Option<i64> {
        self.redo.clock.as_ref().and_then(PartitionClock::position)
    }

    pub(super) fn stream(&self) -> Option<u64> {
        self.redo.clock.as_ref().and_then(PartitionClock::stream)
    }

    /// Whether the log of this attachment holds what lies between here and the end of the journal.
    pub(super) fn can_read(&self, attached: Attached) -> bool {
        let same_log = attached.stream == self.stream();
        let next = self.at.map_or(i64::MIN, |at| at.saturating_add(1));
        let holds_the_next = attached.first_available.is_none_or(|first| first <= next);
        let reaches_the_end = match attached.backlog {
            Backlog::UpTo(last) => self.end().is_none_or(|end| last >= end),
            Backlog::Endless => true,
            Backlog::Empty | Backlog::Count(_) => false,
        };
        same_log && holds_the_next && reaches_the_end
    }
}

impl Desk {
    pub(super) fn begin_recovery(&mut self, stored: Stored, now: Moment) {
        let image = self.engine.clock_image();
        let mut at = image.position();
        let mut redo = stored.redo();
        let stream = redo.clock.as_ref().and_then(PartitionClock::stream);
        let is_other_log = redo.clock.is_some() && image.stream() != stream;
        if redo.clock.is_none() {
            redo.clock = Some(image);
        }
        if redo.muted {
            self.mute = Mute::muted();
        }
        if self.setup.has_log && is_other_log {
            // Another log has taken the place of the snapshot's: it is read again from its beginning.
            at = Some(BEFORE_A_LOG);
            for record in redo.up_to_reset() {
                self.engine.redo_record(&record, &mut self.mute, &self.setup, now);
            }
        }
        let changes = redo.records.iter().filter_map(|record| match &record.what {
            What::Changed(change) => Some(change),
            What::Refused => None,
        });
        self.engine.will_announce(changes);
        self.has_announced = false;
        self.applied = at;
        let recovery = Recovery { redo, at, attached: None };
        let is_there = !self.setup.has_log || recovery.end() == at;
        self.recovery = Some(recovery);
        if is_there {
            self.end_recovery(now);
        }
    }

    /// Declares that nothing is known before an attachment.
    pub(super) fn lose(&mut self, attached: Attached, out: &mut Output) {
        let clock = self.engine.clock();
        let from = if clock > Timestamp::MIN { clock } else { attached.at };
        let gap = Gap { from, until: attached.latest(), reason: GapReason::AgedOut };
        self.engine.lose(gap);
        out.gaps.push(gap);
        out.changes.push(Change::Gap(gap));
    }

    /// Whether a message was refused when it was read before the start.
    pub fn was_refused(&self, sequence: i64) -> bool {
        let recovery = self.recovery.as_ref();
        recovery.is_some_and(|recovery| recovery.redo.refused.contains(&sequence))
    }

    /// Takes up a message that was applied before the start.
    pub(super) fn absorbed(
        &mut self,
        message: &Message<'_>,
        now: Moment,
        out: &mut Output,
    ) -> bool {
        let Some(recovery) = &mut self.recovery else { return false };
        let end = recovery.end();
        let before = |record: &mut Record| record.after.is_none_or(|at| at < message.sequence);
        let is_behind = end.is_none_or(|end| message.sequence > end);
        if !is_behind {
            while let Some(record) = recovery.redo.records.pop_front_if(before) {
                self.engine.redo_record(&record, &mut self.mute, &self.setup, now);
            }
            self.engine.absorb(message);
            recovery.at = Some(message.sequence);
            self.applied = Some(message.sequence);
            if end > Some(message.sequence) {
                return true;
            }
        }
        let attached = recovery.attached;
        self.end_recovery(now);
        if let Some(attached) = attached {
            if std::mem::take(&mut self.is_damaged) {
                self.lose(attached, out);
            }
            self.engine.attach(attached, out);
            self.after_call(now, out);
        }
        !is_behind
    }

    pub(super) fn end_recovery(&mut self, now: Moment) {
        let Some(recovery) = self.recovery.take() else { return };
        for record in &recovery.redo.records {
            self.engine.redo_record(record, &mut self.mute, &self.setup, now);
        }
        let end = recovery.end();
        // Where that is not known, what was read again stands in for it.
        if let Ok(heard) = postcard::from_bytes(&recovery.redo.extra) {
            self.engine.heard_before(heard);
        }
        self.engine.resume(recovery.redo.clock);
        self.has_announced = false;
        self.applied = end.or(self.applied);
        self.written = self.applied;
    }
}

/// What an entry holds beside the clock.
pub(super) fn extra(witness: Option<Witness>) -> Vec<u8> {
    let bytes = witness.map(|witness| postcard::to_allocvec(&witness.heard));
    bytes.and_then(Result::ok).unwrap_or_default()
}

impl Partition {
    fn redo_record(&mut self, record: &Record, mute: &mut Mute, setup: &Setup, now: Moment) {
        let What::Changed(change) = &record.what else { return };
        self.redo(change);
        if let Change::Decided(transition) = change {
            let _held = mute.pass(setup.alert(transition.clone(), now));
        }
    }
}
