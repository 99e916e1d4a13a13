//! The hub itself: partitions in memory, stamps, lifecycle notifications, retention, faults on request.
//!
//! It knows no socket and asks no clock: what happens is dated by the caller. Readers wait on [`Hub::changes`] and read
//! with [`Hub::read`].

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use tokio::sync::watch;

use crate::engine::Timestamp;

mod counts;
mod faults;
mod log;
mod registry;
mod stamp;
mod stencil;
#[cfg(test)]
mod tests;

pub use counts::Counts;
pub use faults::{FaultState, Faults};
pub use log::{PartitionInfo, PositionError, Record, StartFrom};
pub use stencil::{Beat, Stencil};

pub(super) use counts::{Counters, add, add_many, subtract};
pub(super) use log::MAX_MESSAGE_BYTES;
use log::PartitionLog;
use registry::Registry;

/// How to build a hub.
#[derive(Clone, Debug)]
pub struct HubOptions {
    /// Name of the IoT Hub (`hubName` of notifications).
    pub name: String,
    /// Name of the event hub (`EntityPath`).
    pub entity: String,
    /// Number of partitions.
    pub partitions: usize,
    /// Most messages kept per partition; the oldest go first.
    pub retention_messages: usize,
    /// `SharedAccessKeyName`.
    pub key_name: String,
    /// `SharedAccessKey`.
    pub key: String,
}

/// A device-to-cloud message, before the hub stamps it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DeviceMessage {
    /// Device id.
    pub device: String,
    /// Module id.
    pub module: Option<String>,
    /// `iothub-creation-time-utc`.
    pub created: Option<Timestamp>,
    /// Application properties.
    pub properties: Vec<(String, String)>,
    /// Body; an empty one is a heartbeat.
    pub body: Bytes,
}

/// A change of the identity registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegistryChange {
    /// `createDeviceIdentity`.
    Create,
    /// `deleteDeviceIdentity`.
    Delete,
}

/// The connection string of a hub that listens on `address`.
pub fn connection_string(options: &HubOptions, address: SocketAddr) -> String {
    format!(
        "Endpoint=sb://{address};SharedAccessKeyName={};SharedAccessKey={};EntityPath={};UseDevelopmentEmulator=true",
        options.key_name, options.key, options.entity
    )
}

/// Why the hub takes no message. Nothing was stored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HubError {
    /// [`FaultState::refuse_devices`] is set.
    #[error(
        "the hub accepts nothing from devices at the moment; nothing was stored, send again later"
    )]
    Unavailable,
    /// The identity is not in the registry: it was deleted, or never created and [`FaultState::refuse_unknown_devices`] is set.
    #[error("{0:?} is not in the identity registry; nothing was stored, create it first")]
    UnknownIdentity(String),
    /// The identity is there already.
    #[error("{0:?} is in the identity registry already; nothing was changed")]
    AlreadyExists(String),
    /// The registry is full.
    #[error("the identity registry is full ({0} identities); nothing was stored, delete some")]
    RegistryFull(usize),
    /// No such partition.
    #[error("there is no partition {0}; nothing was stored")]
    NoPartition(usize),
    /// Larger than an event may be.
    #[error("the message has {0} bytes, more than {MAX_MESSAGE_BYTES}; nothing was stored")]
    TooLarge(usize),
}

/// An event hub in memory. Clones share it.
#[derive(Clone, Debug)]
pub struct Hub {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    options: HubOptions,
    partitions: Vec<Mutex<PartitionLog>>,
    registry: Mutex<Registry>,
    faults: Faults,
    counters: Counters,
    changes: watch::Sender<()>,
}

impl Hub {
    /// An empty hub, created at `now`. At least one partition, and at least one message of retention.
    pub fn new(options: HubOptions, now: Timestamp) -> Self {
        let partitions = (0..options.partitions.max(1))
            .map(|_| Mutex::new(PartitionLog::new(now, options.retention_messages.max(1))))
            .collect();
        Self {
            inner: Arc::new(Inner {
                options,
                partitions,
                registry: Mutex::new(Registry::default()),
                faults: Faults::default(),
                counters: Counters::default(),
                changes: watch::Sender::new(()),
            }),
        }
    }

    /// How it was built.
    pub fn options(&self) -> &HubOptions {
        &self.inner.options
    }

