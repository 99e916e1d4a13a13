//! The way of a partition from its snapshot to the end of its journal.

use super::Moment;
use super::Setup;
use crate::alert::mute::Mute;
use crate::alert::{Alert, Origin};
use crate::engine::{Attached, Backlog, Change, Partition, PartitionClock, Transition};
use crate::journal::entry::{Record, What};
use crate::journal::stored::Redo;

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

impl Partition {
    pub(super) fn redo_record(
        &mut self,
        record: &Record,
        mute: &mut Mute,
        setup: &Setup,
        now: Moment,
    ) {
        let What::Changed(change) = &record.what else { return };
        self.redo(change);
        if let Change::Decided(transition) = change {
            let _held = mute.pass(setup.alert(transition.clone(), now));
        }
    }
}

impl Setup {
    pub(super) fn alert(&self, transition: Transition, now: Moment) -> Alert {
        let origin = Origin {
            source: self.source.clone(),
            partition: self.partition.clone(),
            rule: self.policy.rule_name(transition.outage.rule),
            observation_lag_ms: now.wall.since(transition.decided_at).max(0),
        };
        Alert { transition, origin }
    }
}
