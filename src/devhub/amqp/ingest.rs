//! Receiving: transfers of producers and requests.

use bytes::{Bytes, BytesMut};

use super::address::Node;
use super::connection::Connection;
use super::frame;
use super::link::{INLET_CREDIT, Link, Partial};
use super::message::Message;
use super::performative::{ACCEPTED, Fault, Performative, REJECTED, condition, described, uint};
use crate::devhub::hub::{Hub, HubError, MAX_MESSAGE_BYTES};
use crate::devhub::value::{DecodeError, Value};

/// Message format of a batch: every data section is an encoded message.
const BATCH: u32 = 0x8001_3700;

const PARTITION_KEY: &str = "x-opt-partition-key";

/// A delivery that is complete.
struct Delivery {
    id: u32,
    format: u32,
    settled: bool,
    payload: Bytes,
}

impl Connection {
    /// Takes a transfer frame. Transfers on links that are not there are ignored: the client may not have seen our detach yet.
    pub(super) fn on_transfer(
        &mut self,
        channel: u16,
        fields: &Value,
        payload: &Bytes,
    ) -> Result<(), Fault> {
        let Some(handle) = uint(fields.field(0)) else {
            return Err(Fault::new(condition::DECODE, "A transfer needs a handle."));
        };
        let session = self.session(channel)?;
        let renew_window = session.window.on_transfer();
        let Some(Link::Inlet(inlet)) = session.links.get_mut(&handle) else {
            return Ok(());
        };
        let gathered = gather(&mut inlet.partial, fields, payload);
        let node = inlet.node.clone();
        if matches!(gathered, Ok(Some(_))) {
            inlet.delivery_count = inlet.delivery_count.wrapping_add(1);
            inlet.used += 1;
        }
        let renewed = (inlet.used >= INLET_CREDIT / 2).then(|| {
            inlet.used = 0;
            inlet.delivery_count
        });
        if renew_window && let Some(session) = self.sessions.get(&channel) {
            session.window.put_flow(&mut self.out, channel, None);
        }
        if let Some(delivery_count) = renewed {
            self.put_inlet_credit(channel, handle, delivery_count);
        }
        match gathered {
            Ok(Some(delivery)) => self.on_delivery(channel, &node, delivery),
            Ok(None) => {}
            Err(fault) => {
                session_remove(self, channel, handle);
                self.put_detach(channel, handle, fault);
            }
        }
        Ok(())
    }

    fn on_delivery(&mut self, channel: u16, node: &Node, delivery: Delivery) {
        let (id, settled) = (delivery.id, delivery.settled);
        let outcome = match node {
            Node::Entity { partition } => publish(&self.endpoint.hub, *partition, delivery),
            Node::Cbs | Node::Management | Node::Partition { .. } | Node::Events { .. } => {
                Message::decode(delivery.payload)
                    .map_err(undecodable)
                    .and_then(|request| self.on_request(channel, node, &request))
            }
        };
        if !settled {
            self.put_disposition(channel, id, outcome);
        }
    }

    fn put_disposition(&mut self, channel: u16, id: u32, outcome: Result<(), Fault>) {
        let state = match outcome {
            Ok(()) => described(ACCEPTED, Vec::new()),
            Err(fault) => described(REJECTED, vec![fault.value()]),
        };
        let fields = vec![
            Value::Bool(true),
            Value::Uint(id),
            Value::Uint(id),
            Value::Bool(true),
            state,
            Value::Bool(false),
        ];
        frame::put(&mut self.out, channel, Performative::Disposition, fields);
    }
}

fn session_remove(connection: &mut Connection, channel: u16, handle: u32) {
    if let Some(session) = connection.sessions.get_mut(&channel) {
        session.links.remove(&handle);
    }
}

/// Adds a transfer to the delivery it belongs to; gives the delivery back once it is complete.
fn gather(
    partial: &mut Option<Partial>,
    fields: &Value,
    payload: &Bytes,
) -> Result<Option<Delivery>, Fault> {
    if fields.field(9) == &Value::Bool(true) {
        *partial = None;
        return Ok(None);
    }
    let mut delivery = match partial.take() {
        Some(delivery) => delivery,
        None => Partial {
            id: uint(fields.field(1)).ok_or_else(|| {
                Fault::new(condition::DECODE, "The first transfer of a delivery needs an id.")
            })?,
            format: uint(fields.field(3)).unwrap_or(0),
            settled: false,
            payload: BytesMut::new(),
        },
    };
    delivery.settled |= fields.field(4) == &Value::Bool(true);
    if delivery.payload.len() + payload.len() > MAX_MESSAGE_BYTES {
        return Err(Fault::new(
            condition::TOO_LARGE,
            format!("The message is larger than {MAX_MESSAGE_BYTES} bytes."),
        ));
    }
    delivery.payload.extend_from_slice(payload);
    if fields.field(5) == &Value::Bool(true) {
        *partial = Some(delivery);
        return Ok(None);
    }
    Ok(Some(Delivery {
        id: delivery.id,
        format: delivery.format,
        settled: delivery.settled,
        payload: delivery.payload.freeze(),
    }))
}

/// Appends the events of a delivery, up to the first that is refused.
fn publish(hub: &Hub, partition: Option<usize>, delivery: Delivery) -> Result<(), Fault> {
    let envelope = Message::decode(delivery.payload).map_err(undecodable)?;
    if delivery.format != BATCH {
        return publish_event(hub, partition, None, &envelope);
    }
    let key = envelope.annotations.entry(PARTITION_KEY).and_then(Value::text);
    for encoded in &envelope.data {
        let event = Message::decode(encoded.clone()).map_err(undecodable)?;
        publish_event(hub, partition, key, &event)?;
    }
    Ok(())
}

fn publish_event(
    hub: &Hub,
    partition: Option<usize>,
    batch_key: Option<&str>,
    event: &Message,
) -> Result<(), Fault> {
    let now = crate::clock::wall();
    let key = event.annotations.entry(PARTITION_KEY).and_then(Value::text);
    let appended = match (key.or(batch_key), event.property("deviceId")) {
        (Some(device), _) => hub.ingest(device, None, partition, &event.bare, now),
        (None, Some(device)) => {
            hub.ingest(device, event.property("moduleId"), partition, &event.bare, now)
        }
        (None, None) => {
            // The broker's own names are not the publisher's to write.
            let annotations = event.annotations.entries().iter();
            let foreign = |(name, _): &&(Value, Value)| {
                !name.text().is_some_and(|name| name.starts_with("x-opt-"))
            };
            let kept: Vec<_> = annotations.filter(foreign).cloned().collect();
            hub.publish(partition.unwrap_or(0), &kept, &event.bare, now)
        }
    };
    appended.map(|_| ()).map_err(|error| {
        let condition = match error {
            HubError::Unavailable => condition::SERVER_BUSY,
            HubError::UnknownIdentity(_) | HubError::AlreadyExists(_) => condition::NOT_ALLOWED,
            HubError::RegistryFull(_) => condition::RESOURCE_LIMIT,
            HubError::NoPartition(_) => condition::OUT_OF_RANGE,
            HubError::TooLarge(_) => condition::TOO_LARGE,
        };
        Fault::new(condition, error.to_string())
    })
}

fn undecodable(error: DecodeError) -> Fault {
    Fault::new(condition::DECODE, format!("The message can't be decoded: {error}."))
}
