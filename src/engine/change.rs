//! What a partition's state owes to something else than its log: what a journal has to keep, in order.
//!
//! The state of a partition is a fold over its log and these. Messages can be read again from the log; what was decided,
//! when, and what other partitions said can't be derived from it again (a proof may have moved the clock, and rules may be
//! others by then).

use serde::{Deserialize, Serialize};

use super::facts::Facts;
use super::identity::Identity;
use super::placement::{PartitionId, Reply};
use super::signal::{Gap, SignalKind};
use super::time::Timestamp;
use super::transition::Transition;

/// One change of a partition's state. [`super::Partition::redo`] makes it again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Change {
    /// A verdict, its end, or its correction.
    Decided(Transition),
    /// A span in which nothing can be known.
    Gap(Gap),
    /// Another partition told what it knows of an identity that is judged here.
    Told {
        /// Whom it is about.
        identity: Identity,
        /// The partition that told.
        from: PartitionId,
        /// What it knows.
        facts: Facts,
        /// When the identity was last heard on this partition itself.
        here: Timestamp,
        /// It has been given up to that partition.
        given_up: bool,
    },
    /// Another partition answered what this one had told.
    Answered {
        /// Whom it is about.
        identity: Identity,
        /// The partition that answered.
        by: PartitionId,
        /// What it answered.
        reply: Reply,
    },
    /// What a message said. Kept only where there is no log to read it from again.
    Learned {
        /// Whom it is about.
        identity: Identity,
        /// What it adds to what is known.
        facts: Facts,
    },
    /// Evidence that explains but proves nothing. Kept only where there is no log.
    Evidence {
        /// Whom it is about.
        identity: Identity,
        /// A connection event or a last will.
        kind: SignalKind,
        /// Its event time.
        at: Timestamp,
    },
    /// The outages that are over by now were told to nobody: nothing that is read later corrects them.
    Untold,
}
