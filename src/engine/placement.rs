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
    /// What is told.
    pub news: News,
    /// Whom to tell.
    pub to: Audience,
}

/// What one partition tells another about an identity.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct News {
    /// What it knows.
    pub facts: Facts,
    /// It is told again after a start: of what was heard before the last proof of life, some may have been told in vain, so
    /// that nothing can be concluded about the time before it.
    pub is_again: bool,
    /// An outage was told there that is not over.
    pub is_open: bool,
}

impl News {
    /// Told when it is read.
    pub fn of(facts: Facts) -> Self {
        Self { facts, is_again: false, is_open: false }
    }

    /// Told after a start.
    pub fn again(facts: Facts) -> Self {
        Self { facts, is_again: true, is_open: false }
    }
}

/// Whom a tiding is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Every other partition that could carry the identity's hub: it is new here, or its registry entry changed.
    Everyone,
    /// One partition: that which judges it, or another one on which it is heard.
    One(PartitionId),
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

/// How far another partition was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ForeignClock {
    /// Which one.
    pub partition: PartitionId,
    /// Its clock.
    pub clock: Timestamp,
    /// The end of its latest gap.
    pub gap_end: Timestamp,
}

/// The clocks of the other partitions, as last told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ForeignClocks {
    clocks: Vec<ForeignClock>,
}

impl ForeignClocks {
    /// The clocks of all other partitions that could carry the same hubs.
    pub fn new(mut clocks: Vec<ForeignClock>) -> Self {
        clocks.sort_unstable();
        Self { clocks }
    }

    fn find(&self, partition: PartitionId) -> Option<&ForeignClock> {
        let found = self.clocks.binary_search_by_key(&partition, |foreign| foreign.partition);
        found.ok().map(|index| &self.clocks[index])
    }

    /// The clock of one of them; one that is not known holds back for ever.
    pub(crate) fn of(&self, partition: PartitionId) -> Timestamp {
        self.find(partition).map_or(Timestamp::MIN, |foreign| foreign.clock)
    }

    /// The end of the latest gap of one of them.
    pub(crate) fn gap_end_of(&self, partition: PartitionId) -> Timestamp {
        self.find(partition).map_or(Timestamp::MIN, |foreign| foreign.gap_end)
    }

    /// The least clock; without any, the end of time.
    pub(crate) fn least(&self) -> Timestamp {
        let least = self.clocks.iter().map(|foreign| foreign.clock).min();
        least.unwrap_or(Timestamp::from_ms(i64::MAX))
    }

    /// The end of the latest gap of all.
    pub(crate) fn latest_gap_end(&self) -> Timestamp {
        self.clocks.iter().map(|foreign| foreign.gap_end).max().unwrap_or(Timestamp::MIN)
    }
}
