//! The way of heartbeats to where the service reads.

use anyhow::Context;
use lastseen::clock::Stopwatch;
use lastseen::devhub::hub::{Beat, Hub, HubOptions, Stencil, connection_string};
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::plan::{Action, Moment};
use crate::profile::{Profile, SourceKind};

mod rabbit;
pub(crate) mod redis;

use rabbit::RabbitQueue;
use redis::RedisKeys;

/// 36 characters with the number, as many as a UUID has.
const ID_PREFIX: &str = "factory-07:line-12:sensor-";

/// Messages that the hub keeps: what lies behind a snapshot, and what comes while the service is down.
const RETENTION_S: u64 = 90;

/// More than two cores have been seen to take.
const FLOOD_PER_S: u64 = 400_000;

/// The file in the service's folder that has the secret of its source.
pub(crate) const SECRET_FILE: &str = "source.secret";

/// Ids of devices by number.
pub(crate) fn stencil() -> Stencil {
    Stencil::new(ID_PREFIX)
}

/// How the service reads what is carried.
pub(crate) struct Source {
    /// The entry of `sources`.
    pub(crate) entry: String,
    /// What it needs in [`SECRET_FILE`].
    pub(crate) secret: String,
}

/// One of the ways.
pub(crate) enum Carrier {
    Hub(Box<HubPartitions>),
    Rabbit(Box<RabbitQueue>),
    Redis(Box<RedisKeys>),
}

impl Carrier {
    /// Starts what a profile asks for.
    pub(crate) async fn open(
        profile: &Profile,
        watch: &Stopwatch,
    ) -> anyhow::Result<(Self, Source)> {
        match profile.source {
            SourceKind::Hub => {
                let (partitions, source) = HubPartitions::open(profile, watch).await?;
                Ok((Self::Hub(Box::new(partitions)), source))
            }
            SourceKind::RabbitQueue | SourceKind::RabbitStream | SourceKind::Amqp10 => {
                let (queue, source) = RabbitQueue::open(profile.source).await?;
                Ok((Self::Rabbit(Box::new(queue)), source))
            }
        }
    }

    /// Sends it all, and waits until it is taken.
    pub(crate) async fn carry(&mut self, moments: &[Moment]) -> anyhow::Result<()> {
        match self {
            Self::Hub(hub) => hub.carry(moments),
            Self::Rabbit(queue) => queue.carry(moments).await,
            Self::Redis(keys) => keys.carry(moments).await,
        }
    }

    /// The hub, if it is one: it can say what was read from it.
    pub(crate) fn hub(&self) -> Option<Hub> {
        match self {
            Self::Hub(partitions) => Some(partitions.hub.clone()),
            Self::Rabbit(_) | Self::Redis(_) => None,
        }
    }
}

/// The embedded hub, until dropped.
pub(crate) struct HubPartitions {
    hub: Hub,
    stencil: Stencil,
    /// The partition of each device.
    partitions: Vec<u8>,
    /// What goes to each partition next.
    batches: Vec<Vec<Beat>>,
    _stop: DropGuard,
}

impl HubPartitions {
    async fn open(profile: &Profile, watch: &Stopwatch) -> anyhow::Result<(Self, Source)> {
        let partitions = usize::try_from(profile.partitions)?;
        let flooded = FLOOD_PER_S * profile.flood_ms.unsigned_abs() / 1_000;
        let kept = (profile.rate() * RETENTION_S + flooded) / u64::from(profile.partitions);
        let options = HubOptions {
            name: "load".to_owned(),
            entity: "load-events".to_owned(),
            partitions,
            retention_messages: usize::try_from(kept)?.max(1_000),
            key_name: "load".to_owned(),
            key: "bG9hZA==".to_owned(),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.context("no port for the hub")?;
        let source = Source {
            entry: format!(
                "{{ name: load, type: event_hubs, hub: load, connection_string_file: {SECRET_FILE} }}"
            ),
            secret: connection_string(&options, listener.local_addr()?),
        };
        let hub = Hub::new(options, watch.now());
        let stencil = stencil();
        let partition = |number| u8::try_from(hub.partition_of(&stencil.device_id(number)));
        let placed = (0..profile.identities).map(partition).collect::<Result<_, _>>()?;
        let stop = CancellationToken::new();
        tokio::spawn(hub.clone().serve(listener, stop.clone()));
        let opened = Self {
            hub,
            stencil,
            partitions: placed,
            batches: vec![Vec::new(); partitions],
            _stop: stop.drop_guard(),
        };
        Ok((opened, source))
    }

    fn carry(&mut self, moments: &[Moment]) -> anyhow::Result<()> {
        for Moment { at, number, action } in moments.iter().copied() {
            let partition = self.partitions.get(usize::try_from(number)?).copied();
            let partition = usize::from(partition.unwrap_or_default());
            let connected = match action {
                Action::Heartbeat => {
                    if let Some(batch) = self.batches.get_mut(partition) {
                        batch.push(Beat { number, at });
                    }
                    continue;
                }
                Action::Disconnect => false,
                Action::Connect => true,
            };
            self.send(partition)?;
            let device = self.stencil.device_id(number);
            self.hub.connection_event(&device, None, connected, at)?;
        }
        (0..self.batches.len()).try_for_each(|partition| self.send(partition))
    }

    fn send(&mut self, partition: usize) -> anyhow::Result<()> {
        if let Some(batch) = self.batches.get_mut(partition).filter(|batch| !batch.is_empty()) {
            self.hub.heartbeats(partition, &self.stencil, batch)?;
            batch.clear();
        }
        Ok(())
    }
}
