//! A partition's state as bytes: what a snapshot holds, and what [`Partition::restore`] takes up again.
//!
//! A header, then one item an identity, each in the format of the crate `postcard` (its "wire format" document). Left out is
//! what follows from the rest: timers, the index, lateness, the rule of an identity (rules may be others after a restart).

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::beside::{Connection, Crossing, Elsewhere, Verdict};
use super::clock::{ClockSettings, PartitionClock};
use super::facts::Facts;
use super::hold::Heard;
use super::key::Key;
use super::partition::{MAX_SHARDS, Partition};
use super::placement::PartitionId;
use super::route::RouteWitness;
use super::rules::Policy;
use super::shard::Shard;
use super::signal::Generation;
use super::table::{Slot, State, flag};
use super::time::Timestamp;

/// Why bytes are no image of a partition. Nothing of them is used then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// Cut, or changed.
    #[error("the state of a partition can't be read: it is cut or damaged")]
    Damaged,
    /// It does not fit into a partition of this version.
    #[error("the state of a partition holds more than a partition can")]
    TooLarge,
}

#[derive(Serialize, Deserialize)]
struct Header {
    seed: u64,
    hubs: Vec<Arc<str>>,
    clock: PartitionClock,
    route: RouteWitness,
    identities: u64,
}

/// One identity.
#[derive(Serialize, Deserialize)]
struct Item<'a> {
    hub: u16,
    device: &'a str,
    module: Option<&'a str>,
    is_offline: bool,
    generation: u64,
    /// First and last proof of life, and where the last stands in the log.
    heard: Option<(Timestamp, Timestamp, i64)>,
    /// Event times of the last creation and deletion.
    lifecycle: Option<(Timestamp, Timestamp)>,
    beside: Option<Box<Aside>>,
}

/// What most identities don't have.
#[derive(Default, PartialEq, Serialize, Deserialize)]
struct Aside {
    verdicts: Vec<Verdict>,
    crossings: Vec<Crossing>,
    connection: Option<Connection>,
    last_will: Option<Timestamp>,
    elsewhere: Option<Elsewhere>,
    home: Option<PartitionId>,
}

impl Partition {
    /// Appends the state of the partition to `out`: about 60 bytes an identity.
    pub fn image(&self, out: &mut Vec<u8>) {
        let identities = self.shards.iter().map(|shard| shard.table.len() as u64).sum();
        let header = Header {
            seed: self.seed,
            hubs: self.hubs.clone(),
            clock: self.clock.clone(),
            route: self.route.clone(),
            identities,
        };
        write(&header, out);
        for shard in &self.shards {
            for slot in shard.table.slots() {
                shard.write_item(slot, out);
            }
        }
    }

    /// A partition in the state that [`Partition::image`] wrote, under today's rules and settings. It judges nobody before
    /// [`Partition::resume`].
    pub fn restore(
        policy: Arc<Policy>,
        settings: ClockSettings,
        image: &[u8],
    ) -> Result<Self, ImageError> {
        let (header, mut rest) =
            postcard::take_from_bytes::<Header>(image).map_err(|_| ImageError::Damaged)?;
        let mut partition = Self::new(policy, settings, header.seed);
        for hub in &header.hubs {
            partition.hub_number(hub).ok_or(ImageError::TooLarge)?;
        }
        if partition.hubs != header.hubs {
            return Err(ImageError::Damaged);
        }
        partition.clock = header.clock.restored(settings);
        partition.route = header.route;
        if let Some(last) = partition.route.last(0) {
            partition.heard_before(Heard::once(last));
        }
        for _ in 0..header.identities {
            let (item, next) =
                postcard::take_from_bytes::<Item<'_>>(rest).map_err(|_| ImageError::Damaged)?;
            rest = next;
            partition.take_up(item)?;
        }
        if !rest.is_empty() {
            return Err(ImageError::Damaged);
        }
        for shard in &mut partition.shards {
            shard.link_modules();
        }
        Ok(partition)
    }

    fn take_up(&mut self, item: Item<'_>) -> Result<(), ImageError> {
        let hub = self.hubs.get(usize::from(item.hub)).ok_or(ImageError::Damaged)?.clone();
        let known_id = |id: &str| super::identity::check_id(id).is_ok();
        if !known_id(item.device) || item.module.is_some_and(|module| !known_id(module)) {
            return Err(ImageError::Damaged);
        }
        let identity = super::IdentityRef { hub: &hub, device: item.device, module: item.module };
        // No rule names the module any more.
        let Some((rule, _)) = self.policy.terms(identity) else { return Ok(()) };
        let key = Key::new(&self.hasher, item.hub, item.device, item.module);
        let index = self.shard_of(key.device_hash());
        if self.shards[index].table.len() >= self.capacity && self.shards.len() >= MAX_SHARDS {
            return Err(ImageError::TooLarge);
        }
        self.shards[index].take_up(&key, rule, item)?;
        if self.shards[index].table.len() > self.capacity && self.shards.len() < self.max_shards {
            self.split(index);
        }
        Ok(())
    }
}

