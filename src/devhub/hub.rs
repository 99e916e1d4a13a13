//! The hub itself: partitions in memory, stamps, lifecycle notifications, retention, faults on request.

use std::net::SocketAddr;

use bytes::Bytes;

use crate::engine::Timestamp;

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
