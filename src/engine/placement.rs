//! Which partition judges an identity that more than one partition knows of.
//!
//! Normally an identity is heard on one partition only, which judges it alone. Every partition keeps what it has heard
//! itself; when an identity is new to it, it says so ([`Tiding`]), and a partition that knows the identity already
//! answers who judges from then on ([`Reply`]).

use super::facts::Facts;
use super::identity::Identity;
use super::time::Timestamp;
use serde::{Deserialize, Serialize};

/// Names a partition wherever its facts are passed on or stored: the same after every start. A hash of the names of source
/// and partition.
pub type PartitionId = u64;

/// What a partition has to tell the others before it applies more.
#[derive(Clone, Debug, PartialEq)]
pub struct Tiding {
    /// Whom it is about.
    pub identity: Identity,
    /// What is known of it here.
    pub facts: Facts,
    /// Whom to tell.
    pub to: Audience,
}

/// Whom a tiding is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Every other partition that could carry the identity's hub: it is new here, or its registry entry changed.
    Everyone,
    /// The partition that judges it.
    Home(PartitionId),
}

/// What a partition that was told answers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Reply {
    /// It does not know the identity.
    Unknown,
    /// It judges the identity: the asking partition passes on what it hears.
    Mine(Facts),
    /// It has given the identity up to the asking partition.
    Yours(Facts),
    /// It can't say yet: whoever asks waits for its clock, as for a partition on which the identity is heard.
    Later,
}

/// The clocks of the other partitions, as last told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ForeignClocks {
    clocks: Vec<(PartitionId, Timestamp)>,
}

impl ForeignClocks {
    /// The clocks of all other partitions that could carry the same hubs.
    pub fn new(mut clocks: Vec<(PartitionId, Timestamp)>) -> Self {
        clocks.sort_unstable();
        Self { clocks }
    }

    /// The clock of one of them; one that is not known holds back for ever.
    pub(crate) fn of(&self, partition: PartitionId) -> Timestamp {
        let found = self.clocks.binary_search_by_key(&partition, |&(index, _)| index);
        found.map_or(Timestamp::MIN, |at| self.clocks[at].1)
    }

    /// The least of them; without any, the end of time.
    pub(crate) fn least(&self) -> Timestamp {
        let least = self.clocks.iter().map(|&(_, clock)| clock).min();
        least.unwrap_or(Timestamp::from_ms(i64::MAX))
    }
}