    /// The switches that make it misbehave.
    pub fn faults(&self) -> &Faults {
        &self.inner.faults
    }

    /// What it has done so far.
    pub fn counts(&self) -> Counts {
        self.inner.counters.read()
    }

    pub(super) fn counters(&self) -> &Counters {
        &self.inner.counters
    }

    /// Number of partitions.
    pub fn partition_count(&self) -> usize {
        self.inner.partitions.len()
    }

    /// The partition that holds all messages of a device and its modules.
    pub fn partition_of(&self, device: &str) -> usize {
        let fnv = device.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        // FNV leaves ids that differ in their last digits close together: mixed once more, they spread.
        let mixed = (fnv ^ (fnv >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        let count = self.inner.partitions.len() as u64;
        usize::try_from((mixed ^ (mixed >> 33)) % count).unwrap_or(0)
    }

    /// Takes a message from a device at ingress time `now`, stamps it and appends it to the device's partition.
    /// An identity that was never created is registered silently, unless [`FaultState::refuse_unknown_devices`] is set.
    /// Returns partition and sequence number.
    pub fn device_to_cloud(
        &self,
        message: DeviceMessage,
        now: Timestamp,
    ) -> Result<(usize, i64), HubError> {
        let sections = stamp::sections(&message);
        self.ingest(&message.device, message.module.as_deref(), None, &sections, now)
    }

    /// [`Hub::device_to_cloud`] for a message whose sections behind the annotations are encoded already.
    pub(super) fn ingest(
        &self,
        device: &str,
        module: Option<&str>,
        partition: Option<usize>,
        sections: &[u8],
        now: Timestamp,
    ) -> Result<(usize, i64), HubError> {
        let accepted = self.admit(device, module, now).and_then(|generation| {
            let stamps = stamp::telemetry(device, module, generation, now);
            let partition = partition.unwrap_or_else(|| self.partition_of(device));
            self.append(partition, &stamps, sections, now)
        });
        self.inner.counters.ingress(accepted.is_ok());
        accepted
    }

    /// Takes empty messages of devices that a stencil knows, in this order, as [`Hub::device_to_cloud`] would, and appends
    /// them to one partition. The registry is not asked: whoever calls this keeps a device in its partition.
    pub fn heartbeats(
        &self,
        partition: usize,
        stencil: &Stencil,
        beats: &[Beat],
    ) -> Result<(), HubError> {
        let faults = self.inner.faults.state();
        if faults.refuse_devices {
            return Err(HubError::Unavailable);
        }
        let mut paper = stencil.paper(beats.len());
        let mut log = self.log(partition)?;
        for beat in beats {
            let print = |place: &log::Place| stencil.print(&mut paper, *beat, place);
            log.append(beat.at, faults.route_delay_ms, print);
        }
        drop(log);
        self.inner.counters.accepted(beats.len());
        self.inner.changes.send_replace(());
        Ok(())
    }

    fn admit(&self, device: &str, module: Option<&str>, now: Timestamp) -> Result<u64, HubError> {
        let faults = self.inner.faults.state();
        if faults.refuse_devices {
            return Err(HubError::Unavailable);
        }
        lock(&self.inner.registry).admit(device, module, !faults.refuse_unknown_devices, now)
    }

    /// Creates or deletes an identity and appends the notification that IoT Hub routes for it ("IoT Hub
    /// non-telemetry event schemas", device lifecycle events). Deleting a device deletes its modules.
    pub fn registry(
        &self,
        device: &str,
        module: Option<&str>,
        change: RegistryChange,
        now: Timestamp,
    ) -> Result<(usize, i64), HubError> {
        if self.inner.faults.state().refuse_devices {
            return Err(HubError::Unavailable);
        }
        lock(&self.inner.registry).change(device, module, change, now)?;
        let notice = stamp::lifecycle(&self.inner.options.name, device, module, change, now);
        self.append(self.partition_of(device), &notice.stamps, &notice.sections, now)
    }

    /// Appends a connection-state notification with a `sequenceNumber` above all earlier ones ("IoT Hub
    /// non-telemetry event schemas", device connection state events).
    pub fn connection_event(
        &self,
        device: &str,
        module: Option<&str>,
        connected: bool,
        now: Timestamp,
    ) -> Result<(usize, i64), HubError> {
        self.admit(device, module, now)?;
        let sequence = lock(&self.inner.registry).next_connection_sequence(now);
        let notice =
            stamp::connection(&self.inner.options.name, device, module, connected, &sequence, now);
        self.append(self.partition_of(device), &notice.stamps, &notice.sections, now)
    }

    /// Appends a message that no device sent, as a publisher of a plain event hub does: the broker's own annotations,
    /// then these sections.
    pub(super) fn publish(
        &self,
        partition: usize,
        stamps: &[stamp::Annotation],
        sections: &[u8],
        now: Timestamp,
    ) -> Result<(usize, i64), HubError> {
        let accepted = self.append(partition, stamps, sections, now);
        self.inner.counters.ingress(accepted.is_ok());
        accepted
    }

    fn append(
        &self,
        partition: usize,
        stamps: &[stamp::Annotation],
        sections: &[u8],
        now: Timestamp,
    ) -> Result<(usize, i64), HubError> {
        let sequence = self.append_with(partition, now, sections.len(), |place| {
            let mut encoded = BytesMut::with_capacity(sections.len() + 640);
            stamp::put_annotations(&mut encoded, place, stamps);
            encoded.extend_from_slice(sections);
            encoded.freeze()
        })?;
        Ok((partition, sequence))
    }

    /// Appends bytes that readers are given exactly as they are, for tests with messages that no client would build.
    /// Returns the sequence number, which the bytes should carry: it is [`PartitionInfo::next_sequence`] before the call.
    pub fn send_raw(
        &self,
        partition: usize,
        encoded: Bytes,
        now: Timestamp,
    ) -> Result<i64, HubError> {
        let length = encoded.len();
        self.append_with(partition, now, length, |_| encoded)
    }

    fn append_with(
        &self,
        partition: usize,
        now: Timestamp,
        length: usize,
        encode: impl FnOnce(&log::Place) -> Bytes,
    ) -> Result<i64, HubError> {
        if length > MAX_MESSAGE_BYTES {
            return Err(HubError::TooLarge(length));
        }
        let delay_ms = self.inner.faults.state().route_delay_ms;
        let sequence = self.log(partition)?.append(now, delay_ms, encode);
        self.inner.changes.send_replace(());
        Ok(sequence)
    }

    fn log(&self, partition: usize) -> Result<MutexGuard<'_, PartitionLog>, HubError> {
        let log = self.inner.partitions.get(partition).ok_or(HubError::NoPartition(partition))?;
        Ok(lock(log))
    }

    /// What a read of the partition's runtime information says: only what readers can see counts.
    pub fn partition_info(&self, partition: usize) -> Result<PartitionInfo, HubError> {
        Ok(self.log(partition)?.info())
    }

    /// The sequence number that a reader starting there gets first.
    pub(super) fn resolve(
        &self,
        partition: usize,
        start: &StartFrom,
    ) -> Result<Result<i64, PositionError>, HubError> {
        Ok(self.log(partition)?.resolve(start))
    }

    /// At most `max` visible messages from sequence number `from` on, or from the oldest that is kept. Messages go to
    /// `records`; returns when the next one becomes visible, if one waits for its route.
    pub fn read(
        &self,
        partition: usize,
        from: i64,
        max: usize,
        records: &mut Vec<Record>,
    ) -> Result<Option<tokio::time::Instant>, HubError> {
        Ok(self.log(partition)?.read(from, max, records))
    }

    /// Changes whenever a message was appended to any partition.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.inner.changes.subscribe()
    }

    /// Forgets the messages before `sequence`, as if retention had passed them.
    pub fn expire(&self, partition: usize, sequence: i64) -> Result<(), HubError> {
        self.log(partition)?.expire(sequence);
        Ok(())
    }

    /// Replaces every partition by a new one, as a failover of the IoT Hub does: what was unread is lost, sequence
    /// numbers begin at 0, the event hub's creation time is `now`, and every connection is cut.
    pub fn reset_stream(&self, now: Timestamp) {
        for partition in &self.inner.partitions {
            lock(partition).reset(now);
        }
        self.inner.faults.drop_connections();
    }

    /// When the event hub was created.
    pub fn created(&self) -> Timestamp {
        self.inner.partitions.first().map_or(Timestamp::MIN, |log| lock(log).created())
    }
}

/// A poisoned lock is taken all the same: every change below is complete before anything can panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