impl Shard {
    fn write_item(&self, slot: Slot, out: &mut Vec<u8>) {
        let record = self.table.record(slot);
        let (device, module) = self.table.ids(slot);
        let Facts { first_seen, last_seen, sequence, .. } = self.table.facts(slot);
        let is_heard = last_seen > Timestamp::MIN;
        let aside = Aside {
            verdicts: self.beside.verdicts.get(&slot).cloned().unwrap_or_default(),
            crossings: self.beside.crossings.get(&slot).cloned().unwrap_or_default(),
            connection: self.beside.connections.get(&slot).copied(),
            last_will: self.beside.last_wills.get(&slot).copied(),
            elsewhere: self.beside.elsewhere.get(&slot).cloned(),
            home: self.beside.homes.get(&slot).copied(),
        };
        let item = Item {
            hub: record.hub,
            device: &device,
            module: module.as_deref(),
            is_offline: record.state == State::Offline,
            generation: record.generation.to_bits(),
            heard: is_heard.then_some((first_seen, last_seen, sequence)),
            lifecycle: self.beside.lifecycle.get(&slot).copied(),
            beside: (aside != Aside::default()).then(|| Box::new(aside)),
        };
        write(&item, out);
    }

    fn take_up(&mut self, key: &Key<'_>, rule: u16, item: Item<'_>) -> Result<(), ImageError> {
        if self.table.find(key).is_some() {
            return Err(ImageError::Damaged);
        }
        let slot = self.table.insert(key, rule);
        self.counts[State::Pending as usize] += 1;
        let mut facts = Facts { generation: Generation::from_bits(item.generation), ..Facts::NONE };
        if let Some((first_seen, last_seen, sequence)) = item.heard {
            facts = Facts { first_seen, last_seen, sequence, ..facts };
        }
        self.table.set_facts(slot, &facts);
        if let Some(lifecycle) = item.lifecycle {
            self.beside.lifecycle.insert(slot, lifecycle);
        }
        self.restate(slot);
        if item.is_offline {
            self.set_state(slot, State::Offline);
        }
        if let Some(aside) = item.beside {
            self.put_aside(slot, *aside);
        }
        Ok(())
    }

    fn put_aside(&mut self, slot: Slot, aside: Aside) {
        let Aside { verdicts, crossings, connection, last_will, elsewhere, home } = aside;
        let flags = &mut self.table.record_mut(slot).flags;
        if !verdicts.is_empty() {
            *flags |= flag::JUDGED;
            self.beside.verdicts.insert(slot, verdicts);
        }
        if !crossings.is_empty() {
            *flags |= flag::CROSSING;
            self.beside.crossings.insert(slot, crossings);
        }
        if let Some(connection) = connection {
            self.beside.connections.insert(slot, connection);
        }
        if let Some(last_will) = last_will {
            self.beside.last_wills.insert(slot, last_will);
        }
        if let Some(elsewhere) = elsewhere {
            *flags |= flag::ELSEWHERE;
            self.beside.elsewhere.insert(slot, elsewhere);
        }
        if let Some(home) = home {
            *flags |= flag::GUEST;
            self.beside.homes.insert(slot, home);
        }
    }
}

/// Writing into memory fails only for a type that can't be written at all; the tests would show it.
fn write(value: &impl Serialize, out: &mut Vec<u8>) {
    let bytes = postcard::to_allocvec(value).unwrap_or_default();
    out.extend_from_slice(&bytes);
}

#[cfg(test)]
impl Partition {
    /// What an image holds, under the names of its fields. `None` if it would not be written as it was read.
    pub(crate) fn image_as_json(image: &[u8]) -> Option<serde_json::Value> {
        let (header, mut rest) = postcard::take_from_bytes::<Header>(image).ok()?;
        let mut again = Vec::new();
        write(&header, &mut again);
        let mut items = Vec::new();
        for _ in 0..header.identities {
            let (item, next) = postcard::take_from_bytes::<Item<'_>>(rest).ok()?;
            rest = next;
            write(&item, &mut again);
            items.push(serde_json::to_value(item).ok()?);
        }
        let header = serde_json::to_value(header).ok()?;
        (again == image).then(|| serde_json::json!({ "header": header, "items": items }))
    }
}
