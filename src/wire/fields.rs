//! The few fields that are read, whichever encoding the message has: one slot a name, first entry wins.

use crate::wire::body::Body;
use crate::wire::scalar::Scalar;
use crate::wire::{FieldFrom, HubName, Mapping, Profile, Stamps};

/// The names that IoT Hub and the brokers use ("Create and read IoT Hub messages", "IoT Hub non-telemetry event
/// schemas", and for `x-routing-key` RabbitMQ's AMQP 1.0).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name {
    Device,
    Module,
    Generation,
    Source,
    Ingress,
    Append,
    Created,
    CreatedByApp,
    MessageType,
    Operation,
    Schema,
    NotifiedDevice,
    NotifiedModule,
    NotifiedHub,
    RoutingKey,
}

impl Name {
    const COUNT: usize = Self::RoutingKey as usize + 1;

    /// The text of each, with its last byte but two: that and the length tell nearly all names apart, also those that are
    /// none of ours.
    fn of(key: &[u8]) -> Option<Self> {
        let (name, text): (Self, &[u8]) = match (key.len(), key.get(key.len().wrapping_sub(3))?) {
            (27, b'-') if key[18] == b'd' => (Self::Device, b"iothub-connection-device-id"),
            (27, b'-') => (Self::Module, b"iothub-connection-module-id"),
            (36, b'-') => (Self::Generation, b"iothub-connection-auth-generation-id"),
            (21, b'r') => (Self::Source, b"iothub-message-source"),
            (19, b'i') if key[0] == b'i' => (Self::Ingress, b"iothub-enqueuedtime"),
            (19, b'i') => (Self::Append, b"x-opt-enqueued-time"),
            (24, b'u') => (Self::Created, b"iothub-creation-time-utc"),
            (35, b'u') => (Self::CreatedByApp, b"iothub-app-iothub-creation-time-utc"),
            (18, b'y') => (Self::MessageType, b"iothub-MessageType"),
            (6, b'y') => (Self::Operation, b"opType"),
            (21, b'e') => (Self::Schema, b"iothub-message-schema"),
            (8, b'e') if key[0] == b'd' => (Self::NotifiedDevice, b"deviceId"),
            (8, b'e') => (Self::NotifiedModule, b"moduleId"),
            (7, b'a') => (Self::NotifiedHub, b"hubName"),
            (13, b'k') => (Self::RoutingKey, b"x-routing-key"),
            _ => return None,
        };
        (key == text).then_some(name)
    }
}

/// A slot for every [`Name`].
#[derive(Debug, Default)]
pub(super) struct Slots<'a>([Option<Scalar<'a>>; Name::COUNT]);

impl<'a> Slots<'a> {
    pub(super) fn get(&self, name: Name) -> Option<Scalar<'a>> {
        self.0[name as usize]
    }

    pub(super) fn text(&self, name: Name) -> Option<&'a str> {
        self.get(name).and_then(Scalar::text)
    }

    fn put(&mut self, name: Name, value: Scalar<'a>) {
        self.0[name as usize].get_or_insert(value);
    }
}

/// Values of the headers that the configuration names.
#[derive(Debug, Default)]
pub(super) struct Configured<'a> {
    pub(super) hub: Option<Scalar<'a>>,
    pub(super) device: Option<Scalar<'a>>,
    pub(super) module: Option<Scalar<'a>>,
    pub(super) event_time: Option<Scalar<'a>>,
}

/// All that is read of a message.
#[derive(Debug, Default)]
pub(super) struct Fields<'a> {
    /// Message annotations: the hub's and the broker's. AMQP 0-9-1 has none.
    pub(super) annotations: Slots<'a>,
    /// Application properties or headers: the publisher's, and the hub's on queues.
    pub(super) properties: Slots<'a>,
    pub(super) configured: Configured<'a>,
    pub(super) conditions: u32,
    pub(super) routing_key: Option<&'a str>,
    pub(super) body: Body<'a>,
}

impl<'a> Fields<'a> {
    /// Takes an annotation if it is one of ours; `read` decodes its value only then.
    pub(super) fn annotation<E>(
        &mut self,
        key: &[u8],
        read: impl FnOnce() -> Result<Scalar<'a>, E>,
    ) -> Result<(), E> {
        if let Some(name) = Name::of(key) {
            self.annotations.put(name, read()?);
        }
        Ok(())
    }

    /// Takes an application property or header if it is one of ours or the configuration names it.
    pub(super) fn property<E>(
        &mut self,
        profile: &Profile,
        key: &[u8],
        read: impl FnOnce() -> Result<Scalar<'a>, E>,
    ) -> Result<(), E> {
        let name = Name::of(key);
        let configured = profile.names(key);
        if name.is_none() && !configured {
            return Ok(());
        }
        let value = read()?;
        if let Some(name) = name {
            self.properties.put(name, value);
        }
        if configured {
            self.put_configured(profile, key, value);
        }
        Ok(())
    }

    fn put_configured(&mut self, profile: &Profile, key: &[u8], value: Scalar<'a>) {
        for (condition, bit) in profile.conditions.iter().zip(0..u32::BITS) {
            let met = condition.property.as_bytes() == key
                && (condition.value.as_deref()).is_none_or(|wanted| value.equals(wanted));
            self.conditions |= u32::from(met) << bit;
        }
        let configured = &mut self.configured;
        if profile.hub.is_property(key) {
            configured.hub.get_or_insert(value);
        }
        let Some(mapping) = &profile.mapping else {
            return;
        };
        for (from, slot) in [
            (Some(&mapping.device), &mut configured.device),
            (mapping.module.as_ref(), &mut configured.module),
            (mapping.event_time.as_ref(), &mut configured.event_time),
        ] {
            if from.is_some_and(|from| from.is_header(key)) {
                slot.get_or_insert(value);
            }
        }
    }

    /// What the hub stamped: from the annotations, and where stamps stand in properties, else from there.
    pub(super) fn stamp(&self, stamps: Stamps, name: Name) -> Option<Scalar<'a>> {
        let annotation = self.annotations.get(name);
        match stamps {
            Stamps::Annotations => annotation,
            Stamps::Properties => annotation.or_else(|| self.properties.get(name)),
        }
    }
}

impl Profile {
    fn names(&self, key: &[u8]) -> bool {
        (self.conditions.iter()).any(|condition| condition.property.as_bytes() == key)
            || self.hub.is_property(key)
            || (self.mapping.as_ref()).is_some_and(|mapping| mapping.names(key))
    }
}

impl Mapping {
    fn names(&self, key: &[u8]) -> bool {
        [&self.module, &self.event_time]
            .into_iter()
            .flatten()
            .chain([&self.device])
            .any(|from| from.is_header(key))
    }
}

impl HubName {
    fn is_property(&self, key: &[u8]) -> bool {
        match self {
            Self::Fixed(_) => false,
            Self::Property(name) => name.as_bytes() == key,
        }
    }
}

impl FieldFrom {
    fn is_header(&self, key: &[u8]) -> bool {
        match self {
            Self::Header(name) => name.as_bytes() == key,
            Self::RoutingKeySegment(_) | Self::JsonPointer(_) => false,
        }
    }
}
