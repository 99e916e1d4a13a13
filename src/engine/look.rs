//! What a partition can be asked, without changing it.

use super::identity::{Identity, IdentityRef};
use super::key::Key;
use super::partition::Partition;
use super::shard::Shard;
use super::table::{Slot, State};
use super::time::Timestamp;
use super::transition::Outage;

/// What is known of one identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its stored state.
    pub state: State,
    /// Its last proof of life; `None` if it was never heard.
    pub last_seen: Option<Timestamp>,
    /// The instant at which its silence becomes an outage, with what gaps have added, or became one; `None` if it is deleted.
    pub deadline: Option<Timestamp>,
    /// Another partition judges it.
    pub is_guest: bool,
}

impl Partition {
    /// What is known of an identity.
    pub fn known(&self, identity: IdentityRef<'_>) -> Option<Known> {
        let (shard, slot) = self.find(identity)?;
        let record = shard.table.record(slot);
        let deadline = match record.state {
            State::Pending | State::Online | State::Late => {
                shard.due(slot, self.context()).map(|due| due.deadline)
            }
            State::Offline => shard.open_outage(slot).map(|outage| outage.judged.deadline),
            State::Deleted => None,
        };
        Some(Known {
            state: record.state,
            last_seen: (record.last_seen() > Timestamp::MIN).then_some(record.last_seen()),
            deadline,
            is_guest: record.flags & super::table::flag::GUEST != 0,
        })
    }

    /// The state of an identity, and the instant of its last proof of life if it was heard.
    pub fn state(&self, identity: IdentityRef<'_>) -> Option<(State, Option<Timestamp>)> {
        let known = self.known(identity)?;
        Some((known.state, known.last_seen))
    }

    /// Every outage that lasts, in no meaningful order: at most one an identity.
    pub fn open_outages(&self) -> Vec<(Identity, Outage)> {
        let of_shard = |shard: &Shard| {
            let open = shard.beside.verdicts.keys().filter_map(|&slot| {
                Some((shard.identity(slot, &self.hubs), shard.open_outage(slot)?))
            });
            open.collect::<Vec<_>>()
        };
        self.shards.iter().flat_map(of_shard).collect()
    }

    fn find(&self, identity: IdentityRef<'_>) -> Option<(&Shard, Slot)> {
        let hub = self.known_hub(identity.hub)?;
        let key = Key::new(&self.hasher, hub, identity.device, identity.module);
        let shard = &self.shards[self.shard_of(key.device_hash())];
        Some((shard, shard.table.find(&key)?))
    }
}

impl Shard {
    fn open_outage(&self, slot: Slot) -> Option<Outage> {
        let verdicts = self.beside.verdicts.get(&slot)?;
        verdicts.iter().find(|verdict| verdict.ended_at.is_none()).map(|open| open.outage)
    }
}
