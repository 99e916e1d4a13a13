//! What stands beside the records: facts that most identities don't have, keyed by slot.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

use super::facts::Facts;
use super::placement::PartitionId;
use super::signal::ConnectionSequence;
use super::table::Slot;
use super::time::{Millis, Timestamp};
use super::transition::{Judged, LastSignal, Outage};

/// How long a verdict is remembered so that a late heartbeat can disprove it.
pub(crate) const JUDGED_MEMORY_MS: Millis = 86_400_000;
/// The most verdicts remembered for an identity.
pub(crate) const MAX_JUDGED: usize = 4;
/// The most heartbeats beyond their own deadline that can wait for the clock: more than fit into the allowance with the
/// shortest window only in a log that was tampered with.
pub(crate) const MAX_CROSSINGS: usize = 8;

/// A verdict, as long as it can be disproved.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq)]
pub(crate) struct Verdict {
    pub(crate) outage: Outage,
    /// Event time of what ended the outage; `None` while it lasts.
    pub(crate) ended_at: Option<Timestamp>,
}

/// A heartbeat later than its own deadline, which the clock has not reached.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq)]
pub(crate) struct Crossing {
    pub(crate) judged: Judged,
    pub(crate) last_signal: Option<LastSignal>,
    pub(crate) first_later: Timestamp,
}

/// The hub's last word about the connection of an identity.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq)]
pub(crate) struct Connection {
    pub(crate) sequence: ConnectionSequence,
    pub(crate) connected: bool,
    pub(crate) at: Timestamp,
}

/// Another partition on which an identity is heard, and when it was last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sighting {
    pub(crate) partition: PartitionId,
    pub(crate) at: Timestamp,
}

/// Where a multiply heard identity is heard.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
pub(crate) struct Elsewhere {
    /// Last sighting on this partition itself.
    pub(crate) here: Timestamp,
    pub(crate) others: Vec<Sighting>,
}

/// The side tables of a shard.
#[derive(Default)]
pub(crate) struct Beside {
    /// Event times of the last creation and deletion.
    pub(crate) lifecycle: BTreeMap<Slot, (Timestamp, Timestamp)>,
    pub(crate) verdicts: BTreeMap<Slot, Vec<Verdict>>,
    pub(crate) crossings: BTreeMap<Slot, Vec<Crossing>>,
    pub(crate) connections: BTreeMap<Slot, Connection>,
    pub(crate) last_wills: BTreeMap<Slot, Timestamp>,
    /// Judged modules of a device.
    pub(crate) modules: BTreeMap<Slot, Vec<Slot>>,
    /// Judged modules whose device is not known.
    pub(crate) orphans: BTreeSet<Slot>,
    pub(crate) elsewhere: BTreeMap<Slot, Elsewhere>,
    /// The partition that judges a guest.
    pub(crate) homes: BTreeMap<Slot, PartitionId>,
}

impl Beside {
    pub(crate) fn complete(&self, slot: Slot, facts: Facts) -> Facts {
        match self.lifecycle.get(&slot) {
            Some(&(created_at, deleted_at)) => Facts { created_at, deleted_at, ..facts },
            None => facts,
        }
    }

    pub(crate) fn store_lifecycle(&mut self, slot: Slot, facts: &Facts) {
        if facts.created_at > Timestamp::MIN || facts.deleted_at > Timestamp::MIN {
            self.lifecycle.insert(slot, (facts.created_at, facts.deleted_at));
        }
    }

    /// The verdict on the outage that lasts.
    pub(crate) fn open_verdict(&mut self, slot: Slot) -> Option<&mut Verdict> {
        self.verdicts.get_mut(&slot)?.iter_mut().find(|verdict| verdict.ended_at.is_none())
    }

    /// Keeps a verdict; the oldest goes when there are too many.
    pub(crate) fn remember(&mut self, slot: Slot, verdict: Verdict) {
        let verdicts = self.verdicts.entry(slot).or_default();
        if verdicts.len() >= MAX_JUDGED {
            verdicts.remove(0);
        }
        verdicts.push(verdict);
    }

    /// Drops verdicts that are too old to be disproved; true if none is left.
    pub(crate) fn forget_verdicts(&mut self, slot: Slot, clock: Timestamp) -> bool {
        let Some(verdicts) = self.verdicts.get_mut(&slot) else {
            return true;
        };
        verdicts.retain(|verdict| {
            verdict.ended_at.is_none_or(|ended_at| clock.since(ended_at) < JUDGED_MEMORY_MS)
        });
        if verdicts.is_empty() {
            self.verdicts.remove(&slot);
        }
        !self.verdicts.contains_key(&slot)
    }

    /// Drops the verdicts on outages that are over. Returns the slots that are left without any.
    pub(crate) fn forget_ended(&mut self) -> Vec<Slot> {
        let mut without = Vec::new();
        self.verdicts.retain(|&slot, verdicts| {
            verdicts.retain(|verdict| verdict.ended_at.is_none());
            if verdicts.is_empty() {
                without.push(slot);
            }
            !verdicts.is_empty()
        });
        without
    }

    pub(crate) fn remove(&mut self, slot: Slot) {
        self.lifecycle.remove(&slot);
        self.verdicts.remove(&slot);
        self.crossings.remove(&slot);
        self.connections.remove(&slot);
        self.last_wills.remove(&slot);
        self.orphans.extend(self.modules.remove(&slot).unwrap_or_default());
        self.orphans.remove(&slot);
        self.elsewhere.remove(&slot);
        self.homes.remove(&slot);
    }

    /// Moves everything of one slot to another table's slot. Links between device and modules are made anew there.
    pub(crate) fn move_to(&mut self, from: Slot, other: &mut Self, to: Slot) {
        fn shift<T>(a: &mut BTreeMap<Slot, T>, from: Slot, b: &mut BTreeMap<Slot, T>, to: Slot) {
            if let Some(value) = a.remove(&from) {
                b.insert(to, value);
            }
        }
        shift(&mut self.lifecycle, from, &mut other.lifecycle, to);
        shift(&mut self.verdicts, from, &mut other.verdicts, to);
        shift(&mut self.crossings, from, &mut other.crossings, to);
        shift(&mut self.connections, from, &mut other.connections, to);
        shift(&mut self.last_wills, from, &mut other.last_wills, to);
        shift(&mut self.elsewhere, from, &mut other.elsewhere, to);
        shift(&mut self.homes, from, &mut other.homes, to);
    }
}
